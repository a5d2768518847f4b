"""What a custom role of Azure lets through, between a client and the tests' ARM server, which lets everything through.

A request is read as "Azure permissions" names actions: the types in its path, and what its method does with them.
Scopes and conditions of the role are not evaluated.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.azure_stage import name_of, refusal
from tests.support.fault_proxy import Call, FaultProxy, _read, _write

_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete", "POST": "action"}
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_SECRETS = "Microsoft.KeyVault/vaults/secrets"


def action_of(call: Call) -> tuple[str, bool]:
    """The action that a request asks for, empty for none, and whether it is one on data."""
    host, path = call.headers.get("host", "").partition(":")[0], call.path.partition("?")[0]
    if host.endswith(".blob.core.windows.net"):
        return f"{_BLOBS}/{_VERBS[call.method]}", True
    if host.endswith(".vault.azure.net"):
        return f"{_SECRETS}/{ {'GET': 'getSecret', 'PUT': 'setSecret'}.get(call.method, '?') }/action", True
    if host.endswith(".servicebus.windows.net"):
        return f"Microsoft.ServiceBus/namespaces/messages/{'send' if call.method == 'POST' else 'receive'}/action", True
    if host == "api.loganalytics.io":
        return "Microsoft.OperationalInsights/workspaces/query/read", False
    if host.endswith(".scm.azurewebsites.net"):
        return "Microsoft.Web/sites/publish/action" if call.method == "POST" else "Microsoft.Web/sites/read", False
    if host.endswith(".azurewebsites.net") or path.startswith(("/msi/token", "/operationresults")):
        return "", False
    return _managed(call.method, path), False


def _managed(method: str, path: str) -> str:
    """Of Resource Manager; what extends a thing is of its own provider."""
    inside = re.fullmatch(r"/subscriptions/[^/]+/resourcegroups/[^/]+(/resources)?/?", path, re.IGNORECASE)
    if inside:
        return f"Microsoft.Resources/subscriptions/resourceGroups{inside[1] or ''}/{_VERBS[method]}"
    # Operations of a deployment are reached without its provider's name.
    path = re.sub(
        r"^(/subscriptions/[^/]+/resourcegroups/[^/]+)(?=/deployments/)", r"\1/providers/Microsoft.Resources", path
    )
    provider, slash, rest = path.rpartition("/providers/")[2].partition("/")
    if not slash:  # the registration of a provider, or the subscription itself
        return f"Microsoft.Resources/{'providers' if '/providers/' in path else 'subscriptions'}/{_VERBS[method]}"
    if rest == "register":
        return f"{provider}/register/action"
    parts = rest.split("/")
    kinds = parts[0::2]
    if method == "POST" and len(parts) % 2 == 1:  # what is asked of a thing comes after its name
        return "/".join((provider, *kinds, "action"))
    return "/".join((provider, *kinds, _VERBS[method]))


def allows(roles: list[Mapping[str, Any]], call: Call) -> tuple[bool, str]:
    """Whether one of the roles allows it, and what it is."""
    action, is_data = action_of(call)
    if action == f"{_BLOBS}/read" and "deployments/write" not in str(roles):
        assert call.path.startswith("/pys-multi-releases"), "the condition of a role that plans lets see no other"
    patterns = [p for role in roles for p in role["definition"]["DataActions" if is_data else "Actions"]]
    known = any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
    return known or not action, action


class AzureRightsProxy(FaultProxy):
    """Lets through what the roles allow, and refuses the rest as Azure does. refused: what it was."""

    def __init__(self, upstream: str, roles: list[Mapping[str, Any]]) -> None:
        super().__init__(upstream, name_of)
        self.roles, self.refused = roles, list[str]()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        call = _read(handler)
        well, what = allows(self.roles, call)
        self.calls.append((name_of(call), 1))
        if well:
            _write(handler, self._forward(call))
            return
        self.refused.append(what)
        _write(handler, refusal("AuthorizationFailed", f"no authorization to perform action '{what}'", 403)(call))
