"""Values by name where a name repeats: the parameters of a query, the fields of a form."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Pairs:
    """(name, value) pairs in order; a repeated name keeps every value."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self._pairs = pairs

    def get(self, name: str, default: Any = None) -> Any:
        """The last value of the name, or the default."""
        for key, value in reversed(self._pairs):
            if key == name:
                return value
        return default

    def get_all(self, name: str) -> list[Any]:
        """Every value of the name, in order."""
        return [value for key, value in self._pairs if key == name]

    def __getitem__(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._pairs)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))

    def __len__(self) -> int:
        return len(self._pairs)

    def items(self) -> list[tuple[str, Any]]:
        """Every (name, value), repeated ones too, in order."""
        return list(self._pairs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"


class Query(Pairs):
    """Query parameters, percent-decoded once; a repeated key keeps every value.

    Raises HTTPError 400 for more than 1,000 of them.
    """

    __slots__ = ()

    def __init__(self, query_string: str) -> None:
        from urllib.parse import parse_qsl

        try:
            super().__init__(parse_qsl(query_string, keep_blank_values=True, max_num_fields=1000))
        except ValueError:
            from pys_multi.errors import HTTPError

            raise HTTPError(400, "the query has more than 1,000 parameters") from None

    if TYPE_CHECKING:  # its values are text

        def get(self, name: str, default: str | None = None) -> str | None: ...
        def get_all(self, name: str) -> list[str]: ...
        def __getitem__(self, name: str) -> str: ...
        def items(self) -> list[tuple[str, str]]: ...
