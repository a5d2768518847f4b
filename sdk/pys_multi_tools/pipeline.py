"""The story of a deploy, in order; every step is a function from typed values to typed values.

    load      settings + the user's code       → Loaded      one service, at one stage of a project
    place     Loaded + a provider              → Placement   what every later step is about
    check     Placement                        → Problems    all of them, each with what to do
    plan      Placement                        → Plan        creates, updates, deletes, and why
    cost      Placement                        → Cost        of a month, by the profile in the settings
    render    Placement                        → files       the native configuration, as deploy submits it
    bundle    Placement                        → Bundle      what is uploaded, imported once as the target would
    deploy    Placement                        → Deployed    plan and bundle made so; the served build is verified
    status, logs, metrics, invoke              → what is live
    rollback, destroy                          → the way back

Nothing here prints or exits: errors are ToolError, and long steps report through a callback. Nothing here
knows which cloud it is; all of that is the provider's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pys_multi.errors import PysMultiError
from pys_multi.model import Service
from pys_multi_tools import discover, remembered
from pys_multi_tools import provider as providers_
from pys_multi_tools.deployment import (
    Change,
    DeadLetter,
    Deployment,
    Invocation,
    InvocationResult,
    LogRecord,
    Metrics,
    Outputs,
    Plan,
    Problem,
    Progress,
    Rollout,
    Status,
)
from pys_multi_tools.errors import CheckError, DeployError, DiscoveryError, ProviderError, RenderError, ToolError
from pys_multi_tools.project import Project
from pys_multi_tools.provider import DeadLetters, Drift, Permissions, Prices, Provider, Purpose
from pys_multi_tools.suggest import did_you_mean

if TYPE_CHECKING:
    from pys_multi.app import App
    from pys_multi_tools.bundle import Bundle
    from pys_multi_tools.cost import Cost

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A service at one stage of a project.

    app: what the user defined; reference: the "module:attribute" it was imported from; modules: the project's
    own modules, which are importable only while a step needs them.
    """

    project: Project
    reference: str
    app: App
    service: Service
    modules: discover.Modules


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A service at a stage on one provider."""

    name: str
    provider: Provider
    loaded: Loaded
    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a deploy did. status: of the service right after it, with the build ids that are served."""

    plan: Plan
    bundle: Bundle
    outputs: Outputs
    status: Status


def _ignore(_: Progress) -> None:
    pass


