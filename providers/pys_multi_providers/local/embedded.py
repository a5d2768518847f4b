"""The whole service in this one process: HTTP on a socket, and every trigger live.

What `pys-multi dev` runs. Nothing is supervised here: no timeout ends a handler (there may be a debugger in
it) and nothing is restarted; `deploy --cloud local` does that.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pys_multi.runtime import Runtime
from pys_multi_providers.local.buckets import PresignedBuckets
from pys_multi_providers.local.front import Front
from pys_multi_providers.local.pump import Pump
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.store import Store
from pys_multi_providers.local.threads import BusyFirstPool

if TYPE_CHECKING:
    from pys_multi.app import App
    from pys_multi.http import Request, Response
    from pys_multi.messages import Event
    from pys_multi.model import Service

#: Sync handlers that run at the same time.
_THREADS = 40

#: Seconds that a caller whose connection was accepted has, when the server ends, to send its first request.
_LAST_CALLERS = 2.0
#: Seconds between closing the port and ending: the server knows of every connection that was accepted by then.
_SETTLED = 0.05

#: Told of every finished call: function, what was called, status, and seconds.
OnCall = Callable[[str, str, int, float], None]


def serve(
    app: App,
    listener: socket.socket,
    *,
    directory: Path,
    stage: str,
    secrets: Mapping[str, str],
    on_call: OnCall,
    on_ready: Callable[[], None],
) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what runs. The listener is bound already.

    directory: where queues, tables, buckets and schedules are kept.
    Raises what the start of a mounted application raises.
    """
    service = app.service()
    host, port = listener.getsockname()[:2]
    store = Store(directory)
    store.apply(service)
    backend = LocalBackend(store, buckets=directory / "buckets", base_url=f"http://{host}:{port}", secrets=secrets)
    runtime = Runtime(app, stage=stage, build_id="dev", connect=lambda: backend)
    runtime.start()
    front = Front()
    config = _config(front)
    target = _InProcess(runtime, service, on_call)
    front.serve(service, target, PresignedBuckets(backend))
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(_Server(config), listener, Pump(store, service, target.capacity), on_ready))
    finally:
        runtime.stop()
        store.close()


def warm() -> None:
    """Imports what `serve` will need, so that a process forked from this one starts at once."""
    _config(Front()).load()


def _config(front: Front) -> uvicorn.Config:
    return uvicorn.Config(
        front,
        http=_Protocol,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=5,
    )


async def _serve(server: uvicorn.Server, listener: socket.socket, pump: Pump, on_ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(BusyFirstPool(_THREADS))

    def end() -> None:
        for port in server.servers:
            port.close()
        loop.call_later(_SETTLED, setattr, server, "should_exit", True)

    await pump.start()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end)
        on_ready()
        await server.serve(sockets=[listener])
        await pump.drain(5.0)
    finally:
        await pump.close()


class _Server(uvicorn.Server):
    """Leaves the signals alone: on one of them the port closes first, and the server ends a moment later."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Ends with the server, but not before a caller who has connected could send a first request: closing that
    connection would lose a request that is on its way."""

    _has_asked = False
    _is_ending = False

    def shutdown(self) -> None:
        if self._has_asked:
            super().shutdown()
        else:
            self._is_ending = True
            self.loop.call_later(_LAST_CALLERS, self._give_up)

    def _give_up(self) -> None:
        if not self._has_asked:
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._has_asked = True
        super().on_headers_complete()
        if self._is_ending:
            self.cycle.keep_alive = False


class _InProcess:
    """One runtime as the target of the front and of the pump."""

    def __init__(self, runtime: Runtime, service: Service, on_call: OnCall) -> None:
        self._runtime = runtime
        self._on_call = on_call
        self._places = {f.name: asyncio.Semaphore(max(f.concurrency, 1)) for f in service.functions}

    async def http(self, function: str, request: Request) -> Response:
        started = perf_counter()
        method, path = request.method, request.path
        response = await self._runtime.http_async(request)
        self._on_call(function, f"{method} {path}", response.status, perf_counter() - started)
        return response

    def health(self) -> dict[str, Any]:
        return {**self._runtime.health(), "functions": {name: {"status": "ok"} for name in self._places}}

    @asynccontextmanager
    async def capacity(self, function: str) -> AsyncIterator[Callable[[str, str, Any], Any]]:
        async with self._places[function]:

            async def invoke(trigger: str, kind: str, payload: Any) -> dict[str, str]:
                started = perf_counter()
                if kind == "messages":
                    failed = await asyncio.to_thread(self._runtime.messages, trigger, payload)
                    failures = {failure.id: failure.error for failure in failed}
                else:
                    failures = await asyncio.to_thread(self._event, trigger, payload)
                self._on_call(function, trigger, 500 if failures else 200, perf_counter() - started)
                return failures

            yield invoke

    def _event(self, trigger: str, event: Event) -> dict[str, str]:
        try:
            self._runtime.event(trigger, event)
        except Exception as error:  # the runtime has logged it
            return {event.id: f"{type(error).__name__}: {error}"}
        return {}
