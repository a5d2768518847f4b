"""The local provider: deployed through the pipeline, called at its front over loopback."""

from __future__ import annotations

import http.client
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from json import loads
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import urlsplit

from tests.conformance.driver import BrokenOff, Fields, Ran, Reply, Settings, Streamed

from pys_multi.http import MAX_BODY_BYTES
from pys_multi_providers.local.definitions import queue_of
from pys_multi_providers.local.state import State
from pys_multi_providers.local.store import Store
from pys_multi_tools import deploy, destroy, invoke, load, logs, place
from pys_multi_tools.deployment import Invocation, LogRecord

#: Seconds until a call counts as lost; the slowest function of the service has 20.
_TIMEOUT = 30


class LocalDriver:
    name: ClassVar[str] = "local"
    lacks: ClassVar[Mapping[str, str]] = {}
    max_body: ClassVar[int] = MAX_BODY_BYTES

    def start(self, project: Path, settings: Settings, folder: Path) -> None:
        self._environment = mock.patch.dict(
            os.environ,
            {
                "PYS_MULTI_STATE_DIR": str(folder / "state"),
                **{f"PROBE_{name}": value for name, value in settings.secrets.items()},
            },
        )
        self._environment.start()
        # A copy, to which the settings of the suite are added.
        root = folder / "project"
        shutil.copytree(project, root, ignore=shutil.ignore_patterns("__pycache__"))
        with (root / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(f"secrets = {_inline({name: f'env:PROBE_{name}' for name in settings.secrets})}\n")
            file.write(f"environment = {_inline(settings.environment)}\n")
        [self._placement] = place(load(root, settings.stage), ["local"])
        deployed = deploy(self._placement)
        self._build_ids = deployed.outputs.build_ids
        parts = urlsplit(deployed.outputs.url)
        self._host, self._port = parts.hostname or "", parts.port

    def stop(self) -> None:
        if hasattr(self, "_placement"):
            destroy(self._placement, delete_data=True)
        self._environment.stop()

    def request(self, method: str, target: str, fields: Fields = (), body: bytes = b"") -> Reply:
        with self._exchange(method, target, fields, body) as response:
            return Reply(response.status, response.getheaders(), response.read())

    def stranger(self, method: str, target: str) -> Reply:
        # A page that makes a name of its own resolve to loopback, or a proxy: the provider goes by the Host.
        return self.request(method, target, [("host", "stranger.example")])

    @contextmanager
    def stream(self, method: str, target: str, fields: Fields = ()) -> Iterator[Streamed]:
        with self._exchange(method, target, fields) as response:
            yield Streamed(response.status, response.getheaders(), _chunks(response))

    @contextmanager
    def _exchange(
        self, method: str, target: str, fields: Fields, body: bytes = b""
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            named = any(name.lower() == "host" for name, _ in fields)
            connection.putrequest(method, target, skip_host=named, skip_accept_encoding=True)
            for name, value in fields:
                connection.putheader(name, value.encode("latin-1"))
            if body or method in ("POST", "PUT", "PATCH"):
                connection.putheader("content-length", str(len(body)))
            connection.endheaders()
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read: the answer says why
                connection.send(body)
            yield connection.getresponse()
        finally:
            connection.close()

    def trigger(self, trigger: str, payload: bytes = b"") -> Ran:
        return Ran(invoke(self._placement, Invocation(trigger=trigger, body=payload)).error)

    def build_id(self, function: str) -> str:
        return self._build_ids[function]

    def health(self, function: str) -> Mapping[str, Any]:
        found: dict[str, Any] = loads(self.request("GET", f"/.pys-multi/health/{function}").body)
        return found

    def logs(self) -> Iterable[LogRecord]:
        return logs(self._placement)

    def dead_letters(self, trigger: str) -> list[bytes]:
        deployment = self._placement.deployment
        [queue] = [
            queue_of(found)
            for function in deployment.service.functions
            for found in function.triggers
            if found.id == trigger
        ]
        store = Store(State.of(deployment.service.name, deployment.stage).data)
        try:
            return [letter.body for letter in store.dead(queue or "")]
        finally:
            store.close()

    def wait(self) -> None:
        time.sleep(0.02)


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read1(65536):
            yield chunk
    except (http.client.HTTPException, OSError) as error:
        raise BrokenOff from error


def _inline(values: Mapping[str, str]) -> str:
    """A table of texts in one line of TOML."""
    return "{ " + ", ".join(f"{name} = '{value}'" for name, value in values.items()) + " }"
