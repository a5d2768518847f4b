"""The workflow's token for each cloud's credentials; what is wrong is said in words."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.github_server import GitHub, Refused, Request
from tests.support.local_stage import wait_for
from tests.support.trust import claims_of

from pys_multi_tools.errors import ToolError
from pys_multi_tools.github import federation
from pys_multi_tools.github.identity import claims
from pys_multi_tools.github.inputs import Inputs
from pys_multi_tools.github.redaction import Redactor
from pys_multi_tools.github.runner import Runner

ROLE = "arn:aws:iam::123456789012:role/deploy"
POOL = "projects/123/locations/global/workloadIdentityPools/github/providers/github"
ACCOUNT = "deployer@acme-prod.iam.gserviceaccount.com"
IDS = {name: f"00000000-0000-4000-8000-00000000000{at}" for at, name in enumerate(("client", "tenant", "subscription"))}
AWS = {"aws-role": ROLE, "aws-region": "eu-central-1"}
GCP = {"gcp-workload-identity-provider": POOL, "gcp-service-account": ACCOUNT}
AZURE = {f"azure-{name}-id": value for name, value in IDS.items()}


class Step:
    """One step of a job: its inputs and variables, and what it printed."""

    def __init__(self, server: GitHub, folder: Path) -> None:
        self.environment = {**server.environment(), "RUNNER_TEMP": str(folder), "GITHUB_RUN_ID": "42"}
        self.stream = io.StringIO()
        self.runner = Runner({}, Redactor(), self.stream)

    def inputs(self, given: Mapping[str, str]) -> Inputs:
        named = {f"INPUT_{name.upper().replace('-', '_')}": value for name, value in given.items()}
        return Inputs.read({"INPUT_COMMAND": "deploy", **named})

    def exchange(self, given: Mapping[str, str], stack: ExitStack) -> dict[str, str]:
        return stack.enter_context(federation.credentials(self.inputs(given), self.environment, self.runner))

    def refused(self, given: Mapping[str, str]) -> str:
        with pytest.raises(ToolError) as caught, ExitStack() as stack:
            self.exchange(given, stack)
        return str(caught.value)


@pytest.fixture
def step(server: GitHub, tmp_path: Path) -> Step:
    server.claims = {key: value for key, value in claims_of().items() if key not in ("aud", "iss")}
    return Step(server, tmp_path)


def test_without_inputs_nobody_is_asked(step: Step, server: GitHub) -> None:
    with ExitStack() as stack:
        assert step.exchange({}, stack) == {}
    assert server.requests == []


def test_aws(step: Step, server: GitHub) -> None:
    asked: list[tuple[str, str]] = []
    server.aws = lambda role, claims: not asked.append((role, claims["sub"]))  # type: ignore[func-returns-value]
    with ExitStack() as stack:
        found = step.exchange(AWS, stack)
    assert sorted(found) == [
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ]
    assert found["AWS_REGION"] == "eu-central-1"
    assert asked == [(ROLE, "repo:acme/shop:environment:prod")]
    assert claims(server.issued[0])["aud"] == "sts.amazonaws.com"
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        assert f"::add-mask::{found[name]}" in step.stream.getvalue()
        assert step.runner.redacted(found[name]) == "***"


@pytest.mark.parametrize(
    ("role", "region", "address"),
    [
        (ROLE, "eu-central-1", "https://sts.eu-central-1.amazonaws.com/"),
        (ROLE, "", "https://sts.amazonaws.com/"),
        (ROLE.replace("arn:aws:", "arn:aws-cn:"), "cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
    ],
)
def test_the_address_of_sts(role: str, region: str, address: str) -> None:
    assert federation._sts(role, region, {}) == address


def test_gcp_with_a_service_account(step: Step, server: GitHub, tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = step.exchange(GCP, stack)
        file = Path(found["GOOGLE_APPLICATION_CREDENTIALS"])
        document = json.loads(file.read_text())
        token = Path(document["credential_source"]["file"])
        assert {stat.S_IMODE(path.stat().st_mode) for path in (file, token)} == {0o600}
        assert document["type"] == "external_account"
        assert document["audience"] == f"//iam.googleapis.com/{POOL}"
        assert document["service_account_impersonation_url"].endswith(f"/{ACCOUNT}:generateAccessToken")
        assert claims(token.read_text())["aud"] == f"https://iam.googleapis.com/{POOL}"
        _google_takes_it(file)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], "nothing of it stays"
    paths = [request.path for request in server.requests]
    assert paths[:3] == [
        "/oidc",
        "/gcp/sts/v1/token",
        f"/gcp/iam/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken",
    ]


def _google_takes_it(file: Path) -> None:
    """Google's own library makes of the file what the action says it is."""
    pytest.importorskip("google.auth", reason="google-auth is not installed")
    from google.auth.identity_pool import Credentials
    from google.auth.transport.requests import Request as Transport

    found = Credentials.from_file(str(file), scopes=["https://www.googleapis.com/auth/cloud-platform"])
    found.refresh(Transport())
    assert found.token.startswith("ya29.account-")


