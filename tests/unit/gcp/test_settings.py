"""``[tool.pys-multi.gcp]`` and ``gcp={…}``: what is taken, and what a person reads when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pys_multi_providers.gcp.settings import GcpOptions, GcpSettings
from pys_multi_tools.errors import SettingsError
from pys_multi_tools.project import Project

VARIABLES = (
    "GOOGLE_CLOUD_PROJECT",
    "CLOUDSDK_CORE_PROJECT",
    "GOOGLE_CLOUD_REGION",
    "CLOUDSDK_FUNCTIONS_REGION",
    "CLOUDSDK_RUN_REGION",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
)
DOCS = Path(__file__).parents[3] / "docs" / "providers" / "gcp.md"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def settings(tmp_path: Path, table: str, **given: Any) -> GcpSettings:
    (tmp_path / "pys-multi.toml").write_text(f"[gcp]\n{table}\n")
    return Project.load(tmp_path, **{"env": {}, **given}).provider_settings("gcp", GcpSettings)


def test_without_a_table_there_are_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, "")
    assert (found.project, found.region, found.impersonate) == (None, None, None)
    assert (found.endpoints, found.invokers, found.labels) == ({}, (), {})


def test_a_full_table_is_taken(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """
        project = "acme-prod-1"
        region = "europe-west1"
        impersonate = "deployer@acme-prod-1.iam.gserviceaccount.com"
        endpoints = { pubsub = "https://pubsub.private.example", storage = "localhost:4443" }
        invokers = ["user:ann@acme.example", "group:ops@acme.example", "domain:acme.example"]
        artefact_bucket = "team-bundles"
        build_service_account = "builder@acme-prod-1.iam.gserviceaccount.com"
        database_location = "eur3"
        log_retention_days = 400
        labels = { cost-centre = "42" }
        """,
    )
    assert found.endpoints["pubsub"] == "https://pubsub.private.example"
    assert found.invokers[2] == "domain:acme.example"
    assert (found.database_location, found.labels) == ("eur3", {"cost-centre": "42"})
    assert found.log_retention_days == 400


@pytest.mark.parametrize("project", ["acme-prod-1", "p", "example.com:shop", "a" * 30])
def test_ids_of_projects_are_taken(tmp_path: Path, project: str) -> None:
    assert settings(tmp_path, f'project = "{project}"').project == project


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('project = "123456789012"', "the id of a project"),
        ('project = "My Project"', "no name and no number"),
        ('region = "europe"', 'like "europe-west1"'),
        ('region = "europe-west1-b"', "the name of a region"),
        ('impersonate = "ann@acme.example"', "the e-mail of a service account"),
        ('endpoints = { pubsubs = "https://x" }', "pubsub"),
        ('endpoints = { pubsub = "ftp://x" }', "an address"),
        ('invokers = ["ann@acme.example"]', "one that IAM knows"),
        ('invokers = ["allUsers"]', "one that IAM knows"),
        ('labels = { Team = "x" }', "lower-case letters"),
        ('labels = { team = "X" }', "lower-case letters"),
        ('artefact_bucket = "No"', "the name of a bucket"),
        ('project_id = "x"', "did you mean 'project'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, table: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings(tmp_path, table)
    assert expected in str(error.value)
    assert "pys-multi.toml:2" in str(error.value)


def test_google_s_own_variables_are_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "of-gcloud")
    monkeypatch.setenv("CLOUDSDK_RUN_REGION", "us-east1")
    found = settings(tmp_path, "")
    assert (found.project, found.region) == ("of-gcloud", "us-east1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "of-google")
    monkeypatch.setenv("GOOGLE_CLOUD_REGION", "us-west1")
    monkeypatch.setenv("CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "d@p.iam.gserviceaccount.com")
    found = settings(tmp_path, "")
    assert (found.project, found.region) == ("of-google", "us-west1")
    assert found.impersonate == "d@p.iam.gserviceaccount.com"


def test_a_flag_wins_over_a_variable_over_the_table_over_google_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "of-google")
    table = 'project = "of-table"'
    assert settings(tmp_path, table).project == "of-table"
    env = {"PYS_MULTI_GCP_PROJECT": "of-variable"}
    assert settings(tmp_path, table, env=env).project == "of-variable"
    assert settings(tmp_path, table, env=env, flags={"gcp.project": "of-flag"}).project == "of-flag"


def test_a_variable_of_google_s_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "Not A Project")
    with pytest.raises(SettingsError) as error:
        settings(tmp_path, "")
    assert "'gcp.project' must be the id of a project" in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        *({"cpu": 0}, {"cpu": 9}, {"min_instances": -1}, {"max_instances": 0}, {"ingress": "some"}, {"memory": 1}),
        *({"vpc_connector": "net"}, {"vpc_egress": "none"}, {"labels": {"A": "b"}}),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GcpOptions.model_validate(options)


def test_every_setting_and_option_is_documented() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for name in (*GcpSettings.model_fields, *GcpOptions.model_fields):
        assert f"`{name}`" in page, name
    for name in VARIABLES:
        assert name in page, name
