"""What travels between the supervisor and an instance: a JSON header and raw bytes behind it.

    4 bytes length of the header | 4 bytes length of the body | header | body      (big endian)

The same module runs on both sides, so it is standard library only and ships in the bundle.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Frame = tuple[dict[str, Any], bytes]

#: A streamed response may run this many bytes ahead of its reader before the instance waits.
WINDOW = 256 * 1024
#: Longest piece of a body in one frame, so that no answer blocks the connection for the others.
CHUNK = 64 * 1024

_PREFIX = 8


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """One frame."""
    head = dumps(header, separators=(",", ":")).encode()
    return b"".join((len(head).to_bytes(4, "big"), len(body).to_bytes(4, "big"), head, body))


class Decoder:
    """Frames from a stream of bytes that arrive in any pieces."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start, end = 0, len(buffer)
        while end - start >= _PREFIX:
            body = start + _PREFIX + int.from_bytes(buffer[start : start + 4], "big")
            stop = body + int.from_bytes(buffer[start + 4 : start + 8], "big")
            if stop > end:
                break
            frames.append((loads(buffer[start + _PREFIX : body]), bytes(buffer[body:stop])))
            start = stop
        if start:
            del buffer[:start]
        return frames


class Channel:
    """The instance's blocking end of the connection; writing is safe from several threads."""

    __slots__ = ("_decoder", "_descriptor", "_frames", "_lock")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._lock = allocate_lock()

    def read(self) -> Frame | None:
        """The next frame; None once the supervisor has closed its end."""
        while not self._frames:
            try:
                data = os.read(self._descriptor, 256 * 1024)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._frames = self._decoder.feed(data)
        return self._frames.pop(0)

    def has_frame(self) -> bool:
        """Whether :meth:`read` has something to read at once."""
        if self._frames:
            return True
        from select import select

        return bool(select([self._descriptor], [], [], 0)[0])

    def write(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Sends one frame. Raises BrokenPipeError once the supervisor has closed its end."""
        data = memoryview(encode(header, body))
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]
