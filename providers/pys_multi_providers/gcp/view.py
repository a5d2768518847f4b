"""From a service and its settings to what the document needs; pure."""

from __future__ import annotations

from typing import Any

from pys_multi.model import Function
from pys_multi_providers.gcp.names import Names
from pys_multi_providers.gcp.settings import GcpOptions, GcpSettings
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.errors import ProviderError

Json = dict[str, Any]


def settings_of(deployment: Deployment) -> GcpSettings:
    """The provider's own settings of a deployment."""
    if not isinstance(deployment.settings, GcpSettings):
        raise TypeError(f"settings of the gcp provider are GcpSettings, not {type(deployment.settings).__name__}")
    return deployment.settings


def options_of(function: Function) -> GcpOptions:
    """The provider's own options of a function."""
    return GcpOptions.model_validate(dict(function.options.get("gcp", {})))


def place_of(deployment: Deployment) -> tuple[str, str]:
    """Project and region. Raises ProviderError where one is not named."""
    settings = settings_of(deployment)
    if not settings.project:
        raise ProviderError("no project is named", where="gcp", hint=PROJECT_HINT)
    if not settings.region:
        raise ProviderError("no region is named", where="gcp", hint=REGION_HINT)
    return settings.project, settings.region


def names_of(deployment: Deployment) -> Names:
    """What the things of a deployment are called. Raises ProviderError where no project is named."""
    return Names(deployment.service.name, deployment.stage, place_of(deployment)[0])


PROJECT_HINT = 'add --project ID, set GOOGLE_CLOUD_PROJECT, or write project = "ID" under [tool.pys-multi.gcp]'
REGION_HINT = 'add --region NAME, such as europe-west1, set GOOGLE_CLOUD_REGION, or write region = "…" there'
