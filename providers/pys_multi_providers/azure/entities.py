"""Keys and items ↔ keys and properties of Table storage ("Understanding the Table service data model", 2026-11).

A key is text that sorts by UTF-16 code units and has no control character and none of ``/ \\ # ?`` in it. Keys of
pys-multi are any text, in the order of code points, and whole numbers, before all text. What is written here for a key
keeps that order, and what begins with a key begins with what is written for it:

- A character that is not allowed is written as the one allowed below it, its lead, and a second one; a lead itself is
  followed by ``!``, which sorts first, the space in front of the control characters by ``~``, which sorts last.
- From U+D7FF on, characters of the first plane would sort behind the later planes: they follow a lead of U+D7FF.
- A number follows a space and ``!``, in 20 digits from the lowest one on.

An item is one JSON text, cut into as many text properties as it takes: Table storage itself has no lists, no maps, and
names that are identifiers. Conditions and changes are made here (``tables.py``), so nothing else has to read it.
"""

from __future__ import annotations

from pys_multi.items import number_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Item = dict[str, Any]

#: Characters of one key (1 KiB of UTF-16), and of one text property (64 KiB).
_MAX_KEY, _MAX_TEXT = 512, 32_000
#: Characters of an item as JSON: an entity has 1 MiB.
_MAX_ITEM = 16 * _MAX_TEXT
#: Properties of an entity: the parts of the item, and which write it was.
_PART, STAMP = "item", "stamp"
#: Greater than any character of a key.
END = "\ue000"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _table() -> dict[int, str]:
    found = {code: f" {_DIGITS[code]}" for code in range(0x20)}
    found[0x20] = " ~"
    for lead, code in (('"', "#"), ("$", "%"), (".", "/"), (">", "?"), ("[", "\\")):
        found[ord(lead)] = f"{lead}!"
        found[ord(code)] = f"{lead}~"
    found[0x7E] = "~!"
    found |= {code: f"~{_DIGITS[code - 0x7F]}" for code in range(0x7F, 0xA0)}
    return found


_WRITTEN = _table()
_HIGH = "\ud7ff"


def key_of(value: object) -> str:
    """What is written for the value of a key. Raises ValueError for what is too long or no text."""
    if isinstance(value, int):
        return f" !{number_text(value)}"
    written = prefix_of(str(value))
    if len(written.encode("utf-16-le", "surrogatepass")) > _MAX_KEY * 2:
        raise ValueError(
            f"a key of a table has at most {_MAX_KEY} characters on Azure, of which some count twice; this one is "
            f"longer: {str(value)[:50]!r}…"
        )
    return written


def prefix_of(text: str) -> str:
    """What is written for the beginning of a key. Raises ValueError for half of a surrogate pair."""
    written = text.translate(_WRITTEN)
    if written.isascii() or max(written) < _HIGH:
        return written
    return "".join(map(_high, written))


def _high(character: str) -> str:
    code = ord(character)
    if code < 0xD7FF or code > 0xFFFF:
        return character
    if 0xD800 <= code < 0xE000:
        raise ValueError("half of a surrogate pair is no text, and no part of a key")
    # 8,194 values, in order, among characters that are allowed.
    return _HIGH + chr(0x4E00 + code - 0xD7FF if code >= 0xE000 else 0x4DFF)


def entity_of(partition: str, row: str, item: Mapping[str, object], stamp: str) -> dict[str, str]:
    """The entity of an item. stamp: which write it is. Raises ValueError for an item that is too large."""
    from json import dumps

    text = dumps(item, separators=(",", ":"), allow_nan=False)
    if len(text) > _MAX_ITEM:
        raise ValueError(f"an item has at most {_MAX_ITEM:,} characters as JSON on Azure; this one has {len(text):,}")
    entity = {"PartitionKey": partition, "RowKey": row, STAMP: stamp}
    for number, start in enumerate(range(0, len(text), _MAX_TEXT)):
        entity[f"{_PART}{number}"] = text[start : start + _MAX_TEXT]
    return entity


def item_of(entity: Mapping[str, Any]) -> Item:
    """The item of an entity. Raises ValueError for one that pys-multi did not write."""
    from json import loads

    parts: list[str] = []
    while (part := entity.get(f"{_PART}{len(parts)}")) is not None:
        parts.append(part)
    if not parts:
        raise ValueError("an entity of the table is not one that pys-multi wrote")
    item: Item = loads("".join(parts))
    return item
