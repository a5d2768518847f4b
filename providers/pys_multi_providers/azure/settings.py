"""``[tool.pys-multi.azure]`` and ``app.function(azure={…})``."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import Field

from pys_multi_tools.settings import Pattern, SettingsTable

Uuid = Annotated[
    str,
    Pattern(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", "an id, as `az account show --query id` prints it"),
]
#: "Naming rules and restrictions for Azure resources", Microsoft.Resources (2026-11); letters of any alphabet.
GroupName = Annotated[
    str,
    Pattern(r"[\w().-]{0,89}[\w()-]", "the name of a resource group: 1 to 90 letters, digits and _ ( ) . -"),
]
LocationName = Annotated[
    str, Pattern(r"[a-z][a-z0-9]{3,39}", 'the name of a location, like "westeurope" (`az account list-locations`)')
]
Suffix = Annotated[str, Pattern(r"[a-z0-9]{4,8}", "4 to 8 lower-case letters and digits")]
Address = Annotated[str, Pattern(r"https?://[^\s/?#@]+", 'an address such as "https://management.azure.com"')]
SubnetId = Annotated[
    str,
    Pattern(
        r"/subscriptions/[^/]+/resource[Gg]roups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+",
        "the resource id of a subnet, /subscriptions/…/subnets/…",
    ),
]


def _from_environment(variable: str) -> Any:
    """A setting whose default is what a variable of Azure's own tools says."""
    return Field(default_factory=lambda: os.environ.get(variable) or None, validate_default=True)


class EndpointSettings(SettingsTable):
    """Addresses in place of the cloud's own; a proxy's, or those of a cloud that is none of the three."""

    resource_manager: Address | None = None
    """Azure Resource Manager."""
    authority: Address | None = None
    """Microsoft Entra ID, which gives out tokens."""
    blob: Address | None = None
    """Blob storage of the service's account."""
    table: Address | None = None
    """Table storage of the service's account."""
    service_bus: Address | None = None
    """The Service Bus namespace."""
    key_vault: Address | None = None
    """The Key Vault."""
    logs: Address | None = None
    """Queries of Azure Monitor Logs."""
    scm: Address | None = None
    """Where a function app takes its package."""
    app: Address | None = None
    """Where a function app takes calls."""


class AzureSettings(SettingsTable):
    """Where and how the service runs on Azure."""

    subscription: Uuid | None = _from_environment("AZURE_SUBSCRIPTION_ID")
    """Id of the subscription. Default: AZURE_SUBSCRIPTION_ID."""
    resource_group: GroupName | None = _from_environment("AZURE_DEFAULTS_GROUP")
    """Resource group; deploy makes it where it is missing. Default: AZURE_DEFAULTS_GROUP."""
    location: LocationName | None = _from_environment("AZURE_DEFAULTS_LOCATION")
    """Location. Default: AZURE_DEFAULTS_LOCATION, else the resource group's."""
    cloud: Literal["public", "china", "usgov"] = "public"
    """Which Azure: the global one, the one of 21Vianet, or the one of the US government."""
    endpoints: EndpointSettings = EndpointSettings()
    """Addresses in place of the cloud's own."""
    suffix: Suffix | None = None
    """End of the names that are unique in the world. Default: derived from subscription, group, service and stage."""
    redundancy: Literal["LRS", "ZRS", "GRS", "GZRS"] = "LRS"
    """Copies of buckets and tables: in one place, in three zones, or in another region as well."""
    purge_protection: bool = False
    """Whether nobody can purge the Key Vault for 90 days; then destroy leaves it, deleted."""
    log_retention_days: int = Field(default=30, ge=30, le=730)
    """Days that log records are kept."""
    tags: dict[str, str] = Field(default={})
    """Tags of everything."""


class AzureOptions(SettingsTable):
    """Options of one function on this provider; resources have none."""

    always_ready: int = Field(default=0, ge=0, le=1000)
    """Instances that are kept for its routes, and for each of its other triggers."""
    max_instances: int = Field(default=100, ge=1, le=1000)
    """Instances that there are at most."""
    vnet: SubnetId | None = None
    """The subnet it is connected to. Default: none of yours."""
    tags: dict[str, str] = Field(default={})
    """Tags of this function alone."""
