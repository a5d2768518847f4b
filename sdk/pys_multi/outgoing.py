"""What backends need to send things: groups that one call carries, and texts that a header field carries."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    T = TypeVar("T")


def in_groups(entries: Iterable[T], size: Callable[[T], int], *, most: int, room: int) -> Iterator[list[T]]:
    """Entries in order, in groups that one call carries; one that is too large is alone.

    most: entries of a call. room: what the sizes of its entries add up to at most.
    """
    group: list[T] = []
    left = 0
    for entry in entries:
        needed = size(entry)
        if group and (len(group) == most or needed > left):
            yield group
            group = []
        if not group:
            left = room
        group.append(entry)
        left -= needed
    if group:
        yield group


def encoded_word(text: str) -> str:
    """A text as a header field carries it: what is not printable ASCII is an encoded word (RFC 2047)."""
    if text.isascii() and text.isprintable():
        return text
    from binascii import b2a_base64

    return f"=?UTF-8?B?{b2a_base64(text.encode(), newline=False).decode()}?="
