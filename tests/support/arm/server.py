"""The server: one port of loopback for Resource Manager, the data planes and the apps, told apart by the host's name.

A client reaches it with every address of ``[tool.pys-multi.azure.endpoints]`` set to it; the true name of a host comes
in the Host header, as it does behind a proxy. Tokens come from ``/msi/token``, in the form of App Service's managed
identities, so that azure-identity's standard chain finds one.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.arm import what_if
from tests.support.arm.data import Blobs, Reply, Vaults
from tests.support.arm.deployments import Deployments
from tests.support.arm.expressions import Refused
from tests.support.arm.logs import Logs
from tests.support.arm.resources import DEPLOYER, SUBSCRIPTION, TENANT, World, denied, shown, split
from tests.support.arm.sites import Launcher, Sites
from tests.support.arm.template import Context

Json = dict[str, Any]

_SUFFIXES = {
    "storage": "core.windows.net",
    "keyvaultDns": ".vault.azure.net",
    "serviceBusEndpointSuffix": "servicebus.windows.net",
}
_AUDIENCES = {
    "manager": ("https://management.azure.com",),
    "scm": ("https://management.core.windows.net/", "https://management.azure.com"),
    "blob": ("https://storage.azure.com",),
    "vault": ("https://vault.azure.net",),
    "bus": ("https://servicebus.azure.net",),
    "logs": ("https://api.loganalytics.io",),
}
_RESOURCES = "2025-04-01"
_FILTER = re.compile(r"tagName eq '([^']*)' and tagValue eq '([^']*)'")
#: What an answer to a what-if is asked for until it is ready.
_LOOKS = 1


class ArmServer:
    """Listens from its making until ``stop``."""

    def __init__(self, launch: Launcher) -> None:
        self.world = World()
        self.blobs, self.vaults = Blobs(self.world), Vaults(self.world)
        self.sites = Sites(self.world, self.blobs, launch)
        self.deployments = Deployments(self.world, self._context)
        self.logs = Logs(self.world)
        #: What answers Service Bus's data plane: (namespace, method, path, query, headers, body) → reply.
        self.bus: Callable[..., Reply] = lambda *_: (404, {}, b"")
        #: What a namespace counts of a queue or subscription: (id of it) → countDetails.
        self.counts: Callable[[str], Json] = lambda _: {}
        self.sites.on_call = self.logs.request
        self.registered = {"Microsoft.Web", "Microsoft.Storage", "Microsoft.ServiceBus", "Microsoft.KeyVault"}
        self.registered |= {"Microsoft.Insights", "Microsoft.OperationalInsights", "Microsoft.ManagedIdentity"}
        self.registered |= {"Microsoft.EventGrid", "Microsoft.Authorization", "Microsoft.Resources"}
        self._waiting: dict[str, tuple[int, Json]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: server._serve(self)
                raise AttributeError(name)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.deployments.join()
        self.sites.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def keep(self) -> Callable[[], None]:
        """What returns all of it to how it is now."""
        self.deployments.join()
        world, sites = self.world, self.sites.kept()
        names = ("groups", "resources", "bodies", "deleted_vaults", "secrets")
        kept = {name: copy.deepcopy(getattr(world, name)) for name in names}
        containers, deployments = copy.deepcopy(self.blobs.containers), dict(self.deployments.all)

        def restore() -> None:
            self.deployments.join()
            self.sites.restore(sites)
            for name in names:
                setattr(world, name, copy.deepcopy(kept[name]))
            self.blobs.containers = copy.deepcopy(containers)
            self.deployments.all = dict(deployments)

        return restore

    @property
    def environment(self) -> dict[str, str]:
        """What makes azure-identity find tokens here, and pys-multi the subscription."""
        return {
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": "tests",
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        }

    def _context(self, group: str) -> Context:
        found = self.world.groups[group.lower()]
        tags = found.get("tags", {})
        return Context(SUBSCRIPTION, TENANT, found["name"], found["location"], _SUFFIXES, DEPLOYER, tags)

    # ---- HTTP

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(int(headers.get("content-length", 0)))
        host = headers.get("host", "").partition(":")[0].lower()
        try:
            status, found, text = self._answer(host, handler.command, handler.path, headers, body)
        except Refused as error:
            status, found, text = _json(error.status, {"error": {"code": error.code, "message": str(error)}})
        except Exception as error:  # a fault of the server's own is told, and no client takes it for a passing one
            status, found, text = _json(418, {"error": {"code": "ServerBroke", "message": repr(error)}})
        handler.send_response_only(status)
        for name, value in {"content-length": str(len(text)), "x-ms-request-id": str(uuid.uuid4()), **found}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(text)

    def _answer(self, host: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        name = host.partition(".")[0]
        if host.endswith(".scm.azurewebsites.net"):
            self._authorize(headers, "scm")
            return self.sites.scm(name, method, parts.path, query, headers, body)
        if host.endswith(".azurewebsites.net"):
            return self.sites.app(name, method, target, headers, body)
        if host.endswith(".blob.core.windows.net"):
            self._authorize(headers, "blob")
            return self.blobs.answer(name, method, parts.path, query, headers, body)
        if host.endswith(".vault.azure.net"):
            self._authorize(headers, "vault")
            return self.vaults.answer(name, method, parts.path, query, body)
        if host.endswith(".servicebus.windows.net"):
            self._authorize(headers, "bus")
            return self.bus(name, method, parts.path, query, headers, body)
        if host == "api.loganalytics.io":
            self._authorize(headers, "logs")
            return self.logs.answer(method, parts.path, json.loads(body or b"{}"))
        if parts.path == "/msi/token":
            if headers.get("x-identity-header") != "tests":
                return _json(401, {"error": "unauthorized_client"})
            token = {"access_token": f"token for {query['resource']}", "token_type": "Bearer"}
            return _json(200, {**token, "expires_on": str(int(time.time()) + 86_400), "resource": query["resource"]})
        self._authorize(headers, "manager")
        given = json.loads(body) if body else None
        return self._manager(method, unquote(parts.path), query, given, f"http://{headers['host']}")

    @staticmethod
    def _authorize(headers: Mapping[str, str], kind: str) -> None:
        given = headers.get("authorization", "").removeprefix("Bearer token for ").rstrip("/")
        if given not in {audience.rstrip("/") for audience in _AUDIENCES[kind]}:
            raise Refused("InvalidAuthenticationTokenAudience", f"the token is for {given!r}", 401)

    # ---- Resource Manager

    def _manager(self, method: str, path: str, query: Mapping[str, str], body: Json | None, base: str) -> Reply:
        if path.startswith("/operationresults/"):
            return self._operation_result(path)
        if not re.fullmatch(r"20\d\d-\d\d-\d\d(-preview)?", query.get("api-version", "")):
            raise Refused("MissingApiVersionParameter", "The api-version query parameter is required.")
        if not path.lower().startswith(f"/subscriptions/{SUBSCRIPTION}"):
            raise Refused("SubscriptionNotFound", f"The subscription of '{path}' could not be found.", 404)
        rest = path[len(f"/subscriptions/{SUBSCRIPTION}") :].rstrip("/")
        parts = rest.strip("/").split("/") if rest else []
        lower = [part.lower() for part in parts]
        if not parts:
            return _json(
                200,
                {
                    "id": path,
                    "subscriptionId": SUBSCRIPTION,
                    "displayName": "tests",
                    "tenantId": TENANT,
                    "state": "Enabled",
                },
            )
        if lower[0] == "providers" and len(parts) == 2 and method == "GET":
            state = "Registered" if parts[1] in self.registered else "NotRegistered"
            types = [{"resourceType": "smartDetectorAlertRules", "apiVersions": ["2021-04-01", "2019-06-01"]}]
            return _json(200, {"namespace": parts[1], "registrationState": state, "resourceTypes": types})
        if lower[0] == "providers" and len(parts) == 3 and lower[2] == "register" and method == "POST":
            self.registered.add(parts[1])
            return _json(200, {"namespace": parts[1], "registrationState": "Registered"})
        if lower[:3] == ["providers", "microsoft.keyvault", "locations"] and lower[4:5] == ["deletedvaults"]:
            return self._deleted_vault(method, lower)
        if lower[0] != "resourcegroups" or len(parts) < 2:
            raise Refused("NotFound", f"{method} {path} is not known here", 404)
        return self._in_group(method, path, parts, query, body, base)

    def _in_group(
        self, method: str, path: str, parts: list[str], query: Mapping[str, str], body: Json | None, base: str
    ) -> Reply:
        group, lower = parts[1], [part.lower() for part in parts]
        if len(parts) == 2:
            return self._group(method, group, body)
        known = self.world.groups.get(group.lower())
        if known is None:
            raise Refused("ResourceGroupNotFound", f"Resource group '{group}' could not be found.", 404)
        if lower[2:] == ["resources"] and method == "GET":
            return self._list_resources(group, query, base)
        if lower[2:5] == ["providers", "microsoft.resources", "deployments"]:
            return self._deployment(method, group, parts[5:], query, body, base)
        if lower[2] == "deployments" and lower[4:] == ["operations"] and method == "GET":
            return _json(200, {"value": list(self.deployments.get(group, parts[3]).operations)})
        if lower[2] != "providers":
            raise Refused("NotFound", f"{method} {path} is not known here", 404)
        if lower[-2:] == ["microsoft.authorization", "roleassignments"] and method == "GET":
            return self._role_assignments(path, query)
        match = re.fullmatch(r"(.+/providers/microsoft\.web/sites/[^/]+)/(.+)", path, re.IGNORECASE)
        if match and (found := self._of_site(method, match.group(1), match.group(2).lower())) is not None:
            return found
        if (len(parts) - 2) % 2 == 1 or len(parts) == 5:  # no name at the end: a list
            return self._list_children(method, path, query, base)
        return self._resource(method, path, query, body)

    def _resource(self, method: str, id: str, query: Mapping[str, str], body: Json | None) -> Reply:
        split(id)
        if method == "PUT":
            entry, is_new = self.world.put(id, query["api-version"], body or {})
            return _json(201 if is_new else 200, shown(entry))
        entry = self.world.get(id)
        if method == "DELETE":
            there = self.world.delete(id)
            return (200 if there else 204), {}, b""
        if entry is None:
            raise Refused("ResourceNotFound", f"The Resource '{id}' was not found.", 404)
        if method == "GET":
            found = shown(entry)
            if "countDetails" in found["properties"]:
                found["properties"]["countDetails"] |= self.counts(entry["id"])
            return _json(200, found)
        raise Refused("MethodNotAllowed", method, 405)

    def _group(self, method: str, name: str, body: Json | None) -> Reply:
        known = self.world.groups.get(name.lower())
        if method == "PUT":
            if "resourceGroups/write" in self.world.denied:
                raise denied("Microsoft.Resources/subscriptions/resourcegroups/write", name)
            assert body is not None
            if not body.get("location"):
                raise Refused("LocationRequired", "The location property is required for this definition.")
            if known is not None and known["location"] != body["location"]:
                raise Refused(
                    "InvalidResourceGroupLocation", f"The Resource group '{name}' already exists elsewhere.", 409
                )
            made = {
                "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
                "name": name,
                "location": body["location"],
                "tags": body.get("tags", {}),
                "properties": {"provisioningState": "Succeeded"},
            }
            self.world.groups[name.lower()] = made
            return _json(200 if known else 201, made)
        if known is None:
            raise Refused("ResourceGroupNotFound", f"Resource group '{name}' could not be found.", 404)
        if method == "DELETE":
            for entry in self.world.children(known["id"]):
                self.world.delete(entry["id"])
            del self.world.groups[name.lower()]
            return 200, {}, b""
        return _json(200, known)

    def _list_resources(self, group: str, query: Mapping[str, str], base: str) -> Reply:
        prefix = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{group}/providers/".lower()
        # Only what is tracked: what is in something else is not listed, nor what extends something.
        found = [
            {key: entry[key] for key in ("id", "name", "type", "location", "tags", "kind", "sku") if key in entry}
            for id, entry in sorted(self.world.resources.items())
            if id.startswith(prefix) and id[len(prefix) :].count("/") == 2 and "location" in entry
        ]
        if given := query.get("$filter"):
            match = _FILTER.fullmatch(given)
            if match is None:
                raise Refused("InvalidFilterInQueryString", given)
            found = [entry for entry in found if entry.get("tags", {}).get(match.group(1)) == match.group(2)]
        return self._page(found, f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/resources", query, base)

    def _list_children(self, method: str, path: str, query: Mapping[str, str], base: str) -> Reply:
        if method != "GET":
            raise Refused("MethodNotAllowed", method, 405)
        parent = path.rpartition("/")[0]
        if (
            "/providers/" in parent
            and not parent.lower().endswith("/providers")
            and not self.world.exists(parent)
            and parent.count("/") > 6
        ):
            raise Refused("ResourceNotFound", f"The Resource '{parent}' was not found.", 404)
        prefix = path.lower() + "/"
        found = [
            shown(entry)
            for id, entry in sorted(self.world.resources.items())
            if id.startswith(prefix) and "/" not in id[len(prefix) :]
        ]
        return self._page(found, path, query, base)

    @staticmethod
    def _page(found: list[Json], path: str, query: Mapping[str, str], base: str) -> Reply:
        """Small pages, so that whoever lists follows them."""
        at = int(query.get("$skiptoken", 0))
        page: Json = {"value": found[at : at + 7]}
        if at + 7 < len(found):
            rest = "&".join(f"{name}={value}" for name, value in query.items() if name != "$skiptoken")
            page["nextLink"] = f"{base}{path}?{rest}&$skiptoken={at + 7}".replace(" ", "%20")
        return _json(200, page)

    def _role_assignments(self, path: str, query: Mapping[str, str]) -> Reply:
        match = re.fullmatch(r"principalId eq '([^']+)'", query.get("$filter", ""))
        if match is None:
            raise Refused("UnsupportedQuery", f"the filter {query.get('$filter')!r} is not known here")
        scope = path.lower().rpartition("/providers/")[0]
        found = [
            entry
            for entry in self.world.of_type("Microsoft.Authorization/roleAssignments")
            if entry["properties"]["principalId"] == match.group(1) and entry["id"].lower().startswith(scope)
        ]
        return _json(200, {"value": found})

    def _of_site(self, method: str, id: str, rest: str) -> Reply | None:
        if rest not in ("functions", "host/default/listkeys", "config/configreferences/appsettings/refresh", "restart"):
            return None
        entry = self.world.get(id)
        if entry is None:
            raise Refused("ResourceNotFound", f"The Resource '{id}' was not found.", 404)
        if rest == "functions" and method == "GET":
            return _json(200, {"value": self.sites.functions(entry), "nextLink": None})
        if method != "POST":
            raise Refused("MethodNotAllowed", method, 405)
        if rest == "host/default/listkeys":
            keys = self.sites[entry["name"]].keys
            return _json(200, {"masterKey": keys.master, "functionKeys": {"default": keys.default}, "systemKeys": {}})
        self.sites.refresh(entry)
        return _json(200, {"value": []})

    def _deleted_vault(self, method: str, lower: list[str]) -> Reply:
        entry = self.world.deleted_vaults.get(lower[5] if len(lower) > 5 else "")
        if entry is None:
            raise Refused("DeletedVaultNotFound", f"The specified deleted vault '{lower[-1]}' does not exist.", 404)
        if method == "GET" and len(lower) == 6:
            tags = {"vaultId": entry["id"], "location": entry["location"], "tags": entry.get("tags", {})}
            protected = entry["properties"].get("enablePurgeProtection")
            properties = {**tags, **({"purgeProtectionEnabled": True} if protected else {})}
            return _json(200, {"name": entry["name"], "properties": properties})
        if method == "POST" and lower[6:] == ["purge"]:
            if "Microsoft.KeyVault/locations/deletedVaults/purge/action" in self.world.denied:
                raise denied("Microsoft.KeyVault/locations/deletedVaults/purge/action", entry["id"])
            del self.world.deleted_vaults[entry["name"].lower()]
            self.world.secrets.pop(entry["name"].lower(), None)
            return 200, {}, b""
        raise Refused("MethodNotAllowed", method, 405)

    # ---- deployments

    def _deployment(
        self, method: str, group: str, rest: list[str], query: Mapping[str, str], body: Json | None, base: str
    ) -> Reply:
        name, action = rest[0], "/".join(rest[1:]).lower()
        known = self.deployments
        if "Microsoft.Resources/deployments/write" in self.world.denied and method in ("PUT", "POST"):
            raise denied("Microsoft.Resources/deployments/write", f"{group}/{name}")
        if method == "PUT" and not action:
            made = known.put(group, name, body or {})
            result = f"{base}{made.id}/operationStatuses/1?api-version=2026-06-01"
            return _json(201, made.record(), {"azure-asyncoperation": result, "retry-after": "1"})
        if method == "POST" and action == "whatif":
            template, _ = known.read(group, body or {})
            done = {
                "status": "Succeeded",
                "properties": {"correlationId": "0", "changes": what_if.changes(self.world, template)},
            }
            id = uuid.uuid4().hex
            self._waiting[id] = (_LOOKS, done)
            return 202, {"location": f"{base}/operationresults/{id}?api-version=1", "x-ms-retry-after-ms": "20"}, b""
        if method == "GET" and not action:
            return _json(200, known.get(group, name).record())
        if method == "POST" and action == "exporttemplate":
            return _json(200, {"template": known.get(group, name).template.text})
        if method == "POST" and action == "cancel":
            known.cancel(group, name)
            return 204, {}, b""
        if method == "DELETE" and not action:
            there = known.all.pop((group.lower(), name.lower()), None)
            return (202 if there else 204), ({"location": f"{base}/operationresults/none"} if there else {}), b""
        raise Refused("NotFound", f"{method} {action} of a deployment is not known here", 404)

    def _operation_result(self, path: str) -> Reply:
        id = path.rpartition("/")[2]
        if id not in self._waiting:
            return 204, {}, b""
        looks, done = self._waiting[id]
        if looks > 0:
            self._waiting[id] = (looks - 1, done)
            return 202, {"x-ms-retry-after-ms": "20"}, b""
        return _json(200, done)


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return status, {"content-type": "application/json", **(headers or {})}, json.dumps(value).encode()
