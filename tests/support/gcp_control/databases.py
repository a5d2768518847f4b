"""Firestore's databases: made and deleted by operations, protected against deletion, their names held for a while."""

from __future__ import annotations

import re
from typing import Any

from tests.support.gcp_control.handlers import answers, patched
from tests.support.gcp_control.schema import Refusal, Request, invalid
from tests.support.gcp_control.state import State, now

Json = dict[str, Any]

_SCHEMA = "GoogleFirestoreAdminV1Database"


@answers("firestore.projects.databases.create")
def create(state: State, request: Request) -> Json:
    id, body = request.parameters.get("databaseId", ""), request.body
    if not re.fullmatch(r"[a-z]([a-z0-9-]{2,61})[a-z0-9]|\(default\)", id):
        raise invalid(f"Invalid database id: {id}")
    if not body.get("locationId") or body.get("type") not in ("FIRESTORE_NATIVE", "DATASTORE_MODE"):
        raise invalid("locationId and type are required")
    name = f"{request.parameters['parent']}/databases/{id}"
    defaults = {"deleteProtectionState": "DELETE_PROTECTION_DISABLED", "concurrencyMode": "OPTIMISTIC", "uid": id}
    state.add("databases", name, {**defaults, **body, "name": name, "createTime": now(), "etag": "e1"})
    return state.begin(name, dict)


@answers("firestore.projects.databases.get")
def get(state: State, request: Request) -> Json:
    return state.get("databases", request.parameters["name"])


@answers("firestore.projects.databases.list")
def list_(state: State, request: Request) -> Json:
    return {"databases": list(state.of("databases").values())}


@answers("firestore.projects.databases.patch")
def patch(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    live, mask = state.get("databases", name), request.parameters.get("updateMask", "")
    fixed = ("locationId", "type", "name")
    state.of("databases")[name] = patched(live, request, request.body, mask, _SCHEMA, immutable=fixed)
    return state.begin(name, dict)


@answers("firestore.projects.databases.delete")
def delete(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    if state.get("databases", name)["deleteProtectionState"] == "DELETE_PROTECTION_ENABLED":
        raise Refusal(400, "FAILED_PRECONDITION", "Database has delete protection enabled.")
    state.remove("databases", name)
    for field in [field for field in state.of("fields") if field.startswith(f"{name}/")]:
        del state.of("fields")[field]
    return state.begin(name, dict)


# ---- how fields are indexed


def _field(state: State, name: str) -> Json:
    """A field as it is; one that nobody said anything of is indexed as all are."""
    state.get("databases", name.partition("/collectionGroups/")[0])
    whole = f"{name.partition('/collectionGroups/')[0]}/collectionGroups/__default__/fields/*"
    orders = [
        {"queryScope": "COLLECTION", "state": "READY", "fields": [{"order": o}]} for o in ("ASCENDING", "DESCENDING")
    ]
    inherited = {"usesAncestorConfig": True, "ancestorField": whole, "indexes": orders}
    return state.of("fields").get(name) or {"name": name, "indexConfig": inherited}


@answers("firestore.projects.databases.collectionGroups.fields.get")
def get_field(state: State, request: Request) -> Json:
    return _field(state, request.parameters["name"])


@answers("firestore.projects.databases.collectionGroups.fields.list")
def list_fields(state: State, request: Request) -> Json:
    if request.parameters.get("filter") != "indexConfig.usesAncestorConfig:false":
        raise invalid("Only fields that have been explicitly overridden can be listed.")
    database, _, collection = request.parameters["parent"].partition("/collectionGroups/")
    state.get("databases", database)
    beginning = f"{database}/collectionGroups/" + ("" if collection == "-" else f"{collection}/")
    found = [field for name, field in state.of("fields").items() if name.startswith(beginning)]
    return state.shown(found, request.parameters, "fields")


@answers("firestore.projects.databases.collectionGroups.fields.patch")
def patch_field(state: State, request: Request) -> Json:
    name, mask = request.parameters["name"], request.parameters.get("updateMask", "")
    live = _field(state, name)
    config = patched(live, request, request.body, mask, "GoogleFirestoreAdminV1Field").get("indexConfig")

    def work() -> Json:
        if config is None:
            state.of("fields").pop(name, None)
        else:
            indexes = {"indexes": config["indexes"]} if config.get("indexes") else {}
            own = {"ancestorField": live["indexConfig"]["ancestorField"], **indexes}
            state.of("fields")[name] = {"name": name, "indexConfig": own}
        return {}

    return state.begin(name.partition("/collectionGroups/")[0], work)
