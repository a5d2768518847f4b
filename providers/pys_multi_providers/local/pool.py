"""The instances of one function: calls go to the one with the least to do, and whoever crashes is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pys_multi.errors import HTTPError
from pys_multi.http import Request, Response
from pys_multi.messages import Event, Message
from pys_multi.runtime import problem
from pys_multi_providers.local.calls import Call, CallFailed, Crashed, TimedOut
from pys_multi_providers.local.instances import Instance, Launch, StartFailed
from pys_multi_providers.local.journal import Journal
from pys_multi_providers.local.meter import Meter

#: Crashes in a row after which a function counts as failing.
_FAILING = 3
#: An instance that lived this long ends a row of crashes, in seconds.
_STABLE = 10.0
#: Seconds until another one is started: doubles from crash to crash. One that had served is needed sooner than one
#: that did not even start.
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
_LONGEST_DELAY_SERVED = 1.0
#: How often memory is looked at, in seconds.
_WATCH = 0.25
#: Methods without effect (RFC 9110, section 9.2.1): a crash before the answer began may be tried again.
_SAFE = ("GET", "HEAD")


class Busy(CallFailed):
    """More calls are waiting for this function than its backlog allows, or one has waited too long."""


class Handle:
    """A place at an instance that is held for events."""

    def __init__(self, pool: Pool, instance: Instance) -> None:
        self._pool = pool
        self._instance = instance

    async def __call__(self, trigger: str, kind: str, payload: Any) -> dict[str, str]:
        """Runs an event trigger; what failed, as message id → error. Raises CallFailed where nothing is known."""
        header: dict[str, Any]
        if kind == "messages":
            header, body = _messages_header(payload)
        else:
            header, body = {"event": {name: getattr(payload, name) for name in Event.__slots__}}, b""
        header |= {"kind": kind, "trigger": trigger, "request_id": new_id(), "trace_parent": ""}
        call = Call(header, body, asyncio.get_running_loop(), held=True)
        if self._instance.state != "ready":
            raise Crashed(self._instance.reason)
        self._instance.send(call, self._pool.launch.function.timeout)
        answer, _ = await call.future
        failures: dict[str, str] = dict(answer["failures"])
        if failures and kind == "event":
            raise CallFailed("; ".join(failures.values()))
        return failures


class Pool:
    """Starts `launch.instances` processes and keeps that many serving until it is drained."""

    def __init__(self, launch: Launch, journal: Journal, meter: Meter, *, backlog: int = 1000) -> None:
        self.launch = launch
        self.instances: list[Instance] = []
        self.restarts = 0
        self.reason = ""
        self._journal = journal
        self._meter = meter
        self._backlog = backlog
        self._waiting: deque[Call | asyncio.Future[Instance]] = deque()
        self._crashes = 0
        self._started = False
        self._draining = False
        self._idle = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_start = 0.0

    # ---- life

    async def start(self) -> None:
        """Starts every instance at once. Raises StartFailed of the first that does not become ready."""
        starts = [asyncio.ensure_future(self._add().start()) for _ in range(self.launch.instances)]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.stop(0)
            raise
        self._started = True
        self._spawn(self._watch())
        self._serve_waiting()

    async def drain(self, grace: float) -> None:
        """Answers what is there, takes nothing new after that, and stops; at most ``grace`` seconds."""
        deadline = time.monotonic() + grace
        self._serve_waiting()
        while self._waiting or any(instance.load for instance in self.instances):
            self._idle.clear()
            left = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self._idle.wait(), max(left, 0))
            except TimeoutError:
                break
        await self.stop(max(deadline - time.monotonic(), 1.0))

    async def stop(self, grace: float) -> None:
        """Ends every instance."""
        self._draining = True
        for task in list(self._tasks):
            task.cancel()
        while self._waiting:
            self._refuse(self._waiting.popleft())
        await asyncio.gather(*(instance.stop(grace) for instance in self.instances))

    def _refuse(self, waiting: Call | asyncio.Future[Instance]) -> None:
        error = Busy("the function is being stopped")
        if isinstance(waiting, Call):
            waiting.stop_clock()
            waiting.fail(error)
        elif not waiting.done():
            waiting.set_exception(error)

    def _add(self) -> Instance:
        instance = Instance(self.launch, f"{self.launch.function.name}-{new_id()[:6]}", self, restarts=self.restarts)
        self.instances.append(instance)
        return instance

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- state

    @property
    def state(self) -> str:
        """`serving`, `starting` or `failing`."""
        if any(instance.state == "ready" for instance in self.instances):
            return "serving" if self._crashes < _FAILING else "failing"
        return "failing" if self._crashes >= _FAILING else "starting"

    @property
    def places(self) -> int:
        """How many calls it can work on at once."""
        return self.launch.instances * self.launch.function.concurrency

    # ---- calls

    async def http(self, request: Request) -> Response:
        """The response of an instance, or a problem that says why there is none. Never raises CallFailed."""
        header = _http_header(request)
        attempts = 2 if request.method in _SAFE else 1
        while True:
            attempts -= 1
            call = Call(dict(header), request.body, asyncio.get_running_loop())
            try:
                self._submit(call)
                answer, body = await call.future
            except TimedOut:
                seconds = f"{self.launch.function.timeout:g} s"
                return problem(HTTPError(504, f"the function did not answer within {seconds}"), request)
            except Crashed:
                if attempts:
                    continue
                return problem(HTTPError(502, "the instance that had the request ended before it answered"), request)
            except Busy:
                self._meter.throttled(self.launch.function.name)
                after = {"retry-after": str(self._retry_after())}
                return problem(HTTPError(503, "the function is busy; try again later", headers=after), request)
            response = Response.__new__(Response)
            response.status = answer["status"]
            response.headers = answer["headers"]
            response.body = body if call.stream is None else call.stream
            return response

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Handle]:
        """Waits until an instance has room, and holds that room."""
        instance = self._pick()
        if instance is not None:
            instance.load += 1
        else:
            waiting: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                instance = await waiting
            except asyncio.CancelledError:
                if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                    self._leave(waiting.result())
                raise
        try:
            yield Handle(self, instance)
        finally:
            self._leave(instance)

    def _leave(self, instance: Instance) -> None:
        instance.load -= 1
        self._serve_waiting()

    def _pick(self) -> Instance | None:
        best, least = None, self.launch.function.concurrency
        for instance in self.instances:
            if instance.load < least and instance.state == "ready":
                best, least = instance, instance.load
        return best

    def _submit(self, call: Call) -> None:
        instance = self._pick() if not self._waiting else None
        if instance is not None:
            instance.load += 1
            instance.send(call, self.launch.function.timeout)
            return
        alive = any(instance.state in ("ready", "starting") for instance in self.instances)
        hopeless = not alive and self._next_start - time.monotonic() > _LONGEST_DELAY_SERVED
        if self._draining or hopeless or len(self._waiting) >= self._backlog:
            raise Busy("no instance is free")
        call.timer = asyncio.get_running_loop().call_later(self.launch.function.timeout, self._waited, call)
        self._waiting.append(call)

    def _waited(self, call: Call) -> None:
        with contextlib.suppress(ValueError):
            self._waiting.remove(call)
            call.fail(Busy("no instance became free in time"))

    def _serve_waiting(self) -> None:
        while self._waiting:
            waiting = self._waiting[0]
            if isinstance(waiting, asyncio.Future) and waiting.done():
                self._waiting.popleft()  # whoever waited has gone
                continue
            instance = self._pick()
            if instance is None:
                return
            self._waiting.popleft()
            instance.load += 1
            if isinstance(waiting, Call):
                waiting.stop_clock()
                instance.send(waiting, self.launch.function.timeout)
            else:
                waiting.set_result(instance)
        self._idle.set()

    def _retry_after(self) -> int:
        return max(1, math.ceil(self._next_start - time.monotonic()))

    # ---- what instances report

    def finished(self, instance: Instance, call: Call) -> None:
        milliseconds = (time.perf_counter() - call.submitted) * 1000
        self._meter.record(self.launch.function.name, milliseconds, call.error)
        if not call.held:
            instance.load -= 1
        if instance.state == "ready":
            self._serve_waiting()
        else:
            self._idle.set()

    def output(self, instance: Instance, lines: list[bytes]) -> None:
        self._journal.output(self.launch.function.name, instance.id, lines)

    def ended(self, instance: Instance) -> None:
        self.instances.remove(instance)
        self._idle.set()
        self.leaving(instance)

    def leaving(self, instance: Instance) -> None:
        """Starts another one in its place, once; also while it still answers its last calls."""
        if self._draining or not self._started or instance.replaced:
            return
        instance.replaced = True
        self.restarts += 1
        self.reason = instance.reason
        if not instance.timed_out:  # then the process was well, and only its handler slow
            lived = time.monotonic() - instance.started
            self._crashes = 1 if lived >= _STABLE else self._crashes + 1
        delay = self._delay(instance)
        self._next_start = time.monotonic() + delay
        text = f"instance {instance.id} {instance.reason}; another one is started"
        text += f" in {delay:.1f} s" if delay else ""
        self._journal.note(self.launch.function.name, "error", text, instance.id)
        self._spawn(self._replace(delay))

    def _delay(self, instance: Instance) -> float:
        if self._crashes <= 1 or instance.timed_out:
            return 0.0
        longest = _LONGEST_DELAY_SERVED if instance.was_ready else _LONGEST_DELAY
        delay = min(_FIRST_DELAY * 2.0 ** min(self._crashes - 2, 20), longest)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311  (spreads restarts, guards nothing)

    async def _replace(self, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            await self._add().start()
        except StartFailed as error:
            # Its end has been reported as well, and that starts the next one, later.
            if error.trace:
                self._journal.note(self.launch.function.name, "error", error.trace, "")
            return
        self._serve_waiting()

    async def _watch(self) -> None:
        limit = self.launch.function.memory * 1024 * 1024
        while True:
            for instance in self.instances:
                used = instance.memory()
                if used is not None and used > limit:
                    reason = f"used {used >> 20} MB of memory, and its function has {self.launch.function.memory} MB"
                    instance.kill(reason)
                elif instance.state == "ready" and time.monotonic() - instance.started > _STABLE:
                    self._crashes = 0
                    self.reason = ""
            await asyncio.sleep(_WATCH)


def new_id() -> str:
    """32 hexadecimal digits that nobody has had before."""
    return os.urandom(16).hex()


def _http_header(request: Request) -> dict[str, Any]:
    context = request.context
    return {
        "kind": "http",
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "headers": request._headers if type(request._headers) is list else request.headers.items(),
        "client": request.client,
        "scheme": request.scheme,
        "request_id": request.request_id,
        "trigger": "",
        "trace_parent": context.trace_parent if context is not None else "",
    }


def _messages_header(messages: list[Message]) -> tuple[dict[str, Any], bytes]:
    described = [
        {
            "id": message.id,
            "attributes": message.attributes,
            "attempt": message.attempt,
            "sent_at": message.sent_at,
            "group": message.group,
            "size": len(message.body),
        }
        for message in messages
    ]
    return {"messages": described}, b"".join(message.body for message in messages)
