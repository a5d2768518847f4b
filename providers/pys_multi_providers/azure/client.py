"""Azure's APIs as the deployer calls them: the only file with Azure's SDKs, and the edge at which their errors end.

Every error leaves here as an AzureError, which says what was asked, what Azure answered and what to do. What is
asked is asked again after throttling (as long as Retry-After says), a 5xx or a dropped answer, so everything that is
called here may be called twice: resources are put by their names, packages and releases are told by their content.

Deployments go through azure-mgmt-resource-deployments; everything else is a plain call through azure-core's pipeline,
as one call of each of eleven services does not need eleven libraries.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from pys_multi_providers.azure.clouds import CLOUDS
from pys_multi_providers.azure.errors import AzureError, reason_of, refusal
from pys_multi_tools.errors import translated
from pys_multi_tools.patience import Pause
from pys_multi_tools.provider import require

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.transport import HttpTransport

    from pys_multi_providers.azure.settings import AzureSettings

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

#: Microsoft.Resources: groups, resources and tags.
RESOURCES = "2025-04-01"
#: Seconds that a call may take; packages are sent with more of them.
_TIMEOUT = 60.0


#: For what a token is asked, by kind of service and cloud ("Compare Azure Government and global Azure", "Azure in China
#: developer guide", the scopes of Azure's own libraries; 2026-11). A package is taken with a token for the older name
#: of Resource Manager, as az has it.
_SHARED = {
    "blob": "https://storage.azure.com/.default",
    "table": "https://storage.azure.com/.default",
    "service_bus": "https://servicebus.azure.net/.default",
}
_SCOPES: Mapping[str, Mapping[str, str]] = {
    "public": {
        **_SHARED,
        "resource_manager": "https://management.azure.com/.default",
        "scm": "https://management.core.windows.net//.default",
        "key_vault": "https://vault.azure.net/.default",
        "logs": "https://api.loganalytics.io/.default",
    },
    "china": {
        **_SHARED,
        "resource_manager": "https://management.chinacloudapi.cn/.default",
        "scm": "https://management.core.chinacloudapi.cn//.default",
        "key_vault": "https://vault.azure.cn/.default",
        "logs": "https://api.loganalytics.azure.cn/.default",
    },
    "usgov": {
        **_SHARED,
        "resource_manager": "https://management.core.usgovcloudapi.net/.default",
        "scm": "https://management.core.usgovcloudapi.net//.default",
        "key_vault": "https://vault.usgovcloudapi.net/.default",
        "logs": "https://api.loganalytics.us/.default",
    },
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. headers: names in lower case; fields: as they came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()

    def json(self) -> Any:
        """The body as JSON; nothing where there is none."""
        return json.loads(self.body.decode("utf-8-sig")) if self.body.strip() else None


class Cloud:
    """One subscription and resource group, by azure-identity's standard chain. Thread-safe."""

    def __init__(self, settings: AzureSettings) -> None:
        require("azure", "azure.core", "azure.identity", "azure.mgmt.resource.deployments")
        self._settings = settings
        self._azure, self._scopes = CLOUDS[settings.cloud], _SCOPES[settings.cloud]
        self._pipelines: dict[str, Any] = {}
        self._lock = threading.Lock()

    # ---- where

    @property
    def subscription(self) -> str:
        """Its id. Raises AzureError where none is named."""
        return self._named("subscription", "AZURE_SUBSCRIPTION_ID", "--subscription")

    @property
    def resource_group(self) -> str:
        """Its name. Raises AzureError where none is named."""
        return self._named("resource_group", "AZURE_DEFAULTS_GROUP", "--resource-group")

    @property
    def location(self) -> str:
        """Its name; empty where none is named."""
        return self._settings.location or ""

    def _named(self, setting: str, variable: str, flag: str) -> str:
        found = getattr(self._settings, setting)
        if not found:
            what = f"no {setting.replace('_', ' ')} is named"
            raise AzureError("NotNamed", what, where=f"azure.{setting}", hint=f"give {flag}, or set {variable}")
        return str(found)

    @property
    def group(self) -> str:
        """The id of the resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"

    @cached_property
    def tenant(self) -> str:
        """The id of the directory that the subscription belongs to."""
        return str(self.arm("GET", f"/subscriptions/{self.subscription}", "2022-12-01")["tenantId"])

    @property
    def manager(self) -> str:
        """The address of Azure Resource Manager."""
        return self._settings.endpoints.resource_manager or self._azure.resource_manager

    @property
    def logs_host(self) -> str:
        """Where Azure Monitor Logs is asked."""
        return urlsplit(self._azure.logs).netloc

    def address(self, kind: str, host: str) -> str:
        """Where a host is reached: its own name, unless the settings say another for its kind."""
        return getattr(self._settings.endpoints, kind) or f"https://{host}"

    # ---- who

    @cached_property
    def _credential(self) -> TokenCredential:
        from azure.identity import DefaultAzureCredential

        authority = self._settings.endpoints.authority or self._azure.authority
        credential: TokenCredential = DefaultAzureCredential(authority=authority)
        return credential

    @cached_property
    def _transport(self) -> HttpTransport[Any, Any]:
        from azure.core.pipeline.transport import RequestsTransport

        transport: HttpTransport[Any, Any] = RequestsTransport(connection_timeout=10, read_timeout=_TIMEOUT)
        return transport

    def _pipeline(self, kind: str) -> Any:
        """azure-core's client for a kind of service, with its tokens; none for calls of an app."""
        with self._lock:
            if kind not in self._pipelines:
                self._pipelines[kind] = self._make(kind)
            return self._pipelines[kind]

    def _make(self, kind: str) -> Any:
        from azure.core import PipelineClient
        from azure.core.pipeline import policies

        made: list[Any] = [
            policies.RequestIdPolicy(),
            policies.UserAgentPolicy(sdk_moniker="pys-multi", user_agent_use_env=False),
            policies.ProxyPolicy(),
            policies.RetryPolicy(**_retries()),
        ]
        if kind in self._scopes:
            made.append(self._authentication(kind, self._scopes[kind]))
        return PipelineClient(base_url="", policies=made, transport=self._transport)

    def _authentication(self, kind: str, scope: str) -> Any:
        from azure.core.pipeline import policies
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

        override = getattr(self._settings.endpoints, kind) or ""
        if override.startswith("http:"):
            return _on_loopback(self._credential, scope, override)
        if kind == "resource_manager":
            return ARMChallengeAuthenticationPolicy(self._credential, scope)
        return policies.BearerTokenCredentialPolicy(self._credential, scope)

    # ---- calls

    def call(
        self,
        kind: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        may: Iterable[int] = (),
        timeout: float = _TIMEOUT,
        once: bool = False,
    ) -> Answer:
        """One call of a service. may: statuses of errors that are answers here. once: it is never repeated.

        url: with the host's own name; it goes to where the settings say that such a service is.
        """
        from azure.core.rest import HttpRequest

        parts = urlsplit(url)
        address = self.manager if kind == "resource_manager" else self.address(kind, parts.netloc)
        named = dict(headers or {})
        if parts.netloc and urlsplit(address).netloc != parts.netloc:
            named.setdefault("Host", parts.netloc)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        asked = f"{method} {parts.netloc}{parts.path}"
        request = HttpRequest(method, address + target, headers=named, content=body)
        # What is read by POST may be asked again like everything else; the caller says where that is not so.
        again: Json = {"retry_total": 0} if once else {"retry_on_methods": frozenset((method,))}
        with _translated(asked):
            response = self._pipeline(kind).send_request(request, read_timeout=timeout, **again)
            fields = tuple(response.headers.items())
            headers = {name.lower(): value for name, value in fields}
            answer = Answer(response.status_code, headers, response.read(), fields)
        if answer.status >= 400 and answer.status not in may:
            code, message = reason_of(answer.body, answer.status)
            raise refusal(code, message, status=answer.status, asked=asked)
        return answer

    def arm(
        self, method: str, path: str, api: str, *, body: Json | None = None, query: str = "", may: Iterable[int] = ()
    ) -> Json:
        """One call of Resource Manager. path: an id, or what comes after the group where it has no slash in front."""
        answer = self.arm_answer(method, path, api, body=body, query=query, may=may)
        found: Json = answer.json() or {}
        return found

    def arm_answer(
        self, method: str, path: str, api: str, *, body: Json | None = None, query: str = "", may: Iterable[int] = ()
    ) -> Answer:
        """The same, with its status and headers."""
        id = path if path.startswith("/") else f"{self.group}/{path}"
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if data is not None else {})}
        url = f"{id}?api-version={api}" + (f"&{query}" if query else "")
        return self.call("resource_manager", method, url, headers=headers, body=data, may=may)

    def found(self, path: str, api: str) -> Json | None:
        """A resource, or None where it is not there."""
        try:
            return self.arm("GET", path, api)
        except AzureError as error:
            if error.is_absent:
                return None
            raise

    def pages(self, path: str, api: str, query: str = "") -> Iterator[Json]:
        """The entries of all pages of a list; none where what it belongs to is not there."""
        page = self.arm("GET", path, api, query=query, may=(404,))
        while True:
            yield from page.get("value") or ()
            following = page.get("nextLink")
            if not following:
                return
            parts = urlsplit(following)
            url = f"{parts.path}?{parts.query}"
            page = self.call("resource_manager", "GET", url, headers={"Accept": "application/json"}).json() or {}

    def delete(self, id: str, api: str, *, query: str = "", seconds: float = 600) -> bool:
        """Deletes a resource and waits until it is gone; returns whether it was there."""
        answer = self.arm_answer("DELETE", id, api, query=query, may=(404,))
        if answer.status in (204, 404):
            return False
        if answer.status != 202:
            return True
        deadline, pause = time.monotonic() + seconds, Pause()
        while self.found(id, api) is not None:
            if time.monotonic() > deadline:
                hint = "see what keeps it in the portal, and run it again"
                raise AzureError("Timeout", f"it was not gone after {seconds:.0f} s", where=id, hint=hint)
            pause()
        return True

    # ---- deployments

    @cached_property
    def _deployments(self) -> Any:
        from azure.mgmt.resource.deployments import DeploymentsMgmtClient

        scope = self._scopes["resource_manager"]
        return DeploymentsMgmtClient(
            self._credential,
            self.subscription,
            base_url=self.manager,
            credential_scopes=[scope],
            authentication_policy=self._authentication("resource_manager", scope),
            transport=self._transport,
            polling_interval=2,
            user_agent="pys-multi",
            **_retries(),
        )

    def what_if(self, name: str, properties: Json) -> Json:
        """What a deployment of that name and those properties would change ("WhatIfOperationResult")."""
        body = {"properties": {"mode": "Incremental", "whatIfSettings": {"resultFormat": "FullResourcePayloads"}}}
        body["properties"] |= properties
        with _translated(f"what-if of {name}"):
            poller = self._deployments.deployments.begin_what_if(
                self.resource_group, name, body, retry_on_methods=frozenset(("POST", "GET"))
            )
            found: Json = poller.result().as_dict()
        if found.get("error"):
            code, message = reason_of(json.dumps(found["error"]), 400)
            raise refusal(code, message, status=400, asked=f"what-if of {name}")
        return found

    def start(self, name: str, properties: Json, tags: Mapping[str, str]) -> None:
        """Starts an incremental deployment, whose end is not waited for."""
        body = {"properties": {"mode": "Incremental", **properties}, "tags": dict(tags)}
        with _translated(f"deployment {name}"):
            self._deployments.deployments.begin_create_or_update(self.resource_group, name, body, polling=False)

    def deployment(self, name: str) -> Json | None:
        """A deployment ("DeploymentExtended"), or None where there is none."""
        try:
            with _translated(f"deployment {name}"):
                found: Json = self._deployments.deployments.get(self.resource_group, name).as_dict()
        except AzureError as error:
            if error.is_absent:
                return None
            raise
        return found

    def operations(self, name: str) -> list[Json]:
        """What a deployment does, resource by resource ("DeploymentOperation")."""
        with _translated(f"operations of {name}"):
            found = self._deployments.deployment_operations.list(self.resource_group, name)
            return [entry.as_dict() for entry in found]

    def deployed_template(self, name: str) -> Json:
        """The template of the last deployment of that name."""
        with _translated(f"template of {name}"):
            found: Json = self._deployments.deployments.export_template(self.resource_group, name).as_dict()
        template: Json = found.get("template") or {}
        return template

    def forget(self, name: str) -> None:
        """Deletes the record of a deployment; what it made stays."""
        with _translated(f"deployment {name}"):
            self._deployments.deployments.begin_delete(self.resource_group, name, polling=False)


