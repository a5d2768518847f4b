"""What there is in a subscription: the resources, what each type takes, fills in and refuses."""

from __future__ import annotations

import copy
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.arm.expressions import Refused

Json = dict[str, Any]

SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
TENANT = "99999999-8888-4777-8666-555555555555"
DEPLOYER = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"

#: "Azure built-in roles" (2026-11).
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "db58b8e5-c6ad-4a2a-8342-4190687cbf4a": "Storage Blob Delegator",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "76199698-9eea-4c19-bc75-cec21354c6b6": "Storage Table Data Reader",
    "090c5cfd-751d-490a-894a-3ce6f1109419": "Azure Service Bus Data Owner",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "43d0d8ad-25c7-4714-9337-8ba259a9fe05": "Monitoring Reader",
    "73c42c96-874c-492b-b04d-ab87d138a893": "Log Analytics Reader",
}
#: Types that no template of ours may have for want of rules here would be accepted silently; so they are listed.
_NAMES: dict[str, str] = {
    "microsoft.managedidentity/userassignedidentities": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    "microsoft.storage/storageaccounts": r"[a-z0-9]{3,24}",
    "microsoft.storage/storageaccounts/blobservices": r"default",
    "microsoft.storage/storageaccounts/blobservices/containers": r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]",
    "microsoft.storage/storageaccounts/tableservices": r"default",
    "microsoft.storage/storageaccounts/tableservices/tables": r"[A-Za-z][A-Za-z0-9]{2,62}",
    "microsoft.storage/storageaccounts/managementpolicies": r"default",
    "microsoft.servicebus/namespaces": r"[A-Za-z](?!.*--)[A-Za-z0-9-]{4,48}[A-Za-z0-9]",
    "microsoft.servicebus/namespaces/queues": r"[A-Za-z0-9]([A-Za-z0-9._~/-]{0,258}[A-Za-z0-9])?",
    "microsoft.servicebus/namespaces/topics": r"[A-Za-z0-9]([A-Za-z0-9._~/-]{0,258}[A-Za-z0-9])?",
    "microsoft.servicebus/namespaces/topics/subscriptions": r"[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?",
    "microsoft.servicebus/namespaces/topics/subscriptions/rules": r".{1,50}",
    "microsoft.keyvault/vaults": r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]",
    "microsoft.keyvault/vaults/secrets": r"[A-Za-z0-9-]{1,127}",
    "microsoft.operationalinsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "microsoft.insights/components": r".{1,260}",
    "microsoft.insights/diagnosticsettings": r".{1,260}",
    "microsoft.web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    "microsoft.web/sites": r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]",
    "microsoft.web/sites/basicpublishingcredentialspolicies": r"scm|ftp",
    "microsoft.web/sites/config": r"appsettings|web|authsettingsV2",
    "microsoft.eventgrid/systemtopics": r"[A-Za-z0-9-]{3,50}",
    "microsoft.eventgrid/systemtopics/eventsubscriptions": r"[A-Za-z0-9-]{3,64}",
    "microsoft.authorization/roleassignments": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "microsoft.alertsmanagement/smartdetectoralertrules": r".{1,260}",
}
_UNIQUE = {
    "microsoft.storage/storageaccounts": (
        "StorageAccountAlreadyTaken",
        "The storage account named {name} is already taken.",
    ),
    "microsoft.keyvault/vaults": (
        "VaultAlreadyExists",
        "The vault name '{name}' is already in use. Vault names are globally unique.",
    ),
    "microsoft.servicebus/namespaces": ("Conflict", "The specified name '{name}' is already in use."),
    "microsoft.web/sites": ("Conflict", "Website with given name {name} already exists."),
}
#: What a provider takes and does not show.
_HIDDEN: dict[str, tuple[tuple[str, ...], ...]] = {
    "microsoft.web/sites": (("siteConfig", "appSettings"), ("siteConfig", "minTlsVersion")),
}
#: What a provider fills in that nobody asked for; what-if tells of it as of something that a deployment deletes.
_DEFAULTS: dict[str, Json] = {
    "microsoft.web/sites": {"clientAffinityEnabled": False, "containerSize": 1536, "redundancyMode": "None"},
    "microsoft.storage/storageaccounts": {"networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow"}},
    "microsoft.servicebus/namespaces/queues": {"enableBatchedOperations": True, "status": "Active"},
}
#: Containers of others: a child of these is made in its parent without being put.
_AUTOMATIC = ("blobservices", "tableservices")
_FIXED = {
    "microsoft.servicebus/namespaces/queues": ("requiresSession", "requiresDuplicateDetection", "enablePartitioning"),
    "microsoft.servicebus/namespaces/topics/subscriptions": ("requiresSession",),
}


