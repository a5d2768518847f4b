"""One instance seen from the supervisor: its process, its connection, and the calls it is working on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pys_multi.model import Function
from pys_multi_providers.local import process
from pys_multi_providers.local.calls import Call, CallFailed, Crashed, Stream, StreamBroken, TimedOut
from pys_multi_providers.local.frames import Decoder, encode

if TYPE_CHECKING:
    from pys_multi_providers.local.frames import Frame

_TAIL_LINES = 30


class StartFailed(Exception):
    """An instance did not become ready. trace: the user's own traceback, where there is one."""

    def __init__(self, function: str, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.function = function
        self.reason = reason
        self.trace = trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a function's instances are started from; two equal ones need no restart.

    build: the unpacked bundle. hello: what the resources of an instance need to know. secrets: by name, only
    those the function was granted. start_timeout in seconds.
    """

    function: Function
    service: str
    stage: str
    build_id: str
    build: Path
    python: str
    instances: int
    environment: Mapping[str, str]
    scratch: Path
    hello: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    start_timeout: float = 30.0


class Owner(Protocol):
    """Whoever an instance reports to."""

    def finished(self, instance: Instance, call: Call) -> None: ...

    def leaving(self, instance: Instance) -> None: ...

    def ended(self, instance: Instance) -> None: ...

    def output(self, instance: Instance, lines: list[bytes]) -> None: ...


class Instance:
    """A process. state: `starting`, `ready`, `retiring` (takes no new calls) or `ended`."""

    def __init__(self, launch: Launch, id: str, owner: Owner, *, restarts: int = 0) -> None:
        self.launch = launch
        self.id = id
        self.state = "starting"
        self.reason = ""
        self.restarts = restarts
        self.calls: dict[int, Call] = {}
        self.started = time.monotonic()
        self.load = 0
        self.timed_out = False
        self.was_ready = False
        self.replaced = False
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._connection: asyncio.WriteTransport | None = None
        self._process: asyncio.SubprocessTransport | None = None
        self._connected = False
        self._running = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._folder = launch.scratch / id

    # ---- life

    async def start(self) -> None:
        """Starts the process and waits until it can serve. Raises StartFailed."""
        ours, theirs = socket.socketpair()
        try:
            for folder in (self._folder, self._folder / "tmp"):
                folder.mkdir(parents=True, exist_ok=True)
            ours.setblocking(False)
            await self._loop.create_connection(lambda: _Connection(self), sock=ours)
            transport, _ = await self._loop.subprocess_exec(
                lambda: process.Output(self),
                *process.command(self.launch.python, self.launch.build, theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                cwd=self.launch.build,
                env=_environment(self.launch, self._folder),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            self.kill(f"the process could not be started: {error}")
            raise self._start_failure() from error
        finally:
            theirs.close()
        self._process = transport
        self._running = transport.get_returncode() is None
        self._write(
            {
                "kind": "hello",
                "concurrency": self.launch.function.concurrency,
                "secrets": dict(self.launch.secrets),
                **self.launch.hello,
            }
        )
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), self.launch.start_timeout)
        except TimeoutError:
            self.kill(f"was not ready after {self.launch.start_timeout:g} s")
            raise self._start_failure() from None
        except asyncio.CancelledError:
            self.kill("the start was cancelled")
            raise
        self.state = "ready"
        self.was_ready = True
        self.started = time.monotonic()

    def _start_failure(self, trace: str = "") -> StartFailed:
        return StartFailed(self.launch.function.name, self.reason, trace)

    def kill(self, reason: str) -> None:
        """Ends the process and whatever it started, at once."""
        if not self.reason:
            self.reason = reason
        if self.state != "ended":
            self.state = "retiring"
        if self._process is not None and self._running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # Its own session: what the handler started goes as well.
                os.killpg(self._process.get_pid(), signal.SIGKILL)

    async def stop(self, grace: float) -> None:
        """Lets calls finish and the process leave by itself; kills it after ``grace`` seconds."""
        if self.state == "ended":
            return
        self.state = "retiring"
        self._write({"kind": "stop"})
        try:
            await asyncio.wait_for(asyncio.shield(self._end), grace)
        except TimeoutError:
            self.kill(f"did not stop within {grace:g} s")
            await self._end

    async def wait_ended(self) -> None:
        await self._end

    def retire(self, reason: str) -> None:
        """Takes no new calls, and ends once those it has are answered."""
        self.reason = self.reason or reason
        self.state = "retiring"
        if not self.calls:
            self.kill(reason)
        else:
            self._owner.leaving(self)

    @property
    def pid(self) -> int | None:
        return self._process.get_pid() if self._process is not None and self._running else None

    def memory(self) -> int | None:
        """Resident bytes of the process, None where that cannot be read."""
        pid = self.pid
        return process.resident(pid) if pid else None

    # ---- calls

    def send(self, call: Call, timeout: float) -> None:
        self._next += 1
        number = self._next
        self.calls[number] = call
        header = call.header
        header["id"] = number
        header["deadline"] = time.time() + timeout
        call.timer = self._loop.call_later(timeout, self._timed_out, number)
        if self._connection is not None:
            self._connection.write(encode(header, call.body))

    def _timed_out(self, number: int) -> None:
        call = self.calls.get(number)
        if call is None:
            return
        reason = f"a call ran longer than {self.launch.function.timeout:g} s"
        self.reason = self.reason or reason
        self.timed_out = True
        self._done(number, TimedOut(reason))
        # A thread cannot be ended from outside: the process goes, once the calls beside this one are answered.
        self.retire(reason)

    def _done(self, number: int, error: CallFailed | None = None) -> None:
        call = self.calls.pop(number, None)
        if call is None:
            return
        call.stop_clock()
        # The owner first: the next call is on its way before this answer is written to its caller.
        if error is not None:
            call.error = True
        self._owner.finished(self, call)
        if error is not None:
            call.fail(error)
        if self.state == "retiring" and self.reason and not self.calls:
            self.kill(self.reason)

    def _control(self, number: int, header: dict[str, Any]) -> None:
        if number in self.calls:
            self._write({**header, "id": number})

    def _write(self, header: dict[str, Any]) -> None:
        if self._connection is not None and not self._connection.is_closing():
            self._connection.write(encode(header))

    # ---- what comes from the process

    def _frame(self, frame: Frame) -> None:
        header = frame[0]
        kind = header["kind"]
        if kind == "ready":
            if header["build_id"] != self.launch.build_id:
                self._fail_start(f"reports build {header['build_id']}, not {self.launch.build_id}")
            elif not self._ready.done():
                self._ready.set_result(None)
            return
        if kind == "failed":
            self._fail_start(header["error"], header["trace"])
            return
        number = header["id"]
        call = self.calls.get(number)
        if call is None:
            return
        if kind == "response":
            call.error = header["status"] >= 500
            if header["stream"]:
                call.stream = Stream(lambda control: self._control(number, control))
            else:
                self._done(number)
            if not call.future.done():
                call.future.set_result(frame)
        elif kind == "handled":
            call.error = bool(header["failures"])
            self._done(number)
            if not call.future.done():
                call.future.set_result(frame)
        elif call.stream is not None:
            if kind == "chunk":
                call.stream.push(frame[1])
            elif kind == "end":
                self._done(number)
                call.stream.finish()
            else:
                self._done(number, StreamBroken("the handler failed while it streamed"))

    def _fail_start(self, reason: str, trace: str = "") -> None:
        self.kill(reason)
        if not self._ready.done():
            self._ready.set_exception(StartFailed(self.launch.function.name, reason, trace))

    def connection_made(self, transport: asyncio.WriteTransport) -> None:
        self._connection = transport
        self._connected = True

    def connection_lost(self) -> None:
        self._connected = False
        if self._running:
            # It is ending, most likely, and then has a better reason to give.
            if self.state != "ended":
                self.state = "retiring"
            self._loop.call_later(1.0, self.kill, "closed its connection")
        else:
            self._finish()

    def exited(self) -> None:
        self._running = False
        if self._process is not None:
            self.reason = self.reason or process.describe_exit(self._process.get_returncode())
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.get_pid(), signal.SIGKILL)
        if not self._connected:
            self._finish()

    def lines(self, lines: list[bytes]) -> None:
        self._tail.extend(lines)
        self._owner.output(self, lines)

    def _finish(self) -> None:
        """The process is gone and all it has said was read."""
        if self._end.done():
            return
        self.state = "ended"
        if not self._ready.done():
            tail = b"\n".join(self._tail).decode(errors="replace")
            self._ready.set_exception(self._start_failure(tail))
        # Nobody may be waiting for the start of an instance that was killed early.
        self._ready.exception()
        for number in list(self.calls):
            call = self.calls.pop(number)
            call.stop_clock()
            call.error = True
            self._owner.finished(self, call)
            call.fail(Crashed(self.reason))
        if self._process is not None:
            self._process.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._end.set_result(None)
        self._owner.ended(self)


class _Connection(asyncio.Protocol):
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._decoder = Decoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._instance.connection_made(cast(asyncio.WriteTransport, transport))

    def data_received(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self._instance._frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._instance.connection_lost()


def _environment(launch: Launch, folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        **launch.environment,
        **launch.function.environment,
        "PYS_MULTI_FUNCTION": launch.function.name,
        "PYS_MULTI_STAGE": launch.stage,
        "PYS_MULTI_BUILD_ID": launch.build_id,
    }
