"""The one file with Azure's SDKs: where it asks, and that none of their errors gets past it."""

from __future__ import annotations

import pytest
from azure.core import exceptions as core

from pys_multi_providers.azure.client import Cloud, translate
from pys_multi_providers.azure.errors import AzureError
from pys_multi_providers.azure.settings import AzureSettings


def _settings(**given: object) -> AzureSettings:
    return AzureSettings.model_validate({"subscription": None, "resource_group": None, "location": None, **given})


@pytest.mark.parametrize(
    ("cloud", "manager", "logs"),
    [
        ("public", "https://management.azure.com", "api.loganalytics.io"),
        ("china", "https://management.chinacloudapi.cn", "api.loganalytics.azure.cn"),
        ("usgov", "https://management.usgovcloudapi.net", "api.loganalytics.us"),
    ],
)
def test_each_cloud_has_addresses_of_its_own(cloud: str, manager: str, logs: str) -> None:
    found = Cloud(_settings(cloud=cloud))
    assert (found.manager, found.logs_host) == (manager, logs)
    assert found.address("blob", "a.blob.core.windows.net") == "https://a.blob.core.windows.net"
    other = Cloud(_settings(cloud=cloud, endpoints={"resource_manager": "https://proxy", "blob": "https://b"}))
    assert (other.manager, other.address("blob", "a")) == ("https://proxy", "https://b")


def test_what_is_not_named_is_told_with_its_flag() -> None:
    with pytest.raises(AzureError, match="no subscription is named") as caught:
        Cloud(_settings()).subscription  # noqa: B018  (asked for its error)
    assert "--subscription" in caught.value.hint
    with pytest.raises(AzureError, match="no resource group is named") as caught:
        Cloud(_settings(subscription="11111111-2222-4333-8444-555555555555")).group  # noqa: B018
    assert "AZURE_DEFAULTS_GROUP" in caught.value.hint


def _errors(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind, *(found for child in kind.__subclasses__() for found in _errors(child))}


def test_no_error_of_azures_libraries_is_unmapped() -> None:
    import azure.identity  # noqa: F401  (its errors are subclasses)

    for kind in _errors(core.AzureError):
        try:
            error = kind("a text")  # type: ignore[call-arg]  # what each takes
        except (TypeError, AttributeError):
            continue  # it is made of a response
        assert isinstance(error, Exception)
        found = translate(error, "GET x")
        assert found.what
        assert found.where