@dataclass
class World:
    """A subscription. taken: names that others have, by type in lower case. denied: actions that are not allowed."""

    groups: dict[str, Json] = field(default_factory=dict)
    resources: dict[str, Json] = field(default_factory=dict)
    deleted_vaults: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    #: What was put, by id; what is filled in is in the resources only.
    bodies: dict[str, Json] = field(default_factory=dict)
    taken: set[tuple[str, str]] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    #: (id, what happened to it: "put" or "delete"), called after it.
    watchers: list[Callable[[Json, str], None]] = field(default_factory=list)
    #: What checks a body against its published schema, when there is one: (type, api, body) → problems.
    schema: Callable[[str, str, Json], list[str]] = lambda *_: []
    lock: threading.RLock = field(default_factory=threading.RLock)

    # ---- looking

    def get(self, id: str) -> Json | None:
        return self.resources.get(id.lower())

    def of_type(self, kind: str) -> Iterator[Json]:
        yield from [entry for entry in list(self.resources.values()) if entry["type"].lower() == kind.lower()]

    def children(self, id: str) -> list[Json]:
        return [entry for key, entry in list(self.resources.items()) if key.startswith(id.lower() + "/")]

    def exists(self, id: str) -> bool:
        """Also of what is there without having been put."""
        low = id.lower()
        if low in self.resources or re.fullmatch(r"/subscriptions/[^/]+(/resourcegroups/[^/]+)?", low):
            return True
        parent, _, name = low.rpartition("/")
        parent, _, kind = parent.rpartition("/")
        return kind in _AUTOMATIC and name == "default" and parent in self.resources

    def assignments(self, principal: str) -> Iterator[tuple[str, str]]:
        """(scope in lower case, name of the role) of everything that a principal may."""
        for entry in self.of_type("Microsoft.Authorization/roleAssignments"):
            if entry["properties"]["principalId"] == principal:
                role = entry["properties"]["roleDefinitionId"].rpartition("/")[2]
                yield entry["properties"]["scope"].lower(), ROLES[role]

    def may(self, principal: str, roles: tuple[str, ...], id: str) -> bool:
        """Whether a principal has one of the roles on a resource, or on what it is in."""
        low = id.lower()
        return any(
            role in roles and (low == scope or low.startswith(scope + "/"))
            for scope, role in self.assignments(principal)
        )

    # ---- putting

    def put(self, id: str, api: str, body: Json) -> tuple[Json, bool]:
        """The resource as it is then, and whether it is new. Raises Refused."""
        with self.lock:
            scope, kind, names = split(id)
            low = kind.lower()
            action = f"{kind}/write"
            if action in self.denied or kind in self.denied:
                raise denied(action, id)
            if low not in _NAMES:
                raise Refused("InvalidResourceType", f"The resource type '{kind}' could not be found.", 404)
            if not re.fullmatch(_NAMES[low], names[-1]):
                raise Refused("InvalidResourceName", f"the name '{names[-1]}' is not valid for {kind}")
            problems = self.schema(kind, api, body)
            if problems:
                raise Refused("InvalidRequestContent", f"{kind} {names[-1]}: " + "; ".join(problems))
            self._check_parent(id, kind, scope)
            before = self.get(id)
            entry = {"id": id, "name": names[-1], "type": kind, **copy.deepcopy(body)}
            entry.setdefault("properties", {})
            self._check_unique(low, names[-1], before)
            for name in _FIXED.get(low, ()):
                was, now = ((e or {}).get("properties", {}).get(name, False) for e in (before, entry))
                if before is not None and was != now:
                    raise Refused("BadRequest", f"The property '{name}' cannot be changed for an existing entity.")
            if before is not None and before.get("location") != entry.get("location"):
                raise Refused("InvalidResourceLocation", f"The resource '{names[-1]}' already exists elsewhere.", 409)
            rule = _RULES.get(low)
            if rule is not None:
                rule(self, entry, before)
            for name, value in _DEFAULTS.get(low, {}).items():
                entry["properties"].setdefault(name, copy.deepcopy(value))
            entry["properties"]["provisioningState"] = "Succeeded"
            self.resources[id.lower()] = entry
            self.bodies[id.lower()] = copy.deepcopy(body)
            for watcher in self.watchers:
                watcher(entry, "put")
            return entry, before is None

    def _check_parent(self, id: str, kind: str, scope: str) -> None:
        group = re.match(r"/subscriptions/[^/]+/resourceGroups/([^/]+)", id, re.IGNORECASE)
        if group is None or group.group(1).lower() not in self.groups:
            raise Refused(
                "ResourceGroupNotFound", f"Resource group '{group and group.group(1)}' could not be found.", 404
            )
        if kind.count("/") > 1:
            parent = id.rpartition("/")[0].rpartition("/")[0]
            if not self.exists(parent):
                raise Refused(
                    "ParentResourceNotFound",
                    f"Failed to perform 'write' on resource(s) of type '{kind}', because the parent resource "
                    f"'{parent}' could not be found.",
                    404,
                )
        # Secrets are the vault's own: a role on one that is not there yet may be assigned.
        place = scope.rpartition("/secrets/")[0] if "/vaults/" in scope else scope
        if not self.exists(place or scope):
            raise Refused("ResourceNotFound", f"The Resource '{scope}' was not found.", 404)

    def _check_unique(self, low: str, name: str, before: Json | None) -> None:
        if before is not None or low not in _UNIQUE:
            return
        code, text = _UNIQUE[low]
        if (low, name.lower()) in self.taken or any(e["name"].lower() == name.lower() for e in self.of_type(low)):
            raise Refused(code, text.format(name=name), 409)

    # ---- deleting

    def delete(self, id: str) -> bool:
        with self.lock:
            entry = self.get(id)
            if entry is None:
                return False
            action = f"{entry['type']}/delete"
            if action in self.denied:
                raise denied(action, id)
            if entry["type"].lower() == "microsoft.web/serverfarms":
                sites = [s["name"] for s in self.of_type("Microsoft.Web/sites") if _plan(s) == id.lower()]
                if sites:
                    raise Refused(
                        "Conflict",
                        f"Server farm '{entry['name']}' cannot be deleted because it has web app(s) {sites}.",
                        409,
                    )
            for child in sorted(self.children(id), key=lambda e: -len(e["id"])):
                self._gone(child)
            self._gone(entry)
            return True

    def _gone(self, entry: Json) -> None:
        if self.resources.pop(entry["id"].lower(), None) is None:
            return
        self.bodies.pop(entry["id"].lower(), None)
        if entry["type"].lower() == "microsoft.keyvault/vaults":
            self.deleted_vaults[entry["name"].lower()] = entry
        for watcher in self.watchers:
            watcher(entry, "delete")


