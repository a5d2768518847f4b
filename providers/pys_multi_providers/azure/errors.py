"""What Azure's services answer when they refuse, as errors for a person; pure.

Every service says it in its own form: Resource Manager in JSON that nests the true reason ever deeper, sometimes as
JSON in a text; storage and Service Bus in XML; Key Vault in JSON; the deployment of packages in plain text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pys_multi_tools.errors import ProviderError

Json = Mapping[str, Any]

_SIGN_IN = "sign in again (az login), then run it again: it goes on where it stopped"
_RIGHTS = "pys-multi permissions --cloud azure prints the role that the deployer needs; a new one takes minutes to work"
_EXPIRED = (
    "ExpiredAuthenticationToken",
    "AuthenticationFailed",
    "InvalidAuthenticationToken",
    "InvalidAuthenticationInfo",
)
_DENIED = (
    "AuthorizationFailed",
    "LinkedAuthorizationFailed",
    "Forbidden",
    "ForbiddenByRbac",
    "AuthorizationPermissionMismatch",
    "AuthorizationFailure",
    "InsufficientAccountPermissions",
)
_TAKEN = ("StorageAccountAlreadyTaken", "VaultAlreadyExists", "NamespaceNameUnavailable", "NamespaceUnavailable")
_QUOTA = ("QuotaExceeded", "SubscriptionIsOverQuotaForSku", "MaxStorageAccountsCountPerSubscriptionExceeded")
_PLACE = ("LocationNotAvailableForResourceType", "LocationNotAvailable", "NoRegisteredProviderFound", "SkuNotAvailable")
#: ARM's own words around the reason of a resource.
_WRAPPERS = ("DeploymentFailed", "ResourceDeploymentFailure", "MultipleErrorsOccurred", "InvalidTemplateDeployment")
#: "Azure resource manager: troubleshoot common errors": the same request may be right a moment later.
_PASSING = (
    "TooManyRequests",
    "OperationNotAllowedOnServerBusy",
    "RetryableError",
    "AnotherOperationInProgress",
    "PrincipalNotFound",
    "InternalServerError",
    "ServiceUnavailable",
    "GatewayTimeout",
)


class AzureError(ProviderError):
    """What Azure, or the way to it, answered. code: Azure's name of the error, or the class of the client's;
    status: of HTTP, 0 where no answer came."""

    def __init__(
        self, code: str, what: str, *, status: int = 0, where: str = "", hint: str = "", detail: str = ""
    ) -> None:
        self.code, self.status = code, status
        super().__init__(what, where=where, hint=hint, detail=detail)

    @property
    def is_absent(self) -> bool:
        """Whether what was asked for is not there."""
        return self.status == 404

    @property
    def is_denied(self) -> bool:
        """Whether the credentials may not do it, or may not yet."""
        return self.code in _DENIED or (self.status == 403 and self.code not in _EXPIRED)

    @property
    def may_pass(self) -> bool:
        """Whether the same may be right a moment later."""
        return self.status in (429, 500, 502, 503, 504) or self.code in _PASSING


def told_once(passes: Callable[[AzureError], bool], tell: Callable[[str], None]) -> Callable[[AzureError], bool]:
    """The same, that tells of the first error which may pass: somebody waits."""
    told: list[AzureError] = []

    def asked(error: AzureError) -> bool:
        if not passes(error):
            return False
        if not told:
            tell(f"{error.where}: {error.what}: it may take minutes until a right is known everywhere")
            told.append(error)
        return True

    return asked


def reason_of(body: bytes | str, status: int) -> tuple[str, str]:
    """(code, message) of an answer's innermost error. Values that were sent stand in none of them."""
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    text = text.lstrip("\ufeff").strip()
    if text[:1] in ("{", '"', "["):
        try:
            return innermost(json.loads(text), status)
        except ValueError:
            pass
    code, message = (re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL) for name in ("Code", "(?:Message|Detail)"))
    if code is not None:
        return code.group(1), _line(message.group(1)) if message else ""
    return f"{status}", _line(re.sub("<[^>]*>", " ", text))[:300]


