"""The workflow's OIDC token, exchanged for the short-lived credentials of each cloud; nothing long-lived anywhere.

    aws     AssumeRoleWithWebIdentity: keys for an hour
    gcp     workload identity federation: a token of the pool, and with it one of the service account
    azure   a federated credential of an application

The exchange is made at once, so that what is wrong is said here and in words. What a cloud's own library reads is set
for the processes of this step alone, never for the steps that come after.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from pys_multi_tools.errors import ToolError
from pys_multi_tools.github.identity import Identity, claims
from pys_multi_tools.github.inputs import InputError, Inputs
from pys_multi_tools.github.runner import Runner
from pys_multi_tools.github.web import WebError, fetch, send

#: A token of GitHub is good for five minutes; the files that hold one are written anew before that.
REFRESH_SECONDS = 120.0
_HOUR = "3600"

AWS_AUDIENCE = "sts.amazonaws.com"
AZURE_AUDIENCE = "api://AzureADTokenExchange"
_GCP_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_AZURE_SCOPE = "https://management.azure.com/.default"

_ROLE = re.compile(r"arn:(aws[a-z-]*):iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}")
_POOL = re.compile(r"projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+")
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class FederationError(ToolError):
    """A cloud does not give the workflow credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """How a workflow names its identity on a cloud.

    clouds: the providers that it is for; inputs: of the action, each with the repository's variable that a generated
    workflow takes it from.
    """

    name: str
    clouds: tuple[str, ...]
    inputs: Mapping[str, str]


FEDERATIONS = (
    Federation(name="AWS", clouds=("aws", "amplify"), inputs={"aws-role": "AWS_ROLE", "aws-region": "AWS_REGION"}),
    Federation(
        name="Google Cloud",
        clouds=("gcp",),
        inputs={
            "gcp-workload-identity-provider": "GCP_WORKLOAD_IDENTITY_PROVIDER",
            "gcp-service-account": "GCP_SERVICE_ACCOUNT",
            "gcp-project": "GCP_PROJECT",
            "gcp-region": "GCP_REGION",
        },
    ),
    Federation(
        name="Azure",
        clouds=("azure",),
        inputs={
            "azure-client-id": "AZURE_CLIENT_ID",
            "azure-tenant-id": "AZURE_TENANT_ID",
            "azure-subscription-id": "AZURE_SUBSCRIPTION_ID",
            "azure-resource-group": "AZURE_RESOURCE_GROUP",
            "azure-location": "AZURE_LOCATION",
        },
    ),
)


@contextlib.contextmanager
def credentials(inputs: Inputs, environment: Mapping[str, str], runner: Runner) -> Iterator[dict[str, str]]:
    """The variables that the clouds' libraries read, for every cloud whose inputs are there, inside a ``with`` block.

    Raises InputError for inputs that are not whole, IdentityError, and FederationError with what the cloud said.
    """
    wanted: list[Callable[[Identity, Path], dict[str, str]]] = []
    if inputs.aws_role:
        wanted.append(lambda identity, _: _aws(inputs, identity, environment, runner))
    if inputs.gcp_provider or inputs.gcp_service_account:
        wanted.append(lambda identity, folder: _gcp(inputs, identity, environment, runner, folder))
    if inputs.azure_client or inputs.azure_tenant:
        wanted.append(lambda identity, folder: _azure(inputs, identity, environment, runner, folder))
    if not wanted:
        yield {}
        return
    _check(inputs)
    identity = Identity(environment)
    runner.mask(identity.bearer)
    temporary = environment.get("RUNNER_TEMP") or None
    with tempfile.TemporaryDirectory(prefix="pys-multi-", dir=temporary) as name:
        folder, found = Path(name), dict[str, str]()
        for exchange in wanted:
            found |= exchange(identity, folder)
        with _kept_fresh(identity, folder):
            yield found


