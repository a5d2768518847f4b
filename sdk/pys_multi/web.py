"""ASGI and WSGI applications (FastAPI, Starlette, Django, Flask) hosted as they are.

Each interface has its own module, so that a WSGI application never pays for asyncio.
"""

from __future__ import annotations

from pys_multi.errors import PysMultiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from pys_multi.http import Request, Response

    class Host(Protocol):
        """A hosted application: one set of calls for hosts that block, one for hosts with an event loop."""

        def start(self) -> None: ...

        def handle(self, request: Request) -> Response: ...

        def stop(self) -> None: ...

        async def start_async(self) -> None: ...

        async def handle_async(self, request: Request) -> Response: ...

        async def stop_async(self) -> None: ...


class StartupError(PysMultiError):
    """A mounted application said in its lifespan startup that it cannot serve."""


def host(interface: str, application: Any, *, finish: bool = True) -> Host:
    """The host of an application that speaks ``asgi`` or ``wsgi``; finish is that of AsgiHost."""
    if interface == "asgi":
        from pys_multi.asgi import AsgiHost

        return AsgiHost(application, finish=finish)
    from pys_multi.wsgi import WsgiHost

    return WsgiHost(application)


#: Of a connection (RFC 9110, section 7.6.1), which a neutral response does not have.
_HOP_BY_HOP = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"))


def response_headers(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What an application sent, without fields that are about a connection and white space around values."""
    return [(name, value.strip(" \t")) for name, value in pairs if name.lower() not in _HOP_BY_HOP]


def server_of(request: Request) -> tuple[str, int]:
    """The host name and port that the caller named."""
    default = 443 if request.scheme == "https" else 80
    authority = request.host
    name, colon, port = authority.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5 and not name.endswith(":"):
        return name or "localhost", int(port)
    return authority.removesuffix(":") or "localhost", default


def ascii_query(query_string: str) -> str:
    """The query string, anything but ASCII in it percent-encoded as UTF-8."""
    if query_string.isascii():
        return query_string
    from urllib.parse import quote

    return quote(query_string, safe="".join(map(chr, range(33, 127))))
