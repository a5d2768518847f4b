"""HTTP calls of Azure's services with the standard library, and their errors in the words of pys_multi.

What was throttled, or failed at the service's side, is tried again with growing pauses where that cannot happen twice;
what has no answer is tried again as well where doing it twice is doing it once. A call waits less long than the
function that makes it has left, so that its error, not the end of the function, is what is seen.
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from random import random
from threading import Lock
from time import monotonic, sleep
from urllib.parse import urlsplit

from pys_multi.errors import ConditionFailed, NotFound, PysMultiError, ResourceError
from pys_multi.messages import current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

#: Tries of a call, and seconds before the second one; the pauses double, up to the last, and vary by half.
_TRIES, _FIRST, _LAST = 4, 0.2, 5.0
#: Answers that say "later" ("Service Bus REST API", "Status and error codes" of Storage, 2026-11).
_LATER = frozenset((429, 500, 502, 503, 504))
#: Idle connections kept to one host, as many as there are threads in most functions, and seconds that one is kept:
#: less than any service of Azure keeps it.
_IDLE, _KEPT = 16, 50.0


class Refused(ResourceError):
    """What Azure answered, for callers that look closer. status: 0 without an answer. code: Azure's name of the error.
    is_lost: it had no answer, so it may have happened."""

    status = 0
    code = ""
    is_lost = False


class Absent(NotFound):
    """There is no such thing. code: Azure's name of the error, empty where it gives none."""

    code = ""


class ConditionRefused(ConditionFailed):
    """It is there already, or was changed meanwhile."""


class Answer:
    """An answer: status, fields by their names in lower case, body."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body


class Connections:
    """Open connections by scheme and host, kept across invocations; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: dict[tuple[str, str], list[tuple[HTTPConnection, float]]] = {}
        #: Made once: it reads the certificates of all authorities.
        self._tls: SSLContext | None = None

    def exchange(
        self, method: str, url: str, fields: Mapping[str, str], body: bytes, timeout: float
    ) -> tuple[Answer, float]:
        """The answer, and the seconds that it asks to wait (0 without). Raises OSError and HTTPException."""
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection = self._waiting(key)
        if connection is not None:
            try:
                return self._ask(key, connection, method, target, fields, body, timeout)
            except (ConnectionError, HTTPException):
                # The service has ended it meanwhile. What was not answered may have happened all the same: whoever
                # calls knows whether it may happen again.
                if method not in ("GET", "HEAD"):
                    raise
        return self._ask(key, self._new(*key, timeout), method, target, fields, body, timeout)

    def _new(self, scheme: str, address: str, timeout: float) -> HTTPConnection:
        if scheme != "https":
            return HTTPConnection(address, timeout=timeout)
        if self._tls is None:
            from ssl import create_default_context

            self._tls = create_default_context()
        return HTTPSConnection(address, timeout=timeout, context=self._tls)

    def close(self) -> None:
        """Ends the connections that nobody uses."""
        with self._lock:
            found, self._idle = [idle for pool in self._idle.values() for idle in pool], {}
        for connection, _ in found:
            connection.close()

    def _waiting(self, key: tuple[str, str]) -> HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(key, [])
            while idle:
                connection, since = idle.pop()
                if monotonic() - since < _KEPT:
                    return connection
                connection.close()
        return None

    def _ask(
        self,
        key: tuple[str, str],
        connection: HTTPConnection,
        method: str,
        target: str,
        fields: Mapping[str, str],
        body: bytes,
        timeout: float,
    ) -> tuple[Answer, float]:
        try:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request(method, target, body or None, {"content-length": str(len(body)), **fields})
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)
        kept = False
        if not response.will_close:
            with self._lock:
                idle = self._idle.setdefault(key, [])
                if len(idle) < _IDLE:
                    idle.append((connection, monotonic()))
                    kept = True
        if not kept:
            connection.close()
        after = answer.fields.get("retry-after", "")
        return answer, float(after) if after.isascii() and after.isdigit() else 0.0


