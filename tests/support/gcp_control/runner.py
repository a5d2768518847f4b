"""Revisions of functions on this machine: what was uploaded is unpacked and served by functions-framework."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Answerer:
    """Instead of a process: says what the build file in the upload says. For tests that deploy hundreds of times."""

    def __init__(self, data: bytes, environment: dict[str, str]) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            self._build = json.loads(archive.read("pys_multi_build.json"))
        self._environment = environment
        self.log = ""

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        if path.partition("?")[0] != "/.pys-multi/health":
            return 404, [], b""
        health = {
            "status": "ok",
            "service": self._build["service"],
            "function": self._environment.get("PYS_MULTI_FUNCTION", ""),
            "stage": self._environment.get("PYS_MULTI_STAGE", ""),
            "build_id": self._build["build_id"],
        }
        return 200, [("content-type", "application/json")], json.dumps(health).encode()

    def stop(self) -> None:
        """Nothing."""


class Process:
    """A revision that really runs."""

    def __init__(self, host: Host, folder: Path, data: bytes, environment: dict[str, str], target: str) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(folder)
        self._log = folder.with_suffix(".log")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        given |= {**environment, "PORT": str(self.port), "PYTHONDONTWRITEBYTECODE": "1"}
        self.pid = host.start(folder, given, self.port, self._log, target)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if not self._is_alive():
                    raise RuntimeError(self.log[-2000:]) from None
                time.sleep(0.01)
        raise RuntimeError("it does not listen")

    def _is_alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body or None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (OSError, HTTPException) as error:
            return 503, [], str(error).encode()
        finally:
            connection.close()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Host:
    """The process whose forks the revisions are; started when the first one is."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self, folder: Path, environment: dict[str, str], port: int, log: Path, target: str) -> int:
        with self._lock:
            if self._process is None:
                command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("host.py"))]
                pipe = subprocess.PIPE
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
                self._read()
            assert self._process.stdin is not None
            wanted = {
                "folder": str(folder),
                "environment": environment,
                "port": port,
                "log": str(log),
                "target": target,
            }
            self._process.stdin.write(json.dumps(wanted) + "\n")
            self._process.stdin.flush()
            return int(self._read()["pid"])

    def _read(self) -> Json:
        assert self._process is not None
        assert self._process.stdout is not None
        found: Json = json.loads(self._process.stdout.readline())
        return found

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()


def reason_of(log: str) -> str:
    """The last line of a traceback."""
    lines = [line for line in log.strip().splitlines() if re.match(r"[A-Za-z_.]+(Error|Exception|Exit)\b", line)]
    return lines[-1] if lines else log.strip()[-300:]
