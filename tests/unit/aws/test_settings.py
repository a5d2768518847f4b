"""``[tool.pys-multi.aws]`` and ``aws={…}``: what is taken, and what a person reads when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pys_multi_providers.aws.settings import AwsOptions, AwsSettings
from pys_multi_tools.errors import SettingsError
from pys_multi_tools.project import Project


def settings(tmp_path: Path, table: str, env: dict[str, str] | None = None) -> AwsSettings:
    (tmp_path / "pys-multi.toml").write_text(f"[aws]\n{table}\n")
    return Project.load(tmp_path, env=env or {}).provider_settings("aws", AwsSettings)


def refused(tmp_path: Path, table: str) -> str:
    with pytest.raises(SettingsError) as error:
        settings(tmp_path, table)
    return str(error.value)


def test_without_a_table_there_are_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, "")
    assert (found.architecture, found.http, found.log_retention_days, found.native_jwt) == (
        "arm64",
        "http-api",
        30,
        False,
    )
    assert found.region is None
    assert found.tags == {}


def test_a_full_table_is_taken(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """
        region = "us-gov-west-1"
        profile = "work"
        architecture = "x86_64"
        http = "function-url"
        native_jwt = true
        log_retention_days = 365
        artefact_bucket = "team-bundles"
        tags = { "cost-centre" = "42" }
        [aws.domain]
        name = "api.shop.example"
        certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0123abcd-4567"
        hosted_zone_id = "Z0123456789ABC"
        """,
    )
    assert found.domain is not None
    assert found.domain.name == "api.shop.example"
    assert (found.region, found.profile, found.tags) == ("us-gov-west-1", "work", {"cost-centre": "42"})


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    found = settings(tmp_path, 'region = "eu-central-1"', {"PYS_MULTI_AWS_REGION": "eu-west-1"})
    assert found.region == "eu-west-1"


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ('region = "Frankfurt"', "the name of a region"),
        ('regoin = "eu-central-1"', "region"),
        ('architecture = "amd64"', "arm64"),
        ('http = "nlb"', "function-url"),
        ("log_retention_days = 31", "30"),
        ("log_retention_days = '30'", "log_retention_days"),
        ('artefact_bucket = "Team"', "the name of a bucket"),
        ('[aws.domain]\ncertificate_arn = "x"', "name"),
        ('base_path = "shop"', "a path"),
        ('kms_key = "alias/mine"', "the ARN of a KMS key"),
        ('[aws.domain]\nname = "no domain"\ncertificate_arn = "x"', "a domain name"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, table: str, part: str) -> None:
    message = refused(tmp_path, table)
    assert part in message
    assert "pys-multi.toml" in message


@pytest.mark.parametrize(
    "options",
    [
        {"reserved_concurrency": 0, "ephemeral_storage": 10_240},
        {"vpc": {"subnets": ["subnet-01234567"], "security_groups": ["sg-01234567"]}},
        {"layers": ["arn:aws-cn:lambda:cn-north-1:123456789012:layer:tools:12"], "tags": {"a": "b"}},
        {"log_retention_days": 1},
    ],
)
def test_options_of_a_function_are_taken(options: dict[str, Any]) -> None:
    AwsOptions.model_validate(options)


@pytest.mark.parametrize(
    "options",
    [
        {"ephemeral_storage": 511},
        {"ephemeral_storage": 10_241},
        {"reserved_concurrency": -1},
        {"vpc": {"subnets": [], "security_groups": ["sg-01234567"]}},
        {"vpc": {"subnets": ["sg-01234567"], "security_groups": ["sg-01234567"]}},
        {"layers": ["tools"]},
        {"layers": ["arn:aws:lambda:eu-central-1:123456789012:layer:tools:1"] * 6},
        {"memory": 128},
    ],
)
def test_options_that_aws_does_not_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        AwsOptions.model_validate(options)
