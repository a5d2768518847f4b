"""Debug information out of native libraries (ELF, 64 bit, little endian): nothing loads it at run time.

Some wheels ship more DWARF than code. What the loader reads lies in segments in front of it and is not touched.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOBITS = 8
_ALLOC = 0x2

#: e_machine by architecture, as the ELF specification numbers them.
MACHINES = {"x86_64": 62, "aarch64": 183}


def machine(data: bytes) -> str | None:
    """The architecture of an ELF file; "other" for one that is not named here, None for another format."""
    if data[:4] != b"\x7fELF" or len(data) < _HEADER.size:
        return None
    number = struct.unpack_from("<H", data, 18)[0]
    return next((name for name, value in MACHINES.items() if value == number), "other")


def without_debug(data: bytes) -> bytes:
    """The library without its ``.debug_*`` sections; the same bytes where the file is of another kind."""
    if data[:6] != b"\x7fELF\x02\x01":
        return data
    try:
        return _without_debug(data)
    except (struct.error, IndexError, ValueError):
        return data  # not laid out as the specification says: better large than broken


def _without_debug(data: bytes) -> bytes:
    header = list(_HEADER.unpack_from(data))
    segments_at, sections_at, segment_count, section_count, names_index = (header[i] for i in (5, 6, 10, 12, 13))
    if not sections_at or header[11] != _SECTION.size or header[9] != _SEGMENT.size:
        return data
    segments = [_SEGMENT.unpack_from(data, segments_at + i * _SEGMENT.size) for i in range(segment_count)]
    sections = [list(_SECTION.unpack_from(data, sections_at + i * _SECTION.size)) for i in range(section_count)]
    names_at = sections[names_index][4]
    loaded = [_HEADER.size, segments_at + segment_count * _SEGMENT.size]
    loaded += [segment[2] + segment[5] for segment in segments]
    loaded += [section[4] + section[5] for section in sections if section[2] & _ALLOC and section[1] != _NOBITS]
    end = max(loaded)
    if sections_at < end:
        return data
    result = bytearray(data[:end])
    dropped = False
    for section in sections:
        offset, size = section[4], section[5]
        if section[1] in (0, _NOBITS) or section[2] & _ALLOC or offset < end:
            continue
        start = names_at + section[0]
        name = data[start : data.index(b"\0", start)]
        if name.startswith((b".debug_", b".zdebug_")):
            # The header stays, empty, because other headers and symbols count sections by index.
            section[4], section[5], dropped = end, 0, True
            continue
        result += b"\0" * (-len(result) % max(section[8], 1))
        section[4] = len(result)
        result += data[offset : offset + size]
    if not dropped:
        return data
    result += b"\0" * (-len(result) % 8)
    header[6] = len(result)
    for section in sections:
        result += _SECTION.pack(*section)
    _HEADER.pack_into(result, 0, *header)
    return bytes(result)
