"""HTTP exchanges with a cloud's REST APIs, with the standard library: connections that are kept across invocations.

What an answer means, and whether a call is made again, is the business of whoever calls.
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from select import poll
from threading import Lock
from time import monotonic

from pys_multi.messages import current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext
    from typing import Any

#: Connections kept to one address while no call uses them, as many as there are threads in most functions; and seconds
#: that one is kept: less than any of the clouds' services keeps it.
_IDLE, _KEPT = 16, 50.0
_POLLIN = 1


class Unanswered(Exception):
    """No answer came. may_have_happened: the request was sent, or a part of it."""

    def __init__(self, error: Exception, *, may_have_happened: bool) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.may_have_happened = may_have_happened


class Answer:
    """An answer: status, header fields by their names in lower case, body."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def json(self) -> Any:
        """The body as JSON; an empty object where there is none."""
        from json import loads  # no limit of depth: a database may write several levels for each of a value

        return loads(self.body) if self.body else {}


class Connections:
    """Open connections by address, such as "https://example.com:8443"; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: Address → connections, and since when nobody uses them.
        self._idle: dict[str, list[tuple[HTTPConnection, float]]] = {}
        #: Made once: it reads the certificates of all authorities.
        self._tls: SSLContext | None = None

    def exchange(self, method: str, address: str, target: str, fields: Mapping[str, str], body: bytes | None) -> Answer:
        """The answer to one request. target: path and query, encoded. Raises Unanswered."""
        connection = self._take(address)
        is_sent = False
        try:
            connection.timeout = _patience()
            if connection.sock is None:
                connection.connect()
            else:
                connection.sock.settimeout(connection.timeout)
            is_sent = True
            connection.request(method, target, body, dict(fields))
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            raise Unanswered(error, may_have_happened=is_sent) from error
        except BaseException:
            connection.close()
            raise
        if response.will_close or not self._is_kept(address, connection):
            connection.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def close(self) -> None:
        """Ends the connections that nobody uses."""
        with self._lock:
            found, self._idle = [idle for pool in self._idle.values() for idle in pool], {}
        for connection, _ in found:
            connection.close()

    def _take(self, address: str) -> HTTPConnection:
        """A connection that nobody uses: one that was kept and is still open, or a new one."""
        while True:
            with self._lock:
                idle = self._idle.get(address)
                connection, since = idle.pop() if idle else (None, 0.0)
            if connection is None:
                return self._new(address)
            if monotonic() - since < _KEPT and _is_open(connection):
                return connection
            connection.close()

    def _is_kept(self, address: str, connection: HTTPConnection) -> bool:
        with self._lock:
            idle = self._idle.setdefault(address, [])
            if len(idle) == _IDLE:
                return False
            idle.append((connection, monotonic()))
            return True

    def _new(self, address: str) -> HTTPConnection:
        scheme, _, host = address.partition("://")
        if scheme == "http":
            return HTTPConnection(host)
        if self._tls is None:
            from ssl import create_default_context

            self._tls = create_default_context()
        return HTTPSConnection(host, context=self._tls)


def _is_open(connection: HTTPConnection) -> bool:
    """Whether a connection on which nothing is expected is still there: what is readable now is its end."""
    if connection.sock is None:
        return False
    poller = poll()
    poller.register(connection.sock, _POLLIN)
    return not poller.poll(0)


def _patience() -> float:
    """Seconds that one exchange may take: less than the invocation has left, so that its error, not the end of the
    function, is what is seen."""
    context = current_context()
    left = context.remaining() if context is not None else 60.0
    return min(max(left / 3, 1.0), 20.0)
