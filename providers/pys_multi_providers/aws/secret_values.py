"""The values of secrets that deploy itself keeps in Secrets Manager: read here, and nowhere shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_providers.aws.secrets import sources
from pys_multi_providers.aws.view import names_of
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.patience import which
from pys_multi_tools.secret_values import resolve


def values(
    deployment: Deployment, *, strict: bool = True, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Name of the secret in Secrets Manager → value. Raises ProviderError for one whose reference leads nowhere,
    or leaves it out where that is not ``strict``."""
    names, references = names_of(deployment), deployment.project.settings.secrets
    own = {name: references[name] for name, source in sources(deployment).items() if source.kept_in == "own"}
    found = resolve(own, deployment.project.root, environment, strict=strict)
    return {names.secret(name): value for name, value in found.items()}


def differing(cloud: Cloud, wanted: Mapping[str, str]) -> list[str]:
    """The names of those that are not what they must be."""

    def differs(name: str) -> bool:
        try:
            found = cloud.call("secretsmanager", "get_secret_value", SecretId=name)
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            return True
        return bool(found.get("SecretString") != wanted[name])

    return which(differs, wanted)


def put(cloud: Cloud, wanted: Mapping[str, str]) -> Iterator[str]:
    """Sets those that differ, and says which."""
    for name in differing(cloud, wanted):
        cloud.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=wanted[name])
        yield name
