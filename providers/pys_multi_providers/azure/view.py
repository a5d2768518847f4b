"""From a service and its settings to what the template needs; pure."""

from __future__ import annotations

from typing import Any

from pys_multi.model import Function
from pys_multi_providers.azure.names import Names
from pys_multi_providers.azure.settings import AzureOptions, AzureSettings
from pys_multi_tools.deployment import Deployment

Json = dict[str, Any]


def view(deployment: Deployment) -> Json:
    """The context of ``azure/template.json.j2``."""
    return {"service": deployment.service.name}


def settings_of(deployment: Deployment) -> AzureSettings:
    """The provider's own settings of a deployment."""
    if not isinstance(deployment.settings, AzureSettings):
        raise TypeError(f"settings of the azure provider are AzureSettings, not {type(deployment.settings).__name__}")
    return deployment.settings


def options_of(function: Function) -> AzureOptions:
    """The provider's own options of a function."""
    return AzureOptions.model_validate(dict(function.options.get("azure", {})))


def names_of(deployment: Deployment) -> Names:
    """What the things of a deployment are called; their end stands for itself, as in the template."""
    return Names(deployment.service.name, deployment.stage)
