"""Whether this machine, its credentials, the subscription and the group can deploy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from pys_multi_providers.azure.client import RESOURCES, Cloud
from pys_multi_providers.azure.engine import Engine
from pys_multi_providers.azure.kinds import KINDS
from pys_multi_providers.azure.settings import AzureSettings
from pys_multi_tools.deployment import Deployment, Finding
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.patience import which

#: The first ones that know everything that is called here.
_OLDEST = {"azure-identity": (1, 23), "azure-mgmt-resource-deployments": (2, 0)}


def findings(deployment: Deployment | None) -> Iterator[Finding]:
    """One line for each thing that was looked at; what cannot be looked at without the one before is left out."""
    complete = True
    for name, oldest in _OLDEST.items():
        found = _library(name, oldest)
        complete = complete and found.ok
        yield found
    if not complete:
        return
    engine = Engine(deployment) if deployment is not None else None
    cloud = engine.cloud if engine is not None else Cloud(AzureSettings())
    try:
        yield Finding(subject="azure subscription", ok=True, text=f"{cloud.subscription}, {cloud.manager}")
        found_there = cloud.arm("GET", f"/subscriptions/{cloud.subscription}", "2022-12-01")
    except ProviderError as error:
        yield _failed("azure subscription" if " named" in error.what else "azure credentials", error)
        return
    state = str(found_there.get("state", "Enabled"))
    text = f"directory {found_there.get('tenantId')}, subscription {found_there.get('displayName')} is {state.lower()}"
    hint = "" if state == "Enabled" else "see the subscription in the portal"
    yield Finding(subject="azure credentials", ok=state == "Enabled", text=text, hint=hint)
    if engine is not None:
        yield from _providers(cloud)
        yield from _of_stage(engine)


def _library(name: str, oldest: tuple[int, ...]) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(subject=name, ok=False, text="not installed", hint="pip install 'pys-multi[azure]'")
    ok = tuple(int(part) for part in version.split(".")[:2]) >= oldest
    return Finding(subject=name, ok=ok, text=version, hint="" if ok else f"pip install -U {name}")


def _providers(cloud: Cloud) -> Iterator[Finding]:
    """A subscription knows a kind of resource once its provider is registered in it."""
    names = sorted({kind.partition("/")[0] for kind in KINDS.values()} - {"Microsoft.Authorization"})

    def is_registered(name: str) -> bool:
        found = cloud.arm("GET", f"/subscriptions/{cloud.subscription}/providers/{name}", RESOURCES)
        return found.get("registrationState") == "Registered"

    try:
        missing = which(lambda name: not is_registered(name), names)
    except ProviderError as error:
        yield _failed("azure providers", error)
        return
    text = f"{', '.join(missing)} not registered" if missing else f"{len(names)} registered"
    hint = "; ".join(f"az provider register --namespace {name}" for name in missing)
    yield Finding(subject="azure providers", ok=not missing, text=text, hint=hint)


def _of_stage(engine: Engine) -> Iterator[Finding]:
    cloud = engine.cloud
    try:
        group = cloud.found(cloud.group, RESOURCES)
        if group is None:
            where = f" in {cloud.location}" if cloud.location else ""
            hint = "" if where else f"give --location, or: az group create --name {cloud.resource_group} --location …"
            text = f"{cloud.resource_group} is not there yet; deploy makes it{where}"
            yield Finding(subject="azure resource group", ok=bool(where), text=text, hint=hint)
            return
        yield Finding(subject="azure resource group", ok=True, text=f"{cloud.resource_group} in {group['location']}")
        state = engine.stack.read()
    except ProviderError as error:
        yield _failed("azure resource group", error)
        return
    if state is None:
        yield Finding(subject="azure deployment", ok=True, text=f"{engine.names.deployment} is not there yet")
        return
    ok = state.status == "Succeeded"
    hint = "" if ok else "deploy again: it waits for what runs, and goes on from what failed"
    text = f"{engine.names.deployment} has {state.status.lower()}" if not state.is_busy else "one is running"
    yield Finding(subject="azure deployment", ok=ok, text=text, hint=hint)


def _failed(subject: str, error: ProviderError) -> Finding:
    return Finding(subject=subject, ok=False, text=error.what, hint=error.hint)
