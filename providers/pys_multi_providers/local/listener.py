"""The port that a stage listens on, and uvicorn behind it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pys_multi_providers.local.state import write_atomically
from pys_multi_tools.errors import DeployError

#: Ports that are tried, in this order, where none is set.
_PORTS = range(8000, 8100)
#: Bytes of a request line with its header fields; other servers allow 8 to 64 KB.
_LONGEST_HEAD = 128 * 1024


def bind(host: str, port: int | None, *, remembered: Path) -> socket.socket:
    """A bound socket. Without a port it is the one of last time, else a free one from 8000 on; 0 is any free port.

    Raises DeployError for a port that is taken or an address that is not of this machine.
    """
    if port:
        return _bind(host, port)
    with contextlib.suppress(OSError, ValueError, DeployError):
        return _bind(host, int(remembered.read_text()))
    for candidate in (*(_PORTS if port is None else ()), 0):
        try:
            found = _bind(host, candidate)
        except DeployError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
                continue
            raise
        write_atomically(remembered, str(found.getsockname()[1]).encode())
        return found
    raise DeployError("no port is free", where=host)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise DeployError(f"is no address: {error}", where=host, hint="set local.host, such as 127.0.0.1") from error
    try:
        # Connections of a former supervisor that still fade away do not keep the port.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        # Now, not when uvicorn starts: two sockets may be bound to one port as long as neither listens.
        found.listen(2048)
    except OSError as error:
        found.close()
        hint = "end the program that uses it, or set another local.port (none: a free one is found)"
        raise DeployError(f"port {port} cannot be used: {error.strerror}", where=host, hint=hint) from error
    return found


class Listener:
    """One uvicorn server on one socket, in the running loop."""

    def __init__(self, app: Any, bound: socket.socket, wanted: tuple[str, int | None]) -> None:
        self._socket = bound
        self._wanted = wanted
        self._task: asyncio.Task[None] | None = None
        host, port = bound.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (what to show, not to bind)
        self.url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                # Longer than the keep-alive of usual clients, so that they close first and lose no request.
                timeout_keep_alive=75,
            )
        )

    def serves(self, host: str, port: int | None) -> bool:
        """Whether it is what these settings ask for."""
        return self._wanted == (host, port)

    async def start(self) -> None:
        """Returns once requests are answered."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await self._server.serving.wait()

    async def stop(self, grace: float) -> None:
        """Accepts no more, and waits at most ``grace`` seconds for requests to be answered."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    def close(self) -> None:
        """Gives up a socket that was never started."""
        self._socket.close()


class _Protocol(HttpToolsProtocol):
    """Refuses a request line and header fields without end, which uvicorn would gather in memory."""

    _size = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        super().data_received(data)
        # Whatever ends a head, or a message, begins to count anew.
        if self._in_head and self._size > _LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request line and header fields are too long.")

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._size = True, 0
        super().on_message_complete()


class _Server(uvicorn.Server):
    """Leaves signals to the supervisor, and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()
