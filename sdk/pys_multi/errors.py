"""Every error that pys_multi raises on purpose.

PysMultiError
├── DefinitionError     the service is defined wrongly; raised where it is defined
├── GrantError          a function used a verb that its `uses` does not grant
├── ResourceError       a resource refused or could not be reached
│   ├── NotFound
│   └── ConditionFailed
├── InvalidInput        a body or parameter does not fit its annotation; a 422 for the caller
└── HTTPError           an answer other than success, raised from anywhere below a route
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PysMultiError(Exception):
    """Base of all errors of pys_multi."""


class DefinitionError(PysMultiError):
    """The service is defined wrongly. The message says where, what, and what is possible."""


class GrantError(PysMultiError):
    """A function used a verb of a resource that is not in its ``uses``."""


class ResourceError(PysMultiError):
    """A resource refused a request or could not be reached."""


class NotFound(ResourceError):
    """There is no such object or secret."""


class ConditionFailed(ResourceError):
    """The item is not as the condition of a put, update or delete requires."""


class FieldError:
    """One problem of one input: where it is (`body`, `path`, `query`, `header`, `cookie`, `form`),
    the path of the field (`items.0.sku`, empty for the whole), and what is wrong."""

    __slots__ = ("field", "location", "message")

    def __init__(self, location: str, field: str, message: str) -> None:
        self.location = location
        self.field = field
        self.message = message

    def __repr__(self) -> str:
        return f"FieldError({self.location!r}, {self.field!r}, {self.message!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldError) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def to_json(self) -> dict[str, str]:
        return {"in": self.location, "field": self.field, "message": self.message}


class InvalidInput(PysMultiError):
    """A body or a parameter does not fit its annotation; carries every problem found."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{f'{e.location} {e.field}'.strip()}: {e.message}" for e in self.errors))


class HTTPError(PysMultiError):
    """Ends the request with this status and a problem-details body (RFC 9457).

    status: 400 to 599. detail: shown to the caller. headers: added to the response.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str = "",
        type: str = "about:blank",
        headers: Mapping[str, str] | None = None,
        **extensions: object,
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"HTTPError takes a status from 400 to 599, not {status}")
        self.status = status
        self.detail = detail
        self.title = title
        self.type = type
        self.headers = dict(headers or {})
        self.extensions = extensions
        super().__init__(f"{status} {detail or title}".strip())


def is_failure(error: BaseException) -> bool:
    """Whether a handler that raised this has failed; anything else, such as KeyboardInterrupt, is for the process.

    asyncio's CancelledError is known by its name: a service that does not use asyncio does not import it.
    """
    return isinstance(error, Exception | SystemExit) or type(error).__name__ == "CancelledError"
