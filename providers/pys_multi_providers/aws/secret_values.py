"""The values of secrets that deploy itself keeps in Secrets Manager: read here, and nowhere shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_providers.aws.secrets import sources
from pys_multi_providers.aws.view import names_of
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.patience import each
from pys_multi_tools.secret_values import value_of


def values(
    deployment: Deployment, *, strict: bool = True, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Name of the secret in Secrets Manager → value. Raises ProviderError for one whose reference leads nowhere,
    or leaves it out where that is not ``strict``."""
    names, references = names_of(deployment), deployment.project.settings.secrets
    found = {}
    for name, source in sources(deployment).items():
        if source.kept_in == "own":
            try:
                found[names.secret(name)] = value_of(name, references[name], deployment.project.root, environment)
            except ProviderError:
                if strict:
                    raise
    return found


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

    names = list(wanted)
    return [name for name, is_other in zip(names, each(differs, names), strict=True) if is_other]


def put(cloud: Cloud, wanted: Mapping[str, str]) -> Iterator[str]:
    """Sets those that differ, and says which."""
    for name in differing(cloud, wanted):
        cloud.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=wanted[name])
        yield name
