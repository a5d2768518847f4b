"""A stage of the local provider in a temporary folder, deployed through the provider's own contract.

The archives are put together here, without the bundler: what is under test is what runs them.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from packaging.requirements import Requirement

import pys_multi
import pys_multi_providers
from pys_multi_providers.local.client import Client
from pys_multi_providers.local.state import State
from pys_multi_tools import pipeline
from pys_multi_tools.bundle.values import Artefact, Bundle, Report
from pys_multi_tools.deployment import Invocation, InvocationResult, LogRecord, Outputs, Plan, Progress, Status

T = TypeVar("T")

DEADLINE = 30.0
_REPORT = Report((), (), None, "skipped", (), ())


def wait_for(condition: Callable[[], T], what: str = "") -> T:
    """Polls until the condition holds, and returns what it returned."""
    deadline = time.monotonic() + DEADLINE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {DEADLINE:g} s: {what or condition}")
        time.sleep(0.01)


def has_ended(process: int) -> bool:
    """Whether a process is gone, or only waits for whoever should collect it."""
    try:
        os.kill(process, 0)
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    except ProcessLookupError:
        return True
    return state.stdout.strip().startswith("Z") or not state.stdout.strip()


class Stage:
    """A project with one module, ``app.py``, and its stage ``test``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, Any] = {"port": 0}
        self.secrets: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.progress: list[Progress] = []
        self.python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.distributions: tuple[str, ...] = ()
        self.outputs: Outputs | None = None
        (root / "project").mkdir()

    # ---- what a user does

    def write(self, code: str) -> None:
        (self.root / "project" / "app.py").write_text(code, encoding="utf-8")

    def placement(self) -> pipeline.Placement:
        lines = ["[local]", *(f"{key} = {_toml(value)}" for key, value in self.settings.items())]
        for table, values in (("secrets", self.secrets), ("environment", self.environment)):
            lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        (self.root / "project" / "pys-multi.toml").write_text("\n".join(lines), encoding="utf-8")
        loaded = pipeline.load(self.root / "project", "test", env={}, flags={"app": "app:app", "python": self.python})
        return pipeline.place(loaded, ["local"])[0]

    def plan(self) -> Plan:
        return pipeline.plan(self.placement())

    def deploy(self, code: str | None = None) -> str:
        """Deploys and returns the URL."""
        if code is not None:
            self.write(code)
        placement = self.placement()
        plan = placement.provider.plan(placement.deployment)
        bundle = self._bundle(placement)
        self.progress.clear()
        self.outputs = placement.provider.deploy(plan, bundle, self.progress.append)
        return self.outputs.url

    def rollback(self, build_id: str | None = None) -> Outputs:
        placement = self.placement()
        return placement.provider.rollback(placement.deployment, build_id, self.progress.append)

    def destroy(self, *, delete_data: bool) -> None:
        placement = self.placement()
        placement.provider.destroy(placement.deployment, delete_data=delete_data, progress=self.progress.append)

    def status(self) -> Status:
        placement = self.placement()
        return placement.provider.status(placement.deployment)

    def logs(self, **wanted: Any) -> Iterator[LogRecord]:
        placement = self.placement()
        wanted = {"function": None, "since": None, "follow": False, **wanted}
        return placement.provider.logs(placement.deployment, **wanted)

    def invoke(self, **fields: Any) -> InvocationResult:
        placement = self.placement()
        return placement.provider.invoke(placement.deployment, Invocation(**fields))

    # ---- what a test looks at

    @property
    def url(self) -> str:
        assert self.outputs is not None
        return self.outputs.url

    @property
    def state(self) -> State:
        return State.of("shop", "test")

    @property
    def supervisor(self) -> int:
        hello = Client(self.state).hello()
        assert hello is not None
        return int(hello["pid"])

    def get(self, path: str, **options: Any) -> Answer:
        return request(self.url, "GET", path, **options)

    def post(self, path: str, **options: Any) -> Answer:
        return request(self.url, "POST", path, **options)

    def wait_log(self, text: str) -> LogRecord:
        return wait_for(lambda: next((r for r in self.logs() if text in r.message), None), f"{text!r} in the log")

    def close(self) -> None:
        client = Client(self.state)
        hello = None
        with suppress(Exception):
            hello = client.hello()
        try:
            client.stop(grace=2.0)
        except Exception:
            if hello is not None:
                os.kill(hello["pid"], signal.SIGKILL)
            raise

    # ---- archives

    def _bundle(self, placement: pipeline.Placement) -> Bundle:
        deployment = placement.deployment
        target = placement.provider.target(deployment)
        files = dict(_package(Path(pys_multi.__file__).parent, "pys_multi"))
        files["pys_multi_providers/__init__.py"] = b""
        files["pys_multi_providers/local/__init__.py"] = b""
        providers = Path(pys_multi_providers.__file__).parent.parent
        for module in target.runtime_modules:
            path = module.replace(".", "/") + ".py"
            files[path] = (providers / path).read_bytes()
        for name in self.distributions:
            files |= _distribution(name)
        for path in (self.root / "project").glob("*.py"):
            files[path.name] = path.read_bytes()
        digest = hashlib.sha256()
        for path, data in sorted(files.items()):
            digest.update(f"{path}\0{len(data)}\0".encode() + data)
        build_id = digest.hexdigest()[:16]
        files["pys_multi_build.json"] = json.dumps(
            {"schema_version": 1, "build_id": build_id, "app": "app:app", "provider": "local", "service": "shop"}
        ).encode()
        archive = self.root / f"{build_id}.zip"
        with zipfile.ZipFile(archive, "w") as bundle:
            for path, data in sorted(files.items()):
                bundle.writestr(path, data)
        artefact = Artefact(archive, build_id, archive.stat().st_size, 0, archive, archive, _REPORT)
        return Bundle("shop", "local", {function.name: artefact for function in deployment.service.functions})


@contextmanager
def stage_in(root: Path) -> Iterator[Stage]:
    """A stage whose supervisor is gone afterwards."""
    before = os.environ.get("PYS_MULTI_STATE_DIR")
    os.environ["PYS_MULTI_STATE_DIR"] = str(root / "state")
    stage = Stage(root)
    try:
        yield stage
    finally:
        try:
            stage.close()
        finally:
            os.environ.pop("PYS_MULTI_STATE_DIR")
            if before is not None:
                os.environ["PYS_MULTI_STATE_DIR"] = before


class Answer:
    """An HTTP response that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:200]!r}>"


def request(
    url: str,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    timeout: float = DEADLINE,
) -> Answer:
    """One request on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        pairs = list(headers.items()) if isinstance(headers, dict) else headers or []
        names = {name.lower() for name, _ in pairs}
        connection.putrequest(method, path, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in pairs:
            connection.putheader(name, value)
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


def _package(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{name}/{path.relative_to(folder)}", path.read_bytes()


def _distribution(name: str) -> dict[str, bytes]:
    """The files of an installed distribution and of all that it requires."""
    files: dict[str, bytes] = {}
    names, done = [name], set()
    while names:
        found = metadata.distribution(names.pop())
        if found.name in done:
            continue
        done.add(found.name)
        for path in found.files or ():
            if path.suffix != ".pyc" and ".." not in path.parts:
                files[str(path)] = Path(str(path.locate())).read_bytes()
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                names.append(requirement.name)
    return files


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
