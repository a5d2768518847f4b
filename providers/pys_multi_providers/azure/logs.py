"""Records on their way to Application Insights: as JSON, through the worker's own handler.

The worker's handler hands each record to the host with its level, its logger and its invocation, which become columns
there; the text is the only field that is ours, and so the JSON that every provider writes goes into it. What is printed
arrives as well, line by line, without level or invocation.
"""

from __future__ import annotations

import logging
from os import environ

from pys_multi.logs import JsonFormatter, configure

#: Packages whose handler of the root logger is the worker's.
_WORKERS = ("azure_functions_worker", "proxy_worker", "dispatcher")
#: Loggers of the worker and of azure-functions, which go to Microsoft's own log.
_SYSTEM = ("azure_functions_worker", "azure_functions_runtime", "azure.functions", "proxy_worker")


class _Formatter(JsonFormatter):
    """JSON for the service's records; Microsoft's own stay as they were."""

    def __init__(self, before: logging.Formatter | None) -> None:
        super().__init__()
        self._before = before or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return self._before.format(record) if record.name.startswith(_SYSTEM) else super().format(record)


def take_over() -> None:
    """Gives the worker's handler the format; without one, as in a test, records go to stdout."""
    root = logging.getLogger()
    found = [handler for handler in root.handlers if _is_of_the_worker(handler)]
    if not found:
        configure()
        return
    for handler in found:
        if not isinstance(handler.formatter, _Formatter):
            handler.setFormatter(_Formatter(handler.formatter))
    # Without it the worker's own level holds, which is INFO, or DEBUG by one of its options.
    wanted = logging.getLevelNamesMapping().get(environ.get("LOG_LEVEL", "").strip().upper())
    if wanted is not None:
        root.setLevel(wanted)


def _is_of_the_worker(handler: logging.Handler) -> bool:
    return type(handler).__module__.partition(".")[0] in _WORKERS
