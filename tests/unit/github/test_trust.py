"""The trust that ``permissions`` prints lets in the workflows it is for, and nobody else."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from tests.support.github_server import GitHub
from tests.support.trust import aws_lets_in, claims_of, foreign_claims

from pys_multi_tools import pipeline
from pys_multi_tools.github.federation import AWS_AUDIENCE
from pys_multi_tools.github.identity import Identity
from pys_multi_tools.provider import Permissions

ACCOUNT = "123456789012"
PLAIN, WITH_IDS = "acme/shop", "acme@12/shop@34"
APP = 'from pys_multi import App\napp = App("shop")\n@app.get("/")\ndef hello() -> dict: ...\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    (root / "app.py").write_text(APP)
    (root / "pys-multi.toml").write_text('app = "app:app"\n')
    return root


def trust(folder: Path, cloud: str, repository: str) -> Any:
    """What `pys-multi permissions --github` prints."""
    [placement] = pipeline.place(pipeline.load(folder, "prod", env={}), [cloud])
    assert isinstance(placement.provider, Permissions)
    return pipeline.permissions(placement, account=ACCOUNT, repository=repository, environment="prod")["trust_policy"]


@pytest.mark.parametrize("repository", [PLAIN, WITH_IDS])
def test_aws_lets_in_the_workflows_of_the_environment(folder: Path, repository: str) -> None:
    policy = trust(folder, "aws", repository)
    claims = claims_of(ids=repository == WITH_IDS)
    assert aws_lets_in(policy, claims, account=ACCOUNT)
    # Whatever branch or event it is: what the environment is protected by decides that.
    assert aws_lets_in(policy, {**claims, "ref": "refs/heads/other", "event_name": "schedule"}, account=ACCOUNT)


@pytest.mark.parametrize("repository", [PLAIN, WITH_IDS])
@pytest.mark.parametrize("foreign", foreign_claims())
def test_aws_lets_nobody_else_in(folder: Path, repository: str, foreign: str) -> None:
    claims = foreign_claims(ids=repository == WITH_IDS)[foreign]
    assert not aws_lets_in(trust(folder, "aws", repository), claims, account=ACCOUNT)


def test_there_are_thirty_of_them() -> None:
    assert len(foreign_claims()) >= 30
    assert len({str(sorted(claims.items())) for claims in foreign_claims().values()}) == len(foreign_claims())


def test_the_trust_of_another_account_is_none(folder: Path) -> None:
    assert not aws_lets_in(trust(folder, "aws", PLAIN), claims_of(), account="999999999999")


def test_the_token_that_the_action_asks_for_is_one_that_is_let_in(folder: Path, server: GitHub) -> None:
    server.claims = {key: value for key, value in claims_of().items() if key != "aud"}
    token = Identity(server.environment()).token(AWS_AUDIENCE)
    claims = server.verified(token, AWS_AUDIENCE)
    assert aws_lets_in(trust(folder, "aws", PLAIN), claims, account=ACCOUNT)


@pytest.mark.parametrize("cloud", ["gcp", "azure"])
def test_other_clouds(cloud: str) -> None:
    if importlib.util.find_spec(f"pys_multi_providers.{cloud}") is None:
        pytest.skip(f"there is no provider {cloud} yet; its trust is to be evaluated here as AWS's is")
    pytest.fail(f"evaluate the trust of {cloud} against foreign_claims() too")
