"""A provider that only writes down what it is told; for tests of what stands above providers.

``install`` makes it a distribution of its own, found through the entry point like any third party's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from pys_multi_tools.deployment import (
    Capabilities,
    Change,
    Deployment,
    Finding,
    FunctionMetrics,
    FunctionStatus,
    InstanceStatus,
    Invocation,
    InvocationResult,
    Limits,
    LogRecord,
    Metrics,
    Outputs,
    Plan,
    Problem,
    Progress,
    QueueStatus,
    Status,
)
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.settings import SettingsTable
from pys_multi_tools.target import Target, host_target

if TYPE_CHECKING:
    from pys_multi_tools.bundle import Bundle


class PaperSettings(SettingsTable):
    folder: str = "paper"
    forgets: bool = False
    broken: bool = False


class PaperOptions(BaseModel):
    pass


class PaperProvider:
    name: ClassVar[str] = "paper"
    capabilities: ClassVar[Capabilities] = Capabilities(
        triggers=frozenset({"http", "mount", "schedule", "consume", "subscribe", "object"}),
        resources=frozenset({"queue", "topic", "bucket", "table", "secret"}),
        features=frozenset({"rollback", "private-route"}),
        limits=Limits(memory=(1, 4096), timeout=900),
    )
    settings_model: ClassVar[type[BaseModel]] = PaperSettings
    options_model: ClassVar[type[BaseModel]] = PaperOptions

    def check(self, deployment: Deployment) -> list[Problem]:
        return []

    def target(self, deployment: Deployment) -> Target:
        return host_target("paper", python=deployment.project.settings.python)

    def render(self, deployment: Deployment) -> dict[str, str]:
        functions = {function.name: function.memory for function in deployment.service.functions}
        return {"paper.json": json.dumps({"stage": deployment.stage, "functions": functions}) + "\n"}

    def plan(self, deployment: Deployment) -> Plan:
        live = {} if not (state := self._state(deployment)) else state["functions"]
        changes = [self._change(live, function.name, function.memory) for function in deployment.service.functions]
        wanted = {function.name for function in deployment.service.functions}
        changes += [
            Change(action="delete", kind="function", name=name, reason="not defined any more")
            for name in live
            if name not in wanted
        ]
        return Plan(deployment=deployment, changes=tuple(changes), config=self.render(deployment))

    @staticmethod
    def _change(live: dict[str, Any], name: str, memory: int) -> Change:
        if name not in live:
            return Change(action="create", kind="function", name=name, reason="new", public=True)
        before = live[name]["memory"]
        if before == memory:
            return Change(action="unchanged", kind="function", name=name)
        return Change(action="update", kind="function", name=name, properties=(("memory", before, memory),))

    def deploy(self, plan: Plan, bundle: Bundle, progress: Callable[[Progress], None]) -> Outputs:
        progress(Progress(step="deploy", text="writing", fraction=0.5))
        deployment = plan.deployment
        builds = {name: artefact.build_id for name, artefact in bundle.artefacts.items()}
        former = (self._state(deployment) or {"history": []})["history"]
        functions = {
            function.name: {
                "memory": function.memory,
                "build": "0" * 16 if self._settings(deployment).forgets else builds[function.name],
            }
            for function in deployment.service.functions
        }
        self._write(deployment, {"functions": functions, "history": [*former, builds]})
        return self._outputs(deployment, builds)

    def rollback(self, deployment: Deployment, build_id: str | None, progress: Callable[[Progress], None]) -> Outputs:
        state = self._state(deployment)
        if state is None or len(state["history"]) < 2:
            raise ProviderError("there is no former build", where="provider paper")
        progress(Progress(step="rollback"))
        state["history"].pop()
        for name, build in state["history"][-1].items():
            state["functions"][name]["build"] = build
        self._write(deployment, state)
        return self._outputs(deployment, state["history"][-1])

    def destroy(self, deployment: Deployment, *, delete_data: bool, progress: Callable[[Progress], None]) -> None:
        progress(Progress(step="destroy"))
        shutil.rmtree(self._folder(deployment), ignore_errors=True)

    def status(self, deployment: Deployment) -> Status:
        state = self._state(deployment)
        functions = tuple(
            FunctionStatus(
                name=name,
                state="serving",
                build_id=function["build"],
                instances=(InstanceStatus(id="1", state="ready", uptime=3725, memory_mb=31.4),),
                requests=12,
                p50_ms=1.25,
            )
            for name, function in (state or {"functions": {}})["functions"].items()
        )
        return Status(
            provider="paper",
            service=deployment.service.name,
            stage=deployment.stage,
            state="serving" if state else "absent",
            url="http://paper.invalid" if state else "",
            functions=functions,
            queues=(QueueStatus(name="orders", waiting=2, dead=1, oldest_age=61),),
        )

    def logs(
        self, deployment: Deployment, *, function: str | None, since: float | None, follow: bool
    ) -> Iterator[LogRecord]:
        if self._settings(deployment).broken:
            raise RuntimeError("the provider has a defect")
        for number in range(3):
            yield LogRecord(
                time=1_700_000_000.5 + number,
                level="INFO",
                function=function or "api",
                message=f"line {number}",
                request_id=f"r{number}",
                fields={"since": since, "follow": follow},
            )

    def metrics(self, deployment: Deployment, *, since: float | None) -> Metrics:
        function = FunctionMetrics(name="api", invocations=12, errors=1, p50_ms=1.25, p95_ms=250.0)
        return Metrics(since=since or 0.0, functions=(function,))

    def invoke(self, deployment: Deployment, invocation: Invocation) -> InvocationResult:
        if invocation.trigger:
            return InvocationResult(status=200, body=b"", request_id="r1", duration_ms=2.0)
        echo = {"method": invocation.method, "path": invocation.path, "headers": dict(invocation.headers)}
        body = json.dumps({**echo, "body": invocation.body.decode()}).encode()
        return InvocationResult(status=404 if invocation.path == "/absent" else 200, body=body, request_id="r1")

    def doctor(self, deployment: Deployment | None) -> list[Finding]:
        return [Finding(subject="paper", ok=deployment is not None, text="a pencil", hint="name a project")]

    @staticmethod
    def _settings(deployment: Deployment) -> PaperSettings:
        assert isinstance(deployment.settings, PaperSettings)
        return deployment.settings

    def _folder(self, deployment: Deployment) -> Path:
        return deployment.project.root / self._settings(deployment).folder / deployment.stage

    def _state(self, deployment: Deployment) -> dict[str, Any] | None:
        path = self._folder(deployment) / "state.json"
        return json.loads(path.read_text()) if path.exists() else None

    def _write(self, deployment: Deployment, state: dict[str, Any]) -> None:
        folder = self._folder(deployment)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.json").write_text(json.dumps(state))

    @staticmethod
    def _outputs(deployment: Deployment, builds: dict[str, str]) -> Outputs:
        return Outputs(
            provider="paper",
            service=deployment.service.name,
            stage=deployment.stage,
            url="http://paper.invalid",
            build_ids=builds,
            values={"page": "1"},
        )


def install(site: Path) -> Path:
    """Make a distribution "pys-multi-paper" in the folder ``site``, to be put on a Python path."""
    info = site / "pys_multi_paper-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pys-multi-paper\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[pys_multi.providers]\npaper = paper_provider:PaperProvider\n")
    shutil.copy(__file__, site / "paper_provider.py")
    return site
