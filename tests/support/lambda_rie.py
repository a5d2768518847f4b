"""A function under AWS's own Lambda runtime interface emulator, whose binary is in the wheel of the SAM CLI.

The wheel is put into the user's cache once, by uv and without what it requires. See
https://docs.aws.amazon.com/lambda/latest/dg/images-test.html for how the emulator is called.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.lambda_image import Image
from tests.support.lambda_runtime import MAX_PAYLOAD, PayloadTooLarge, Result

VERSION = "1.170.0"
_START = 60.0


def binary() -> Path | None:
    """The emulator; None where it cannot be had."""
    machine = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pys-multi-tests"
    folder = base / f"aws-sam-cli-{VERSION}"
    base.mkdir(parents=True, exist_ok=True)
    with (base / "rie.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers begin together
        if not (folder / "complete").exists():
            from uv import find_uv_bin

            command = [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
            command += ["--python", sys.executable, "--target", str(folder), f"aws-sam-cli=={VERSION}"]
            if subprocess.run(command, check=False, env={**os.environ, "VIRTUAL_ENV": ""}).returncode:
                return None
            (folder / "complete").touch()
    found = folder / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{machine}"
    return found if found.exists() else None


class RieFunction:
    """What :class:`tests.support.lambda_runtime.Function` is, one invocation after the other."""

    def __init__(
        self,
        name: str,
        image: Image,
        bundle: Path,
        *,
        timeout: float,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> None:
        emulator = binary()
        assert emulator is not None
        self._lock = threading.Lock()
        self._timeout = timeout
        runtime, self._port = _free_ports()
        handler = "pys_multi_providers.aws.runtime.handler"
        addresses = ["--runtime-api-address", f"127.0.0.1:{runtime}"]
        addresses += ["--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"]
        self._process = subprocess.Popen(
            [str(emulator), *addresses, *image.command(handler)],
            cwd=bundle,
            env={
                **image.environment(),
                "LAMBDA_TASK_ROOT": str(bundle),
                **environment,
                "AWS_LAMBDA_FUNCTION_NAME": name,
                "AWS_LAMBDA_FUNCTION_TIMEOUT": str(int(timeout)),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
        self._reader.start()
        deadline = time.monotonic() + _START
        while not _is_open(self._port):
            assert self._process.poll() is None, "the emulator ended"
            assert time.monotonic() < deadline, "the emulator does not answer"
            time.sleep(0.02)

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                on_line(line.decode(errors="replace").rstrip("\n"))

    def invoke(self, event: Any) -> Result:
        """Hands an event over as Invoke does, and waits. Raises PayloadTooLarge."""
        body = json.dumps(event).encode()
        if len(body) > MAX_PAYLOAD:
            raise PayloadTooLarge
        with self._lock:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout + _START)
            try:
                connection.request("POST", "/2015-03-31/functions/function/invocations", body)
                text = connection.getresponse().read().decode()
            finally:
                connection.close()
        if text.startswith("Task timed out"):
            return Result(error={"errorType": "Sandbox.Timedout", "errorMessage": text})
        payload = json.loads(text) if text else None
        if isinstance(payload, dict) and {"errorType", "errorMessage"} <= payload.keys():
            return Result(error=payload)
        return Result(payload)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._reader.join(10)


def _free_ports() -> tuple[int, int]:
    """Two at once, so that they are not the same."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(other.getsockname()[1])


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
