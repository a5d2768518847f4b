"""MiniStack: AWS's services on loopback, functions included, in a process and a virtual environment of its own.

The environment is made once, in the user's cache, by uv; it holds software whose versions must not meet the
project's own. What an emulator lacks, and what the tests do about it, stands in ``tests/support/README.md``.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VERSION = "1.5.33"
REGION, ACCOUNT = "eu-central-1", "000000000000"
_START = 60.0


def executable() -> Path:
    """MiniStack's command, installed where it is not yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pys-multi-tests"
    folder = base / f"ministack-{VERSION}-{sys.version_info[0]}.{sys.version_info[1]}"
    command = folder / "bin" / "ministack"
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers begin together
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            from uv import find_uv_bin

            uv = find_uv_bin()
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
            package = f"ministack[full]=={VERSION}"
            subprocess.run(
                [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), package], check=True
            )
            (folder / "complete").touch()
    return command


class MiniStack:
    """The process, from the outside."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._clients: dict[str, Any] = {}
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYS_MULTI"))}
        environment |= {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "MINISTACK_REGION": REGION,
        }
        self._log = (folder / "ministack.log").open("wb")
        server = Path(__file__).with_name("ministack_server.py")
        self._process = subprocess.Popen(
            # Not with the folder of the server in its path: there is a module of MiniStack's name.
            [str(executable().with_name("python")), "-P", str(server)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        deadline = time.monotonic() + _START
        while True:
            assert self._process.poll() is None, (folder / "ministack.log").read_text()
            try:
                self.client("sts").get_caller_identity()
                return
            except Exception:
                assert time.monotonic() < deadline, (folder / "ministack.log").read_text()
                time.sleep(0.1)

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "loopback only",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """boto3's client of a service."""
        import boto3

        if service not in self._clients:
            self._clients[service] = boto3.session.Session().client(
                service,
                region_name=REGION,
                endpoint_url=self.url,
                aws_access_key_id="test",
                aws_secret_access_key="loopback only",
            )
        return self._clients[service]

    def call(self, url: str, method: str = "GET", path: str = "/", body: bytes = b"") -> tuple[int, bytes]:
        """An HTTP call to a deployed API, whose host name is known on loopback only."""
        host = url.partition("://")[2]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers={"Host": host})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
