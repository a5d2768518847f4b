"""Log records as Cloud Logging reads them from stdout ("Structured logging", special fields, 2026-11).

What is the same for all records of an instance are labels of the entry, so are not repeated in its payload; the trace
makes records of one request stand together, across services too.
"""

from __future__ import annotations

from os import environ
from time import gmtime, strftime

from pys_multi.logs import JsonFormatter, configure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import LogRecord

#: Levels that Cloud Logging has a severity for; others get the one below ("LogSeverity").
_SEVERITIES = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"), (0, "DEBUG"))
_LABELS = ("service", "stage", "build_id")
#: Fields that make something of an entry beside its payload, under names without a prefix.
_RESERVED = ("severity", "httpRequest", "timestamp", "timestampSeconds", "timestampNanos")


class CloudFormatter(JsonFormatter):
    """A record as one JSON object with the names that Cloud Logging gives a meaning. project: of the traces."""

    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    def fields(self, record: LogRecord) -> dict[str, object]:
        """What the line says."""
        found = super().fields(record)
        severity = next((name for level, name in _SEVERITIES if record.levelno >= level), "DEFAULT")
        line: dict[str, object] = {"severity": severity, "time": _time(record.created)}
        labels = {name: found.pop(name) for name in _LABELS if name in found}
        if labels:
            line["logging.googleapis.com/labels"] = labels
        trace = found.pop("trace_id", None)
        if trace:
            line["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{trace}"
        if found.pop("level") not in (severity, "WARN", "FATAL"):
            line["level"] = record.levelname
        del found["time"]
        for name, value in found.items():
            # What the platform reads cannot be overwritten by what a caller wrote.
            taken = name in _RESERVED or name.startswith("logging.googleapis.com/")
            line[f"extra.{name}" if taken else name] = value
        return line


def take_over(project: str) -> None:
    """Sends all records to stdout in this form, before the user's code may set logging up in another way."""
    configure(replace=True, formatter=CloudFormatter(project))


def project_of(caller: str) -> str:
    """The project that a function runs in: as the environment says, or that of a service account of the service."""
    found = environ.get("GOOGLE_CLOUD_PROJECT")
    if found:
        return found
    # NAME@PROJECT.iam.gserviceaccount.com; the project of an organisation's domain is PROJECT.DOMAIN there.
    name, _, domain = caller.partition("@")[2].removesuffix(".iam.gserviceaccount.com").partition(".")
    return f"{domain}:{name}" if domain else name


def _time(seconds: float) -> str:
    whole = int(seconds)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"
