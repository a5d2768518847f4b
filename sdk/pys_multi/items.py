"""Items of tables, for providers whose database does not itself compare and change them as pys-multi does.

Conditions and changes mean the same everywhere: a null attribute counts as absent in conditions and to ``add``, so
that an optional field of a dataclass reads the same before and after it was written.
"""

from __future__ import annotations

from pys_multi.encoding import to_json_value
from pys_multi.errors import ConditionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pys_multi.backend import Condition, Key

    Item = dict[str, Any]

#: A number in a key has 64 bits.
_OFFSET = 2**63


# ---- keys


def key_in(item: Item, name: str, sort: str | None) -> Key:
    """The key of an item. name, sort: of the key's attributes."""
    return (item[name],) if sort is None else (item[name], item[sort])


def new_item(key: Key, name: str, sort: str | None) -> Item:
    """What an update begins with where there is no item: its key."""
    return {name: key[0]} if sort is None else {name: key[0], sort: key[1]}


def number_text(number: int) -> str:
    """Twenty digits that sort as numbers of a key do. Raises ValueError for one of more than 64 bits."""
    if not -_OFFSET <= number < _OFFSET:
        raise ValueError(f"a number in a key has 64 bits; {number} has more")
    return f"{number + _OFFSET:020d}"


def number_of(text: str) -> int:
    """The number of such digits."""
    return int(text) - _OFFSET


def end_of_prefix(prefix: str) -> str | None:
    """The first text after all that begin with the prefix, in order of code points, which is that of UTF-8 bytes;
    None where there is no such text."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if code <= 0x10FFFF:
            # Half of a surrogate pair is no text.
            return prefix[:-1] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
        prefix = prefix[:-1]
    return None


# ---- conditions


def check(table: str, key: Key, item: Item | None, condition: Condition) -> None:
    """Raises ConditionFailed where an item, or its absence, is not as the condition requires."""
    for attribute, wanted in condition.items():
        operator, value = wanted if isinstance(wanted, tuple) else ("=", wanted)
        if not _holds((item or {}).get(attribute), operator, to_json_value(value)):
            state = "there is no such item" if item is None else f"{attribute!r} is not {operator} what was required"
            raise ConditionFailed(f"item {' '.join(map(str, key))} of table {table!r}: {state}")


def _holds(actual: Any, operator: str, wanted: Any) -> bool:
    """None is "absent" on both sides."""
    if operator == "=":
        return _equal(actual, wanted)
    if operator == "!=":
        return not _equal(actual, wanted)
    numbers = _is_number(actual) and _is_number(wanted)
    if not numbers and not (isinstance(actual, str) and isinstance(wanted, str)):
        return False
    if operator in ("<", ">="):
        return (actual < wanted) is (operator == "<")
    return (actual > wanted) is (operator == ">")


def _equal(left: object, right: object) -> bool:
    """Equality of JSON values: 1 is 1.0, and true is neither."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---- changes


def updated(
    table: str, item: Item, changes: Mapping[str, object], add: Mapping[str, float], remove: Iterable[str]
) -> Item:
    """A new item: what an update makes of one, or of `new_item` where there is none yet.

    Raises ValueError where it adds to what is no number.
    """
    found = {**item, **changes}
    for attribute, amount in add.items():
        found[attribute] = _sum(table, attribute, found.get(attribute), amount)
    for attribute in remove:
        found.pop(attribute, None)
    return found


def _sum(table: str, attribute: str, value: Any, amount: float) -> float:
    value = 0 if value is None else value
    if not _is_number(value):
        raise ValueError(f"attribute {attribute!r} of an item of table {table!r} is not a number, nothing adds to it")
    total: float = value + amount
    return total
