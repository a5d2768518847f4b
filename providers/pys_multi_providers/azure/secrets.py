"""Where the secrets of a service are on Azure: a reference in the settings, never a value.

azure-kv:https://VAULT/secrets/NAME     a secret of a Key Vault that is there already
env:NAME, file:PATH                     read when deploying, and kept in the Key Vault of the stage
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pys_multi_tools.deployment import Deployment
from pys_multi_tools.secret_values import SCHEMES, granted

#: "About Azure Key Vault objects, keys, secrets, and certificates" (2026-11); the version may be left out.
_SECRET = re.compile(
    r"https://[a-z][a-z0-9-]{1,22}[a-z0-9]\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net)"
    r"/secrets/[A-Za-z0-9-]{1,127}(/[0-9a-f]{32})?/?"
)
#: Scheme of the provider's own references.
SCHEME = "azure-kv"


@dataclass(frozen=True, slots=True)
class SecretSource:
    """One secret. uri: where it is; empty for one of ours, that deploy makes."""

    resource: str
    uri: str = ""


def sources(deployment: Deployment) -> dict[str, SecretSource]:
    """The secrets that a function was granted, by name. Raises ValueError for a reference Azure has no place for."""
    references = deployment.project.settings.secrets
    return {name: source(name, references.get(name, "")) for name in granted(deployment.service)}


def source(resource: str, reference: str) -> SecretSource:
    """Where a reference points to. Raises ValueError, which says what is wrong with it."""
    scheme, _, rest = reference.partition(":")
    if scheme in SCHEMES:
        return SecretSource(resource)
    if scheme == SCHEME:
        if not _SECRET.fullmatch(rest):
            raise ValueError("is not the identifier of a secret, https://VAULT.vault.azure.net/secrets/NAME")
        return SecretSource(resource, rest.rstrip("/"))
    if not reference:
        raise ValueError("has no value: nothing says where it is")
    raise ValueError(f"has a reference of the scheme {scheme!r}, which Azure does not know")
