"""Whether this machine, its credentials and the project can deploy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from pys_multi_providers.gcp.client import APIS, Cloud
from pys_multi_providers.gcp.engine import Engine
from pys_multi_providers.gcp.settings import GcpSettings
from pys_multi_tools.deployment import Deployment, Finding
from pys_multi_tools.errors import ProviderError

#: The first ones that know everything that is called here.
_OLDEST = {
    "google-api-python-client": (2, 150),
    "google-auth": (2, 40),
    "google-cloud-functions": (1, 20),
    "google-cloud-run": (0, 10),
}


def findings(deployment: Deployment | None) -> Iterator[Finding]:
    """One line for each thing that was looked at; what cannot be looked at without the one before is left out."""
    complete = True
    for name, oldest in _OLDEST.items():
        found = _library(name, oldest)
        complete = complete and found.text != "not installed"
        yield found
    if not complete:
        return
    try:
        engine = Engine(deployment) if deployment is not None else None
        cloud = engine.cloud if engine is not None else Cloud(GcpSettings())
        place = f"{cloud.project}, {cloud.region}, {cloud.endpoint('cloudfunctions')}"
        yield Finding(subject="gcp project", ok=True, text=place)
    except ProviderError as error:
        yield _failed("gcp project", error)
        return
    try:
        number = cloud.project_number
        yield Finding(subject="gcp credentials", ok=True, text=f"{cloud.identity}, project number {number}")
    except ProviderError as error:
        yield _failed("gcp credentials", error)
        return
    yield from _apis(cloud)
    if engine is not None:
        yield from _of_stage(engine)


def _library(name: str, oldest: tuple[int, int]) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(subject=f"gcp {name}", ok=False, text="not installed", hint="pip install 'pys-multi[gcp]'")
    ok = tuple(int(part) for part in version.split(".")[:2]) >= oldest
    return Finding(subject=f"gcp {name}", ok=ok, text=version, hint="" if ok else f"pip install -U {name}")


def _apis(cloud: Cloud) -> Iterator[Finding]:
    """Whether every API is enabled; that itself can only be asked where Service Usage is."""
    try:
        parent = f"projects/{cloud.project}"
        enabled = {
            str(service["name"]).rpartition("/")[2].partition(".")[0]
            for service in cloud.pages(
                "serviceusage.v1.services", "services", parent=parent, filter="state:ENABLED", pageSize=200
            )
        }
    except ProviderError as error:
        yield _failed("gcp APIs", error)
        return
    missing = [f"{api}.googleapis.com" for api in (*APIS, "cloudbuild", "artifactregistry") if api not in enabled]
    hint = f"gcloud services enable {' '.join(missing)} --project {cloud.project}" if missing else ""
    text = f"not enabled: {', '.join(missing)}" if missing else "all that are needed are enabled"
    yield Finding(subject="gcp APIs", ok=not missing, text=text, hint=hint)


def _of_stage(engine: Engine) -> Iterator[Finding]:
    try:
        there = engine.artefacts.is_there()
        text = f"{engine.artefacts.bucket}" + ("" if there else ", which deploy will make")
        yield Finding(subject="gcp bundles", ok=True, text=text)
        last = engine.artefacts.last() if there else None
    except ProviderError as error:
        yield _failed("gcp bundles", error)
        return
    text = f"build {', '.join(sorted(set(last.builds.values())))}" if last is not None else "nothing is deployed yet"
    yield Finding(subject="gcp release", ok=True, text=text)


def _failed(subject: str, error: ProviderError) -> Finding:
    return Finding(subject=subject, ok=False, text=error.what, hint=error.hint)