def shown(entry: Json) -> Json:
    """A resource as a GET shows it."""
    found = copy.deepcopy(entry)
    for path in _HIDDEN.get(entry["type"].lower(), ()):
        place: Any = found["properties"]
        for step in path[:-1]:
            place = place.get(step) or {}
        place.pop(path[-1], None)
    return found


def filled_in(kind: str) -> Json:
    """What a resource of a type has that nobody asked for."""
    return _DEFAULTS.get(kind.lower(), {})


def denied(action: str, id: str) -> Refused:
    return Refused(
        "AuthorizationFailed",
        f"The client 'deployer' with object id '{DEPLOYER}' does not have authorization to perform action '{action}' "
        f"over scope '{id}' or the scope is invalid. If access was recently granted, please refresh your credentials.",
        403,
    )


def split(id: str) -> tuple[str, str, list[str]]:
    """(scope, type, names) of an id."""
    scope, _, rest = id.rpartition("/providers/")
    parts = rest.split("/")
    if not scope or len(parts) < 3 or len(parts) % 2 == 0:
        raise Refused("InvalidResourceId", f"'{id}' is no resource id", 400)
    return scope, "/".join([parts[0], *parts[1::2]]), parts[2::2]


# ---- what each type's provider does


def _identity(world: World, entry: Json, before: Json | None) -> None:
    known = (before or {}).get("properties", {})
    entry["properties"] = {
        "tenantId": TENANT,
        "principalId": known.get("principalId") or str(uuid.uuid4()),
        "clientId": known.get("clientId") or str(uuid.uuid4()),
    }


