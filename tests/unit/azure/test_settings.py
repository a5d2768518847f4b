"""[tool.pys-multi.azure]: what may stand there, and what Azure's own variables say where nothing does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pys_multi_providers.azure.clouds import CLOUDS
from pys_multi_providers.azure.settings import AzureOptions, AzureSettings, EndpointSettings
from pys_multi_tools.errors import SettingsError
from pys_multi_tools.project import Project

ID = "0123abcd-0000-4000-8000-00000000000a"
VARIABLES = ("AZURE_SUBSCRIPTION_ID", "AZURE_DEFAULTS_GROUP", "AZURE_DEFAULTS_LOCATION")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_nothing_needs_to_be_set() -> None:
    settings = AzureSettings()
    assert (settings.subscription, settings.resource_group, settings.location) == (None, None, None)
    assert (settings.cloud, settings.redundancy, settings.log_retention_days) == ("public", "LRS", 30)


def test_variables_of_azures_own_tools_are_honoured_and_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, (ID, "group", "westeurope"), strict=True):
        monkeypatch.setenv(name, value)
    settings = AzureSettings()
    assert (settings.subscription, settings.resource_group, settings.location) == (ID, "group", "westeurope")
    assert AzureSettings(resource_group="other").resource_group == "other"
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "")
    assert AzureSettings().subscription is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("subscription", "my subscription"),
        ("resource_group", "ends.with."),
        ("resource_group", "has spaces"),
        ("resource_group", "a" * 91),
        ("location", "West Europe"),
        ("location", "eu"),
        ("cloud", "germany"),
        ("suffix", "abc"),
        ("suffix", "ABCD"),
        ("suffix", "123456789"),
        ("redundancy", "RAGRS"),
        ("log_retention_days", 7),
        ("endpoints", {"blob": "storage.example"}),
        ("endpoints", {"blob": "https://storage.example/path"}),
        ("endpoints", {"queue": "https://storage.example"}),
    ],
)
def test_what_cannot_be_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        AzureSettings.model_validate({setting: value})


@pytest.mark.parametrize("name", ["g", "rg-shop.prod", "Group_(1)", "grüppe", "a" * 90])
def test_names_of_resource_groups(name: str) -> None:
    assert AzureSettings(resource_group=name).resource_group == name


def test_a_file_and_variables_of_pys_multi_set_them(tmp_path: Path) -> None:
    text = '[azure]\nresource_group = "g"\n[azure.endpoints]\nresource_manager = "http://127.0.0.1:1"\n'
    (tmp_path / "pys-multi.toml").write_text(text + '[stages.prod.azure]\nredundancy = "GZRS"\n')
    env = {"PYS_MULTI_AZURE_LOCATION": "northeurope"}
    settings = Project.load(tmp_path, "prod", env=env).provider_settings("azure", AzureSettings)
    assert isinstance(settings, AzureSettings)
    assert (settings.resource_group, settings.location, settings.redundancy) == ("g", "northeurope", "GZRS")
    assert settings.endpoints.resource_manager == "http://127.0.0.1:1"
    (tmp_path / "pys-multi.toml").write_text('[azure]\nredundancy = "none"\n')
    wrong = Project.load(tmp_path, "dev", env={})
    with pytest.raises(SettingsError, match="redundancy"):
        wrong.provider_settings("azure", AzureSettings)


def test_options_have_defaults_that_cost_nothing() -> None:
    options = AzureOptions()
    assert (options.always_ready, options.max_instances, options.vnet) == (0, 100, None)


def test_every_cloud_has_addresses_of_its_own() -> None:
    assert set(CLOUDS) == {"public", "china", "usgov"}
    for field in ("storage", "service_bus", "vault", "sites", "resource_manager", "authority", "logs"):
        assert len({getattr(cloud, field) for cloud in CLOUDS.values()}) == 3


def test_every_setting_and_option_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "providers" / "azure.md").read_text(encoding="utf-8")
    for model in (AzureSettings, EndpointSettings, AzureOptions):
        for name in model.model_fields:
            assert f"{name} =" in page or f"`{name}`" in page or f'"{name}":' in page, name
