"""A project and its stage on the control plane of the tests, deployed as a user does it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.support.fault_proxy import Answer, Call
from tests.support.gcp_control.schema import find
from tests.support.gcp_control.server import ControlPlane

from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle, build
from pys_multi_tools.deployment import Change, Outputs, Plan, Progress, Rollout, Status

APP = """
import json
from pys_multi import App

app = App("{service}")
jobs = app.queue("jobs", retries=5)
news = app.topic("news")
stock = app.table("stock", key="sku")
files = app.bucket("files")
key = app.secret("API_KEY")
api = app.function("api", timeout=10, uses=[jobs.send, news.publish, stock.get, key])
worker = app.function("worker", timeout=10, uses=[stock.put])

@api.get("/hello/{{name}}", public=True)
def hello(name: str) -> dict[str, str]:
    print("hello to", name)
    return {{"hello": name, "build": "{mark}"}}

@api.get("/private")
def private() -> dict[str, str]:
    return {{"private": "yes"}}

@api.get("/fails", public=True)
def fails() -> dict[str, str]:
    raise RuntimeError("as wanted")

@worker.consume(jobs)
def work(message) -> None:
    item = json.loads(message.body)
    if item["sku"] == "bad":
        raise ValueError("a bad one")
    print("worked on", item["sku"])

@worker.subscribe(news)
def read(message) -> None:
    print("read", message.body)

@worker.schedule("0 4 * * *")
def nightly() -> None:
    print("nightly", "{mark}")

@worker.created(files)
def arrived(event) -> None:
    print("arrived", event.key)
"""
SECRET = "s3cr3t-canary-0123456789"


class GcpStage:
    """A project with one module, ``app.py``, and its stage ``test``."""

    def __init__(self, root: Path, service: str = "shop", stage: str = "test") -> None:
        self.root, self.service, self.stage = root, service, stage
        self.progress: list[Progress] = []
        self.settings = ""
        self._cache = root.parent / "bundle-cache"
        self.write()

    def write(self, mark: str = "one", change: Callable[[str], str] = lambda code: code) -> None:
        """The code of the service; ``mark`` is what its answers show, ``change`` edits it."""
        self.root.mkdir(exist_ok=True)
        code = change(APP.format(service=self.service, mark=mark))
        (self.root / "app.py").write_text(code, encoding="utf-8")
        # The control plane runs the code under the interpreter of the tests.
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        settings = f'[tool.pys-multi]\ncloud = ["gcp"]\npython = "{python}"\n'
        settings += '[tool.pys-multi.secrets]\nAPI_KEY = "env:API_KEY"\n'
        (self.root / "pyproject.toml").write_text(settings + self.settings, encoding="utf-8")

    def place(self) -> pipeline.Placement:
        return pipeline.place(pipeline.load(self.root, self.stage))[0]

    def bundle(self, placement: pipeline.Placement) -> Bundle:
        deployment = placement.deployment
        target = placement.provider.target(deployment)
        return build(deployment.project, deployment.app, deployment.service, target, preflight=False, cache=self._cache)

    def deploy(self, rollout: Rollout | None = None, plan: Plan | None = None) -> Outputs:
        placement = self.place()
        self.progress.clear()
        return pipeline.deploy(
            placement, self.progress.append, plan=plan, bundle=self.bundle(placement), rollout=rollout
        ).outputs

    def plan(self) -> tuple[Change, ...]:
        return pipeline.plan(self.place()).pending

    def rollback(self, build_id: str | None = None) -> Outputs:
        self.progress.clear()
        return pipeline.rollback(self.place(), build_id, self.progress.append)

    def destroy(self, *, delete_data: bool = True) -> None:
        self.progress.clear()
        pipeline.destroy(self.place(), delete_data=delete_data, progress=self.progress.append)

    def status(self) -> Status:
        return pipeline.status(self.place())

    def told(self) -> str:
        """All progress of the last step, as text."""
        return "\n".join(f"{p.step}: {p.text}" for p in self.progress)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """os.environ with these variables."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# ---- what is there


def inventory(cloud: ControlPlane, service: str) -> dict[str, Any]:
    """Everything of a service, by kind; what is the same after every deploy that ended well."""
    state = cloud.state
    with state.lock:
        names = {kind: sorted(name for name in things if service in name) for kind, things in state.things.items()}
        found: dict[str, Any] = {
            kind: mine for kind, mine in names.items() if kind not in ("versions", "notifications")
        }
        found["notifications"] = sum(len(e) for b, e in state.of("notifications").items() if service in b)
        found["versions"] = {name: len(v) for name, v in state.of("versions").items() if service in name}
        found["objects"] = sorted(
            name for bucket, name in state.objects if service in name and "/releases/" not in name
        )
        found["rights"] = sorted(
            f"{binding['role']} {name.rpartition('/')[2]} {member} {'conditional' if 'condition' in binding else ''}"
            for name, policy in state.policies.items()
            for binding in policy["bindings"]
            for member in binding["members"]
            if service in name or service in member
        )
        found["traffic"] = {
            name: [(t.get("percent", 0), t.get("tag", "")) for t in thing["traffic"]]
            for name, thing in state.of("services").items()
            if service in name
        }
        found["states"] = {n: f["state"] for n, f in state.of("functions").items() if service in n}
    return found


def left(cloud: ControlPlane, service: str) -> dict[str, Any]:
    """What there is of a service, by kind; empty where there is nothing."""
    return {kind: things for kind, things in inventory(cloud, service).items() if things}


def served(cloud: ControlPlane, service: str, stage: str = "test") -> dict[str, str]:
    """What every function says that it runs, asked as all callers are answered."""
    from tests.support.gcp_control.identity import DEPLOYER, id_token

    answers = {}
    for name in ("api", "worker"):
        path = f"/run/{service}-{stage}-{name}"
        headers = {"authorization": f"Bearer {id_token(DEPLOYER, cloud.url + path)}"}
        status, _, data = cloud.compute.answer("GET", f"{path}/.pys-multi/health", headers, b"")
        answers[name] = json.loads(data)["build_id"] if status == 200 else f"HTTP {status}"
    return answers


# ---- Google's protocol, for the proxy


def name_of(call: Call) -> str:
    """The method that a call is of, as the discovery documents name it."""
    path = call.path.partition("?")[0]
    if path.startswith("/run/"):
        return "call of a function"
    found = find(call.method, path)
    if found is None:
        return f"{call.method} {path}"
    method, parameters = found
    name = method.id + (".media" if "alt=media" in call.path else "")
    if not method.id.startswith("storage.objects."):
        return name
    named = unquote(parameters.get("object", call.path))
    kinds = {"lease.json": "lease", "/documents/": "document", "/releases/": "release", ".zip": "bundle"}
    return next((f"{name} ({kind})" for text, kind in kinds.items() if text in named), name)


def refusal(status: int, code: str, text: str) -> Callable[[Call], Answer]:
    """An error as Google's APIs answer it."""
    document = {"error": {"code": status, "message": text, "status": code}}
    return lambda _: Answer(status, {"content-type": "application/json"}, json.dumps(document).encode())