def test_gcp_without_a_service_account(step: Step) -> None:
    with ExitStack() as stack:
        found = step.exchange({"gcp-workload-identity-provider": POOL}, stack)
        document = json.loads(Path(found["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    assert "service_account_impersonation_url" not in document


def test_azure(step: Step, server: GitHub) -> None:
    with ExitStack() as stack:
        found = step.exchange(AZURE, stack)
        file = Path(found["AZURE_FEDERATED_TOKEN_FILE"])
        assert claims(file.read_text())["aud"] == "api://AzureADTokenExchange"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()
    assert {name: found[f"AZURE_{name.upper()}_ID"] for name in IDS} == IDS


def test_all_of_them_at_once(step: Step) -> None:
    with ExitStack() as stack:
        found = step.exchange({**AWS, **GCP, **AZURE}, stack)
    assert {name.partition("_")[0] for name in found} == {"AWS", "GOOGLE", "CLOUDSDK", "AZURE"}


def test_tokens_in_files_are_kept_fresh(step: Step, server: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "REFRESH_SECONDS", 0.01)
    with ExitStack() as stack:
        file = Path(step.exchange(AZURE, stack)["AZURE_FEDERATED_TOKEN_FILE"])
        first = server.issued[0]
        fresh = wait_for(lambda: (text := file.read_text()) != first and text)
        assert claims(str(fresh))["aud"] == "api://AzureADTokenExchange"


@pytest.mark.parametrize("given", [AWS, GCP, AZURE])
def test_a_missing_permission_is_named(step: Step, given: Mapping[str, str]) -> None:
    step.environment = {name: value for name, value in step.environment.items() if not name.startswith("ACTIONS_")}
    assert "add `id-token: write` to the job's permissions" in step.refused(given)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (AWS, "AWS: gives this workflow no credentials: AccessDenied: Not authorized"),
        (GCP, "Google Cloud: gives this workflow no credentials: The given credential is rejected"),
        (AZURE, "Azure: gives this workflow no credentials: AADSTS700213: No matching federated identity"),
    ],
)
def test_a_cloud_that_does_not_trust_it_is_quoted(
    step: Step, server: GitHub, given: Mapping[str, str], wanted: str
) -> None:
    server.aws = lambda role, claims: False
    server.gcp = lambda claims: False
    server.azure = lambda client, claims: False
    said = step.refused(given)
    assert wanted in said
    assert "repo:acme/shop:environment:prod" in said
    assert not any(token in said for token in server.issued)


@pytest.mark.parametrize(
    "given",
    [
        {"aws-role": "deploy"},
        {"aws-role": ROLE, "aws-region": "eu"},
        {"gcp-service-account": ACCOUNT},
        {"gcp-workload-identity-provider": "github"},
        {**GCP, "gcp-service-account": "me@example.com/../x"},
        {"azure-client-id": IDS["client"]},
        {**AZURE, "azure-tenant-id": "common"},
    ],
)
def test_inputs_that_are_not_whole_are_refused_before_anybody_is_asked(
    step: Step, server: GitHub, given: Mapping[str, str]
) -> None:
    assert step.refused(given).startswith("input ")
    assert server.requests == []


def test_a_server_that_stumbles_is_asked_again(step: Step, server: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi_tools.github.web.time.sleep", lambda seconds: None)
    left = {"/oidc": 1, "/aws": 2}

    def stumble(request: Request) -> None:
        if left.get(request.path, 0):
            left[request.path] -= 1
            raise Refused(503, "busy")

    server.before = stumble
    with ExitStack() as stack:
        assert step.exchange(AWS, stack)["AWS_SESSION_TOKEN"]


@pytest.mark.parametrize("answer", [{"value": "no-token"}, {}, {"value": None}])
def test_an_answer_without_a_token_is_no_token(
    step: Step, server: GitHub, monkeypatch: pytest.MonkeyPatch, answer: dict[str, str]
) -> None:
    monkeypatch.setattr("pys_multi_tools.github.identity.fetch", lambda *args, **kwargs: answer)
    assert "holds no OIDC token" in step.refused(AWS)


def test_forged_and_old_tokens_are_refused(server: GitHub) -> None:
    token = server.issue("sts.amazonaws.com")
    assert server.verified(token, "sts.amazonaws.com")
    for wrong in (token[:-8] + "AAAAAAAA", server.issue("sts.amazonaws.com", exp=1), server.issue("other")):
        with pytest.raises(Refused):
            server.verified(wrong, "sts.amazonaws.com")