def innermost(error: Any, status: int = 0) -> tuple[str, str]:
    """(code, message) of the error that the others are wrapped around."""
    if isinstance(error, str):
        if error.lstrip()[:1] == "{":
            try:
                return innermost(json.loads(error), status)
            except ValueError:
                pass
        return f"{status or ''}", _line(error)
    if not isinstance(error, Mapping):
        return f"{status or ''}", _line(json.dumps(error))
    if isinstance(error.get("error"), Mapping | str):
        return innermost(error["error"], status)
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and (detail.get("message") or detail.get("details")):
            return innermost(detail, status)
    inner = error.get("innererror") or error.get("innerError")
    code = str(error.get("code") or error.get("Code") or error.get("ErrorCode") or "")
    message = error.get("message") or error.get("Message") or error.get("ExceptionMessage") or ""
    if isinstance(message, Mapping):
        message = message.get("value", "")
    message = str(message)
    if message.lstrip()[:1] == "{" and "}" in message:
        try:
            nested = json.loads(message)
        except ValueError:
            nested = None
        if isinstance(nested, Mapping):
            found = innermost(nested, status)
            if found[1]:
                return found[0] or code, found[1]
    if isinstance(inner, Mapping) and inner.get("code") and not code:
        code = str(inner["code"])
    return code or f"{status or ''}", _line(message)


def refusal(code: str, message: str, *, status: int, asked: str) -> AzureError:
    """The error for a refusal that is known by its code and message. asked: what was asked, as the error's place."""

    def error(what: str, hint: str = "") -> AzureError:
        return AzureError(code, what, status=status, where=asked, hint=hint)

    said = f"{message} ({code})" if message and code and code != message and code != str(status) else message or code
    if code in _EXPIRED or status == 401:
        return error(f"Azure does not take these credentials: {message or code}", _SIGN_IN)
    if code == "ScopeLocked":
        return error(said, "a lock of the group or resource forbids it: az lock list")
    if code == "RequestDisallowedByPolicy":
        return error(said, "a policy of the subscription forbids it; ask whoever keeps it, or deploy elsewhere")
    if code in _DENIED or status == 403:
        return error(_denied(message) or said, _RIGHTS)
    if code == "DeploymentActive":
        return error("another deployment of this service and stage is running", "wait for its end and run it again")
    if code == "SubscriptionNotFound":
        return error(said, "az account list shows the subscriptions; set AZURE_SUBSCRIPTION_ID")
    if code == "ResourceGroupNotFound":
        return error(said, "az group create --name … --location …, or name another one with --resource-group")
    if code == "MissingSubscriptionRegistration":
        return error(said, "az provider register --namespace … for the one that is named")
    if "deleted state" in message or "soft-deleted" in message.lower() or "soft deleted" in message.lower():
        hint = "pys-multi destroy and deploy again, or: az keyvault recover --name …, or az keyvault purge --name …"
        return error(f"a Key Vault of this name was deleted and still holds the name: {said}", hint)
    if code in _TAKEN or _is_taken(message):
        hint = 'write another suffix = "…" under [tool.pys-multi.azure]: these names are unique in all of Azure'
        return error(f"the name is taken by somebody else: {said}", hint)
    if code in _QUOTA or "quota" in message.lower():
        return error(said, "ask for a higher quota in the portal (Quotas), or deploy to another --location")
    if code == "InvalidResourceLocation":
        hint = "Azure moves nothing: give the --location that it is in, or deploy to another stage or group"
        return error(said, hint)
    if code in _PLACE or "not available for subscription" in message or "not available in" in message:
        return error(said, "deploy to another --location; az functionapp list-flexconsumption-locations shows them")
    if status == 429 or code == "TooManyRequests":
        return error(f"Azure takes no more calls for now: {message or code}", "run it again later")
    if status >= 500:
        return error(
            f"Azure failed: {said}", "run it again; https://azure.status.microsoft says whether it has a bad day"
        )
    return error(said)


def _denied(message: str) -> str:
    """Who may not do what, where; ARM's sentence is longer."""
    found = re.search(r"perform action '([^']+)' over scope '([^']+)'", message)
    if found is None:
        return ""
    who = re.search(r"object id '([^']+)'", message)
    return f"{'object ' + who.group(1) if who else 'this client'} may not {found.group(1)} on {found.group(2)}"


def _is_taken(message: str) -> bool:
    lower = message.lower()
    return any(
        text in lower
        for text in ("website with given name", "is already taken", "already in use", "hostname is not available")
    )


def _line(text: str) -> str:
    return " ".join(text.split())
