"""The one file with Azure's SDKs: where it asks, and that none of their errors gets past it."""

from __future__ import annotations

import threading

import pytest
from azure.core import exceptions as core

from pys_multi_providers.azure.client import Cloud, each, patiently, translate
from pys_multi_providers.azure.failures import AzureError, refusal
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


def test_work_is_done_side_by_side_and_in_order() -> None:
    together = threading.Barrier(3, timeout=10)

    def work(number: int) -> int:
        together.wait()
        return number * 2

    assert each(work, [1, 2, 3]) == [2, 4, 6]
    assert each(work, []) == []
    done: list[int] = []

    def fails(number: int) -> None:
        done.append(number)
        if number % 2:
            raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        each(fails, [0, 1, 2, 3])
    assert sorted(done) == [0, 1, 2, 3]


def test_patience_ends_where_nothing_passes() -> None:
    left = [refusal("x", "x", status=403, asked=""), refusal("y", "y", status=400, asked="")]

    def attempt() -> int:
        if left:
            raise left.pop(0)
        return 1

    with pytest.raises(AzureError, match="y"):
        patiently(attempt, seconds=10, also=lambda error: error.is_denied)
    assert patiently(attempt, seconds=10, also=lambda _: False) == 1
