"""Where the secrets of a service are on Google Cloud: a reference in the settings, never a value.

gcp-sm:NAME                                a secret of Secret Manager in the project
gcp-sm:projects/P/secrets/NAME             one of any project; both may end in /versions/N
env:NAME, file:PATH                        read when deploying, and kept in Secret Manager in the name of the stage
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pys_multi_tools.deployment import Deployment
from pys_multi_tools.secret_values import SCHEMES, granted

SCHEME = "gcp-sm"
#: "projects.secrets.create", secretId (2026-11).
_NAME = re.compile(
    r"(?:projects/(?P<project>[a-z0-9][a-z0-9.:-]*)/secrets/)?(?P<secret>[A-Za-z0-9_-]{1,255})"
    r"(?:/versions/(?P<version>latest|[1-9][0-9]*))?"
)


@dataclass(frozen=True, slots=True)
class SecretSource:
    """One secret. secret: its name in Secret Manager, empty for one that deploy makes. project: where it is, empty for
    the service's own."""

    resource: str
    secret: str = ""
    project: str = ""
    version: str = "latest"

    @property
    def is_ours(self) -> bool:
        """Whether deploy makes it, and gives it its value."""
        return not self.secret


def sources(deployment: Deployment) -> dict[str, SecretSource]:
    """The secrets that a function was granted, by name. Raises ValueError for a reference that leads nowhere."""
    references = deployment.project.settings.secrets
    return {name: source(name, references.get(name, "")) for name in granted(deployment.service)}


def source(resource: str, reference: str) -> SecretSource:
    """Where a reference points to. Raises ValueError, which says what is wrong with it."""
    scheme, _, name = reference.partition(":")
    if scheme in SCHEMES:
        return SecretSource(resource)
    if scheme == SCHEME:
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError("is neither the name of a secret in Secret Manager nor projects/P/secrets/NAME")
        return SecretSource(resource, found["secret"], found["project"] or "", found["version"] or "latest")
    if not reference:
        raise ValueError("has no value: nothing says where it is")
    raise ValueError(f"has a reference of the scheme {scheme!r}, which Google Cloud does not know")