def sent(
    connections: Connections,
    what: str,
    method: str,
    url: str,
    fields: Mapping[str, str],
    body: bytes = b"",
    *,
    once: bool = False,
) -> Answer:
    """The answer to a call, where it is one of success.

    what: the resource, such as "queue 'jobs'", for errors, which name no value that was sent. once: whether a second
    time would do something else, so that it is not tried again once it may have happened.
    Raises Absent, ConditionRefused and Refused.
    """
    pause = _FIRST
    for number in range(1, _TRIES + 1):
        is_last = number == _TRIES
        try:
            answer, after = connections.exchange(method, url, fields, body, _patience())
        except (OSError, HTTPException) as error:
            is_lost = not isinstance(error, ConnectionRefusedError)
            if is_last or (once and is_lost):
                raise _lost(what, error, is_lost) from error
            after = 0.0
        else:
            if answer.status < 400:
                return answer
            # A failure at the service's side may come after it was done.
            may_repeat = answer.status in _LATER and (answer.status in (429, 503) or not once)
            if is_last or not may_repeat:
                raise _refusal(what, answer)
        pause = _pause(pause, after)
    raise AssertionError("the last try returns or raises")


def _pause(pause: float, after: float) -> float:
    """Waits, as long as the service says; the seconds of the next pause."""
    context = current_context()
    left = context.remaining() if context is not None else 60.0
    sleep(max(min(max(after, pause * (0.75 + random() / 2)), left - 0.5), 0.01))  # noqa: S311  (no secret)
    return min(pause * 2, _LAST)


def _patience() -> float:
    """Seconds that one try may take."""
    context = current_context()
    left = context.remaining() if context is not None else 60.0
    return min(max(left / 3, 1.0), 20.0)


def _lost(what: str, error: BaseException, is_lost: bool) -> Refused:
    how = "had no answer, so it may have happened" if is_lost else "did not reach Azure"
    refused = Refused(f"{what}: the call {how}: {type(error).__name__}: {error}")
    refused.is_lost = is_lost
    return refused


def _refusal(what: str, answer: Answer) -> PysMultiError:
    code, text = _said(answer)
    shown = ": ".join(part for part in (code, text) if part)
    if answer.status in (404, 410):  # Service Bus has either for a queue that is not there
        absent = Absent(f"{what}: there is no such thing ({shown or answer.status})")
        absent.code = code
        return absent
    if answer.status in (409, 412):
        return ConditionRefused(f"{what}: {shown or 'the condition does not hold'}")
    if answer.status in (401, 403):
        context = current_context()
        function = f"function {context.function!r}" if context is not None and context.function else "this process"
        refused = Refused(
            f"{what}: Azure does not let {function} do that ({answer.status} {shown}). Its identity has the roles that "
            "`uses` grants, which take some minutes to hold after a deploy; a firewall or a policy may forbid it too"
        )
    else:
        refused = Refused(f"{what}: Azure answered {answer.status} {shown}".rstrip())
    refused.status = answer.status
    refused.code = code
    refused.is_lost = answer.status >= 500 and answer.status != 503
    return refused


def _said(answer: Answer) -> tuple[str, str]:
    """Azure's name of an error and its first line: in a field, in XML (Blob Storage, Service Bus) or JSON (tables)."""
    code = answer.fields.get("x-ms-error-code", "")
    body = answer.body[:8192].decode(errors="replace").lstrip("\ufeff")
    text = ""
    if body.startswith("{"):
        from json import loads

        try:
            found = loads(body).get("odata.error", {})
            code = code or str(found.get("code", ""))
            text = str((found.get("message") or {}).get("value", ""))
        except (ValueError, AttributeError):
            pass
    elif body.startswith("<"):
        code = code or _between(body, "<Code>", "</Code>")
        text = _between(body, "<Message>", "</Message>") or _between(body, "<Detail>", "</Detail>")
    return code, text.partition("\n")[0][:500]


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]
