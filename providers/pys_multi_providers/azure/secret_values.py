"""The values of secrets that deploy itself keeps in the stage's Key Vault: read here, and nowhere shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from pys_multi_providers.azure.client import Cloud
from pys_multi_providers.azure.errors import AzureError, told_once
from pys_multi_providers.azure.names import Names
from pys_multi_providers.azure.secrets import sources
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.patience import patiently, which
from pys_multi_tools.secret_values import resolve

_VERSION = "api-version=7.4"
#: Seconds that a right to the vault may take to be known everywhere.
_KNOWN = 180.0


def values(
    deployment: Deployment, names: Names, *, strict: bool = True, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Name of the secret in the vault → value. Raises ProviderError for one whose reference leads nowhere, or leaves
    it out where that is not ``strict``."""
    references = deployment.project.settings.secrets
    own = {name: references[name] for name, source in sources(deployment).items() if not source.uri}
    found = resolve(own, deployment.project.root, environment, strict=strict)
    return {names.secret(name): value for name, value in found.items()}


def differing(cloud: Cloud, host: str, wanted: Mapping[str, str]) -> list[str]:
    """The names of those that are not what they must be. host: of the vault."""

    def differs(name: str) -> bool:
        answer = cloud.call("key_vault", "GET", _url(host, name), may=(404,))
        return answer.status == 404 or answer.json().get("value") != wanted[name]

    return which(differs, wanted)


def put(
    cloud: Cloud, host: str, wanted: Mapping[str, str], tell: Callable[[str], None], *, is_new: bool
) -> Iterator[str]:
    """Sets those that differ, and says which. is_new: of the vault, whose rights may not be known everywhere yet."""

    def passes(error: AzureError) -> bool:
        return is_new and (error.is_denied or error.status == 0)  # its name may not be known everywhere either

    def write(name: str) -> None:
        body = json.dumps({"value": wanted[name]}).encode()
        cloud.call("key_vault", "PUT", _url(host, name), headers={"Content-Type": "application/json"}, body=body)

    may_pass = told_once(passes, tell)
    for name in patiently(lambda: differing(cloud, host, wanted), AzureError, may_pass, seconds=_KNOWN):
        patiently(partial(write, name), AzureError, may_pass, seconds=_KNOWN)
        yield name


def _url(host: str, name: str) -> str:
    return f"https://{host}/secrets/{name}?{_VERSION}"