def _check(inputs: Inputs) -> None:
    if inputs.aws_role and not _ROLE.fullmatch(inputs.aws_role):
        raise InputError("aws-role", "is no role", "write its ARN: arn:aws:iam::123456789012:role/deploy")
    if inputs.aws_region and not re.fullmatch(r"[a-z]{2}(?:-[a-z]+)+-[0-9]", inputs.aws_region):
        raise InputError("aws-region", "is no region", "write one such as eu-central-1")
    if inputs.gcp_service_account and not inputs.gcp_provider:
        raise InputError("gcp-workload-identity-provider", "is missing", "gcp-service-account alone is not enough")
    if inputs.gcp_provider and not _POOL.fullmatch(inputs.gcp_provider):
        hint = "write projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"
        raise InputError("gcp-workload-identity-provider", "is no provider of a pool", hint)
    if inputs.gcp_service_account and not _ACCOUNT.fullmatch(inputs.gcp_service_account):
        raise InputError("gcp-service-account", "is no service account", "write its e-mail address")
    if inputs.azure_client or inputs.azure_tenant:
        for name, value in (
            ("azure-client-id", inputs.azure_client),
            ("azure-tenant-id", inputs.azure_tenant),
            ("azure-subscription-id", inputs.azure_subscription),
        ):
            if not _ID.fullmatch(value):
                raise InputError(name, "is no id" if value else "is missing", "Azure takes all three ids together")


# ---- AWS: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html


