"""Where the secrets of a service are on AWS: a reference in the settings, never a value.

aws-sm:NAME or aws-sm:ARN     a secret of Secrets Manager that is there already
aws-ssm:NAME                  a parameter of Systems Manager
env:NAME, file:PATH           read when deploying, and kept in Secrets Manager in the name of the stage
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pys_multi_tools.deployment import Deployment
from pys_multi_tools.secret_values import SCHEMES, granted

#: "CreateSecret" and "PutParameter" (2026-11).
_SECRET_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")
_SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,519}")
_PARAMETER_NAME = re.compile(r"/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


@dataclass(frozen=True, slots=True)
class SecretSource:
    """One secret. kept_in: who keeps it. name: there; for ``own`` ones, that deploy makes, it is empty."""

    resource: str
    kept_in: Literal["secretsmanager", "ssm", "own"]
    name: str = ""


def sources(deployment: Deployment) -> dict[str, SecretSource]:
    """The secrets that a function was granted, by name. Raises ValueError for a reference that AWS has no place for."""
    references = deployment.project.settings.secrets
    return {name: source(name, references.get(name, "")) for name in granted(deployment.service)}


def source(resource: str, reference: str) -> SecretSource:
    """Where a reference points to. Raises ValueError, which says what is wrong with it."""
    scheme, _, name = reference.partition(":")
    if scheme in SCHEMES:
        return SecretSource(resource, "own")
    if scheme == "aws-sm":
        if not (_SECRET_ARN if name.startswith("arn:") else _SECRET_NAME).fullmatch(name):
            raise ValueError("is neither the name nor the ARN of a secret in Secrets Manager")
        return SecretSource(resource, "secretsmanager", name)
    if scheme == "aws-ssm":
        if not _PARAMETER_NAME.fullmatch(name) or len(name) > 1011:
            raise ValueError("is not the name of a parameter of Systems Manager")
        return SecretSource(resource, "ssm", name)
    if not reference:
        raise ValueError("has no value: nothing says where it is")
    raise ValueError(f"has a reference of the scheme {scheme!r}, which AWS does not know")
