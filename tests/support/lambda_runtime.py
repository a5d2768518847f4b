"""Lambda, as far as a function sees it: instances of a bundle under AWS's own runtime client, and invocations.

Each instance is a process that asks a Runtime API of its own for work ("Using the Lambda runtime API for custom
runtimes", version 2018-06-01). It has one invocation at a time; one that runs past the function's timeout is killed.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.support.lambda_image import Image

#: Bytes of a payload in either direction ("Lambda quotas": 6 MB for synchronous invocations).
MAX_PAYLOAD = 6 * 1024 * 1024
_API = "/2018-06-01/runtime/"
#: Seconds that an instance may take to start; Lambda gives it ten, and more than two shared cores.
_INIT = 60.0


class PayloadTooLarge(Exception):
    """Lambda takes no such event: Invoke answers 413."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an invocation gave: the payload, or what went wrong (`errorType`, `errorMessage`, …)."""

    payload: Any = None
    error: Mapping[str, Any] | None = None


@dataclass(slots=True, eq=False)
class Invocation:
    """One event on its way through an instance."""

    id: str
    body: bytes
    timeout: float
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: float = 0.0
    taken: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    response: bytes | None = None
    error: Mapping[str, Any] | None = None

    def finish(self, response: bytes | None, error: Mapping[str, Any] | None = None) -> None:
        """The first end counts."""
        if not self.done.is_set():
            self.response, self.error = response, error
            self.done.set()
            self.taken.set()


class Instance:
    """One process with its Runtime API. on_line is told of everything that it prints."""

    def __init__(
        self, image: Image, bundle: Path, environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        self._work: SimpleQueue[Invocation] = SimpleQueue()
        self.current: Invocation | None = None
        self.init_error: Mapping[str, Any] | None = None
        self.ended = threading.Event()
        self._server = _RuntimeApi(self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._process = subprocess.Popen(
            image.command("pys_multi_providers.aws.runtime.handler"),
            cwd=bundle,
            env={
                **image.environment(),
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                "LAMBDA_TASK_ROOT": str(bundle),
                "_HANDLER": "pys_multi_providers.aws.runtime.handler",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
        self._reader.start()

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                on_line(line.decode(errors="replace").rstrip("\n"))
        self._process.wait()
        self.ended.set()
        if self.current is not None:
            status = self._process.returncode
            self.current.finish(None, self.init_error or _exited(status))

    def next(self) -> Invocation | None:
        """The next invocation, None once the instance has to end."""
        invocation = self._work.get()
        if not invocation.id:
            return None
        # Its time begins here: what an instance needs to start is not counted.
        invocation.deadline = time.time() + invocation.timeout
        invocation.taken.set()
        return invocation

    def run(self, invocation: Invocation) -> None:
        """Returns once the invocation has ended, however it did."""
        self.current = invocation
        self._work.put(invocation)
        if self.ended.is_set():
            invocation.finish(None, self.init_error or _exited(self._process.returncode))
        if not invocation.taken.wait(_INIT) or not invocation.done.wait(max(invocation.deadline - time.time(), 0)):
            self.stop()
            message = f"{time.strftime('%FT%TZ', time.gmtime())} {invocation.id} Task timed out"
            invocation.finish(None, {"errorType": "Sandbox.Timedout", "errorMessage": message})

    def stop(self) -> None:
        """Ends the process; Lambda lets nobody say goodbye either."""
        self._process.kill()
        self._work.put(Invocation("", b"", 0))
        self._reader.join(10)
        self._server.shutdown()
        self._server.server_close()


def _exited(status: int) -> Mapping[str, Any]:
    return {"errorType": "Runtime.ExitError", "errorMessage": f"Runtime exited with error: exit status {status}"}


class _RuntimeApi(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, instance: Instance) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.instance = instance


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head and the body in one packet, and at once: Nagle's algorithm would cost 40 ms each way.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _RuntimeApi

    def do_GET(self) -> None:
        instance = self.server.instance
        assert self.path == f"{_API}invocation/next", self.path
        invocation = instance.next()
        if invocation is None:
            self.close_connection = True
            return
        fields = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
            **invocation.headers,
        }
        self._answer(200, invocation.body, fields)

    def do_POST(self) -> None:
        body = self._body()
        instance, path = self.server.instance, self.path
        if path == f"{_API}init/error":
            instance.init_error = json.loads(body)
            self._answer(202, b'{"status":"OK"}')
            return
        id, _, what = path.removeprefix(f"{_API}invocation/").partition("/")
        invocation = instance.current
        assert invocation is not None, path
        assert invocation.id == id, path
        self._answer(202, b'{"status":"OK"}')
        if what == "error":
            invocation.finish(None, json.loads(body))
        elif len(body) > MAX_PAYLOAD:
            message = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
            invocation.finish(None, {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message})
        else:
            invocation.finish(body)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes, fields: Mapping[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (fields or {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Function:
    """One function: its instances come with the calls that need them, up to so many.

    Lambda would answer more calls at once with 429, which the callers of the tests would only have to repeat.
    """

    def __init__(
        self,
        name: str,
        image: Image,
        bundle: Path,
        *,
        timeout: float,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        instances: int = 3,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._make = lambda: Instance(image, bundle, {**environment, "AWS_LAMBDA_FUNCTION_NAME": name}, on_line)
        self._places = threading.Semaphore(instances)
        self._lock = threading.Lock()
        self._idle: list[Instance] = []
        self._all: set[Instance] = set()

    def invoke(
        self, event: Any, *, client_context: Mapping[str, Any] | None = None, trace: str | None = None
    ) -> Result:
        """Hands an event over as Invoke does, and waits. Raises PayloadTooLarge."""
        body = json.dumps(event).encode()
        if len(body) > MAX_PAYLOAD:
            raise PayloadTooLarge
        headers = {
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:eu-central-1:123456789012:function:{self.name}"
        }
        if client_context is not None:
            headers["Lambda-Runtime-Client-Context"] = json.dumps(client_context)
        if trace is not None:
            headers["Lambda-Runtime-Trace-Id"] = trace
        with self._places:
            with self._lock:
                instance = self._idle.pop() if self._idle else None
            if instance is None:
                instance = self._make()
                self._all.add(instance)
            invocation = Invocation(str(uuid.uuid4()), body, self.timeout, headers)
            self._run(instance, invocation)
        if invocation.error is not None:
            return Result(error=invocation.error)
        assert invocation.response is not None
        return Result(json.loads(invocation.response))

    def _run(self, instance: Instance, invocation: Invocation) -> None:
        instance.run(invocation)
        if instance.ended.is_set() or (invocation.error or {}).get("errorType") == "Sandbox.Timedout":
            instance.stop()
            self._all.discard(instance)
            return
        with self._lock:
            self._idle.append(instance)

    def stop(self) -> None:
        for instance in list(self._all):
            instance.stop()


def client_context(custom: Mapping[str, Any]) -> str:
    """The argument ClientContext of Invoke."""
    return base64.b64encode(json.dumps({"custom": dict(custom)}).encode()).decode()