def _aws(inputs: Inputs, identity: Identity, environment: Mapping[str, str], runner: Runner) -> dict[str, str]:
    region = inputs.aws_region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or ""
    token = identity.token(AWS_AUDIENCE)
    runner.mask(token)
    run = re.sub(r"[^0-9]", "", environment.get("GITHUB_RUN_ID", ""))
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": inputs.aws_role,
        "RoleSessionName": f"pys-multi-{run}",
        "WebIdentityToken": token,
        "DurationSeconds": _HOUR,
    }
    try:
        answer = send(_sts(inputs.aws_role, region, environment), form=form, headers={"Accept": "text/xml"})
        document = _xml(answer)
    except WebError as exc:
        said = _aws_error(exc.body) or exc.what
        raise _refused("AWS", said, token, "the role's trust policy") from exc
    keys = {tag: document.get(tag, "") for tag in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
    if not all(keys.values()):
        raise FederationError("the answer holds no credentials", where="AWS")
    runner.mask(*keys.values())
    found = {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }
    return {**found, **({"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {})}


def _sts(role: str, region: str, environment: Mapping[str, str]) -> str:
    # The same variables that AWS's own libraries take an endpoint from.
    own = environment.get("AWS_ENDPOINT_URL_STS") or environment.get("AWS_ENDPOINT_URL")
    if own:
        return own
    domain = "amazonaws.com.cn" if role.startswith("arn:aws-cn:") else "amazonaws.com"
    return f"https://sts.{region}.{domain}/" if region else f"https://sts.{domain}/"


def _xml(text: bytes | str) -> dict[str, str]:
    """The texts of a document, by their tags without namespace; empty for what is none."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (AWS's own answer: no document of a stranger)
    except ElementTree.ParseError:
        return {}
    return {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root.iter()}


def _aws_error(body: str) -> str:
    document = _xml(body)
    return ": ".join(filter(None, (document.get("Code"), document.get("Message"))))


# ---- Google Cloud: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token


def _gcp(
    inputs: Inputs, identity: Identity, environment: Mapping[str, str], runner: Runner, folder: Path
) -> dict[str, str]:
    # gcloud's own variables for other endpoints.
    sts = environment.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS") or "https://sts.googleapis.com/"
    iam = environment.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS") or "https://iamcredentials.googleapis.com/"
    token_url = f"{sts.rstrip('/')}/v1/token"
    resource = f"//iam.googleapis.com/{inputs.gcp_provider}"
    audience = f"https:{resource}"
    token = identity.token(audience)
    runner.mask(token)
    form = {
        "audience": resource,
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "scope": _GCP_SCOPE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "subject_token": token,
    }
    try:
        federated = str(fetch(token_url, form=form).get("access_token", ""))
    except WebError as exc:
        raise _refused("Google Cloud", _said(exc), token, "the attribute condition of the pool's provider") from exc
    runner.mask(federated)
    source = _token_file(folder, "gcp", audience, token)
    document: dict[str, object] = {
        "type": "external_account",
        "audience": resource,
        "subject_token_type": form["subject_token_type"],
        "token_url": token_url,
        "credential_source": {"file": str(source)},
    }
    if inputs.gcp_service_account:
        account = quote(inputs.gcp_service_account, safe="@")
        url = f"{iam.rstrip('/')}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        try:
            headers = {"Authorization": f"Bearer {federated}"}
            answer = fetch(url, headers=headers, fields={"scope": [_GCP_SCOPE], "lifetime": f"{_HOUR}s"})
        except WebError as exc:
            grant = "roles/iam.workloadIdentityUser on the service account"
            raise _refused("Google Cloud", _said(exc), token, grant) from exc
        runner.mask(str(answer.get("accessToken", "")))
        document["service_account_impersonation_url"] = url
    file = _private(folder / "gcp.json", json.dumps(document))
    found = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": str(file)}
    # Without it Google's library asks Google for the name of the project that the pool is in, which may be another one.
    return {**found, **({"GOOGLE_CLOUD_PROJECT": inputs.gcp_project} if inputs.gcp_project else {})}


# ---- Azure: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow


def _azure(
    inputs: Inputs, identity: Identity, environment: Mapping[str, str], runner: Runner, folder: Path
) -> dict[str, str]:
    authority = environment.get("AZURE_AUTHORITY_HOST") or "https://login.microsoftonline.com/"
    if "://" not in authority:
        authority = f"https://{authority}"
    token = identity.token(AZURE_AUDIENCE)
    runner.mask(token)
    form = {
        "client_id": inputs.azure_client,
        "grant_type": "client_credentials",
        "scope": _AZURE_SCOPE,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": token,
    }
    try:
        answer = fetch(f"{authority.rstrip('/')}/{inputs.azure_tenant}/oauth2/v2.0/token", form=form)
    except WebError as exc:
        raise _refused("Azure", _said(exc), token, "the application's federated credentials") from exc
    runner.mask(str(answer.get("access_token", "")))
    return {
        "AZURE_CLIENT_ID": inputs.azure_client,
        "AZURE_TENANT_ID": inputs.azure_tenant,
        "AZURE_SUBSCRIPTION_ID": inputs.azure_subscription,
        "AZURE_FEDERATED_TOKEN_FILE": str(_token_file(folder, "azure", AZURE_AUDIENCE, token)),
    }


def _said(exc: WebError) -> str:
    try:
        document = json.loads(exc.body)
    except ValueError:
        return exc.what
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):  # Google's APIs
        return f"{error.get('status', '')}: {error.get('message', '')}"
    said = document.get("error_description") or error if isinstance(document, dict) else ""
    return str(said or exc.what).splitlines()[0]


def _refused(cloud: str, said: str, token: str, where: str) -> FederationError:
    told = claims(token)
    shown = ", ".join(f"{name} {told.get(name, '')!r}" for name in ("sub", "aud"))
    hint = f"the token says {shown}: compare it with {where}, as `pys-multi permissions` prints it"
    return FederationError(f"gives this workflow no credentials: {said[:500]}", where=cloud, hint=hint)


# ---- files that hold a token


def _token_file(folder: Path, name: str, audience: str, token: str) -> Path:
    _private(folder / f"{name}.audience", audience)
    return _private(folder / f"{name}.token", token)


def _private(path: Path, text: str) -> Path:
    """A file that its owner alone can read, and that is never half written."""
    part = path.with_name(f".{path.name}")
    part.touch(mode=0o600)
    part.write_text(text, encoding="utf-8")
    return part.replace(path)


@contextlib.contextmanager
def _kept_fresh(identity: Identity, folder: Path) -> Iterator[None]:
    """Writes the token files anew as long as the block lasts: a long deploy asks for further credentials."""
    over = threading.Event()

    def refresh() -> None:
        while not over.wait(REFRESH_SECONDS):
            for audience in folder.glob("*.audience"):
                # One that fails is tried again the next time; until then the cloud's own error says what is wrong.
                with contextlib.suppress(ToolError, OSError):
                    token = identity.token(audience.read_text(encoding="utf-8"))
                    _private(audience.with_suffix(".token"), token)

    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=1)
