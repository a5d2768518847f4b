"""The workflow's token for each cloud's credentials; what is wrong is said in words."""

from __future__ import annotations

import io
import json
import re
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.support.github_server import AZURE_FIELDS, IAM_FIELDS, STS_FIELDS, GitHub, Refused, Request
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


# ---- field by field: what the action asks for is what the vendors' libraries ask for, and what the descriptions know


def asked(server: GitHub, path: str) -> list[dict[str, Any]]:
    """The bodies of the requests to a path, in order."""
    return [request.body for request in server.requests if path in request.path and request.method == "POST"]


def test_google_is_asked_as_its_own_library_asks(step: Step, server: GitHub) -> None:
    with ExitStack() as stack:
        _google_takes_it(Path(step.exchange(GCP, stack)["GOOGLE_APPLICATION_CREDENTIALS"]))
    ours, theirs = asked(server, "/v1/token")
    # The library asks with the scope that is enough to become the service account, the action with what it is for.
    assert {**ours, "scope": ""} == {**theirs, "scope": ""}
    assert theirs["scope"] == "https://www.googleapis.com/auth/iam"
    ours, theirs = asked(server, ":generateAccessToken")
    assert ours == {key: value for key, value in theirs.items() if value is not None}


@pytest.mark.parametrize(
    ("api", "message", "fields"),
    [
        ("sts", "GoogleIdentityStsV1ExchangeTokenRequest", STS_FIELDS),
        ("iamcredentials", "GenerateAccessTokenRequest", IAM_FIELDS),
    ],
)
def test_the_fields_are_those_of_googles_descriptions(api: str, message: str, fields: set[str]) -> None:
    folder = Path(str(files("googleapiclient.discovery_cache") / "documents"))
    described = json.loads((folder / f"{api}.v1.json").read_text())["schemas"][message]["properties"]
    known = {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name) for name in described}
    assert fields <= known


def test_entra_is_asked_as_microsofts_library_asks(step: Step, server: GitHub) -> None:
    from azure.core.pipeline.transport import RequestsTransport
    from azure.identity import WorkloadIdentityCredential

    class Loopback(RequestsTransport):
        """The library speaks to https alone, so its requests are redirected beneath it."""

        def send(self, request: Any, **options: Any) -> Any:
            request.url = request.url.replace("https://login.example", server.url)
            return super().send(request, **options)

    with ExitStack() as stack:
        found = step.exchange(AZURE, stack)
        credential = WorkloadIdentityCredential(
            tenant_id=found["AZURE_TENANT_ID"],
            client_id=found["AZURE_CLIENT_ID"],
            token_file_path=found["AZURE_FEDERATED_TOKEN_FILE"],
            authority="https://login.example/azure",
            disable_instance_discovery=True,
            transport=Loopback(),
        )
        with credential:
            token = credential.get_token("https://management.azure.com/.default")
    assert token.token.startswith("eyJ")
    ours, theirs = asked(server, "/oauth2/v2.0/token")
    assert ours == {key: value for key, value in theirs.items() if key in AZURE_FIELDS}
    assert ours.keys() == AZURE_FIELDS


def test_the_variables_are_those_that_microsofts_library_reads(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import DefaultAzureCredential
    from azure.identity._constants import EnvironmentVariables  # the only place where it says them

    monkeypatch.delenv("AZURE_TOKEN_CREDENTIALS", raising=False)  # whoever runs this may have chosen one kind
    with ExitStack() as stack:
        found = step.exchange(AZURE, stack)
        assert set(EnvironmentVariables.WORKLOAD_IDENTITY_VARS) - {"AZURE_AUTHORITY_HOST"} <= found.keys()
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        with DefaultAzureCredential(require_envvar=False) as credential:
            kinds = [type(one).__name__ for one in credential.credentials]
    assert "WorkloadIdentityCredential" in kinds


def test_aws_is_asked_as_its_own_library_asks(step: Step, server: GitHub) -> None:
    from botocore.session import Session

    with ExitStack() as stack:
        step.exchange(AWS, stack)
    [ours] = asked(server, "/aws")
    model = Session().get_service_model("sts").operation_model("AssumeRoleWithWebIdentity")
    members = model.input_shape.members
    given = {name: value for name, value in ours.items() if name not in ("Action", "Version")}
    assert (ours["Action"], ours["Version"]) == (model.name, model.metadata["apiVersion"])
    assert set(model.input_shape.required_members) <= given.keys() <= members.keys()
    for name, value in given.items():
        limits = members[name].metadata
        size = int(value) if members[name].type_name == "integer" else len(value)
        assert limits.get("min", 0) <= size <= limits.get("max", size), name
    from botocore.serialize import create_serializer

    numbers = {name: int(v) if members[name].type_name == "integer" else v for name, v in given.items()}
    serialized = create_serializer("query").serialize_to_request(numbers, model)["body"]
    assert {name: str(value) for name, value in serialized.items()} == ours


def test_google_is_not_asked_for_the_project_that_is_known(
    step: Step, server: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import google.auth

    with ExitStack() as stack:
        found = step.exchange({**GCP, "gcp-project": "acme-prod"}, stack)
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        asked = len(server.requests)
        _, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    assert project == "acme-prod"
    assert len(server.requests) == asked, "nobody was asked"


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
