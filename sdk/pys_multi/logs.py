"""JSON logs through ``logging``: one line a record on stdout, correlated with the invocation that wrote it."""

from __future__ import annotations

import logging
import sys
from json import dumps
from os import environ

from pys_multi.messages import current_context

#: Attributes that every record has; what is left was given as ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"{record.msg!r} (arguments do not fit: {error})"
        line: dict[str, object] = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        context = current_context()
        if context is not None:
            line["request_id"] = context.request_id
            if context.trace_id:
                line["trace_id"] = context.trace_id
            line["service"] = context.service
            line["function"] = context.function
            line["stage"] = context.stage
            line["build_id"] = context.build_id
        for key, value in vars(record).items():
            if key not in _OWN and key not in line:
                line[key] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = dumps(line, default=_text, ensure_ascii=True)
        resources = sys.modules.get("pys_multi.resources")
        for secret in getattr(resources, "revealed_secrets", ()):
            if secret:
                text = text.replace(dumps(secret)[1:-1], "***")
        return text


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}: {error}>"


class _Stdout(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what sys.stdout is at the time."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)


def configure() -> None:
    """Sends every record to stdout as JSON, from the level of ``LOG_LEVEL`` (INFO) on. Doing it again changes nothing."""
    root = logging.getLogger()
    if any(isinstance(handler, _Stdout) for handler in root.handlers):
        return
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = _Stdout()
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    level = environ.get("LOG_LEVEL", "INFO").upper()
    root.setLevel(level if level in logging.getLevelNamesMapping() else "INFO")