def _storage(world: World, entry: Json, before: Json | None) -> None:
    if "sku" not in entry or "kind" not in entry or "location" not in entry:
        raise Refused("InvalidRequestContent", "a storage account has a sku, a kind and a location")
    name = entry["name"]
    entry["properties"]["primaryEndpoints"] = {
        service: f"https://{name}.{service}.core.windows.net/" for service in ("blob", "queue", "table", "file")
    }


def _namespace(world: World, entry: Json, before: Json | None) -> None:
    if entry.get("sku", {}).get("name") not in ("Basic", "Standard", "Premium"):
        raise Refused("BadRequest", "a namespace has a sku")
    entry["properties"]["serviceBusEndpoint"] = f"https://{entry['name']}.servicebus.windows.net:443/"
    entry["properties"]["status"] = "Active"


def _queue(world: World, entry: Json, before: Json | None) -> None:
    namespace = world.get(entry["id"].rpartition("/")[0].rpartition("/")[0]) or {}
    if entry["type"].lower().endswith("/topics") and namespace.get("sku", {}).get("name") == "Basic":
        raise Refused("BadRequest", "topics need the sku Standard")
    entry["properties"]["countDetails"] = {
        "activeMessageCount": 0,
        "deadLetterMessageCount": 0,
        "scheduledMessageCount": 0,
    }


def _vault(world: World, entry: Json, before: Json | None) -> None:
    properties, low = entry["properties"], entry["name"].lower()
    if properties.get("createMode") == "recover":
        old = world.deleted_vaults.pop(low, None)
        if old is None:
            raise Refused("VaultNotFound", f"there is no deleted vault {entry['name']}", 404)
        entry["properties"] = properties = copy.deepcopy(old["properties"])
        entry.setdefault("tags", old.get("tags", {}))
    elif low in world.deleted_vaults:
        raise Refused(
            "ConflictError",
            f"A vault with the same name already exists in deleted state. You need to either recover or purge existing "
            f"key vault. Vault '{entry['name']}'.",
            409,
        )
    if (before or {}).get("properties", {}).get("enablePurgeProtection") and not properties.get(
        "enablePurgeProtection"
    ):
        raise Refused("BadRequest", 'The property "enablePurgeProtection" cannot be set to false.')
    properties["vaultUri"] = f"https://{entry['name']}.vault.azure.net/"
    properties["enableSoftDelete"] = True


def _vault_secret(world: World, entry: Json, before: Json | None) -> None:
    value = entry["properties"].pop("value", None)
    if value is None:
        raise Refused("BadRequest", "a secret has a value")
    vault = entry["id"].split("/")[-3].lower()
    world.secrets.setdefault(vault, {}).setdefault(entry["name"], []).append(value)


def _workspace(world: World, entry: Json, before: Json | None) -> None:
    entry["properties"]["customerId"] = (before or {}).get("properties", {}).get("customerId") or str(uuid.uuid4())


def _component(world: World, entry: Json, before: Json | None) -> None:
    workspace = entry["properties"].get("WorkspaceResourceId", "")
    if world.get(workspace) is None:
        raise Refused("BadRequest", f"there is no workspace {workspace}")
    key = (before or {}).get("properties", {}).get("InstrumentationKey") or str(uuid.uuid4())
    entry["properties"] |= {
        "InstrumentationKey": key,
        "AppId": key[::-1],
        "ConnectionString": f"InstrumentationKey={key};IngestionEndpoint=https://westeurope-1.in.applicationinsights.azure.com/",
    }
    # Azure makes one beside each component, without tags, and leaves it when the component goes.
    group = entry["id"].partition("/providers/")[0]
    rule = f"{group}/providers/microsoft.alertsmanagement/smartDetectorAlertRules/Failure Anomalies - {entry['name']}"
    if before is None:
        world.resources[rule.lower()] = {
            "id": rule,
            "name": rule.rpartition("/")[2],
            "type": "microsoft.alertsmanagement/smartDetectorAlertRules",
            "location": "global",
            "properties": {"scope": [entry["id"]]},
        }


