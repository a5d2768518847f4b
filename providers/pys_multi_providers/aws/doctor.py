"""Whether this machine, its credentials and the account can deploy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from pys_multi_providers.aws.client import Cloud
from pys_multi_providers.aws.engine import Engine
from pys_multi_providers.aws.settings import AwsSettings
from pys_multi_tools.deployment import Deployment, Finding
from pys_multi_tools.errors import ProviderError

#: The first one that knows everything that is called here.
_OLDEST = (1, 42)


def findings(deployment: Deployment | None) -> Iterator[Finding]:
    """One line for each thing that was looked at; what cannot be looked at without the one before is left out."""
    try:
        version = metadata.version("boto3")
    except metadata.PackageNotFoundError:
        yield Finding(subject="aws boto3", ok=False, text="not installed", hint="pip install 'pys-multi[aws]'")
        return
    ok = tuple(int(part) for part in version.split(".")[:2]) >= _OLDEST
    yield Finding(subject="aws boto3", ok=ok, text=version, hint="" if ok else "pip install -U boto3")
    engine = Engine(deployment) if deployment is not None else None
    cloud = engine.cloud if engine is not None else Cloud(AwsSettings())
    try:
        yield Finding(subject="aws region", ok=True, text=f"{cloud.region}, {cloud.endpoint('cloudformation')}")
        identity = cloud.identity
    except ProviderError as error:
        yield _failed("aws credentials" if "egion" not in error.what else "aws region", error)
        return
    source = cloud.credentials_from
    text = f"account {identity['Account']}, {identity['Arn']}, profile {cloud.profile}, from {source}"
    yield Finding(subject="aws credentials", ok=True, text=text)
    if engine is not None:
        yield from _of_stage(engine)


def _of_stage(engine: Engine) -> Iterator[Finding]:
    try:
        there = engine.artefacts.is_there()
        text = f"{engine.artefacts.bucket}" + ("" if there else ", which deploy will make")
        yield Finding(subject="aws bundles", ok=True, text=text)
    except ProviderError as error:
        yield _failed("aws bundles", error)
    try:
        state = engine.stack.read()
    except ProviderError as error:
        yield _failed("aws stack", error)
        return
    if state is None or state.is_empty:
        yield Finding(subject="aws stack", ok=True, text=f"{engine.stack.name} is not there yet")
        return
    words = state.status.lower().replace("_", " ")
    hint = "" if state.is_settled else "deploy again: it waits for what runs, and mends what failed"
    yield Finding(subject="aws stack", ok=state.is_settled, text=f"{engine.stack.name} is {words}", hint=hint)


def _failed(subject: str, error: ProviderError) -> Finding:
    return Finding(subject=subject, ok=False, text=error.what, hint=error.hint)
