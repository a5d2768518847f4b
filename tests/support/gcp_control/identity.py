"""Service accounts, the project, secrets, and the tokens that say who calls."""

from __future__ import annotations

import base64
import re
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.gcp_control.handlers import answers, has_labels, patched
from tests.support.gcp_control.schema import Refusal, Request, invalid
from tests.support.gcp_control.state import NUMBER, PROJECT, State, now

Json = dict[str, Any]

#: Who deploys in the tests.
DEPLOYER = f"deployer@{PROJECT}.iam.gserviceaccount.com"


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem() -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key().private_bytes(encoding, form, serialization.NoEncryption()).decode()


def id_token(email: str, audience: str) -> str:
    claims = {
        "iss": "https://accounts.google.com",
        "aud": audience,
        "sub": email,
        "email": email,
        "email_verified": True,
        "iat": int(time.time()),
        "exp": int(time.time()) + 3600,
    }
    return jwt.encode(claims, key(), algorithm="RS256", headers={"kid": "test"})


def key_set() -> Json:
    found = jwt.algorithms.RSAAlgorithm.to_jwk(key().public_key(), as_dict=True)
    return {"keys": [{**found, "kid": "test", "use": "sig", "alg": "RS256"}]}


def email_of(token: str, audience: str) -> str:
    """Whose identity token it is; empty where it is none for that audience."""
    try:
        claims = jwt.decode(token, key().public_key(), algorithms=["RS256"], audience=audience)
    except jwt.InvalidTokenError:
        return ""
    return str(claims["email"])


def credentials_file(token_uri: str) -> Json:
    """A key file of the deployer, as google-auth reads it."""
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "test",
        "private_key": pem(),
        "client_email": DEPLOYER,
        "client_id": "1",
        "token_uri": token_uri,
    }


def granted(form: dict[str, str]) -> Json:
    """What the token endpoint answers to an assertion: an access token, or an identity token where one is asked for."""
    claims = jwt.decode(
        form["assertion"], key().public_key(), algorithms=["RS256"], options={"verify_aud": False, "verify_iat": False}
    )
    if "target_audience" in claims:
        return {"id_token": id_token(claims["iss"], claims["target_audience"])}
    return {"access_token": f"access-{claims['iss']}", "expires_in": 3600, "token_type": "Bearer"}


# ---- service accounts


@answers("iam.projects.serviceAccounts.create")
def create_account(state: State, request: Request) -> Json:
    id = request.body.get("accountId", "")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])", id):
        raise invalid(f"Invalid account id: {id}")
    given = request.body.get("serviceAccount", {})
    if len(given.get("description", "").encode()) > 256 or len(given.get("displayName", "").encode()) > 100:
        raise invalid("description or displayName is too long")
    email = f"{id}@{PROJECT}.iam.gserviceaccount.com"
    name = f"projects/{PROJECT}/serviceAccounts/{email}"
    account = {**given, "name": name, "email": email, "projectId": PROJECT, "uniqueId": str(10**20 + state.number())}
    return state.add("accounts", name, account)


@answers("iam.projects.serviceAccounts.get")
def get_account(state: State, request: Request) -> Json:
    return state.get("accounts", request.parameters["name"])


@answers("iam.projects.serviceAccounts.list")
def list_accounts(state: State, request: Request) -> Json:
    return state.shown(list(state.of("accounts").values()), request.parameters, "accounts")


