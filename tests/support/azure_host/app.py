"""One function app: a worker process with what it has indexed, and invocations of its functions.

The process comes with the first call and again after its end, as instances do. One is enough here: it takes several
invocations at once. A function that runs past the host's ``functionTimeout`` ends the process with all that it does.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.azure_host.image import Image

_WORKER = Path(__file__).with_name("worker.py")
#: Seconds that a worker may take to start, on two shared cores.
_START = 120.0


class NotStarted(Exception):
    """The worker could not index the app; Azure would have an app without functions."""


@dataclass(frozen=True, slots=True)
class Result:
    """How an invocation ended: http is what the function returned as an object, error empty where it succeeded."""

    http: Mapping[str, Any] | None = None
    error: str = ""


@dataclass(slots=True, eq=False)
class _Pending:
    done: threading.Event = field(default_factory=threading.Event)
    result: Result = field(default_factory=Result)
    began: float = field(default_factory=time.monotonic)

    def finish(self, result: Result) -> None:
        """The first end counts."""
        if not self.done.is_set():
            self.result = result
            self.done.set()


@dataclass(frozen=True, slots=True)
class Indexed:
    """A function that the worker has found, by its trigger's binding."""

    id: str
    name: str
    trigger: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.trigger["type"])


@dataclass(frozen=True, slots=True)
class Log:
    """A record that the worker handed over, or (category "Console") a line that was printed."""

    time: float
    level: str
    category: str
    message: str


class Process:
    """A worker's process that has indexed an app. Raises NotStarted."""

    def __init__(
        self,
        image: Image,
        bundle: Path,
        environment: Mapping[str, str],
        on_log: Callable[[Log], None],
        options: tuple[str, ...],
    ) -> None:
        self._on_log = on_log
        self._pending: dict[str, _Pending] = {}
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        self._link = ours
        self.ended = threading.Event()
        self._started = threading.Event()
        self._said: dict[str, Any] = {"error": "the worker ended before it had started"}
        self._process = subprocess.Popen(
            [image.python, "-S", str(_WORKER), str(theirs.fileno()), str(bundle), *options],
            env={**image.environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_console, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._started.wait(_START)
        if "error" in self._said:
            self.stop()
            raise NotStarted(f"{self._said['error']}\n{self._said.get('stack', '')}")
        self.http = self._said["capabilities"].get("HttpUri", "")
        self.functions = [_indexed(found) for found in self._said["functions"]]

    def _read(self) -> None:
        with self._link.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                if log := said.get("log"):
                    self._on_log(Log(log["time"], log["level"], log["category"], log["message"]))
                elif "started" in said:
                    self._said = said["started"]
                    self._started.set()
                else:
                    with self._lock:
                        pending = self._pending.pop(said["done"], None)
                    if pending is not None:
                        pending.finish(Result(said.get("http"), said.get("error", "")))
        with self._lock:
            self.ended.set()
            lost, self._pending = self._pending, {}
        self._started.set()
        for pending in lost.values():
            pending.finish(Result(error=f"the worker's process has ended: {self._process.wait(20)}"))

    def _read_console(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._on_log(Log(time.time(), "INFO", "Console", line.decode(errors="replace").rstrip("\n")))

    def begin(self, invocation: Mapping[str, Any]) -> _Pending:
        """Hands an invocation to the worker."""
        pending = _Pending()
        with self._lock:
            if self.ended.is_set():
                pending.finish(Result(error="the worker's process has ended"))
                return pending
            self._pending[invocation["id"]] = pending
        try:
            self._link.sendall(json.dumps(invocation).encode() + b"\n")
        except OSError as error:
            pending.finish(Result(error=f"the worker's process has ended: {error}"))
        return pending

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(20)
        for thread in self._threads:
            thread.join(10)
        self._link.close()


def _indexed(found: Mapping[str, Any]) -> Indexed:
    assert not found["error"], found
    [trigger] = [binding for binding in found["bindings"] if binding["type"].lower().endswith("trigger")]
    assert str(trigger["direction"]).lower() == "in", trigger
    return Indexed(found["id"], found["name"], trigger)


class FunctionApp:
    """An app of one function of a service. settings: its app settings, which are its environment."""

    def __init__(
        self,
        name: str,
        image: Image,
        bundle: Path,
        settings: Mapping[str, str],
        *,
        on_log: Callable[[Log], None] = lambda _: None,
        environment: Mapping[str, str] | None = None,
        objects: bool = False,
    ) -> None:
        self.name = name
        self.settings = dict(settings)
        #: The key of the app that opens all functions which ask for one.
        self.key = uuid.uuid4().hex
        self._make = lambda: Process(
            image, bundle, {**settings, **(environment or {})}, on_log, ("--objects",) if objects else ()
        )
        #: Seconds after which the host ends an invocation, and the worker with it.
        self.timeout = _seconds(settings.get("AzureFunctionsJobHost__functionTimeout", "00:30:00"))
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._stopped = False

    def process(self) -> Process:
        """The process, started where there is none. Raises NotStarted."""
        with self._lock:
            assert not self._stopped, f"app {self.name} is stopped"
            if self._process is not None and self._process.ended.is_set():
                self._process.stop()
                self._process = None
            if self._process is None:
                self._process = self._make()
            return self._process

    def functions(self) -> list[Indexed]:
        """What the worker has indexed, in the order in which the host tries routes: by name, without regard to case."""
        return sorted(self.process().functions, key=lambda function: function.name.lower())

    def invoke(
        self, function: Indexed, given: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, trace: str = ""
    ) -> Result:
        """Invokes a function with its trigger's data, and waits for the end."""
        process = self.process()
        id = str(uuid.uuid4())
        pending = process.begin(invocation(id, function, given, metadata, trace))
        self.wait(process, pending)
        return pending.result

    def wait(self, process: Process, pending: _Pending) -> None:
        """Until an invocation has ended; past the host's timeout it ends with its process."""
        if not pending.done.wait(max(pending.began + self.timeout - time.monotonic(), 0)):
            process.stop()
            pending.finish(Result(error=f"Timeout value of {self.timeout:g} s exceeded"))

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.stop()


def invocation(
    id: str, function: Indexed, given: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, trace: str = ""
) -> dict[str, Any]:
    """An InvocationRequest, as ``worker.py`` reads it."""
    return {
        "id": id,
        # A worker that was started again has indexed anew: the same name has another id.
        "function": function.id,
        "input": {function.trigger["name"]: dict(given)},
        "metadata": dict(metadata or {}),
        "trace": trace or f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00",
    }


def _seconds(text: str) -> float:
    hours, minutes, seconds = map(float, text.split(":"))
    return hours * 3600 + minutes * 60 + seconds
