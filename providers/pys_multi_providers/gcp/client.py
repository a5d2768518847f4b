"""Google's APIs as the deployer calls them: the only file with Google's libraries, and the edge where their errors end.

Functions go through ``google-cloud-functions``, the traffic of their services through ``google-cloud-run``, everything
else through ``google-api-python-client``, which takes the REST bodies of the rendered document as they are. All of them
speak REST here, through one kind of connection that never sends a request twice by itself.

What is asked is asked again after 429, 5xx and dropped answers, as long as asking twice does what asking once does; a
create that may have happened is an error with ``maybe``, and whoever asked looks at what is there.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pys_multi_providers.gcp.errors import GcpError, refused, unreachable
from pys_multi_providers.gcp.patience import ridden_out
from pys_multi_tools.errors import ProviderError, translated
from pys_multi_tools.provider import require

if TYPE_CHECKING:
    from pys_multi_providers.gcp.settings import GcpSettings

Json = dict[str, Any]

FUNCTIONS = "cloudfunctions.v2.projects.locations.functions"
SERVICES = "run.v2.projects.locations.services"
PROJECTS = "cloudresourcemanager.v3.projects"
OBJECTS = "storage.v1.objects"
#: Every API that a deploy may call; each has to be enabled in the project.
APIS = (
    "cloudfunctions",
    "run",
    "pubsub",
    "cloudscheduler",
    "storage",
    "iam",
    "secretmanager",
    "firestore",
    "cloudresourcemanager",
    "logging",
    "monitoring",
    "iamcredentials",
)
#: Google's own variables that send a client to an emulator.
_EMULATORS = {"pubsub": "PUBSUB_EMULATOR_HOST", "storage": "STORAGE_EMULATOR_HOST"}
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: Methods that change nothing.
READS = frozenset({"get", "get_media", "list", "getIamPolicy", "access", "pull", "generateIdToken", "query"})
#: Methods that, done twice, do something else than done once.
_ONCE = frozenset({"create", "insert", "addVersion", "publish", "run"})
#: Seconds that one call may take.
_CALL = 60.0
#: Seconds that an identity token is used for; it lasts an hour.
_TOKEN = 2700.0


class Cloud:
    """One project in one region, by application default credentials. Thread-safe.

    before_change: is called before every call that changes something; what it raises keeps the call from being made.
    """

    def __init__(self, settings: GcpSettings) -> None:
        require("gcp", "googleapiclient", "google.cloud.functions_v2", "google.cloud.run_v2", "requests")
        self._settings = settings
        self._endpoints = {str(api): address for api, address in settings.endpoints.items()}
        self._lock = threading.Lock()
        self._services: dict[str, Any] = {}
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}
        self.before_change: Callable[[], None] = lambda: None

    def again(self) -> Cloud:
        """The same project with the same connections, for another piece of work."""
        found = copy.copy(self)
        found.before_change = lambda: None
        return found

    # ---- who and where

    @cached_property
    def _found(self) -> tuple[Any, str]:
        """Credentials and the project that they name."""
        with _translated("the credentials"):
            if self._is_anonymous:
                return _library("google.auth.credentials").AnonymousCredentials(), ""
            credentials, project = _library("google.auth").default(scopes=[_SCOPE])
            if self._settings.impersonate:
                credentials = _library("google.auth.impersonated_credentials").Credentials(
                    source_credentials=credentials,
                    target_principal=self._settings.impersonate,
                    target_scopes=[_SCOPE],
                )
        return credentials, project or ""

    @property
    def _is_anonymous(self) -> bool:
        """Whether nobody asks for credentials: where gcloud's switch says so, and on emulators of this machine."""
        if os.environ.get("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "").lower() in ("1", "true", "yes"):
            return True
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") or self._settings.impersonate:
            return False
        return all(urlsplit(self.endpoint(api)).hostname in _LOOPBACK for api in ("cloudfunctions", "run", "storage"))

    @property
    def credentials(self) -> Any:
        """The credentials of google-auth. Raises GcpError where there are none."""
        return self._found[0]

    @property
    def identity(self) -> str:
        """Whose credentials these are, as far as they say it."""
        found = self.credentials
        name = getattr(found, "service_account_email", None) or getattr(found, "signer_email", None)
        return str(name or f"{type(found).__module__.rpartition('.')[2]} {type(found).__name__}")

    @cached_property
    def project(self) -> str:
        """The project. Raises GcpError where none is named."""
        found = self._settings.project or self._found[1]
        if not found:
            hint = 'add --project ID, set GOOGLE_CLOUD_PROJECT, or write project = "…" under [tool.pys-multi.gcp]'
            raise GcpError("NO_PROJECT", "no project is named", where="gcp", hint=hint)
        return str(found)

    @property
    def region(self) -> str:
        """The region. Raises GcpError where none is named."""
        if not self._settings.region:
            hint = (
                'add --region R, set GOOGLE_CLOUD_REGION, or write region = "europe-west1" under [tool.pys-multi.gcp]'
            )
            raise GcpError("NO_REGION", "no region is named", where="gcp", hint=hint)
        return str(self._settings.region)

    @property
    def location(self) -> str:
        """The parent of what is regional."""
        return f"projects/{self.project}/locations/{self.region}"

    @cached_property
    def project_number(self) -> str:
        """The number of the project, which Google's own service accounts bear in their names."""
        found = self.call(PROJECTS, "get", name=f"projects/{self.project}")
        return str(found["name"]).rpartition("/")[2]

    def endpoint(self, api: str) -> str:
        """Where an API is asked, without a slash at the end: settings, gcloud's variables, emulators', Google's own."""
        variable = f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}"
        given = self._endpoints.get(api) or os.environ.get(variable)
        if not given and api in _EMULATORS:
            given = os.environ.get(_EMULATORS[api])
        if not given:
            return f"https://{api}.googleapis.com"
        if "://" not in given:
            given = f"http://{given}"
        parts = urlsplit(given)
        # gcloud wants the path of Storage's API with it, and emulators do not.
        path = parts.path.rstrip("/").removesuffix("/storage/v1")
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))

    # ---- calls

    def call(
        self, kind: str, method: str, *, again: bool | None = None, guarded: bool = True, **arguments: Any
    ) -> Json:
        """What Google answers to one call, such as ``call("pubsub.v1.projects.topics", "get", topic=…)``.

        again: whether it may be sent twice; by default everything may that does not make something new.
        guarded: whether ``before_change`` is asked.
        """
        asked = f"{_api(kind)} {kind.rpartition('.')[2]} {method}"
        is_read = method in READS
        again = (is_read or method not in _ONCE) if again is None else again

        def attempt() -> Json:
            if guarded and not is_read:
                self.before_change()
            with _translated(asked, self._settings.project or ""):
                return self._ask(kind, method, arguments)

        return ridden_out(attempt, again)

    def pages(self, kind: str, key: str, method: str = "list", **arguments: Any) -> Iterator[Json]:
        """The entries under ``key`` of all pages of an answer."""
        token = None
        while True:
            more: Json = {"pageToken": token} if token else {}
            page = self.call(kind, method, **arguments, **more)
            yield from page.get(key) or ()
            token = page.get("nextPageToken")
            if not token:
                return

    def operation(self, api: str, name: str) -> Json:
        """A long-running operation as it is."""
        if api == "cloudfunctions":
            return self.call("cloudfunctions.v2.operations", "get", name=name)
        if api == "run":
            return self.call("run.v2.operations", "get", name=name)
        return self.call("firestore.v1.projects.databases.operations", "get", name=name)

    def download(self, bucket: str, name: str) -> bytes:
        """The bytes of an object."""
        found: bytes = self.call(OBJECTS, "get_media", bucket=bucket, object=name)["media"]
        return found

    def upload(self, bucket: str, name: str, data: bytes, *, generation: int, kind: str, guarded: bool = True) -> Json:
        """Puts an object; Raises GcpError CONDITION_NOT_MET where it is not of that generation (0: not there) now.

        An upload that was answered by nobody and is sent again meets its own condition, which the caller looks into.
        """
        media = _library("googleapiclient.http").MediaInMemoryUpload(data, mimetype=kind, resumable=False)
        return self.call(
            OBJECTS,
            "insert",
            again=True,
            guarded=guarded,
            bucket=bucket,
            name=name,
            media_body=media,
            ifGenerationMatch=str(generation),
        )

    def _ask(self, kind: str, method: str, arguments: Mapping[str, Any]) -> Json:
        known = _LIBRARIES.get((kind, method))
        if known is not None:
            return known(self, arguments)
        api, version, *path = kind.split(".")
        resource = self._service(f"{api}.{version}", lambda: self._discovered(api, version))
        for part in path:
            resource = getattr(resource, part)()
        request = getattr(resource, method)(**arguments)
        if request.uri.startswith("https:") and self.endpoint(api).startswith("http:"):
            # The library takes host and port of an endpoint over for uploads, but not its scheme.
            request.uri = request.uri.replace("https:", "http:", 1)
        found = request.execute(num_retries=0)
        if isinstance(found, dict):
            return found
        return {"media": found} if isinstance(found, bytes) else {}

    def _service(self, key: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            found = self._services.get(key)
            if found is None:
                found = self._services[key] = make()
        return found

    def _discovered(self, api: str, version: str) -> Any:
        base = f"{self.endpoint(api)}/storage/v1/" if api == "storage" else f"{self.endpoint(api)}/"
        return _library("googleapiclient.discovery").build(
            api,
            version,
            http=_Connection(self.credentials),
            client_options={"api_endpoint": base},
            static_discovery=True,  # the schemas that come with the library: no call, and always the same
            cache_discovery=False,
        )

    def _functions(self) -> Any:
        kind = _library("google.cloud.functions_v2").FunctionServiceClient
        return self._service("functions", lambda: self._library_client(kind, "cloudfunctions"))

    def _run(self) -> Any:
        kind = _library("google.cloud.run_v2").ServicesClient
        return self._service("services", lambda: self._library_client(kind, "run"))

    def _library_client(self, kind: Any, api: str) -> Any:
        endpoint = self.endpoint(api)
        options = _library("google.api_core.client_options").ClientOptions(
            api_endpoint=endpoint if endpoint.startswith("http:") else endpoint.partition("//")[2]
        )
        return kind(credentials=self.credentials, transport="rest", client_options=options)

    # ---- tokens

    def identity_token(self, audience: str, account: str = "") -> str:
        """A token that says who calls, for a function that asks. account: a service account to speak for.

        Empty where these credentials have no identity, as on an emulator.
        """
        key = (audience, account)
        until, token = self._tokens.get(key, (0.0, ""))
        if time.monotonic() > until:
            token = self._new_identity_token(audience, account)
            self._tokens[key] = (time.monotonic() + _TOKEN, token)
        return token

    def _new_identity_token(self, audience: str, account: str) -> str:
        account = account or _became(self.credentials)
        if account:
            name = f"projects/-/serviceAccounts/{account}"
            body = {"audience": audience, "includeEmail": True}
            kind = "iamcredentials.v1.projects.serviceAccounts"
            return str(self.call(kind, "generateIdToken", name=name, body=body)["token"])
        with _translated("an identity token"):
            return _identity_token(self.credentials, audience)


def _became(credentials: Any) -> str:
    """The service account that somebody who came by federation acts as; empty for everybody else."""
    if isinstance(credentials, _library("google.auth.external_account").Credentials):
        return str(credentials.service_account_email or "")
    return ""


def _identity_token(credentials: Any, audience: str) -> str:
    request = _library("google.auth.transport.requests").Request()
    machine, impersonated = _library("google.auth.compute_engine"), _library("google.auth.impersonated_credentials")
    account = _library("google.oauth2.service_account")
    found = credentials
    if isinstance(credentials, _library("google.auth.credentials").AnonymousCredentials):
        return ""
    if isinstance(credentials, _library("google.auth.external_account").Credentials):
        return ""  # Google has no identity tokens for those who came by federation
    if isinstance(credentials, account.Credentials):
        found = account.IDTokenCredentials(
            signer=credentials.signer,
            service_account_email=credentials.service_account_email,
            token_uri=credentials._token_uri,
            target_audience=audience,
        )
    elif isinstance(credentials, impersonated.Credentials):
        found = impersonated.IDTokenCredentials(credentials, target_audience=audience, include_email=True)
    elif isinstance(credentials, machine.Credentials):
        found = machine.IDTokenCredentials(request, target_audience=audience, use_metadata_identity_endpoint=True)
    found.refresh(request)
    # A person's credentials bring theirs along; for Google's own client it is good for every function.
    return str(getattr(found, "id_token", None) or found.token or "")


# ---- Google's own libraries, as dictionaries of REST


def _list_functions(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    functions = _library("google.cloud.functions_v2")
    request = functions.ListFunctionsRequest(
        parent=arguments["parent"], page_size=1000, page_token=arguments.get("pageToken", "")
    )
    page = next(iter(cloud._functions().list_functions(request=request, retry=None, timeout=_CALL).pages))
    return {
        "functions": [_plain(functions.Function.pb(f)) for f in page.functions],
        "nextPageToken": page.next_page_token,
    }


def _get_function(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    kind = _library("google.cloud.functions_v2").Function
    return _plain(kind.pb(cloud._functions().get_function(name=arguments["name"], retry=None, timeout=_CALL)))


def _create_function(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    function = _message(_library("google.cloud.functions_v2").Function, arguments["body"])
    parent, id = arguments["parent"], arguments["functionId"]
    client = cloud._functions()
    begun = client.create_function(parent=parent, function=function, function_id=id, retry=None, timeout=_CALL)
    return _begun(begun.operation)


def _patch_function(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    kind = _library("google.cloud.functions_v2").Function
    function, mask = _message(kind, {**arguments["body"], "name": arguments["name"]}), _mask(arguments["updateMask"])
    begun = cloud._functions().update_function(function=function, update_mask=mask, retry=None, timeout=_CALL)
    return _begun(begun.operation)


def _delete_function(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    return _begun(cloud._functions().delete_function(name=arguments["name"], retry=None, timeout=_CALL).operation)


def _function_operation(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    return _begun(cloud._functions().get_operation({"name": arguments["name"]}, retry=None, timeout=_CALL))


def _list_services(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    run = _library("google.cloud.run_v2")
    request = run.ListServicesRequest(parent=arguments["parent"], page_token=arguments.get("pageToken", ""))
    page = next(iter(cloud._run().list_services(request=request, retry=None, timeout=_CALL).pages))
    return {"services": [_plain(run.Service.pb(s)) for s in page.services], "nextPageToken": page.next_page_token}


def _get_service(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    kind = _library("google.cloud.run_v2").Service
    return _plain(kind.pb(cloud._run().get_service(name=arguments["name"], retry=None, timeout=_CALL)))


def _patch_service(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    run = _library("google.cloud.run_v2")
    service = _message(run.Service, {**arguments["body"], "name": arguments["name"]})
    request = run.UpdateServiceRequest(service=service, update_mask=_mask(arguments["updateMask"]))
    return _begun(cloud._run().update_service(request=request, retry=None, timeout=_CALL).operation)


def _service_operation(cloud: Cloud, arguments: Mapping[str, Any]) -> Json:
    return _begun(cloud._run().get_operation({"name": arguments["name"]}, retry=None, timeout=_CALL))


_LIBRARIES: Mapping[tuple[str, str], Callable[[Cloud, Mapping[str, Any]], Json]] = {
    (FUNCTIONS, "list"): _list_functions,
    (FUNCTIONS, "get"): _get_function,
    (FUNCTIONS, "create"): _create_function,
    (FUNCTIONS, "patch"): _patch_function,
    (FUNCTIONS, "delete"): _delete_function,
    ("cloudfunctions.v2.operations", "get"): _function_operation,
    (SERVICES, "list"): _list_services,
    (SERVICES, "get"): _get_service,
    (SERVICES, "patch"): _patch_service,
    ("run.v2.operations", "get"): _service_operation,
}


def _message(kind: Any, body: Mapping[str, Any]) -> Any:
    """A message of Google's from a REST body; unknown fields are errors."""
    json_format = _library("google.protobuf.json_format")
    message = kind()
    try:
        json_format.ParseDict(dict(body), kind.pb(message))
    except json_format.ParseError as error:
        # Its text shows values.
        field = str(error).partition(":")[0]
        raise GcpError("INVALID_ARGUMENT", f"{kind.__name__} has no such field or value: {field}") from None
    return message


def _plain(message: Any) -> Json:
    found: Json = _library("google.protobuf.json_format").MessageToDict(message)
    return found


def _mask(text: str) -> Any:
    """A field mask as REST writes it."""
    mask = _library("google.protobuf.field_mask_pb2").FieldMask()
    mask.FromJsonString(text)
    return mask


def _begun(operation: Any) -> Json:
    """An operation; what it would return is left out, as the resource itself is read afterwards."""
    found: Json = {"name": operation.name, "done": operation.done}
    if operation.HasField("error"):
        found["error"] = {"code": operation.error.code, "message": operation.error.message}
    return found


# ---- the connection


class _Connection:
    """What google-api-python-client takes in place of httplib2, which sends a request again when its answer is lost.

    "An instance of httplib2.Http or something that acts like it": its documentation of ``http``.
    """

    def __init__(self, credentials: Any) -> None:
        self._session = _library("google.auth.transport.requests").AuthorizedSession(credentials)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, _library("requests.adapters").HTTPAdapter(pool_maxsize=32, max_retries=0))

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any
    ) -> tuple[Any, bytes]:
        """One request, once."""
        given = {k: v for k, v in (headers or {}).items() if k.lower() not in ("accept-encoding", "user-agent")}
        answer = self._session.request(
            method, uri, data=body, headers={**given, "user-agent": "pys-multi"}, timeout=(10, _CALL)
        )
        found = {**{name.lower(): value for name, value in answer.headers.items()}, "status": str(answer.status_code)}
        response = _library("httplib2").Response(found)
        response.reason = answer.reason
        return response, answer.content

    def close(self) -> None:
        """Ends it."""
        self._session.close()


# ---- errors


def _translated(asked: str, project: str = "") -> AbstractContextManager[None]:
    """Turns every error of Google's libraries into one of ours."""
    return translated(lambda error: translate(error, asked, project))


def translate(error: Exception, asked: str, project: str = "") -> ProviderError:
    """The error of ours for one of Google's libraries or of the connection."""
    auth, core = _library("google.auth.exceptions"), _library("google.api_core.exceptions")
    requests, discovery = _library("requests.exceptions"), _library("googleapiclient.errors")
    if isinstance(error, discovery.HttpError):
        return refused(int(error.resp.status), error.content, asked, project)
    if isinstance(error, core.GoogleAPICallError):
        if error.response is not None:
            return refused(int(error.response.status_code), error.response.content, asked, project)
        return unreachable(asked, str(error.message))
    if isinstance(error, auth.DefaultCredentialsError):
        hint = "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS; pys-multi doctor looks at it"
        return GcpError("NO_CREDENTIALS", "there are no credentials for Google Cloud", where="gcp", hint=hint)
    if isinstance(error, auth.RefreshError):
        hint = (
            "gcloud auth application-default login; for an impersonated account, the role Service Account Token Creator"
        )
        text = str(error.args[0]) if error.args else str(error)
        return GcpError("UNAUTHENTICATED", f"the credentials cannot be renewed: {text}", where=asked, hint=hint)
    if isinstance(error, requests.RequestException | auth.TransportError | OSError):
        return unreachable(asked, _shortly(error))
    if isinstance(error, discovery.Error | TypeError | ValueError):
        return GcpError(
            "INVALID_ARGUMENT", f"Google's library refuses the arguments: {type(error).__name__}", where=asked
        )
    return GcpError(type(error).__name__, f"{type(error).__name__}: {error}", where=asked)


def _shortly(error: Exception) -> str:
    """The innermost reason of an error of the connection."""
    found: BaseException = error
    while (inner := found.__cause__ or found.__context__) is not None:
        found = inner
    return str(found) or type(found).__name__


def _library(name: str) -> Any:
    """One of Google's modules, imported when it is needed first: few of them carry types, and all take their time."""
    return import_module(name)


def _api(kind: str) -> str:
    return kind.partition(".")[0]
