"""ToyProvider: a folder is the cloud, and every invocation is a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from pys_multi.model import Function, Mount, Route
from pys_multi.routing import RouteTable, Template
from pys_multi_tools.bundle import Bundle
from pys_multi_tools.deployment import (
    Capabilities,
    Change,
    Deployment,
    Finding,
    FunctionMetrics,
    FunctionStatus,
    Invocation,
    InvocationResult,
    Limits,
    LogRecord,
    Metrics,
    Outputs,
    Plan,
    Problem,
    Progress,
    Status,
)
from pys_multi_tools.errors import DeployError, ProviderError
from pys_multi_tools.target import Target, host_target

OnProgress = Callable[[Progress], None]


class ToySettings(BaseModel):
    """[tool.pys-multi.toy]"""

    model_config = ConfigDict(extra="forbid")

    #: The folder that is the cloud.
    directory: str = "/var/lib/toy"


class ToyOptions(BaseModel):
    """app.function(toy={...}): there are none."""

    model_config = ConfigDict(extra="forbid")


class ToyProvider:
    name: ClassVar[str] = "toy"
    capabilities: ClassVar[Capabilities] = Capabilities(
        triggers=frozenset({"http", "schedule"}),
        resources=frozenset(),
        limits=Limits(memory=(128, 1024), timeout=60, http_timeout=30, concurrency=1),
    )
    settings_model: ClassVar[type[BaseModel]] = ToySettings
    options_model: ClassVar[type[BaseModel]] = ToyOptions

    def check(self, deployment: Deployment) -> list[Problem]:
        if _settings(deployment).directory.startswith("/"):
            return []
        where = deployment.project.sources.get("toy.directory", "toy.directory")
        return [Problem(where=where, what="is a relative path", hint="write an absolute one")]

    def target(self, deployment: Deployment) -> Target:
        return host_target(
            self.name, python=deployment.project.settings.python, runtime_modules=("pys_multi_toy.runtime",)
        )

    def render(self, deployment: Deployment) -> dict[str, str]:
        functions = {
            function.name: {
                "timeout": function.timeout,
                "environment": {**deployment.project.settings.environment, **function.environment},
                "triggers": [trigger.id for trigger in function.triggers],
            }
            for function in deployment.service.functions
        }
        return {"toy.json": json.dumps(functions, indent=2, sort_keys=True, ensure_ascii=False) + "\n"}

    def plan(self, deployment: Deployment) -> Plan:
        config = self.render(deployment)
        wanted, found = json.loads(config["toy.json"]), _live(deployment).get("config", {})
        changes = [
            Change(
                action="create" if name not in found else "unchanged" if found[name] == wanted[name] else "update",
                kind="function",
                name=name,
            )
            for name in wanted
        ]
        changes += [Change(action="delete", kind="function", name=name) for name in found if name not in wanted]
        return Plan(deployment=deployment, changes=tuple(changes), config=config)

    def deploy(self, plan: Plan, bundle: Bundle, progress: OnProgress) -> Outputs:
        deployment, home = plan.deployment, _home(plan.deployment)
        builds = {}
        for function, artefact in bundle.artefacts.items():
            builds[function] = artefact.build_id
            target = home / "builds" / artefact.build_id
            if not target.is_dir():
                progress(Progress(step="unpack", text=artefact.build_id))
                unpacking = home / "builds" / f".{uuid4().hex}"
                with zipfile.ZipFile(artefact.path) as archive:
                    archive.extractall(unpacking)
                unpacking.rename(target)
        config = json.loads(plan.config["toy.json"])
        for function, build in builds.items():
            progress(Progress(step="start", text=function))
            _run(home, build, function, config[function], _call(Invocation(path="/.pys-multi/health"), 10.0))
        # Every function starts: what is live changes in one step.
        (home / "live.new").write_text(json.dumps({"builds": builds, "config": config}))
        (home / "live.new").rename(home / "live.json")
        return Outputs(provider=self.name, service=deployment.service.name, stage=deployment.stage, build_ids=builds)

    def rollback(self, deployment: Deployment, build_id: str | None, progress: OnProgress) -> Outputs:
        raise ProviderError("cannot roll back", where=self.name, hint="deploy the former code again")

    def destroy(self, deployment: Deployment, *, delete_data: bool, progress: OnProgress) -> None:
        shutil.rmtree(_home(deployment), ignore_errors=True)

    def status(self, deployment: Deployment) -> Status:
        builds = _live(deployment).get("builds", {})
        return Status(
            provider=self.name,
            service=deployment.service.name,
            stage=deployment.stage,
            state="serving" if builds else "absent",
            functions=tuple(
                FunctionStatus(name=name, state="serving", build_id=build) for name, build in builds.items()
            ),
        )

    def logs(
        self, deployment: Deployment, *, function: str | None, since: float | None, follow: bool
    ) -> Iterator[LogRecord]:
        for line in _lines(_home(deployment) / "log.jsonl"):
            record = LogRecord(**line)
            if function in (None, record.function) and (since is None or record.time >= since):
                yield record

    def metrics(self, deployment: Deployment, *, since: float | None) -> Metrics:
        since = since or 0.0
        calls = [call for call in _lines(_home(deployment) / "calls.jsonl") if call["time"] >= since]
        return Metrics(
            since=since,
            functions=tuple(
                FunctionMetrics(
                    name=function.name,
                    invocations=sum(call["function"] == function.name for call in calls),
                    errors=sum(call["function"] == function.name and call["status"] >= 500 for call in calls),
                )
                for function in deployment.service.functions
            ),
        )

    def invoke(self, deployment: Deployment, invocation: Invocation) -> InvocationResult:
        live, home = _live(deployment), _home(deployment)
        if not live:
            raise ProviderError("nothing is deployed", where=deployment.service.name, hint="deploy first")
        function = _function_for(deployment, invocation)
        call = _call(invocation, function.timeout)
        started = time.time()
        result, output = _run(home, live["builds"][function.name], function.name, live["config"][function.name], call)
        _append(home / "log.jsonl", [_record(line, function.name, started) for line in output.splitlines()])
        _append(home / "calls.jsonl", [{"function": function.name, "time": started, "status": result["status"]}])
        return InvocationResult(
            status=result["status"],
            headers=tuple((name, value) for name, value in result.get("headers", ())),
            body=b64decode(result.get("body", "")),
            request_id=call["request_id"],
            duration_ms=(time.time() - started) * 1000,
            error=result.get("error", ""),
        )

    def doctor(self, deployment: Deployment | None) -> list[Finding]:
        return [Finding(subject="toy", ok=True, text="a folder is all it needs")]


def _call(invocation: Invocation, timeout: float) -> dict[str, Any]:
    """What the runtime is told of one call."""
    path, _, query = invocation.path.partition("?")
    return {
        "request_id": uuid4().hex,
        "timeout": timeout,
        "trigger": invocation.trigger or "",
        "method": invocation.method,
        "path": unquote(path),
        "query": query,
        "headers": invocation.headers,
        "body": b64encode(invocation.body).decode(),
    }


def _run(home: Path, build: str, function: str, config: dict[str, Any], call: dict[str, Any]) -> tuple[Any, str]:
    """The result of one call in a process of its own, and what the process printed."""
    answer = home / f"{call['request_id']}.json"
    ran = subprocess.run(
        # -S: the bundle has all it needs, and must not find anything else.
        [sys.executable, "-S", "-m", "pys_multi_toy.runtime", str(answer)],
        cwd=home / "builds" / build,
        env={
            **config["environment"],
            "PATH": os.defpath,
            "PYS_MULTI_FUNCTION": function,
            "PYS_MULTI_STAGE": home.name,
        },
        input=json.dumps(call),
        capture_output=True,
        text=True,
        timeout=config["timeout"] + 10,
        check=False,
    )
    if not answer.is_file():
        raise DeployError("the function ended without a result", where=function, detail=ran.stderr)
    result = json.loads(answer.read_text())
    answer.unlink()
    return result, ran.stdout


def _settings(deployment: Deployment) -> ToySettings:
    assert isinstance(deployment.settings, ToySettings)
    return deployment.settings


def _home(deployment: Deployment) -> Path:
    return Path(_settings(deployment).directory) / deployment.service.name / deployment.stage


def _live(deployment: Deployment) -> dict[str, Any]:
    path = _home(deployment) / "live.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _function_for(deployment: Deployment, invocation: Invocation) -> Function:
    functions = deployment.service.functions
    table = RouteTable()
    for function in functions:
        for trigger in function.triggers:
            if invocation.function == function.name or (invocation.trigger and trigger.id == invocation.trigger):
                return function
            if isinstance(trigger, Route):
                table.add(trigger.method, Template(trigger.path), function)
            assert not isinstance(trigger, Mount)  # check has refused it
    found = table.find(invocation.method, unquote(invocation.path.partition("?")[0]))
    return found[0] if found else functions[0]


def _record(line: str, function: str, started: float) -> dict[str, Any]:
    """One line of output as the fields of a LogRecord; what is not JSON was printed."""
    try:
        fields = json.loads(line)
        return {
            "time": started,
            "level": fields.pop("level"),
            "function": function,
            "message": fields.pop("message"),
            "request_id": fields.pop("request_id", ""),
            "fields": fields,
        }
    except (ValueError, KeyError, AttributeError):
        return {"time": started, "level": "info", "function": function, "message": line}


def _append(path: Path, entries: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