def _plan_of(world: World, entry: Json, before: Json | None) -> None:
    if entry.get("sku", {}).get("name") != "FC1" or not entry["properties"].get("reserved"):
        raise Refused("BadRequest", "only plans of Flex Consumption (FC1, Linux) are known here")


def _plan(site: Json) -> str:
    return str(site["properties"].get("serverFarmId", "")).lower()


def _site(world: World, entry: Json, before: Json | None) -> None:
    properties = entry["properties"]
    if world.get(_plan(entry)) is None:
        raise Refused("ServerFarmNotFound", f"Cannot find serverFarm with name {_plan(entry).rpartition('/')[2]}.", 404)
    others = [s["name"] for s in world.of_type("Microsoft.Web/sites") if _plan(s) == _plan(entry)]
    if [name for name in others if name != entry["name"]]:
        raise Refused("BadRequest", f"a plan of Flex Consumption has one app, and this one has {others}")
    identities = entry.get("identity", {}).get("userAssignedIdentities", {})
    known = {}
    for id in identities:
        found = world.get(id)
        if found is None:
            raise Refused("InvalidResourceID", f"The identity {id} was not found.")
        known[id] = {name: found["properties"][name] for name in ("principalId", "clientId")}
    if identities:
        entry["identity"]["userAssignedIdentities"] = known
    if "functionapp" not in entry.get("kind", ""):
        raise Refused("BadRequest", "kind is not functionapp")
    config = properties.get("functionAppConfig") or {}
    storage = config.get("deployment", {}).get("storage", {})
    memory = config.get("scaleAndConcurrency", {}).get("instanceMemoryMB")
    if memory not in (512, 2048, 4096):
        raise Refused("BadRequest", f"instanceMemoryMB is {memory}")
    if config.get("runtime", {}).get("name") != "python":
        raise Refused("BadRequest", "functionAppConfig.runtime is not python")
    _check_package_store(world, storage, [id.lower() for id in identities])
    forbidden = {
        "FUNCTIONS_WORKER_RUNTIME",
        "FUNCTIONS_EXTENSION_VERSION",
        "WEBSITE_RUN_FROM_PACKAGE",
        "WEBSITE_TIME_ZONE",
    }
    settings = {item["name"]: item["value"] for item in properties.get("siteConfig", {}).get("appSettings", ())}
    if bad := forbidden & set(settings):
        raise Refused("BadRequest", f"the app settings {sorted(bad)} are not supported on Flex Consumption")
    if any(not isinstance(value, str) for value in settings.values()):
        raise Refused("BadRequest", "an app setting is text")
    host = f"{entry['name']}.azurewebsites.net".lower()
    scm = f"{entry['name']}.scm.azurewebsites.net".lower()
    properties |= {
        "state": "Running",
        "defaultHostName": host,
        "hostNames": [host],
        "enabledHostNames": [host, scm],
        "hostNameSslStates": [
            {"name": host, "sslState": "Disabled", "hostType": "Standard"},
            {"name": scm, "sslState": "Disabled", "hostType": "Repository"},
        ],
    }


def _check_package_store(world: World, storage: Json, identities: list[str]) -> None:
    if storage.get("type") != "blobContainer":
        raise Refused("BadRequest", f"deployment storage is {storage}")
    match = re.fullmatch(r"https://([a-z0-9]+)\.blob\.core\.windows\.net/([a-z0-9-]+)", storage.get("value", ""))
    if match is None:
        raise Refused("BadRequest", f"deployment storage is {storage.get('value')}")
    if storage.get("authentication", {}).get("type") != "UserAssignedIdentity":
        raise Refused("BadRequest", "keys are switched off: deployment storage needs an identity")
    if storage["authentication"].get("userAssignedIdentityResourceId", "").lower() not in identities:
        raise Refused("BadRequest", "the identity of deployment storage is none of the app's")


