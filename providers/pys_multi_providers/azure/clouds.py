"""Where the three clouds of Azure have their services ("Azure Government developer guide", "Azure China developer
guide", and `az cloud show`; 2026-11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suffixes:
    """What the addresses of one cloud end in, or are."""

    storage: str
    service_bus: str
    vault: str
    sites: str
    resource_manager: str
    authority: str
    logs: str
    #: Whom a token is for that a workload of GitHub exchanges ("Workload identity federation").
    exchange_audience: str


CLOUDS: Mapping[str, Suffixes] = {
    "public": Suffixes(
        storage="core.windows.net",
        service_bus="servicebus.windows.net",
        vault="vault.azure.net",
        sites="azurewebsites.net",
        resource_manager="https://management.azure.com",
        authority="https://login.microsoftonline.com",
        logs="https://api.loganalytics.io",
        exchange_audience="api://AzureADTokenExchange",
    ),
    "china": Suffixes(
        storage="core.chinacloudapi.cn",
        service_bus="servicebus.chinacloudapi.cn",
        vault="vault.azure.cn",
        sites="chinacloudsites.cn",
        resource_manager="https://management.chinacloudapi.cn",
        authority="https://login.chinacloudapi.cn",
        logs="https://api.loganalytics.azure.cn",
        exchange_audience="api://AzureADTokenExchangeChina",
    ),
    "usgov": Suffixes(
        storage="core.usgovcloudapi.net",
        service_bus="servicebus.usgovcloudapi.net",
        vault="vault.usgovcloudapi.net",
        sites="azurewebsites.us",
        resource_manager="https://management.usgovcloudapi.net",
        authority="https://login.microsoftonline.us",
        logs="https://api.loganalytics.us",
        exchange_audience="api://AzureADTokenExchangeUSGov",
    ),
}
