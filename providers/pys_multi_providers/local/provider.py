"""The local provider: the service on this machine, by the same way as on a cloud.

render → manifest.json;  deploy → builds unpacked, supervisor started, release applied;  see docs/providers/local.md.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from pys_multi.model import Consume, ObjectEvent, Schedule, Service, Subscribe
from pys_multi_providers.local import doctor, journal, meter, observe, view
from pys_multi_providers.local.client import Client, exclusive
from pys_multi_providers.local.control import own_version
from pys_multi_providers.local.doctor import find_python
from pys_multi_providers.local.meter import RETENTION, Counts
from pys_multi_providers.local.settings import LocalOptions, LocalSettings
from pys_multi_providers.local.state import State, remove_tree
from pys_multi_tools import secret_values
from pys_multi_tools.calling import call
from pys_multi_tools.deployment import (
    Capabilities,
    Change,
    DeadLetter,
    Deployment,
    Finding,
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
from pys_multi_tools.render import render
from pys_multi_tools.suggest import did_you_mean
from pys_multi_tools.target import Target, host_target

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from pys_multi.app import App
    from pys_multi_providers.local.sandbox import Sandbox
    from pys_multi_providers.local.store import Store
    from pys_multi_tools.bundle import Bundle
    from pys_multi_tools.project import Project

MANIFEST = "manifest.json"
OnProgress = Callable[[Progress], None]

_EVENTS = Consume | Subscribe | ObjectEvent | Schedule
#: Seconds that a call through the front may take beyond its function's timeout.
_MARGIN = 10.0


class LocalProvider:
    """Keeps the contract of :class:`pys_multi_tools.provider.Provider`."""

    name: ClassVar[str] = "local"
    capabilities: ClassVar[Capabilities] = Capabilities(
        triggers=frozenset({"http", "mount", "schedule", "consume", "subscribe", "object"}),
        resources=frozenset({"queue", "topic", "bucket", "table", "secret"}),
        features=frozenset({"ordered-queue", "private-route", "streaming", "rollback", "topic-and-queue"}),
        limits=Limits(memory=(32, 1_048_576), concurrency=1000, batch=10_000, batch_window=300, visibility=43_200),
    )
    settings_model: ClassVar[type[BaseModel]] = LocalSettings
    options_model: ClassVar[type[BaseModel]] = LocalOptions

    def check(self, deployment: Deployment) -> list[Problem]:
        """Secrets without a value, settings of functions that are not there, and a Python that is not."""
        project = deployment.project
        wanted = sorted({name for names in view.secrets_of(deployment.service).values() for name in names})
        found = secret_values.problems(wanted, project.settings.secrets, project.sources, project.root)
        settings = _settings(deployment)
        names = [function.name for function in deployment.service.functions]
        entries = (
            settings.instances if isinstance(settings.instances, dict) else dict.fromkeys(names, settings.instances)
        )
        for name, count in entries.items():
            where = project.sources.get("local.instances", "local.instances")
            if name not in names:
                hint = f"the functions are {', '.join(names)}"
                found.append(Problem(where=where, what=f"there is no function {name!r}", hint=hint))
            if not 1 <= count <= 64:
                found.append(Problem(where=where, what=f"{count} instances of {name!r}", hint="write 1 to 64"))
        try:
            find_python(project.settings.python)
        except ProviderError as error:
            where = project.sources.get("python", error.where)
            found.append(Problem(where=where, what=error.what, hint=error.hint))
        return found

    def target(self, deployment: Deployment) -> Target:
        """This machine, with the Python of the settings."""
        package = "pys_multi_providers.local"
        modules = ("runtime", "frames", "resources", "tables", "store", "database", "definitions", "doorbell")
        return host_target(
            self.name,
            python=deployment.project.settings.python,
            runtime_modules=tuple(f"{package}.{module}" for module in modules),
        )

    def render(self, deployment: Deployment) -> dict[str, str]:
        """The manifest: what the supervisor is told, but for build ids and the values of secrets."""
        return {MANIFEST: render("pys_multi_templates", "local/manifest.json.j2", view.view(deployment))}

    def plan(self, deployment: Deployment) -> Plan:
        """The manifest against the one that was deployed last."""
        state = _state(deployment)
        config = self.render(deployment)
        manifest = json.loads(config[MANIFEST])
        releases = state.releases()
        former = releases[-1] if releases else None
        rotated = frozenset(_rotated(state, former, manifest, deployment)) if former is not None else frozenset()
        found = view.changes(former["manifest"] if former else None, manifest, rotated)
        found.insert(0, _supervisor_change(state, deployment.stage, former is not None))
        return Plan(deployment=deployment, changes=tuple(found), config=config)

    def deploy(self, plan: Plan, bundle: Bundle, progress: OnProgress) -> Outputs:
        """Unpacks the builds and has the supervisor replace what serves; nothing happens where nothing changed."""
        deployment = plan.deployment
        manifest = json.loads(plan.config[MANIFEST])
        state = _state(deployment)
        values = secret_values.resolve(manifest["secrets"], deployment.project.root)
        python = find_python(manifest["python"])
        state.create()
        with exclusive(state, "deploy"):
            builds: dict[str, str] = {}
            for function, artefact in bundle.artefacts.items():
                if artefact.build_id not in builds.values():
                    progress(Progress(step="unpack", text=artefact.build_id))
                state.unpack(artefact.path, artefact.build_id)
                builds[function] = artefact.build_id
            return _apply(state, manifest, builds, python, values, deployment, progress)

    def rollback(self, deployment: Deployment, build_id: str | None, progress: OnProgress) -> Outputs:
        """Applies a former release again: its code, its routes, its settings; with the secrets of today."""
        state = _state(deployment)
        releases = state.releases()
        if not releases:
            raise ProviderError("nothing was deployed", where=_where(deployment), hint="deploy first")
        with exclusive(state, "roll back"):
            release = _former(releases, build_id, _where(deployment))
            manifest = release["manifest"]
            values = secret_values.resolve(manifest["secrets"], deployment.project.root)
            for build in release["builds"].values():
                if not (state.builds / build).is_dir():
                    raise ProviderError(f"build {build} is no longer here", hint="check its code out and deploy it")
            return _apply(state, manifest, release["builds"], release["python"], values, deployment, progress)

    def destroy(self, deployment: Deployment, *, delete_data: bool, progress: OnProgress) -> None:
        """Stops the supervisor, which finishes what it is doing, and removes the stage's folder."""
        state = _state(deployment)
        if not state.root.is_dir():
            return
        with exclusive(state, "destroy"):
            progress(Progress(step="stop", text="requests that are running are finished"))
            Client(state).stop()
            for path in state.root.iterdir():
                if path == state.data and not delete_data:
                    progress(Progress(step="keep", text=f"queues, tables and buckets stay in {path}"))
                elif path.is_dir():
                    progress(Progress(step="remove", text=path.name))
                    remove_tree(path)
                else:
                    path.unlink(missing_ok=True)
        if delete_data:
            remove_tree(state.root)

    def status(self, deployment: Deployment) -> Status:
        """What the supervisor says, or what is known without one."""
        state = _state(deployment)
        releases = state.releases()
        builds = tuple(dict.fromkeys(build for release in reversed(releases) for build in release["builds"].values()))
        common: dict[str, Any] = {
            "provider": self.name,
            "service": deployment.service.name,
            "stage": deployment.stage,
            "builds": builds,
        }
        answer = Client(state).read("status")
        if answer is None:
            if not releases:
                return Status(state="absent", **common)
            absent = tuple(
                FunctionStatus(
                    name=name, state="absent", build_id=build, reason="the supervisor does not run; deploy again"
                )
                for name, build in releases[-1]["builds"].items()
            )
            service = Service.from_json(releases[-1]["manifest"]["model"])
            return Status(state="stopped", functions=absent, queues=observe.queues(state, service), **common)
        functions = tuple(observe.function_status(entry) for entry in answer["functions"])
        well = bool(functions) and all(function.state == "serving" for function in functions)
        return Status(
            state="serving" if well else "degraded",
            url=answer["url"],
            functions=functions,
            queues=observe.queues(state, deployment.service),
            **common,
        )

    def logs(
        self, deployment: Deployment, *, function: str | None, since: float | None, follow: bool
    ) -> Iterator[LogRecord]:
        """Reads the files of the journal; the supervisor need not run."""
        return journal.read(_state(deployment).logs, function=function, since=since, follow=follow)

    def metrics(self, deployment: Deployment, *, since: float | None) -> Metrics:
        """Counts of the last day, or since a time within it."""
        state = _state(deployment)
        start = since if since is not None else time.time() - RETENTION
        answer = Client(state).read("metrics", since=start)
        if answer is None:
            counts = meter.read(state.metrics, start)
        else:
            counts = {name: Counts.from_json(entry) for name, entry in answer["functions"].items()}
        functions = tuple(
            observe.function_metrics(function.name, counts.get(function.name, Counts()), function.concurrency)
            for function in deployment.service.functions
        )
        return Metrics(since=start, functions=functions, queues=observe.queues(state, deployment.service))

    def invoke(self, deployment: Deployment, invocation: Invocation) -> InvocationResult:
        """An HTTP call through the front, or to a function that is named; an event straight to its trigger."""
        client = Client(_state(deployment))
        hello = client.hello()
        if hello is None or not hello["url"]:
            raise ProviderError("nothing runs", where=_where(deployment), hint="deploy first")
        trigger = invocation.trigger
        if trigger is not None and not _is_route(deployment.service, trigger):
            answer = client.ask("invoke", trigger=trigger, body=_base64(invocation.body))
            return InvocationResult(
                status=500 if answer["error"] else 200, duration_ms=answer["duration_ms"], error=answer["error"]
            )
        if invocation.function is not None:
            answer = client.ask(
                "invoke",
                function=invocation.function,
                method=invocation.method,
                path=invocation.path,
                headers=invocation.headers,
                body=_base64(invocation.body),
            )
            return InvocationResult(
                status=answer["status"],
                headers=tuple((name, value) for name, value in answer["headers"]),
                body=base64.b64decode(answer["body"]),
                request_id=answer["request_id"],
                duration_ms=answer["duration_ms"],
            )
        timeout = max((f.timeout for f in deployment.service.functions), default=0.0) * 2 + _MARGIN
        return call(hello["url"], invocation, timeout)

    def dead_letters(self, deployment: Deployment, queue: str, *, limit: int) -> list[DeadLetter]:
        """The oldest dead letters of a queue or subscription; the supervisor need not run."""
        with _store(deployment, queue) as store:
            return [
                DeadLetter(
                    queue=queue,
                    id=letter.id,
                    reason=letter.reason,
                    body=letter.body,
                    attributes=letter.attributes,
                    attempts=letter.attempt,
                    sent_at=letter.sent_at,
                    died_at=letter.died_at,
                )
                for letter in store.dead(queue, limit)
            ]

    def redrive(self, deployment: Deployment, queue: str, ids: Sequence[str] | None) -> int:
        """Puts dead letters behind what waits, with all their retries."""
        with _store(deployment, queue) as store:
            return store.redrive(queue, ids)

    def doctor(self, deployment: Deployment | None) -> list[Finding]:
        """Whether this machine can run a service, and whether the stage's supervisor is well."""
        return doctor.findings(deployment, _state(deployment) if deployment is not None else None)

    def warm(self) -> None:
        """Imports what :meth:`serve` needs."""
        from pys_multi_providers.local.embedded import warm

        warm()

    def serve(
        self,
        app: App,
        project: Project,
        listener: socket.socket,
        *,
        state: Path,
        on_call: Callable[[str, str, int, float], None],
        on_ready: Callable[[], None],
    ) -> None:
        """Runs the service in this process, for development; a secret that has no value is not there."""
        from pys_multi_providers.local.embedded import serve

        values: dict[str, str] = {}
        for name, reference in project.settings.secrets.items():
            with contextlib.suppress(ProviderError):
                values |= secret_values.resolve({name: reference}, project.root)
        serve(app, listener, directory=state, stage=project.stage, secrets=values, on_call=on_call, on_ready=on_ready)

    def sandbox(
        self, service: Service, directory: Path, *, secrets: Mapping[str, str], clock: Callable[[], float]
    ) -> Sandbox:
        """The resources of a service for tests in one process, in a folder and on the test's own clock."""
        from pys_multi_providers.local.sandbox import Sandbox

        return Sandbox(service, directory, secrets=secrets, clock=clock)


