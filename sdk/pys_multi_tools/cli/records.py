"""A log record as a person reads it: `logs` and `dev` print the same line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from pys_multi_tools.cli.output import clock, paint

if TYPE_CHECKING:
    from pys_multi_tools.deployment import LogRecord

# Fields that say the same in nearly every record, or what the request id says already; --json has them.
_NOT_SHOWN = ("logger", "service", "stage", "build_id", "trace_id")
# Fields of many lines, which stand below the record.
_BELOW = ("exception", "stack")
_LEVELS = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow", "DEBUG": "dim"}


def text_of(record: LogRecord, stream: TextIO) -> str:
    """The record for a stream that may show colours: one line, and below it, indented, what has more of them."""
    name = record.level.upper()
    level = paint(f"{name:<8}", _LEVELS.get(name, "bold"), stream)
    shown = {key: value for key, value in record.fields.items() if key not in (*_NOT_SHOWN, *_BELOW)}
    fields = "".join(f"  {key}={value}" for key, value in shown.items())
    extra = paint(_harmless(f"{fields}  {record.request_id}".rstrip()), "dim", stream)
    below = "".join(f"\n{record.fields[key]}" for key in _BELOW if record.fields.get(key))
    return f"{clock(record.time)}  {level}{record.function}  {_harmless(record.message)}{extra}{_harmless(below)}"


def _harmless(text: str) -> str:
    """What a caller may have sent, without anything that a terminal acts on, or a line that looks like ours."""
    lines = text.expandtabs().splitlines()
    return "\n    ".join("".join(c if c.isprintable() else _escaped(c) for c in line) for line in lines)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
