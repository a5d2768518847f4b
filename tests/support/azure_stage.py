"""A project and its stage on an ARM server of the tests, deployed as a user does it, and looked at from the outside."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.arm.data import Reply
from tests.support.arm.server import ArmServer
from tests.support.arm.sites import Keys, Launcher
from tests.support.azure_host.app import FunctionApp, Log, NotStarted
from tests.support.azure_host.front import Front
from tests.support.azure_host.image import WORKER_PYTHON, Image, image
from tests.support.azure_schemas import problems
from tests.support.fault_proxy import Answer, Call

from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle, build
from pys_multi_tools.deployment import Change, Outputs, Plan, Progress, Status

APP = """
import json, os
from pys_multi import App

app = App("{service}")
jobs = app.queue("jobs", retries=1)
stock = app.table("stock", key="sku")
key = app.secret("API_KEY")
api = app.function("api", timeout=10, uses=[jobs.send, stock.get, key])
worker = app.function("worker", timeout=10, uses=[stock.put])

@api.get("/hello/{{name}}", public=True)
def hello(name: str) -> dict[str, str]:
    return {{"hello": name, "build": "{mark}"}}

@api.get("/private")
def private() -> dict[str, str]:
    return {{"private": "yes"}}

@api.get("/secret", public=True)
def secret() -> dict[str, int]:
    return {{"letters": len(key.value)}}

@worker.consume(jobs)
def work(message) -> None:
    item = json.loads(message.body)
    if item["sku"] == "bad":
        raise ValueError("a bad one")
    print("worked on", item["sku"])

@worker.schedule("0 4 * * *")
def nightly() -> None:
    print("nightly", "{mark}")