def _settings(deployment: Deployment) -> LocalSettings:
    settings = deployment.settings
    if not isinstance(settings, LocalSettings):
        raise ProviderError("the settings are not those of the local provider")
    return settings


def _state(deployment: Deployment) -> State:
    return State.of(deployment.service.name, deployment.stage)


def _where(deployment: Deployment) -> str:
    return f"{deployment.service.name}, stage {deployment.stage}"


def _apply(
    state: State,
    manifest: Mapping[str, Any],
    builds: Mapping[str, str],
    python: str,
    values: Mapping[str, str],
    deployment: Deployment,
    progress: OnProgress,
) -> Outputs:
    client = Client(state)
    client.ensure(progress)
    answer = client.ask(
        "apply",
        progress,
        manifest=manifest,
        builds=builds,
        python=python,
        secrets=values,
        fingerprints={name: state.fingerprint(value) for name, value in values.items()},
    )
    if not answer["changed"]:
        progress(Progress(step="unchanged", text="this build serves already"))
    served = _served(answer["url"])
    for function, build in builds.items():
        if served.get(function) != build:
            found = served.get(function, "nothing")
            raise DeployError(f"serves {found}, not {build}", where=f"function {function}", hint="see status and logs")
    return Outputs(
        provider=LocalProvider.name,
        service=deployment.service.name,
        stage=deployment.stage,
        url=answer["url"],
        build_ids=served,
        values={"state": str(state.root), "logs": str(state.logs)},
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _served(url: str) -> dict[str, str]:
    """The build id that each function is served from, as the front says."""
    answer = call(url, Invocation(path="/.pys-multi/health"), _MARGIN)
    try:
        functions = json.loads(answer.body)["functions"]
        return {name: entry["build_id"] for name, entry in functions.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise DeployError("the front does not say what it serves", where=url, hint="see status and logs") from error


def _rotated(
    state: State, former: Mapping[str, Any], manifest: Mapping[str, Any], deployment: Deployment
) -> Iterator[str]:
    for name, reference in manifest["secrets"].items():
        try:
            value = secret_values.resolve({name: reference}, deployment.project.root)[name]
        except ProviderError:
            continue  # check says so; a plan can be made without the values
        if former["fingerprints"].get(name) != state.fingerprint(value):
            yield name


def _supervisor_change(state: State, stage: str, deployed: bool) -> Change:
    hello = Client(state).hello()
    if hello is None:
        if not deployed:
            return Change(action="create", kind="supervisor", name=stage)
        return Change(action="update", kind="supervisor", name=stage, reason="it does not run: it will be started")
    if hello["version"] != own_version():
        versions = (("version", hello["version"], own_version()),)
        return Change(action="replace", kind="supervisor", name=stage, reason="version", properties=versions)
    return Change(action="unchanged", kind="supervisor", name=stage)


def _former(releases: list[dict[str, Any]], build_id: str | None, where: str) -> dict[str, Any]:
    present = releases[-1]
    release: dict[str, Any]
    for release in reversed(releases[:-1]):
        if (release["builds"] != present["builds"]) if build_id is None else (build_id in release["builds"].values()):
            return release
    if build_id is not None and build_id in present["builds"].values():
        return present
    known = ", ".join(dict.fromkeys(build for r in reversed(releases) for build in r["builds"].values()))
    what = f"build {build_id!r} is not known" if build_id is not None else "there is no former build"
    raise ProviderError(what, where=where, hint=f"the builds that are here are {known}")


@contextlib.contextmanager
def _store(deployment: Deployment, queue: str) -> Iterator[Store]:
    from pys_multi_providers.local.store import Store

    state = _state(deployment)
    if not (state.data / "state.db").exists():
        raise ProviderError("nothing was deployed", where=_where(deployment), hint="deploy first")
    store = Store(state.data)
    try:
        known = store.queues()
        if queue not in known:
            hint = did_you_mean(queue, known)
            raise ProviderError(f"there is no queue {queue!r}", where=_where(deployment), hint=hint)
        yield store
    finally:
        store.close()


def _is_route(service: Service, id: str) -> bool:
    return not any(
        trigger.id == id and isinstance(trigger, _EVENTS)
        for function in service.functions
        for trigger in function.triggers
    )
