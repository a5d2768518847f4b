"""A GitHub of the tests' own on loopback: the part of its REST API that is used, as published, and OIDC tokens.

It keeps pull requests, comments, deployments and their statuses; knows what each token may do; refuses fields and
values that GitHub's description of the API does not have; and issues tokens that are really signed, which the clouds'
token services beside it really verify against the trust that a test has set up.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

Json = dict[str, Any]

REPOSITORY = "acme/shop"
COMMENT_LIMIT = 65_536
_STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
_DEPLOYMENT_FIELDS = {
    "ref", "task", "auto_merge", "required_contexts", "payload", "environment", "description",
    "transient_environment", "production_environment",
}  # fmt: skip
_STATUS_FIELDS = {
    "state", "target_url", "log_url", "description", "environment", "environment_url", "auto_inactive",
}  # fmt: skip
#: Of the exchange of Google's token service, as its description has them ("sts", v1).
STS_FIELDS = {
    "grant_type", "audience", "scope", "requested_token_type", "subject_token", "subject_token_type", "options",
    "actor_token", "actor_token_type",
}  # fmt: skip
#: Of generateAccessToken ("iamcredentials", v1).
IAM_FIELDS = {"delegates", "scope", "lifetime"}
#: "Third case: access token request with a federated credential", and what Microsoft's library adds.
AZURE_FIELDS = {"client_id", "scope", "client_assertion_type", "client_assertion", "grant_type"}
AZURE_OWN_FIELDS = {"client_info", "claims"}


@cache
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Request:
    """What was asked, for tests that look at it."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int = 0
    answer: Any = None
    authorization: str = ""


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class GitHub:
    """The state of one repository, and the clouds that trust its workflows.

    claims: of the tokens that are issued. aws, gcp, azure: whether claims are trusted, once signature and audience are
    found right. before: called with each request before it is answered; may raise Refused.
    """

    url: str = ""
    token: str = "ghs_" + "w" * 36
    fork_token: str = "ghs_" + "f" * 36
    bearer: str = "eyJ.request-token-of-the-run"
    pulls: dict[int, Json] = field(default_factory=dict)
    comments: list[Json] = field(default_factory=list)
    deployments: list[Json] = field(default_factory=list)
    statuses: dict[int, list[Json]] = field(default_factory=dict)
    claims: Json = field(default_factory=dict)
    aws: Callable[[str, Json], bool] = lambda role, claims: True
    gcp: Callable[[Json], bool] = lambda claims: True
    azure: Callable[[str, Json], bool] = lambda client, claims: True
    before: Callable[[Request], None] = lambda request: None
    requests: list[Request] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    page: int = 30
    lock: threading.RLock = field(default_factory=threading.RLock)
    ids: Iterator[int] = field(default_factory=lambda: iter(range(1001, 10**9)))

    # ---- what tests set up and look at

    def open(self, number: int, *, fork: bool = False, base: str = "b" * 40, head: str = "a" * 40) -> Json:
        """A pull request, and the event that tells of it."""
        other = "stranger/shop" if fork else REPOSITORY
        self.pulls[number] = {
            "number": number,
            "state": "open",
            "title": "a change",
            "body": "",
            "head": {"ref": "change", "sha": head, "repo": {"full_name": other, "fork": fork}},
            "base": {"ref": "main", "sha": base, "repo": {"full_name": REPOSITORY, "fork": False}},
        }
        return self.event(number, "opened")

    def event(self, number: int, action: str) -> Json:
        """What a workflow is told."""
        return {
            "action": action,
            "number": number,
            "pull_request": self.pulls[number],
            "repository": {"full_name": REPOSITORY, "default_branch": "main", "owner": {"login": "acme"}},
        }

    def close(self, number: int) -> Json:
        self.pulls[number]["state"] = "closed"
        return self.event(number, "closed")

    def state_of(self, deployment: int) -> str:
        return str(self.statuses[deployment][-1]["state"]) if self.statuses.get(deployment) else ""

    def comments_on(self, number: int) -> list[str]:
        return [comment["body"] for comment in self.comments if comment["issue_url"].endswith(f"/{number}")]

    def environment(self, *, fork: bool = False, oidc: bool = True) -> dict[str, str]:
        """The variables of a step that runs on this GitHub and beside these clouds."""
        found = {
            "GITHUB_API_URL": f"{self.url}/api",
            "GITHUB_REPOSITORY": REPOSITORY,
            "AWS_ENDPOINT_URL_STS": f"{self.url}/aws",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS": f"{self.url}/gcp/sts/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": f"{self.url}/gcp/iam/",
            "AZURE_AUTHORITY_HOST": f"{self.url}/azure",
        }
        if oidc and not fork:
            found["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"{self.url}/oidc?api-version=2.0"
            found["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = self.bearer
        return found

    # ---- the REST API

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        for method, pattern, handler in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                with self.lock:
                    return handler(self, request, *match.groups())
        raise Refused(404, "Not Found")

    def _may(self, request: Request, *, write: bool) -> None:
        token = request.authorization.removeprefix("Bearer ")
        if token not in (self.token, self.fork_token):
            raise Refused(401, "Bad credentials")
        if write and token == self.fork_token:
            raise Refused(403, "Resource not accessible by integration")

    def _paged(self, request: Request, found: list[Json]) -> tuple[int, Any, dict[str, str]]:
        size = min(int(request.query.get("per_page", self.page)), 100, self.page)
        page = int(request.query.get("page", "1"))
        headers = {}
        if len(found) > page * size:
            following = "&".join(f"{k}={v}" for k, v in {**request.query, "page": str(page + 1)}.items())
            headers["Link"] = f'<{self.url}{request.path}?{following}>; rel="next"'
        return 200, found[(page - 1) * size : page * size], headers

    def pull(self, request: Request, number: str) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=False)
        if int(number) not in self.pulls:
            raise Refused(404, "Not Found")
        return 200, self.pulls[int(number)], {}

    def list_comments(self, request: Request, number: str) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=False)
        return self._paged(request, [c for c in self.comments if c["issue_url"].endswith(f"/{number}")])

    def add_comment(self, request: Request, number: str) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=True)
        _only(request.body, {"body"}, required={"body"})
        comment = self.comment(int(number), _body(request.body))
        return 201, comment, {}

    def comment(self, number: int, body: str, *, login: str = "github-actions[bot]", kind: str = "Bot") -> Json:
        id_ = next(self.ids)
        now = _now()
        base = f"{self.url}/api/repos/{REPOSITORY}"
        found = {
            "id": id_,
            "node_id": f"IC_{id_}",
            "url": f"{base}/issues/comments/{id_}",
            "html_url": f"https://github.com/{REPOSITORY}/pull/{number}#issuecomment-{id_}",
            "issue_url": f"{base}/issues/{number}",
            "body": body,
            "user": _user(login, kind),
            "created_at": now,
            "updated_at": now,
            "author_association": "NONE",
            "performed_via_github_app": None,
        }
        self.comments.append(found)
        return found

    def _comment(self, id_: str) -> Json:
        found = next((comment for comment in self.comments if comment["id"] == int(id_)), None)
        if found is None:
            raise Refused(404, "Not Found")
        return found

    def update_comment(self, request: Request, id_: str) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=True)
        _only(request.body, {"body"}, required={"body"})
        found = self._comment(id_)
        found |= {"body": _body(request.body), "updated_at": _now()}
        return 200, found, {}

    def delete_comment(self, request: Request, id_: str) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=True)
        self.comments.remove(self._comment(id_))
        return 204, None, {}

    def list_deployments(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=False)
        wanted = {key: request.query[key] for key in ("environment", "task", "ref", "sha") if key in request.query}
        found = [d for d in reversed(self.deployments) if all(d[key] == value for key, value in wanted.items())]
        return self._paged(request, found)

    def add_deployment(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=True)
        fields = request.body
        _only(fields, _DEPLOYMENT_FIELDS, required={"ref"})
        if fields.get("required_contexts") is None:
            raise Refused(409, "Conflict: Commit status checks have not completed")
        id_, now = next(self.ids), _now()
        url = f"{self.url}/api/repos/{REPOSITORY}/deployments/{id_}"
        made = {
            "url": url,
            "id": id_,
            "node_id": f"DE_{id_}",
            "sha": "a" * 40,
            "ref": fields["ref"],
            "task": fields.get("task", "deploy"),
            "payload": fields.get("payload", {}),
            "environment": fields.get("environment", "production"),
            "original_environment": fields.get("environment", "production"),
            "description": fields.get("description"),
            "creator": _user("github-actions[bot]", "Bot"),
            "created_at": now,
            "updated_at": now,
            "statuses_url": f"{url}/statuses",
            "repository_url": f"{self.url}/api/repos/{REPOSITORY}",
            "transient_environment": fields.get("transient_environment", False),
            "production_environment": fields.get("production_environment", False),
        }
        self.deployments.append(made)
        return 201, made, {}

    def list_statuses(self, request: Request, id_: str) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=False)
        return self._paged(request, list(reversed(self.statuses.get(int(id_), []))))

    def add_status(self, request: Request, id_: str) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=True)
        fields = request.body
        _only(fields, _STATUS_FIELDS, required={"state"})
        deployment = next((d for d in self.deployments if d["id"] == int(id_)), None)
        if deployment is None:
            raise Refused(404, "Not Found")
        if fields["state"] not in _STATES:
            raise Refused(422, "Validation Failed: state")
        status, now = next(self.ids), _now()
        made = {
            "url": f"{deployment['url']}/statuses/{status}",
            "id": status,
            "node_id": f"DES_{status}",
            "state": fields["state"],
            "creator": _user("github-actions[bot]", "Bot"),
            "description": fields.get("description", ""),
            "environment": fields.get("environment", deployment["environment"]),
            "target_url": fields.get("target_url", ""),
            "created_at": now,
            "updated_at": now,
            "deployment_url": deployment["url"],
            "repository_url": deployment["repository_url"],
            "environment_url": fields.get("environment_url", ""),
            "log_url": fields.get("log_url", ""),
        }
        self.statuses.setdefault(int(id_), []).append(made)
        return 201, made, {}

    def user(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        self._may(request, write=False)
        raise Refused(403, "Resource not accessible by integration")

    # ---- tokens

    def oidc(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        if request.authorization != f"Bearer {self.bearer}":
            raise Refused(401, "Unauthorized")
        token = self.issue(request.query.get("audience", f"https://github.com/{REPOSITORY.split('/')[0]}"))
        return 200, {"count": len(token), "value": token}, {}

    def issue(self, audience: str, **claims: Any) -> str:
        now = int(time.time())
        told = {"iss": f"{self.url}/oidc", "aud": audience, "iat": now, "nbf": now, "exp": now + 300}
        told |= {"jti": secrets.token_hex(8), **self.claims, **claims}
        token = jwt.encode(told, signing_key(), algorithm="RS256", headers={"kid": "1"})
        self.issued.append(token)
        return token

    def verified(self, token: str, *audiences: str) -> Json:
        """The claims of a token. Raises Refused for one that is forged, old or for somebody else."""
        try:
            found: Json = jwt.decode(
                token, signing_key().public_key(), algorithms=["RS256"], audience=list(audiences), leeway=5
            )
        except jwt.PyJWTError as exc:
            raise Refused(400, f"invalid token: {exc}") from exc
        return found

    def aws_sts(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        form = request.body
        if form.get("Action") == "GetCallerIdentity":
            return 200, _AWS_CALLER, {}
        if form.get("Action") != "AssumeRoleWithWebIdentity" or form.get("Version") != "2011-06-15":
            raise Refused(400, _aws_error("InvalidAction", "Could not find operation"))
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", "")):
            raise Refused(400, _aws_error("ValidationError", "RoleSessionName"))
        try:
            claims = self.verified(form["WebIdentityToken"], "sts.amazonaws.com")
        except Refused as exc:
            raise Refused(400, _aws_error("InvalidIdentityToken", str(exc))) from exc
        if not self.aws(form["RoleArn"], claims):
            text = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            raise Refused(403, _aws_error("AccessDenied", text))
        return 200, _AWS_ANSWER.format(secret=secrets.token_urlsafe(30), session=secrets.token_urlsafe(90)), {}

    def gcp_sts(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        fields = request.body
        _only(fields, STS_FIELDS, required=STS_FIELDS - {"options", "actor_token", "actor_token_type"})
        audience = str(fields["audience"])
        kinds = (
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        )
        if any(fields[name] != value for name, value in kinds) or not fields["scope"]:
            raise Refused(400, "invalid_request")
        if not re.fullmatch(r"//iam.googleapis.com/projects/\d+/locations/global/workloadIdentityPools/.+", audience):
            return 400, {"error": "invalid_request", "error_description": 'Invalid value for "audience".'}, {}
        claims = self.verified(fields["subject_token"], audience, f"https:{audience}")
        if not self.gcp(claims):
            text = "The given credential is rejected by the attribute condition."
            return 403, {"error": "unauthorized_client", "error_description": text}, {}
        kind = "urn:ietf:params:oauth:token-type:access_token"
        token = "ya29.federated-" + secrets.token_urlsafe(24)
        return 200, {"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3600}, {}

    def gcp_iam(self, request: Request, _account: str) -> tuple[int, Any, dict[str, str]]:
        if not request.authorization.startswith("Bearer ya29.federated-"):
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no"}}, {}
        _only(request.body, IAM_FIELDS, required={"scope"})
        lifetime = re.fullmatch(r"(\d+)s", request.body.get("lifetime", "3600s"))
        if not isinstance(request.body["scope"], list) or not lifetime or not 0 < int(lifetime[1]) <= 3600:
            return 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}}, {}
        token = "ya29.account-" + secrets.token_urlsafe(24)
        return 200, {"accessToken": token, "expireTime": _now()}, {}

    def azure_token(self, request: Request, _tenant: str) -> tuple[int, Any, dict[str, str]]:
        form = request.body
        _only(form, AZURE_FIELDS | AZURE_OWN_FIELDS, required=AZURE_FIELDS)
        if form["grant_type"] != "client_credentials" or not form["scope"].endswith("/.default"):
            return 400, {"error": "invalid_request", "error_description": "AADSTS1002012: scope\r\nTrace ID: x"}, {}
        if form["client_assertion_type"] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            return 400, {"error": "invalid_request", "error_description": "AADSTS50027\r\nTrace ID: x"}, {}
        claims = self.verified(form["client_assertion"], "api://AzureADTokenExchange")
        if not self.azure(form["client_id"], claims):
            text = (
                f"AADSTS700213: No matching federated identity record found for {claims.get('sub')!r}.\r\nTrace ID: x"
            )
            return 401, {"error": "invalid_client", "error_description": text}, {}
        part = base64.urlsafe_b64encode(b'{"a":"azure"}').decode().rstrip("=")
        token = f"eyJhbGciOiJub25lIn0.{part}.{secrets.token_urlsafe(24)}"
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}, {}

    def azure_configuration(self, request: Request, tenant: str) -> tuple[int, Any, dict[str, str]]:
        """Where its tokens are had, which Microsoft's own library asks first."""
        base = f"https://login.example/azure/{tenant}/oauth2/v2.0"
        found = {"issuer": base, "token_endpoint": f"{base}/token", "authorization_endpoint": f"{base}/authorize"}
        return 200, found, {}


_API = f"/api/repos/{REPOSITORY}"
_ROUTES: list[tuple[str, str, Callable[..., tuple[int, Any, dict[str, str]]]]] = [
    ("GET", rf"{_API}/pulls/(\d+)", GitHub.pull),
    ("GET", rf"{_API}/issues/(\d+)/comments", GitHub.list_comments),
    ("POST", rf"{_API}/issues/(\d+)/comments", GitHub.add_comment),
    ("PATCH", rf"{_API}/issues/comments/(\d+)", GitHub.update_comment),
    ("DELETE", rf"{_API}/issues/comments/(\d+)", GitHub.delete_comment),
    ("GET", rf"{_API}/deployments", GitHub.list_deployments),
    ("POST", rf"{_API}/deployments", GitHub.add_deployment),
    ("GET", rf"{_API}/deployments/(\d+)/statuses", GitHub.list_statuses),
    ("POST", rf"{_API}/deployments/(\d+)/statuses", GitHub.add_status),
    ("GET", "/api/user", GitHub.user),
    ("GET", "/oidc", GitHub.oidc),
    ("POST", "/aws", GitHub.aws_sts),
    ("POST", "/gcp/sts/v1/token", GitHub.gcp_sts),
    ("POST", r"/gcp/iam/v1/projects/-/serviceAccounts/([^/:]+):generateAccessToken", GitHub.gcp_iam),
    ("POST", r"/azure/([0-9a-f-]+)/oauth2/v2.0/token", GitHub.azure_token),
    ("GET", r"/azure/([0-9a-f-]+)/v2.0/.well-known/openid-configuration", GitHub.azure_configuration),
]

_AWS_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAEXAMPLEEXAMPLE12</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{session}</SessionToken>
<Expiration>2026-11-24T12:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


_AWS_CALLER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:sts::000000000000:assumed-role/deploy/pys-multi</Arn>
<UserId>AROAEXAMPLE:pys-multi</UserId><Account>000000000000</Account></GetCallerIdentityResult>
</GetCallerIdentityResponse>"""


@contextmanager
def github() -> Iterator[GitHub]:
    """A GitHub that answers as long as the block lasts."""
    state = GitHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            authorization = self.headers.get("Authorization", "")
            request = Request(self.command, parts.path, query, None, authorization=authorization)
            state.requests.append(request)
            headers: dict[str, str] = {}
            try:
                request.body = _parsed(self.headers.get("Content-Type", ""), data)
                state.before(request)
                status, answer, headers = state.answer(request)
            except Refused as exc:
                status, answer = exc.status, {"message": str(exc), "documentation_url": "https://docs.github.com/rest"}
                if str(exc).startswith("<"):
                    answer = str(exc)
            request.status, request.answer = status, answer
            body = (
                b"" if answer is None else answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "text/xml" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _parsed(kind: str, data: bytes) -> Any:
    if kind.startswith("application/x-www-form-urlencoded"):
        return {name: values[-1] for name, values in parse_qs(data.decode()).items()}
    try:
        return json.loads(data) if data else None
    except ValueError as exc:
        raise Refused(400, "Problems parsing JSON") from exc


def _only(fields: Any, known: set[str], required: set[str]) -> None:
    if not isinstance(fields, Mapping) or not required <= fields.keys() <= known:
        raise Refused(422, f"Validation Failed: {sorted(fields) if isinstance(fields, Mapping) else fields}")


def _body(fields: Mapping[str, Any]) -> str:
    if not isinstance(fields["body"], str) or not 0 < len(fields["body"]) <= COMMENT_LIMIT:
        raise Refused(422, "Body is too long (maximum is 65536 characters)")
    return str(fields["body"])


def _aws_error(code: str, message: str) -> str:
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )


def _user(login: str, kind: str) -> Json:
    base = f"https://api.github.com/users/{login}"
    names = ("followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events")
    return {
        "login": login,
        "id": 41898282,
        "node_id": "MDM6Qm90NDE4OTgyODI=",
        "avatar_url": "https://avatars.githubusercontent.com/in/15368",
        "gravatar_id": "",
        "url": base,
        "html_url": f"https://github.com/{login}",
        **{f"{name}_url": f"{base}/{name}" for name in names},
        "received_events_url": f"{base}/received_events",
        "type": kind,
        "site_admin": False,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
