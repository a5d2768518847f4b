"""The trust that ``permissions`` prints lets in the workflows it is for, and nobody else."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.github_server import GitHub
from tests.support.trust import (
    AWS_AUDIENCE,
    AZURE_AUDIENCE,
    aws_lets_in,
    azure_lets_in,
    claims_of,
    foreign_claims,
    gcp_audience,
    gcp_lets_in,
)

from pys_multi_tools import pipeline
from pys_multi_tools.github import federation
from pys_multi_tools.github.inputs import Inputs
from pys_multi_tools.github.redaction import Redactor
from pys_multi_tools.github.runner import Runner
from pys_multi_tools.provider import Permissions

PLAIN, WITH_IDS = "acme/shop", "acme@12/shop@34"
SUBSCRIPTION = "00000000-0000-4000-8000-000000000003"
APP = 'from pys_multi import App\napp = App("shop")\n@app.get("/")\ndef hello() -> dict: ...\n'
SETTINGS = """
app = "app:app"
[gcp]
project = "acme-prod"
region = "europe-west1"
[azure]
resource_group = "shop"
location = "westeurope"
"""


class Cloud(NamedTuple):
    """account: as ``--account`` names it; audience: of the token that it takes; lets_in: how it decides."""

    account: str
    audience: Callable[[Any], str]
    lets_in: Callable[[Any, Any], bool]


CLOUDS = {
    "aws": Cloud("123456789012", lambda _: AWS_AUDIENCE, lambda t, c: aws_lets_in(t, c, account="123456789012")),
    "gcp": Cloud("987654321098", gcp_audience, gcp_lets_in),
    "azure": Cloud(SUBSCRIPTION, lambda _: AZURE_AUDIENCE, azure_lets_in),
}
every_cloud = pytest.mark.parametrize("cloud", CLOUDS)
both_forms = pytest.mark.parametrize("repository", [PLAIN, WITH_IDS])


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """What `pys-multi permissions --github` prints, by cloud, repository and environment."""
    root = tmp_path_factory.mktemp("shop")
    (root / "app.py").write_text(APP)
    (root / "pys-multi.toml").write_text(SETTINGS)

    @cache
    def of(cloud: str, repository: str = PLAIN, environment: str = "prod", stage: str = "prod", **more: Any) -> Any:
        [placement] = pipeline.place(pipeline.load(root, stage, env={}), [cloud])
        assert isinstance(placement.provider, Permissions)
        account = CLOUDS[cloud].account
        return pipeline.permissions(placement, account=account, repository=repository, environment=environment, **more)[
            "trust_policy"
        ]

    return of


@every_cloud
@both_forms
@pytest.mark.parametrize("environment", ["prod", "Prod EU", "prod:eu", "plan", "größe", 'a"b\\c', "x" * 200])
def test_the_workflows_of_the_environment_are_let_in(
    trust: Callable[..., Any], cloud: str, repository: str, environment: str
) -> None:
    policy = trust(cloud, repository, environment)
    _, audience, lets_in = CLOUDS[cloud]
    claims = claims_of(environment=environment, ids=repository == WITH_IDS, aud=audience(policy))
    assert lets_in(policy, claims)
    # Whatever branch or event it is: what the environment is protected by decides that.
    assert lets_in(policy, {**claims, "ref": "refs/heads/other", "event_name": "schedule"})


@every_cloud
@both_forms
@pytest.mark.parametrize("foreign", foreign_claims())
def test_nobody_else_is_let_in(trust: Callable[..., Any], cloud: str, repository: str, foreign: str) -> None:
    policy = trust(cloud, repository)
    _, audience, lets_in = CLOUDS[cloud]
    claims = foreign_claims(ids=repository == WITH_IDS, aud=audience(policy))[foreign]
    assert not lets_in(policy, claims)


@pytest.mark.parametrize("aud", [AWS_AUDIENCE, AZURE_AUDIENCE, "https://iam.googleapis.com/x"])
def test_there_are_thirty_of_them(aud: str) -> None:
    found = foreign_claims(aud=aud)
    assert len(found) >= 30
    assert len({str(sorted(claims.items())) for claims in found.values()}) == len(found)


@every_cloud
@pytest.mark.parametrize("repository", ["shop", "acme/*", "acme/shop:ref", "acme@1/shop", "acme/shop@2", "*/*", ""])
def test_a_pattern_is_no_repository(trust: Callable[..., Any], cloud: str, repository: str) -> None:
    with pytest.raises(Exception, match="no GitHub repository"):
        trust(cloud, repository)


@every_cloud
@pytest.mark.parametrize("environment", ['" || true || "', "') || ('' == '", "*", "prod*", "\\", "' or 1=1", "${{x}}"])
def test_the_name_of_an_environment_is_nothing_but_a_name(
    trust: Callable[..., Any], cloud: str, environment: str
) -> None:
    policy = trust(cloud, PLAIN, environment)
    _, audience, lets_in = CLOUDS[cloud]
    assert lets_in(policy, claims_of(environment=environment, aud=audience(policy)))
    for claims in foreign_claims(aud=audience(policy)).values():
        if claims.get("environment") != environment:
            assert not lets_in(policy, claims)
    assert not lets_in(policy, claims_of(environment="prod", aud=audience(policy)))


def test_the_trust_of_another_account_is_none(trust: Callable[..., Any]) -> None:
    assert not aws_lets_in(trust("aws"), claims_of(), account="999999999999")


@pytest.mark.parametrize("purpose", ["deploy", "preview", "plan"])
def test_on_google_cloud_each_purpose_has_an_identity_of_its_own(trust: Callable[..., Any], purpose: str) -> None:
    others = {"deploy", "preview", "plan"} - {purpose}
    policy = trust("gcp", purpose=purpose)
    own = {policy["service_account"], policy["workload_identity_provider"]}
    for other in others:
        found = trust("gcp", purpose=other)
        assert not own & {found["service_account"], found["workload_identity_provider"]}
        # A token for the one is none for the other: its audience is that of one provider of the pool.
        assert not gcp_lets_in(policy, claims_of(aud=gcp_audience(found)))


@every_cloud
def test_the_token_that_the_action_asks_for_is_one_that_is_let_in(
    trust: Callable[..., Any], server: GitHub, cloud: str, tmp_path: Path
) -> None:
    """The whole way: the inputs of the action as ``permissions`` prints them, the tokens really issued and verified."""
    policy = trust(cloud)
    inputs = {
        "aws": {"aws-role": "arn:aws:iam::123456789012:role/deploy"},
        "gcp": {
            "gcp-workload-identity-provider": policy.get("workload_identity_provider", ""),
            "gcp-service-account": policy.get("service_account", ""),
        },
        "azure": {f"azure-{name}-id": SUBSCRIPTION for name in ("client", "tenant", "subscription")},
    }[cloud]
    lets_in = CLOUDS[cloud].lets_in
    server.claims = {key: value for key, value in claims_of().items() if key != "aud"}
    server.aws = lambda _, claims: lets_in(policy, claims)
    server.gcp = lambda claims: lets_in(policy, claims)
    server.azure = lambda _, claims: lets_in(policy, claims)
    environment = {**server.environment(), "RUNNER_TEMP": str(tmp_path)}
    given = {f"INPUT_{name.upper().replace('-', '_')}": value for name, value in inputs.items()}
    runner = Runner({}, Redactor(), io.StringIO())
    with federation.credentials(Inputs.read({"INPUT_COMMAND": "deploy", **given}), environment, runner) as found:
        assert found
    server.claims["sub"] = "repo:evil/shop:environment:prod"
    with (
        pytest.raises(federation.FederationError, match="gives this workflow no credentials"),
        federation.credentials(Inputs.read({"INPUT_COMMAND": "deploy", **given}), environment, runner),
    ):
        pass