def _retries() -> Json:
    return {"retry_total": 8, "retry_status": 6, "retry_backoff_factor": 0.3, "retry_backoff_max": 20}


def _on_loopback(credential: TokenCredential, scope: str, address: str) -> Any:
    """A policy that sends tokens without TLS, to this machine only: azure-core's own never does."""
    from azure.core.pipeline.policies import SansIOHTTPPolicy

    if urlsplit(address).hostname not in ("127.0.0.1", "::1", "localhost"):
        what = f"{address} is no address of this machine, and tokens are sent elsewhere by https only"
        raise AzureError("Insecure", what, where="azure.endpoints", hint="write https://")

    class OnLoopback(SansIOHTTPPolicy[Any, Any]):
        def on_request(self, request: Any) -> None:
            request.http_request.headers["Authorization"] = f"Bearer {credential.get_token(scope).token}"

    return OnLoopback()


def digest(*texts: str) -> str:
    """Sixteen hexadecimal digits that stand for texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _translated(asked: str) -> AbstractContextManager[None]:
    """Turns every error of Azure's libraries into an AzureError."""
    return translated(lambda error: translate(error, asked))


def translate(error: Exception, asked: str) -> AzureError:
    """The AzureError for an error of azure-core or azure-identity."""
    from azure.core import exceptions as core

    code = type(error).__name__
    if isinstance(error, core.HttpResponseError) and error.response is not None:
        status, response = int(error.status_code or 0), cast(Any, error.response)
        try:
            # Pollers answer with the older kind of response.
            body = response.read() if hasattr(response, "read") else response.body()
        except core.AzureError:  # the rest of the answer did not come
            body = str(error.message).encode()
        found, message = reason_of(body, status)
        return refusal(found, message or str(error.message), status=status, asked=asked)
    if isinstance(error, core.ClientAuthenticationError):  # of azure-identity, which asks no service by HTTP itself
        first = str(error.message).strip().splitlines()[0]
        hint = "az login, or set the variables of a service principal; pys-multi doctor says what is found"
        return AzureError(code, f"there are no credentials for Azure: {first}", where="azure", hint=hint)
    if isinstance(error, core.ServiceRequestError | core.ServiceResponseError | OSError):
        hint = "check the network, proxy and [tool.pys-multi.azure.endpoints], then run it again: it goes on from there"
        return AzureError(code, f"Azure was not reached: {error}", where=asked, hint=hint)
    return AzureError(code, f"{code}: {error}", where=asked)
