"""The limits of a value: what is possible is checked when they are defined, what comes in when it comes.

Of a union a limit is for the members that can have it, as in JSON Schema: in ``int | str`` a ``ge`` is for the numbers.
"""

from __future__ import annotations

from operator import ge, gt, le, lt

from pys_multi.errors import DefinitionError
from pys_multi.scalars import Invalid
from pys_multi.shape import full_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pys_multi.shape import Shape

    #: Whether a value fits, and what is wrong where it does not.
    Check = tuple[Callable[[Any], bool], str]

_NUMBERS = ("builtins.int", "builtins.float", "decimal.Decimal")
_ORDER: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "gt": (gt, "greater than"),
    "ge": (ge, "at least"),
    "lt": (lt, "less than"),
    "le": (le, "at most"),
}


def checks_of(shape: Shape) -> list[Check]:
    """The checks of a shape of kind `constrained`. Raises DefinitionError for a limit that its values cannot have."""
    inner = shape.items[0]
    checks = []
    for name, limit in shape.constraints.items():
        if not _is_limit(name, limit) or not _takes(inner, name, limit):
            raise DefinitionError(f"{name}={limit!r} means nothing for {inner.name or inner.kind}")
        checks.append(_check(name, limit))
    return checks


def _is_limit(name: str, limit: Any) -> bool:
    if name in ("min_length", "max_length"):
        return type(limit) is int and limit >= 0
    return name != "multiple_of" or (_is_number(limit) and limit > 0)


def _takes(shape: Shape, name: str, limit: Any) -> bool:
    """Whether a value of this shape, or of a member of it, can have such a limit."""
    if shape.kind in ("union", "constrained"):
        return any(_takes(item, name, limit) for item in shape.items)
    if shape.kind == "any":
        return True
    if name in ("min_length", "max_length"):
        return shape.kind in ("array", "tuple", "map") or shape.type in (str, bytes)
    if shape.kind != "scalar":
        return False
    if name == "pattern":
        return shape.type is str
    if name == "multiple_of" or _is_number(limit):
        return full_name(shape.type) in _NUMBERS and _is_number(limit)
    return type(limit) is shape.type


def _is_number(value: Any) -> bool:
    return hasattr(type(value), "__float__") and not isinstance(value, bool)


def _check(name: str, limit: Any) -> Check:
    if name in _ORDER:
        compare, words = _ORDER[name]
        shown = limit.isoformat() if hasattr(limit, "isoformat") else limit
        return _ordered(compare, limit), f"must be {words} {shown}"
    if name == "multiple_of":
        return _multiple(limit), f"must be a multiple of {limit}"
    if name == "min_length":
        return (lambda value: not hasattr(value, "__len__") or len(value) >= limit), (
            f"must have a length of at least {limit}"
        )
    if name == "max_length":
        return (lambda value: not hasattr(value, "__len__") or len(value) <= limit), (
            f"must have a length of at most {limit}"
        )
    return _pattern(limit), f"must match the pattern {getattr(limit, 'pattern', limit)}"


def _ordered(compare: Callable[[Any, Any], bool], limit: Any) -> Callable[[Any], bool]:
    has_limit = _is_number if _is_number(limit) else lambda value: isinstance(value, type(limit))

    def fits(value: Any) -> bool:
        if not has_limit(value):
            return True
        if type(limit) is float and type(value).__name__ == "Decimal":
            return compare(value, type(value)(repr(limit)))  # by its digits: as a double, 0.1 is a little more
        try:
            return compare(value, limit)
        except TypeError:  # of two times only one has a zone
            raise Invalid("must have a time zone" if limit.tzinfo else "must not have a time zone") from None

    return fits


def _multiple(limit: Any) -> Callable[[Any], bool]:
    from fractions import Fraction

    # By their digits: to a double, 0.3 is no multiple of 0.1.
    exact = limit if type(limit) is int else Fraction(str(limit) if type(limit) is float else limit)

    def fits(value: Any) -> bool:
        if not _is_number(value):
            return True
        digits = value if type(value) is int else Fraction(str(value) if type(value) is float else value)
        return bool(digits % exact == 0)

    return fits


def _pattern(pattern: Any) -> Callable[[Any], bool]:
    from re import compile, error

    try:
        search = compile(pattern).search  # anywhere in the text, as JSON Schema has it
    except (error, TypeError) as wrong:
        raise DefinitionError(f"pattern={pattern!r} is no regular expression: {wrong}") from None
    return lambda value: not isinstance(value, str) or search(value) is not None
