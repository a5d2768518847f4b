"""The values of secrets that deploy itself keeps in Secret Manager: read here, and nowhere shown."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping

from pys_multi_providers.gcp.client import Cloud
from pys_multi_providers.gcp.document import Document
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.kinds import SECRETS
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.patience import which
from pys_multi_tools.secret_values import resolve

_VERSIONS = f"{SECRETS}.versions"


def values(
    deployment: Deployment, document: Document, *, strict: bool = True, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Full name of the secret in Secret Manager → value, of those that the document makes. Raises ProviderError for one
    whose reference leads nowhere, or leaves it out where that is not ``strict``."""
    references = deployment.project.settings.secrets
    full = {entry.id.partition(":")[2]: entry.name for entry in document.entries if entry.kind == SECRETS}
    own = {name: references.get(name, "") for name in full}
    found = resolve(own, deployment.project.root, environment, strict=strict)
    return {full[name]: value for name, value in found.items()}


def differing(cloud: Cloud, wanted: Mapping[str, str]) -> list[str]:
    """The names of those that are not what they must be."""

    def differs(name: str) -> bool:
        try:
            found = cloud.call(_VERSIONS, "access", name=f"{name}/versions/latest")
        except GcpError as error:
            # Not there, without a version, or with one that was disabled or destroyed.
            if error.is_gone or error.code == "FAILED_PRECONDITION":
                return True
            raise
        return base64.b64decode(found["payload"]["data"]) != wanted[name].encode()

    return which(differs, wanted)


def put(cloud: Cloud, wanted: Mapping[str, str]) -> Iterator[str]:
    """Adds a version to those that differ, and says which; none is added twice."""
    for name in differing(cloud, wanted):
        body = {"payload": {"data": base64.b64encode(wanted[name].encode()).decode()}}
        while True:
            try:
                cloud.call(SECRETS, "addVersion", parent=name, body=body)
                break
            except GcpError as error:
                if not error.maybe:
                    raise
                if not differing(cloud, {name: wanted[name]}):
                    break  # it was added, and the answer to it was lost
        yield name