def _system_topic(world: World, entry: Json, before: Json | None) -> None:
    if world.get(entry["properties"].get("source", "")) is None:
        raise Refused("InvalidRequest", f"there is no source {entry['properties'].get('source')}")


def _event_subscription(world: World, entry: Json, before: Json | None) -> None:
    properties = entry["properties"]
    delivery = properties.get("deliveryWithResourceIdentity") or properties
    destination = delivery.get("destination", {})
    target = destination.get("properties", {}).get("resourceId", "")
    if destination.get("endpointType") != "ServiceBusQueue" or world.get(target) is None:
        raise Refused("InvalidRequest", f"there is no destination {destination}")
    dead = properties.get("deadLetterWithResourceIdentity", {}).get("deadLetterDestination", {}).get("properties", {})
    if dead and not world.exists(dead.get("resourceId", "")):
        raise Refused("InvalidRequest", f"there is no place for dead letters {dead}")
    identity = delivery.get("identity", {}).get("userAssignedIdentity", "")
    found = world.get(identity)
    if found is None:
        raise Refused("InvalidRequest", f"there is no identity {identity}: events are delivered in somebody's name")
    if not world.may(found["properties"]["principalId"], ("Azure Service Bus Data Sender",), target):
        raise Refused("InvalidRequest", f"the identity may not send to {target}")


def _role(world: World, entry: Json, before: Json | None) -> None:
    properties = entry["properties"]
    role = properties.get("roleDefinitionId", "").rpartition("/")[2]
    if role not in ROLES:
        raise Refused("RoleDefinitionDoesNotExist", f"The specified role definition with ID '{role}' does not exist.")
    principals = {
        e["properties"]["principalId"] for e in world.of_type("Microsoft.ManagedIdentity/userAssignedIdentities")
    }
    if properties.get("principalId") not in principals | {DEPLOYER}:
        raise Refused(
            "PrincipalNotFound",
            f"Principal {properties.get('principalId')} does not exist in the directory {TENANT}.",
        )
    # "Assign Azure roles with ARM templates": without it a new principal may not be found for a while.
    if properties.get("principalType") != "ServicePrincipal" and properties.get("principalId") != DEPLOYER:
        raise Refused("UnmatchedPrincipalType", "a role assignment to a new identity says its principalType")
    scope = split(entry["id"])[0]
    asked = (scope.lower(), properties["principalId"], role)
    if before is not None:
        old = before["properties"]
        if (old["principalId"], old["roleDefinitionId"].rpartition("/")[2]) != asked[1:]:
            raise Refused(
                "RoleAssignmentUpdateNotPermitted",
                "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
            )
    else:
        for other in world.of_type("Microsoft.Authorization/roleAssignments"):
            old = other["properties"]
            if (old["scope"].lower(), old["principalId"], old["roleDefinitionId"].rpartition("/")[2]) == asked:
                raise Refused("RoleAssignmentExists", f"The role assignment already exists: {other['name']}.", 409)
    properties["scope"] = scope


_RULES: Mapping[str, Callable[[World, Json, Json | None], None]] = {
    "microsoft.managedidentity/userassignedidentities": _identity,
    "microsoft.storage/storageaccounts": _storage,
    "microsoft.servicebus/namespaces": _namespace,
    "microsoft.servicebus/namespaces/queues": _queue,
    "microsoft.servicebus/namespaces/topics": _queue,
    "microsoft.servicebus/namespaces/topics/subscriptions": _queue,
    "microsoft.keyvault/vaults": _vault,
    "microsoft.keyvault/vaults/secrets": _vault_secret,
    "microsoft.operationalinsights/workspaces": _workspace,
    "microsoft.insights/components": _component,
    "microsoft.web/serverfarms": _plan_of,
    "microsoft.web/sites": _site,
    "microsoft.eventgrid/systemtopics": _system_topic,
    "microsoft.eventgrid/systemtopics/eventsubscriptions": _event_subscription,
    "microsoft.authorization/roleassignments": _role,
}