"""
SECRET = "s3cr3t-canary-0123456789"
LOCATION = "westeurope"
KINDS = ("resource_manager", "blob", "table", "service_bus", "key_vault", "logs", "scm", "app")
PYTHON = WORKER_PYTHON
#: Loggers of the worker and of azure-functions, which go to Microsoft's own log and not to Application Insights
#: (``is_system_log_category`` of azure-functions-python-worker).
_SYSTEM = ("azure_functions_worker", "azure.functions")


class AzureStage:
    """A project with one module, ``app.py``, and its stage ``test``."""

    def __init__(
        self, root: Path, url: str, service: str = "shop", stage: str = "test", code: str = APP, group: str = ""
    ) -> None:
        self.root, self.url, self.service, self.stage, self._code = root, url, service, stage, code
        self.progress: list[Progress] = []
        self.group, self.location = group or f"group-{service}", LOCATION
        self.settings = ""
        # Stages of the same code share its bundles.
        self._cache = root.parent.parent / "azure-bundles"
        self.write()

    def write(self, mark: str = "one", change: Callable[[str], str] = lambda code: code) -> None:
        """The code of the service; ``mark`` is what its answers show, ``change`` edits it."""
        self.root.mkdir(exist_ok=True, parents=True)
        code = change(self._code.format(service=self.service, mark=mark))
        (self.root / "app.py").write_text(code, encoding="utf-8")
        settings = f'[tool.pys-multi]\ncloud = ["azure"]\npython = "{PYTHON}"\n'
        settings += '[tool.pys-multi.secrets]\nAPI_KEY = "env:API_KEY"\n[tool.pys-multi.azure]\n'
        settings += f'resource_group = "{self.group}"\n' + (f'location = "{self.location}"\n' if self.location else "")
        settings += "[tool.pys-multi.azure.endpoints]\n" + "".join(f'{kind} = "{self.url}"\n' for kind in KINDS)
        (self.root / "pyproject.toml").write_text(settings + self.settings, encoding="utf-8")

    def place(self) -> pipeline.Placement:
        return pipeline.place(pipeline.load(self.root, self.stage))[0]

    def bundle(self, placement: pipeline.Placement) -> Bundle:
        deployment = placement.deployment
        target = placement.provider.target(deployment)
        return build(deployment.project, deployment.app, deployment.service, target, preflight=False, cache=self._cache)

    def deploy(self, plan: Plan | None = None) -> Outputs:
        placement = self.place()
        self.progress.clear()
        return pipeline.deploy(placement, self.progress.append, plan=plan, bundle=self.bundle(placement)).outputs

    def plan(self, *, refresh: bool = False) -> tuple[Change, ...]:
        return pipeline.plan(self.place(), refresh=refresh).pending

    def rollback(self, build_id: str | None = None) -> Outputs:
        return pipeline.rollback(self.place(), build_id, self.progress.append)

    def destroy(self, *, delete_data: bool = True) -> None:
        self.progress.clear()
        pipeline.destroy(self.place(), delete_data=delete_data, progress=self.progress.append)

    def status(self) -> Status:
        return pipeline.status(self.place())

    def call(
        self, arm: ArmServer, path: str, *, function: str = "api", method: str = "GET", key: str = ""
    ) -> tuple[int, bytes]:
        """A call of an app from the outside, over the server's port."""
        site = self.site(arm, function)
        connection = http.client.HTTPConnection(urlsplit(arm.url).netloc, timeout=60)
        headers = {"Host": site["properties"]["defaultHostName"], **({"x-functions-key": key} if key else {})}
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def site(self, arm: ArmServer, function: str) -> dict[str, Any]:
        """The app of a function."""
        sites = arm.world.of_type("Microsoft.Web/sites")
        [found] = [s for s in sites if self.is_ours(s) and s["tags"]["pys-multi-function"] == function]
        return found

    def is_ours(self, resource: Mapping[str, Any]) -> bool:
        """Whether a resource is in the stage's group."""
        return f"/resourcegroups/{self.group}/".lower() in resource["id"].lower()

    def told(self) -> str:
        """All progress of the last step, as text."""
        return "\n".join(f"{p.step}: {p.text}" for p in self.progress)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """os.environ with these variables."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def server(launch: Launcher) -> ArmServer:
    """A server that holds what is put against the published interfaces, strictly."""
    made = ArmServer(launch)
    made.world.schema = lambda kind, api, body: problems({"type": kind, "apiVersion": api, **body})
    return made


# ---- what runs a published app


class Worker:
    """An app in Microsoft's Python worker, behind the tests' host."""

    def __init__(
        self,
        found: Image,
        name: str,
        package: bytes,
        settings: Mapping[str, str],
        keys: Keys,
        on_log: Callable[[str, Log], None],
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="azure-app-"))
        zipfile.ZipFile(io.BytesIO(package)).extractall(self._folder)
        self._app = FunctionApp(name, found, self._folder, settings, on_log=lambda log: on_log(name, log))
        self._app.key = keys.default
        self._front = Front(self._app)
        try:
            self.functions = [(function.name, function.kind) for function in self._app.functions()]
        except NotStarted as error:
            on_log(name, Log(time.time(), "ERROR", "Host", str(error)))
            self.functions = []

    def call(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if not self.functions:
            return 404, {}, b""
        dropped = ("content-length", "connection", "accept-encoding")
        fields = [(name, value) for name, value in headers.items() if name not in dropped]
        answer = self._front.call(method, target, fields, body)
        kept = {n.lower(): v for n, v in answer.fields if n.lower() not in ("content-length", "transfer-encoding")}
        return answer.status, kept, answer.body

    def stop(self) -> None:
        self._app.stop()
        shutil.rmtree(self._folder)


def in_worker() -> ArmServer:
    """A server whose apps run in Microsoft's worker."""
    found = image(PYTHON)
    assert found is not None
    logs: list[Callable[[str, Log], None]] = []
    made = server(lambda *given: Worker(found, *given, on_log=logs[0]))

    def trace(name: str, log: Log) -> None:
        if not log.category.startswith(_SYSTEM):
            made.logs.trace(name, log.level, log.message, log.time)

    logs.append(trace)
    return made


