"""What an annotation asks for, as plain values: kind and parts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Field:
    """One field of an object, or place of a named tuple. key: its name on the wire.

    default: what the class itself fills in, `Shape.NOTHING` where that is made by a function or nothing.
    """

    __slots__ = ("default", "key", "name", "required", "shape")

    def __init__(self, name: str, key: str, shape: Shape, required: bool, default: object) -> None:
        self.name = name
        self.key = key
        self.shape = shape
        self.required = required
        self.default = default


class Shape:
    """What a value looks like.

    kind        type                             parts
    any         –
    scalar      str, int, UUID, …
    choice      the Enum, or None for a Literal  choices: (on the wire, for the handler)
    array       list, tuple, set, frozenset      items: one
    tuple       tuple, or the NamedTuple         items: one per place; fields of a NamedTuple
    map         dict                             items: key and value
    object      dataclass, TypedDict, attrs      fields
    union       –                                items
    constrained –                                items: one; constraints, description
    foreign     as annotated                     library: the one that validates it
    file        the class of an uploaded file

    name: how the type is called in messages and schemas, empty for what has no name of its own.
    origin: equal for two shapes of the same named type.
    """

    __slots__ = (
        "choices",
        "constraints",
        "description",
        "fields",
        "items",
        "kind",
        "library",
        "name",
        "origin",
        "type",
    )
    #: Stands for "no default".
    NOTHING: Any = NotImplemented

    def __init__(self, kind: str, type: Any = None, name: str = "", items: Iterable[Shape] = ()) -> None:
        self.kind = kind
        self.type = type
        self.name = name
        self.origin: object = type
        self.items = list(items)
        self.fields: list[Field] = []
        self.choices: list[tuple[Any, Any]] = []
        self.constraints: dict[str, Any] = {}
        self.description = ""
        self.library = ""

    def become(self, other: Shape) -> None:
        """Fills a placeholder that others refer to already."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def __repr__(self) -> str:
        return f"<Shape {self.kind} {self.name or getattr(self.type, '__name__', '')}>"


def full_name(kind: object) -> str:
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}"