def load(
    root: str | Path = ".",
    stage: str | None = None,
    env: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """Read the settings of the project in ``root``, import its App, and return the service it defines.

    The arguments are those of ``Project.load``.
    Raises SettingsError, and DiscoveryError with the user's own traceback.
    """
    project = Project.load(root, stage, env, flags)
    with discover.importable(project.root, project.settings.environment) as modules:
        reference = project.settings.app or discover.find_app(project.root)
        app = discover.import_app(reference, project.root)
        service = _service(app, reference)
    return Loaded(project=project, reference=reference, app=app, service=service, modules=modules)


def load_deployed(
    root: str | Path = ".",
    stage: str | None = None,
    env: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
) -> Loaded | None:
    """Return the service as it was deployed last from this folder, without importing anything; None where nothing was.

    It serves what looks at, takes back or removes what is live; its ``app`` is empty. Raises SettingsError.
    """
    from pys_multi.app import App

    project = Project.load(root, stage, env, flags)
    found = remembered.recall(project)
    if found is None:
        return None
    reference, service = found
    return Loaded(project=project, reference=reference, app=App(service.name), service=service, modules={})


def openapi(loaded: Loaded) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the service's routes. Raises DiscoveryError for a handler that has none."""
    from pys_multi_tools.openapi import document

    with _modules_of(loaded):
        try:
            return document(loaded.app)
        except PysMultiError as exc:
            raise DiscoveryError(str(exc), where=loaded.reference) from exc


def _modules_of(loaded: Loaded) -> AbstractContextManager[object]:
    """Makes the project's modules importable again: types of handlers are looked up in them."""
    return discover.importable(loaded.project.root, loaded.project.settings.environment, loaded.modules)


def _service(app: App, reference: str) -> Service:
    try:
        return app.service()
    except PysMultiError as exc:
        raise DiscoveryError(str(exc), where=reference) from exc


def place(loaded: Loaded, clouds: Sequence[str] = ()) -> tuple[Placement, ...]:
    """Return the service on each provider of ``clouds``; without any, on those that the settings name.

    Raises ProviderError for a provider that is not installed or does not load, and SettingsError for its table.
    """
    return tuple(_placement(loaded, name) for name in dict.fromkeys(clouds or loaded.project.settings.cloud))


def _placement(loaded: Loaded, name: str) -> Placement:
    provider = providers_.load(name)
    deployment = Deployment(
        service=loaded.service,
        stage=loaded.project.stage,
        project=loaded.project,
        app=loaded.reference,
        settings=loaded.project.provider_settings(name, provider.settings_model),
    )
    return Placement(name=name, provider=provider, loaded=loaded, deployment=deployment)


def check(placement: Placement) -> tuple[Problem, ...]:
    """Return everything that keeps the service from running on the provider, and warnings; empty is well."""
    from pys_multi_tools.check import check as problems_of

    loaded = placement.loaded
    with _modules_of(loaded):
        return tuple(problems_of(loaded.app, placement.deployment, placement.provider, providers_.installed()))


def require(placement: Placement) -> tuple[Problem, ...]:
    """Check, and return the warnings. Raises CheckError, with every problem, when there is an error."""
    problems = check(placement)
    if any(problem.severity == "error" for problem in problems):
        raise CheckError(problems)
    return problems


def plan(placement: Placement, bundle: Bundle | None = None, *, refresh: bool = False) -> Plan:
    """Return what a deploy would change, compared with what is live. Raises CheckError.

    bundle: what ``bundle`` returned; with it, code that is not the code that serves is a change too.
    refresh: look also for what somebody changed by other means. Raises ProviderError where that cannot be told.
    """
    require(placement)
    plan = placement.provider.plan(placement.deployment)
    if refresh:
        drift = _drift(placement)
        # Each resource is told of once: what is set right anyway, or else stays, is not told again beside why.
        told = {(change.kind, change.name): change for change in drift}
        plan = replace(plan, changes=(*(c for c in plan.changes if not _is_told(c, told)), *drift))
    if bundle is None:
        return plan
    live = {function.name: function.build_id for function in status(placement).functions}
    code = tuple(
        Change(
            action="update",
            kind="code",
            name=name,
            reason="the code or what it depends on differs",
            properties=(("build", live[name], artefact.build_id),),
        )
        for name, artefact in bundle.artefacts.items()
        if live.get(name) and live[name] != artefact.build_id
    )
    return replace(plan, changes=(*plan.changes, *code))


def _is_told(change: Change, told: Mapping[tuple[str, str], Change]) -> bool:
    """Whether a change of a plan says no more than what is told of its resource already."""
    other = told.get((change.kind, change.name))
    if other is None:
        return False
    return change.action == "unchanged" or (change.action, change.properties) == (other.action, other.properties)


def _drift(placement: Placement) -> tuple[Change, ...]:
    if not isinstance(placement.provider, Drift):
        hint = "plan without it: this provider compares with what is live anyway"
        raise ProviderError("knows no drift", where=f"provider {placement.name}", hint=hint)
    return placement.provider.drift(placement.deployment)


def cost(placement: Placement) -> Cost | None:
    """Return what a month costs by the profile in the settings; None where there is no profile, or nothing to pay."""
    from pys_multi_tools.cost import estimate

    deployment, provider = placement.deployment, placement.provider
    profile = deployment.project.settings.profile
    if not profile or not isinstance(provider, Prices):
        return None
    names = tuple(function.name for function in deployment.service.functions)
    return estimate(provider.prices(deployment), names, profile)


def render(placement: Placement) -> dict[str, str]:
    """Return the native configuration, path → text, byte for byte as deploy submits it. Raises CheckError."""
    require(placement)
    return placement.provider.render(placement.deployment)


def write(files: Mapping[str, str], folder: Path) -> tuple[Path, ...]:
    """Write rendered files below ``folder`` and return their paths. Raises RenderError."""
    written: list[Path] = []
    for name, text in sorted(files.items()):
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise RenderError("would be written outside of the folder", where=name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        except OSError as error:
            raise RenderError(f"cannot be written: {error.strerror}", where=str(path)) from error
        written.append(path)
    return tuple(written)


def bundle(placement: Placement, progress: OnProgress = _ignore) -> Bundle:
    """Build what is uploaded, and import it once as the target would. Raises BundleError."""
    from pys_multi_tools.bundle import build

    deployment = placement.deployment
    target = placement.provider.target(deployment)
    return build(deployment.project, deployment.app, deployment.service, target, progress=progress)


def deploy(
    placement: Placement,
    progress: OnProgress = _ignore,
    *,
    plan: Plan | None = None,
    bundle: Bundle | None = None,
    rollout: Rollout | None = None,
) -> Deployed:
    """Bring the service to the provider and return once the new build serves.

    plan, bundle: what ``plan`` and ``bundle`` returned before; each is made anew when it is not given.
    rollout: how calls come to the new build, where not all at once.
    Safe to repeat after any interruption.
    Raises CheckError, BundleError and ProviderError; DeployError when what serves is not what was deployed.
    """
    if rollout is not None and rollout.steps:
        require_canary(placement)
    if plan is None:
        progress(Progress(step="check"))
        require(placement)
    if bundle is None:
        bundle = _bundle_of(placement, progress)
    if plan is None:
        progress(Progress(step="plan"))
        plan = _plan_of(placement, bundle)
    if rollout is not None:
        plan = replace(plan, rollout=rollout)
    outputs = placement.provider.deploy(plan, bundle, progress)
    loaded = placement.loaded
    remembered.remember(loaded.project, loaded.reference, loaded.service)
    progress(Progress(step="verify"))
    wanted = {name: artefact.build_id for name, artefact in bundle.artefacts.items()}
    status = _verified(placement, wanted)
    return Deployed(plan=plan, bundle=bundle, outputs=outputs, status=status)


def require_canary(placement: Placement) -> None:
    """Raises ProviderError where the provider cannot give a part of the calls to a new build."""
    can = placement.provider.capabilities
    if "canary" not in can.features:
        hint = can.instead.get("canary", "deploy without --canary")
        raise ProviderError("knows no canary", where=f"provider {placement.name}", hint=hint)


# deploy's own parameters bear the names of these two steps.
_plan_of, _bundle_of = plan, bundle


def _verified(placement: Placement, wanted: Mapping[str, str]) -> Status:
    """The status, once every function serves the build that it must. Raises DeployError."""
    status = placement.provider.status(placement.deployment)
    served = {function.name: function for function in status.functions}
    wrong: list[str] = []
    for name, build in wanted.items():
        live = served.get(name)
        if live is None or live.build_id != build:
            found = live.build_id or live.state if live else "nothing"
            wrong.append(f"{name} serves {found}, not {build}")
    if wrong:
        where = f"{placement.name}, stage {placement.deployment.stage}"
        hint = "run status and logs to see why; deploy again to converge"
        raise DeployError(f"the new build is not serving: {'; '.join(wrong)}", where=where, hint=hint)
    return status


def status(placement: Placement) -> Status:
    """Return what is live: functions, instances, queues and builds."""
    return placement.provider.status(placement.deployment)


def logs(
    placement: Placement, *, function: str | None = None, since: float | None = None, follow: bool = False
) -> Iterator[LogRecord]:
    """Give the log records of all functions, or of one, in order of time.

    since: seconds since the epoch. follow: go on with what is logged from now on.
    """
    if function is not None:
        _check_function(placement.deployment.service, function)
    return placement.provider.logs(placement.deployment, function=function, since=since, follow=follow)


def metrics(placement: Placement, *, since: float | None = None) -> Metrics:
    """Return counts and latencies since a time (seconds since the epoch; None is the provider's default)."""
    return placement.provider.metrics(placement.deployment, since=since)


def invoke(placement: Placement, invocation: Invocation) -> InvocationResult:
    """Make one HTTP call or hand one event to a trigger, and return what came back.

    A trigger may be named by its id ("worker:ship") or by the part after the colon where that is unique.
    """
    service = placement.deployment.service
    if invocation.function is not None:
        _check_function(service, invocation.function)
    if invocation.trigger is not None:
        invocation = replace(invocation, trigger=_trigger_id(service, invocation.trigger))
    return placement.provider.invoke(placement.deployment, invocation)


def dead_letters(placement: Placement, queue: str, *, limit: int = 100) -> list[DeadLetter]:
    """Return the oldest dead letters of a queue, as ``status`` names it. Raises ProviderError."""
    return _with_dead_letters(placement).dead_letters(placement.deployment, queue, limit=limit)


def redrive(placement: Placement, queue: str, ids: Sequence[str] | None = None) -> int:
    """Put dead letters back into their queue, all or those of these ids; return how many. Raises ProviderError."""
    return _with_dead_letters(placement).redrive(placement.deployment, queue, ids)


def _with_dead_letters(placement: Placement) -> DeadLetters:
    if not isinstance(placement.provider, DeadLetters):
        hint = "use the tools of that cloud"
        raise ProviderError("does not show dead letters", where=f"provider {placement.name}", hint=hint)
    return placement.provider


def rollback(placement: Placement, build_id: str | None = None, progress: OnProgress = _ignore) -> Outputs:
    """Return to a former build: the one before the present one when none is named.

    Raises ProviderError; DeployError when what serves then is not that build.
    """
    if "rollback" not in placement.provider.capabilities.features:
        hint = "check out the former version of the code and deploy it"
        raise ProviderError("cannot roll back", where=f"provider {placement.name}", hint=hint)
    outputs = placement.provider.rollback(placement.deployment, build_id, progress)
    _verified(placement, outputs.build_ids)
    return outputs


def destroy(placement: Placement, *, delete_data: bool = False, progress: OnProgress = _ignore) -> None:
    """Remove all that deploy made. delete_data: what holds data too, else that stays."""
    placement.provider.destroy(placement.deployment, delete_data=delete_data, progress=progress)


def permissions(
    placement: Placement,
    *,
    account: str | None = None,
    repository: str | None = None,
    environment: str | None = None,
    purpose: Purpose = "deploy",
) -> dict[str, Any]:
    """Return the least rights that deploying needs, as documents of the cloud: ``policy``, and for a repository on
    GitHub ``trust_policy``, which lets its workflows have them in an environment.

    purpose: "deploy", to this stage; "preview", to every stage ``pr-…``; "plan", to look and change nothing.
    environment: by default the stage's name, "preview" or "plan", as the workflows have it that pys-multi writes.

    Raises ProviderError.
    """
    provider = placement.provider
    if not isinstance(provider, Permissions):
        hint = "whoever can run its tools on this machine can deploy"
        raise ProviderError("needs no permissions", where=f"provider {placement.name}", hint=hint)
    return provider.permissions(
        placement.deployment,
        account=account,
        repository=repository,
        environment=environment or (placement.deployment.stage if purpose == "deploy" else purpose),
        purpose=purpose,
    )


def _check_function(service: Service, name: str) -> None:
    names = [function.name for function in service.functions]
    if name not in names:
        raise ToolError(f"there is no function '{name}'", where=service.name, hint=did_you_mean(name, names))


def _trigger_id(service: Service, name: str) -> str:
    ids = [trigger.id for function in service.functions for trigger in function.triggers]
    matching = [id_ for id_ in ids if name in (id_, id_.partition(":")[2])]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ToolError(f"'{name}' names several triggers", where=service.name, hint=f"say {' or '.join(matching)}")
    raise ToolError(f"there is no trigger '{name}'", where=service.name, hint=did_you_mean(name, ids))
