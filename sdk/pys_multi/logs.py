"""JSON logs through ``logging``: one line a record on stdout, correlated with the invocation that wrote it.

A line has ``time`` (seconds since the epoch), ``level``, ``logger``, ``message``; within an invocation
``request_id``, ``trace_id``, ``service``, ``function``, ``stage``, ``build_id`` and ``trigger`` as far as known;
then what ``extra=`` gave, and ``exception`` with its traceback. It is ASCII, so that no line break of any kind and
no terminal control gets through. Values of secrets that this process has read are masked.

Nothing here raises: a record that cannot be written as it is, is written as well as it can be.
"""

from __future__ import annotations

import logging
import sys
from json import dumps
from os import environ

from pys_multi.messages import current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Attributes that every record has; what is left was given as ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTEXT = ("request_id", "trace_id", "service", "function", "stage", "build_id", "trigger")
_RESERVED = frozenset(("time", "level", "logger", "message", "exception", "stack", *_CONTEXT))

#: Levels that values may be nested before they are written as text, and characters of one text, which is cut
#: only after masking: half a secret would not be found.
_MAX_DEPTH = 8
_MAX_TEXT = 32_768
#: Shorter secrets are not masked: they would make holes in every other word.
_MIN_SECRET = 4


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return dumps(self.fields(record), separators=(",", ":"))

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """What the line says; a provider whose logs have other names for it changes them here."""
        mask = _mask()
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": mask(_message(record))[:_MAX_TEXT],
        }
        context = current_context()
        if context is not None:
            for name in _CONTEXT:
                value = getattr(context, name)
                if value:
                    line[name] = value
        for name, value in vars(record).items():
            if name not in _OWN:
                # What correlates a line cannot be overwritten by what a caller wrote.
                line[f"extra.{name}" if name in _RESERVED else name] = _plain(value, mask, _MAX_DEPTH)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = mask(self._exception(record))[-_MAX_TEXT:]
        if record.stack_info:
            line["stack"] = mask(str(record.stack_info))[-_MAX_TEXT:]
        return line

    def _exception(self, record: logging.LogRecord) -> str:
        try:
            return self.formatException(record.exc_info)  # type: ignore[arg-type]  # it has one
        except Exception as error:  # an exception whose own text cannot be had
            kind = record.exc_info[0]  # type: ignore[index]
            return f"{getattr(kind, '__name__', kind)} (its traceback cannot be written: {type(error).__name__})"


class StdoutHandler(logging.Handler):
    """Writes each record, with its line end, in one piece to what ``sys.stdout`` is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record; a record that fails is written as its bare template."""
        try:
            line = self.format(record)
        except Exception as error:
            line = dumps({"level": record.levelname, "logger": record.name, "message": f"{error!r}"[:_MAX_TEXT]})
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except Exception:  # stdout is closed or broken: there is no place left to say so
            return


def configure(*, replace: bool = False, formatter: JsonFormatter | None = None) -> None:
    """Sends every record to stdout as JSON, from the level of ``LOG_LEVEL`` (INFO) on; a second time changes nothing.

    Where the user's code has set the root logger up itself, that stays. replace: takes the place of what the
    platform has put there before the user's code ran. formatter: of a provider whose logs have other names.
    """
    root = logging.getLogger()
    if any(isinstance(handler, StdoutHandler) for handler in root.handlers):
        return
    if root.handlers and not replace:
        return
    for handler in list(root.handlers):
        root.removeHandler(handler)
    ours = StdoutHandler()
    ours.setFormatter(formatter or JsonFormatter())
    root.addHandler(ours)
    wanted = environ.get("LOG_LEVEL", "").strip().upper() or "INFO"
    known = logging.getLevelNamesMapping()
    if wanted.isascii() and wanted.isdigit():
        root.setLevel(int(wanted[:4]))
    else:
        root.setLevel(known.get(wanted, logging.INFO))
        if wanted not in known:
            root.warning("LOG_LEVEL %r is not a level: INFO is used; there is %s", wanted, ", ".join(known))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        return f"{_text(record.msg)} (its arguments do not fit: {_text(error)})"


def _plain(value: object, mask: Callable[[str], str], depth: int) -> object:
    """The value with nothing in it but what JSON has."""
    if value is None or value is True or value is False or type(value) is int:
        # Longer than 4,300 digits Python refuses to write.
        return value if type(value) is not int or value.bit_length() < 1024 else hex(value)[:_MAX_TEXT]
    if type(value) is str:
        return mask(value)[:_MAX_TEXT]
    if type(value) is float and value - value == 0:  # neither NaN nor infinity
        return value
    try:
        if depth and isinstance(value, dict):
            return {mask(_text(key))[:_MAX_TEXT]: _plain(item, mask, depth - 1) for key, item in list(value.items())}
        if depth and isinstance(value, list | tuple | set | frozenset):
            return [_plain(item, mask, depth - 1) for item in list(value)]
    except Exception as error:  # a class that only pretends to be one of these
        return f"<{type(value).__name__}: {type(error).__name__}>"
    return mask(_text(value))[:_MAX_TEXT]


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"


def masked(text: str) -> str:
    """The text without the secrets that this process has read, for what goes into a log by another way."""
    return _mask()(text)


def _mask() -> Callable[[str], str]:
    """Replaces the secrets that were revealed so far, also where ``repr`` or JSON has escaped them."""
    resources = sys.modules.get("pys_multi.resources")
    needles: set[str] = set()
    for secret in list(getattr(resources, "revealed_secrets", ())):
        if len(secret) >= _MIN_SECRET:
            needles.update((secret, repr(secret)[1:-1], dumps(secret)[1:-1], dumps(secret, ensure_ascii=False)[1:-1]))
            # A line of a key in PEM form is as secret as the whole.
            needles.update(line for line in secret.splitlines() if len(line) >= 16)
    if not needles:
        return _same
    # The longest first: one secret may be part of another.
    ordered = sorted(needles, key=len, reverse=True)

    def mask(text: str) -> str:
        for needle in ordered:
            if needle in text:
                text = text.replace(needle, "***")
        return text

    return mask


def _same(text: str) -> str:
    return text
