"""The supervisor of one stage: ``python -m pys_multi_providers.local.supervisor <state folder>``.

    front port ──► Front ──► Release ──► Pool ──► Instance (process)
    store ───────► Pump ───────▲
    control socket: apply, status, metrics, invoke, stop

It starts empty; a deploy tells it what to run. Secrets come with that and stay in memory, so a supervisor
that was killed serves again with the next deploy and not by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from pys_multi.errors import ResourceError
from pys_multi.model import Service
from pys_multi_providers.local import invoking
from pys_multi_providers.local.buckets import PresignedBuckets
from pys_multi_providers.local.control import ControlServer, Say, own_version
from pys_multi_providers.local.front import Front
from pys_multi_providers.local.instances import StartFailed
from pys_multi_providers.local.journal import Journal
from pys_multi_providers.local.listener import Listener, bind
from pys_multi_providers.local.meter import RETENTION, Meter
from pys_multi_providers.local.pump import Pump
from pys_multi_providers.local.release import Order, Release
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.state import KEPT_BUILDS, State, remove_tree
from pys_multi_providers.local.store import Store
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError, ProviderError

#: Seconds that a supervisor without anything to run waits for a deploy before it ends.
_IDLE_SECONDS = 15.0
_SAVE_SECONDS = 10.0
#: Between two looks at whether the stage's folder is still this supervisor's.
_LOOK_SECONDS = 1.0
#: Exit status of one that found another one running.
ALREADY_RUNNING = 4

log = logging.getLogger("pys_multi.local")


class Supervisor:
    """What runs for one stage."""

    def __init__(self, state: State, lock: int) -> None:
        self._state = state
        self._lock = lock
        self._store = Store(state.data)
        self._journal = Journal(state.logs)
        self._meter = Meter(state.metrics)
        self._front = Front()
        self._listener: Listener | None = None
        self._release: Release | None = None
        self._pump: Pump | None = None
        self._changing = asyncio.Lock()
        self._draining: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._grace = 30.0
        self._started = time.time()
        self._control = ControlServer(
            state.socket,
            {
                "hello": self._hello,
                "apply": self._apply,
                "status": self._status,
                "metrics": self._metrics,
                "invoke": self._invoke,
                "stop": self._end,
            },
        )

    async def run(self) -> None:
        """Serves until SIGTERM, SIGINT or the stop command; then finishes what it is doing."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # Whatever the former supervisor had in flight has no instance any more.
        await asyncio.to_thread(self._store.release)
        await asyncio.to_thread(LocalBackend(self._store, buckets=self._state.data / "buckets").sweep)
        remove_tree(self._state.scratch)
        self._state.scratch.mkdir(mode=0o700)
        await self._control.start()
        tasks = [asyncio.create_task(each()) for each in (self._save_often, self._end_when_idle, self._keep_place)]
        log.info("supervisor %s started, process %d", own_version(), os.getpid())
        try:
            await self._stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await self._shut_down()
        log.info("supervisor stopped")

    async def _shut_down(self) -> None:
        grace = self._grace
        async with self._changing:
            ends = []
            if self._listener is not None:
                ends.append(self._listener.stop(grace))
            if self._pump is not None:
                ends.append(_close(self._pump, grace))
            await asyncio.gather(*ends)
            if self._release is not None:
                await self._release.drain(None, grace)
        if self._draining:
            await asyncio.wait(self._draining, timeout=grace)
        await self._control.stop()
        with contextlib.suppress(OSError):  # its folder may be gone
            self._meter.save()
        self._journal.close()
        self._store.close()

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            await asyncio.to_thread(self._meter.save)

    async def _end_when_idle(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_SECONDS)
            if self._release is None and not self._control.busy:
                log.info("nothing was deployed: the supervisor ends")
                self._stop.set()

    async def _keep_place(self) -> None:
        """Ends where the lock was removed: another supervisor may hold a new one. A removed socket is made again."""
        own = os.fstat(self._lock)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                found = self._state.lock.stat()
            except OSError:
                found = None
            if found is None or not os.path.samestat(found, own):
                log.warning("%s was removed: the supervisor ends", self._state.lock)
                self._stop.set()
                return
            if not self._state.socket.exists():
                log.warning("%s was removed: it is made again", self._state.socket)
                await self._control.start()

    # ---- commands

    async def _hello(self, request: dict[str, Any], say: Say) -> dict[str, Any]:  # noqa: ARG002
        return {"version": own_version(), "pid": os.getpid(), "url": self._listener.url if self._listener else ""}

    async def _end(self, request: dict[str, Any], say: Say) -> dict[str, Any]:  # noqa: ARG002
        self._grace = float(request["grace"])
        self._stop.set()
        return {}

    async def _apply(self, request: dict[str, Any], say: Say) -> dict[str, Any]:
        order = Order(
            request["manifest"], request["builds"], request["python"], request["secrets"], request["fingerprints"]
        )
        # Shielded: a tool that goes away half-way leaves a whole deploy behind, or none.
        return await asyncio.shield(asyncio.ensure_future(self._change(order, say)))

    async def _change(self, order: Order, say: Say) -> dict[str, Any]:
        async with self._changing:
            former = self._release
            if self._stop.is_set():
                raise DeployError("the supervisor is stopping", hint="deploy again")
            if former is not None and former.order == order and former.health()["status"] == "ok":
                return {"url": self._url, "changed": False}
            listener = self._listener
            wanted = (order.manifest["listen"]["host"], order.manifest["listen"]["port"])
            if listener is None or not listener.serves(*wanted):
                listener = Listener(self._front, bind(*wanted, remembered=self._state.root / "port"), wanted)
            try:
                release = await self._start(order, former, listener, say)
            except BaseException:
                if listener is not self._listener:
                    listener.close()
                raise
            say(Progress(step="switch", text="new requests go to the new build"))
            await self._switch(release, listener)
            self._record(order)
            self._retire(former, release)
            return {"url": self._url, "changed": True}

    async def _start(self, order: Order, former: Release | None, listener: Listener, say: Say) -> Release:
        count = sum(entry["instances"] for entry in order.manifest["functions"].values())
        say(Progress(step="start", text=f"{count} instance{'s' if count != 1 else ''}"))
        launches = order.launches(self._state, listener.url)
        try:
            # Before the instances: a handler may use its resources while it starts.
            await asyncio.to_thread(self._store.prepare, order.service)
        except ResourceError as error:
            raise DeployError(str(error), where="resources") from error
        try:
            return await Release.start(order, launches, former, self._journal, self._meter)
        except StartFailed as error:
            kept = "; the former build serves on" if former is not None else ""
            raise DeployError(
                f"an instance did not start: {error.reason}{kept}",
                where=f"function {error.function}",
                hint="fix what its own output below says, and deploy again",
                detail=error.trace,
            ) from error

    async def _switch(self, release: Release, listener: Listener) -> None:
        pump, former_pump = Pump(self._store, release.service, release.capacity), self._pump
        if former_pump is not None:
            former_pump.pause()
        await asyncio.to_thread(self._store.apply, release.service)
        backend = LocalBackend(self._store, buckets=self._state.data / "buckets", base_url=listener.url)
        self._front.serve(release.service, release, PresignedBuckets(backend))
        former_listener, self._listener = self._listener, listener
        if former_listener is not listener:
            await listener.start()
            if former_listener is not None:
                self._later(former_listener.stop(self._grace))
        await pump.start()
        self._release, self._pump = release, pump
        if former_pump is not None:
            self._later(_close(former_pump, _longest_timeout(release.service)))

    def _retire(self, former: Release | None, successor: Release) -> None:
        if former is not None:
            self._later(former.drain(successor, _longest_timeout(former.service) + 5.0))

    def _later(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    def _record(self, order: Order) -> None:
        entry = {
            "time": time.time(),
            "manifest": dict(order.manifest),
            "builds": dict(order.builds),
            "python": order.python,
            "fingerprints": dict(order.fingerprints),
        }
        releases = [
            release
            for release in self._state.releases()
            # A release that is deployed again moves to the end: it is one place to return to, not two.
            if (release["builds"], release["manifest"]) != (entry["builds"], entry["manifest"])
        ]
        releases = [*releases, entry][-KEPT_BUILDS:]
        self._state.write_releases(releases)
        keep = {build for release in releases for build in release["builds"].values()}
        keep |= set(self._release.order.builds.values()) if self._release is not None else set()
        self._state.prune(keep)

    @property
    def _url(self) -> str:
        return self._listener.url if self._listener is not None else ""

    async def _status(self, request: dict[str, Any], say: Say) -> dict[str, Any]:  # noqa: ARG002
        counts = self._meter.since(time.time() - RETENTION)
        functions = self._release.status() if self._release is not None else []
        for function in functions:
            counted = counts.get(function["name"])
            function["requests"] = counted.invocations if counted else 0
            function["errors"] = counted.errors if counted else 0
            function["p50_ms"] = counted.percentile(0.5) if counted else None
            function["p95_ms"] = counted.percentile(0.95) if counted else None
        return {"url": self._url, "functions": functions}

    async def _metrics(self, request: dict[str, Any], say: Say) -> dict[str, Any]:  # noqa: ARG002
        counts = self._meter.since(float(request["since"]))
        return {"functions": {name: counted.to_json() for name, counted in counts.items()}}

    async def _invoke(self, request: dict[str, Any], say: Say) -> dict[str, Any]:  # noqa: ARG002
        if self._release is None:
            raise ProviderError("nothing is deployed")
        if "trigger" in request:
            return await invoking.hand_over(self._release, request)
        return await invoking.call(self._release, request)


async def _close(pump: Pump, grace: float) -> None:
    await pump.drain(grace)
    await pump.close()


def _longest_timeout(service: Service) -> float:
    return max((function.timeout for function in service.functions), default=0.0)


@contextlib.contextmanager
def _locked(state: State) -> Iterator[int]:
    """The only supervisor of the stage, by a file descriptor; ends the process where there is another one."""
    with state.lock.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{state.root}: a supervisor of this stage runs already", file=sys.stderr)
            raise SystemExit(ALREADY_RUNNING) from None
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield file.fileno()


def main(arguments: list[str]) -> None:
    """Runs the supervisor of a state folder; with ``--detach`` as a process that nobody has to collect."""
    *options, root = arguments or [""]
    if not root or options not in ([], ["--detach"]):
        raise SystemExit("usage: python -m pys_multi_providers.local.supervisor [--detach] STATE_FOLDER")
    if options and os.fork():
        os._exit(0)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    os.umask(0o077)
    state = State(Path(root))
    state.create()
    with _locked(state) as lock:

        async def run() -> None:
            await Supervisor(state, lock).run()

        uvloop.run(run())


if __name__ == "__main__":
    main(sys.argv[1:])