@answers("iam.projects.serviceAccounts.patch")
def patch_account(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    live, wanted = state.get("accounts", name), request.body["serviceAccount"]
    state.of("accounts")[name] = patched(live, request, wanted, request.body.get("updateMask", ""), "ServiceAccount")
    return state.of("accounts")[name]


@answers("iam.projects.serviceAccounts.delete")
def delete_account(state: State, request: Request) -> Json:
    gone = state.remove("accounts", request.parameters["name"])
    state.forget_account(gone["email"], gone["uniqueId"])
    return {}


@answers("iamcredentials.projects.serviceAccounts.generateIdToken")
def generate_id_token(state: State, request: Request) -> Json:
    email = request.parameters["name"].rpartition("/")[2]
    state.get("accounts", f"projects/{PROJECT}/serviceAccounts/{email}")
    return {"token": id_token(email, request.body["audience"])}


@answers("iamcredentials.projects.serviceAccounts.generateAccessToken")
def generate_access_token(state: State, request: Request) -> Json:
    email = request.parameters["name"].rpartition("/")[2]
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    return {"accessToken": f"access-{email}", "expireTime": expires}


# ---- the project


@answers("cloudresourcemanager.projects.get")
def get_project(state: State, request: Request) -> Json:
    if request.parameters["name"] not in (f"projects/{PROJECT}", f"projects/{NUMBER}"):
        raise Refusal(403, "PERMISSION_DENIED", "The caller does not have permission")
    return {"name": f"projects/{NUMBER}", "projectId": PROJECT, "state": "ACTIVE"}


# ---- secrets


@answers("secretmanager.projects.secrets.create")
def create_secret(state: State, request: Request) -> Json:
    id = request.parameters.get("secretId", "")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", id):
        raise invalid(f"Invalid secret id: {id}")
    if not request.body.get("replication"):
        raise invalid("replication is required")
    name = f"{request.parameters['parent']}/secrets/{id}"
    shown = f"projects/{NUMBER}/secrets/{id}"  # Secret Manager answers with the number of the project
    state.of("versions").setdefault(name, {})
    return state.add("secrets", name, {**request.body, "name": shown, "createTime": now(), "etag": '"1"'})


@answers("secretmanager.projects.secrets.get")
def get_secret(state: State, request: Request) -> Json:
    return state.get("secrets", request.parameters["name"])


@answers("secretmanager.projects.secrets.list")
def list_secrets(state: State, request: Request) -> Json:
    wanted = request.parameters.get("filter", "")
    found = [secret for secret in state.of("secrets").values() if has_labels(secret, wanted)]
    return state.shown(found, request.parameters, "secrets")


@answers("secretmanager.projects.secrets.patch")
def patch_secret(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    mask = request.parameters.get("updateMask", "")
    found = patched(state.get("secrets", name), request, request.body, mask, "Secret", immutable=("replication",))
    state.of("secrets")[name] = found
    return found


@answers("secretmanager.projects.secrets.delete")
def delete_secret(state: State, request: Request) -> Json:
    state.remove("secrets", request.parameters["name"])
    state.of("versions").pop(request.parameters["name"], None)
    return {}


@answers("secretmanager.projects.secrets.addVersion")
def add_version(state: State, request: Request) -> Json:
    name = request.parameters["parent"]
    state.get("secrets", name)
    base64.b64decode(request.body["payload"]["data"], validate=True)
    versions = state.of("versions").setdefault(name, {})
    number = str(len(versions) + 1)
    versions[number] = request.body["payload"]["data"]
    return {"name": f"projects/{NUMBER}/secrets/{name.rpartition('/')[2]}/versions/{number}", "state": "ENABLED"}


@answers("secretmanager.projects.secrets.versions.access")
def access(state: State, request: Request) -> Json:
    name, _, version = request.parameters["name"].partition("/versions/")
    state.get("secrets", name)
    versions = state.of("versions").get(name, {})
    number = str(len(versions)) if version == "latest" else version
    if number not in versions:
        raise Refusal(404, "NOT_FOUND", f"Secret Version [{request.parameters['name']}] not found.")
    return {"name": f"{name}/versions/{number}", "payload": {"data": versions[number]}}


@answers("serviceusage.services.list")
def list_services(state: State, request: Request) -> Json:
    if request.parameters.get("filter") != "state:ENABLED":
        raise invalid("this server lists what is enabled")
    found = [{"name": f"projects/{NUMBER}/services/{api}.googleapis.com", "state": "ENABLED"} for api in ENABLED]
    return state.shown(found, request.parameters, "services")


#: All but one, so that there is something to say.
ENABLED = ("cloudfunctions", "run", "pubsub", "cloudscheduler", "storage", "iam", "secretmanager", "firestore")
ENABLED += ("cloudresourcemanager", "logging", "monitoring", "iamcredentials", "cloudbuild")