class OnPaper:
    """An app that only says which build it is and what would be indexed: where a test is not about what runs."""

    def __init__(self, _: str, package: bytes, settings: Mapping[str, str], keys: Keys) -> None:
        with zipfile.ZipFile(io.BytesIO(package)) as bundle:
            self._build = json.loads(bundle.read("pys_multi_build.json"))["build_id"]
            text = bundle.read("function_app.py").decode()
        blocks = text.split("\nif entry.function == ")
        [block] = [block for block in blocks if block.startswith(json.dumps(settings["PYS_MULTI_FUNCTION"]))]
        self.functions = [(name, "?") for name in re.findall(r"def (\w+)\(", block)]

    def call(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if target != "/.pys-multi/health" or not self.functions:
            return 404, {}, b""
        return 200, {"content-type": "application/json"}, json.dumps({"build_id": self._build}).encode()

    def stop(self) -> None:
        """Nothing runs."""


# ---- what is there


def inventory(arm: ArmServer, group: str) -> dict[str, Any]:
    """Everything of a group, by type; what is the same after every deploy that ended well."""
    found: dict[str, Any] = {}
    for id, entry in list(arm.world.resources.items()):
        if f"/resourcegroups/{group.lower()}/" not in id:
            continue
        kind = entry["type"].rpartition("/")[2]
        scope = entry["id"].partition("/providers/")[2] if kind == "roleAssignments" else entry["name"]
        found.setdefault(kind, []).append(scope)
    found = {kind: sorted(names) for kind, names in sorted(found.items())}
    found["group"] = group.lower() in arm.world.groups
    found["deleted vaults"] = [
        name for name, entry in arm.world.deleted_vaults.items() if f"/{group.lower()}/" in entry["id"].lower()
    ]
    found["deployments"] = {d.name: d.state for (g, _), d in arm.deployments.all.items() if g == group.lower()}
    return found


#: What there is where nothing is.
NOTHING: dict[str, Any] = {"group": False, "deleted vaults": [], "deployments": {}}


def served(arm: ArmServer, group: str) -> dict[str, str]:
    """What every app of a group says that it runs, by function."""
    answers = {}
    for site in arm.world.of_type("Microsoft.Web/sites"):
        if f"/resourcegroups/{group.lower()}/" not in site["id"].lower():
            continue
        keys = arm.sites[site["name"]].keys
        name = site["name"].lower()
        _, _, body = arm.sites.app(name, "GET", "/.pys-multi/health", {"x-functions-key": keys.default}, b"")
        answers[site["tags"]["pys-multi-function"]] = json.loads(body)["build_id"] if body else ""
    return answers


# ---- Azure's protocols, for the proxy


def name_of(call: Call) -> str:
    """What a call is about, without the names that differ by service."""
    host = call.headers.get("host", "").partition(":")[0]
    path, _, query = call.path.partition("?")
    if host.endswith(".scm.azurewebsites.net"):
        return f"scm.{call.method} {_function(host)} {'/'.join(path.split('/')[:3])}"
    if host.endswith(".azurewebsites.net"):
        return f"app.{call.method} {_function(host)} {path}"
    if host.endswith(".blob.core.windows.net"):
        blob = path.partition("pys-multi-releases")[2]
        kind = "list" if "comp=list" in query else blob.split("/")[1] if blob.count("/") > 1 else "zip"
        return f"blob.{call.method} {kind}"
    if host.endswith(".vault.azure.net"):
        return f"vault.{call.method} {path}"
    if host.endswith(".servicebus.windows.net"):
        return f"bus.{call.method} {path.rpartition('/')[2]}"
    if host == "api.loganalytics.io":
        return "logs.query"
    if path.startswith(("/msi/token", "/operationresults")):
        return f"arm.GET {path.split('/')[1]}"
    return f"arm.{call.method} {_about(path)}" + (" filtered" if "filter" in query else "")


def _about(path: str) -> str:
    """Types and actions of a path, and of names only which function's they are."""
    found, parts = [], path.strip("/").lower().split("/")[2:]
    while parts:
        part = parts.pop(0)
        if part == "resourcegroups":
            parts = parts[1:]
            found += [] if parts else ["group"]
        elif part == "providers":
            found += [parts.pop(0)] if len(parts) == 1 else []
            parts = parts[1:]
        else:  # a type and a name, or a list, or an action
            found.append(part)
            if parts and (name := parts.pop(0)) != "default":
                found.append(_function(name) or "*")
    return "/".join(found) or "subscription"


def _function(name: str) -> str:
    """The function that is in a name, if one is."""
    return next((f for f in ("api", "worker") if f"-{f}-" in name), "")


def is_read(name: str) -> bool:
    """Whether a call changes nothing; some reads are asked by POST."""
    method = name.partition(".")[2].partition(" ")[0]
    return method in ("GET", "HEAD", "query") or name.endswith(("/whatif", "/exporttemplate", "/listkeys"))


def refusal(code: str, text: str, status: int, headers: Mapping[str, str] | None = None) -> Callable[[Call], Answer]:
    """An error in the form of whoever is asked."""

    def answer(call: Call) -> Answer:
        if name_of(call).startswith("blob."):
            body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
            return Answer(status, {"content-type": "application/xml", **(headers or {})}, body.encode())
        body = json.dumps({"error": {"code": code, "message": text}})
        return Answer(status, {"content-type": "application/json", **(headers or {})}, body.encode())

    return answer
