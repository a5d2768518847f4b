"""The zip of an artefact: which paths it may hold, and its bytes.

The bytes depend on the entries alone: sorted by path, one fixed time, modes of two kinds, and one compressor.
The compressor is libdeflate at a pinned version, not the interpreter's zlib, because zlib, zlib-ng and the
zlib of macOS each write different bytes for the same input. Entries carry their compressed form, so that an
archive is put together from layers that were compressed long ago.
"""

from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

import deflate

from pys_multi_tools.errors import BundleError

STORED, DEFLATED = 0, 8
FILE_MODE, EXECUTABLE_MODE = 0o644, 0o755

# Level 8 packs 55 MB a second; 10 searches for optimal parses, which pays for large native libraries only.
_LEVEL, _LEVEL_LARGE, _LARGE = 8, 10, 1_000_000
# 1980-01-01 00:00:00, the zero of the format.
_TIME, _DATE = 0, 0x21
_MAX = 0xFFFFFFFF
_UTF8_FLAG = 0x800
_UNIX = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an artefact. ``packed`` is its compressed form; ``origin`` says whose file it is."""

    path: str
    mode: int
    size: int
    crc: int
    sha256: str
    method: int
    packed: bytes | memoryview
    origin: str = ""


def pack(path: str, data: bytes, *, executable: bool = False, origin: str = "") -> Entry:
    """The entry of a file's bytes."""
    method, packed = DEFLATED, _deflate(data)
    if len(packed) >= len(data):
        method, packed = STORED, data
    mode = EXECUTABLE_MODE if executable else FILE_MODE
    return Entry(path, mode, len(data), zlib.crc32(data), sha256(data).hexdigest(), method, packed, origin)


def unpack(entry: Entry) -> bytes:
    """The bytes of an entry."""
    if entry.method == STORED:
        return bytes(entry.packed)
    return bytes(deflate.deflate_decompress(bytes(entry.packed), entry.size)) if entry.size else b""


def content_hash(entries: Iterable[Entry]) -> str:
    """SHA-256 over path, mode and bytes of every entry, whatever their order."""
    digest = sha256()
    for entry in sorted(entries, key=lambda entry: entry.path):
        digest.update(f"{entry.path}\0{entry.mode:o}\0{entry.sha256}\n".encode())
    return digest.hexdigest()


def check_path(path: str, origin: str = "") -> None:
    """Refuses a path that is not a plain relative one on every system. Raises BundleError."""
    problem = _problem_of(path)
    if problem:
        raise BundleError(
            f"the path {path!r} {problem} and cannot go into an artefact",
            where=origin.encode(errors="backslashreplace").decode(),
            hint="rename the file, or leave it out with bundle.exclude",
        )


def check_paths(entries: Sequence[Entry]) -> None:
    """Refuses paths that are unsafe, doubled, or the same on a file system that ignores case.

    Raises BundleError that names both files.
    """
    seen: dict[str, tuple[str, bool, str]] = {}
    for entry in sorted(entries, key=lambda entry: entry.path):
        check_path(entry.path, entry.origin)
        parts = entry.path.split("/")
        for end in range(1, len(parts) + 1):
            name, is_file = "/".join(parts[:end]), end == len(parts)
            key = unicodedata.normalize("NFC", name).casefold()
            known = seen.get(key)
            if known is None:
                seen[key] = (name, is_file, entry.origin)
            elif is_file or known[1] or known[0] != name:
                raise _collision(name, entry.origin, known[0], known[2])


def write_zip(entries: Iterable[Entry], file: IO[bytes]) -> None:
    """Writes the archive of entries that :func:`check_paths` accepted."""
    directory = bytearray()
    offset = count = 0
    for entry in sorted(entries, key=lambda entry: entry.path):
        name = entry.path.encode()
        if offset + len(entry.packed) > _MAX:
            raise BundleError("the artefact is larger than 4 GiB", hint="leave large files out, or use an image")
        flags = 0 if entry.path.isascii() else _UTF8_FLAG
        common = struct.pack(
            "<HHHHHIIIHH", 20, flags, entry.method, _TIME, _DATE,
            entry.crc, len(entry.packed), entry.size, len(name), 0,
        )  # fmt: skip
        file.write(b"PK\x03\x04" + common + name)
        file.write(entry.packed)
        attributes = (0o100000 | entry.mode) << 16
        directory += b"PK\x01\x02" + struct.pack("<BB", 20, _UNIX) + common
        directory += struct.pack("<HHHII", 0, 0, 0, attributes, offset) + name
        offset += 4 + len(common) + len(name) + len(entry.packed)
        count += 1
    file.write(directory)
    _write_end(file, count, len(directory), offset)


def write_files(entries: Iterable[Entry], folder: Path) -> None:
    """Unpacks entries into a folder."""
    made: set[Path] = set()
    for entry in entries:
        path = folder / entry.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(unpack(entry))
        if entry.mode == EXECUTABLE_MODE:
            path.chmod(EXECUTABLE_MODE)


def _write_end(file: IO[bytes], count: int, length: int, offset: int) -> None:
    if count > 0xFFFF - 1:  # the format counts in 16 bits; the Zip64 record in front of the end counts in 64
        file.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, length, offset))
        file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, offset + length, 1))
        count = 0xFFFF
    file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, length, offset, 0))


def _deflate(data: bytes) -> bytes:
    return bytes(deflate.deflate_compress(data, _LEVEL_LARGE if len(data) > _LARGE else _LEVEL))


def _problem_of(path: str) -> str:
    if path.startswith("/") or (len(path) > 1 and path[1] == ":"):
        return "is absolute"
    parts = path.split("/")
    if ".." in parts:
        return "leaves its folder"
    if "" in parts or "." in parts:
        return "has an empty part"
    if "\\" in path:
        return "has a backslash"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        return "has a control character or is not Unicode"
    return "is too long" if len(path.encode()) > 0xFFFF else ""


def _collision(name: str, origin: str, other: str, other_origin: str) -> BundleError:
    first = f"{other!r} ({other_origin})" if other_origin else repr(other)
    second = f"{name!r} ({origin})" if origin else repr(name)
    same = "the same path" if other == name else "one path where case does not count"
    return BundleError(
        f"{first} and {second} are {same}",
        hint="rename one of them, or leave it out with bundle.exclude",
    )
