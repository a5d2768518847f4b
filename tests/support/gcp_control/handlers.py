"""Which function answers which method, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.gcp_control.schema import Request, invalid, masked, merged
from tests.support.gcp_control.state import State

Json = dict[str, Any]
Handler = Callable[[State, Request], Any]

HANDLERS: dict[str, Handler] = {}


def answers(*ids: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for id in ids:
            assert id not in HANDLERS, id
            HANDLERS[id] = handler
        return handler

    return register


def patched(
    live: Json, request: Request, wanted: Json, mask: str, schema: str, *, immutable: tuple[str, ...] = ()
) -> Json:
    """The resource as a patch leaves it."""
    paths = masked(request.method, mask, schema)
    for path in paths:
        if path[0] in immutable and wanted.get(path[0]) != live.get(path[0]):
            raise invalid(f"The field '{path[0]}' cannot be changed.")
    return merged(live, wanted, paths)


def has_labels(thing: Json, text: str) -> bool:
    """Whether a filter like ``labels.a=b AND labels.c=d`` lets a thing through."""
    for term in filter(None, text.split(" AND ")):
        left, sep, right = term.replace('"', "").partition("=")
        if not left.startswith("labels.") or not sep:
            raise invalid(f"Invalid filter: {text}")
        if thing.get("labels", {}).get(left.removeprefix("labels.").strip()) != right.strip():
            return False
    return True


# ---- policies of whatever has a name in the path


def _get_policy(state: State, request: Request) -> Json:
    name = request.parameters["resource"]
    _there(state, name)
    version = request.parameters.get("options.requestedPolicyVersion") or (request.body.get("options") or {}).get(
        "requestedPolicyVersion"
    )
    return state.policy(name, int(version or 1))


def _set_policy(state: State, request: Request) -> Json:
    name = request.parameters["resource"]
    _there(state, name)
    if "policy" not in request.body:
        raise invalid("policy is required")
    return state.set_policy(name, request.body["policy"])


def _there(state: State, name: str) -> None:
    kinds = {"topics": "topics", "subscriptions": "subscriptions", "secrets": "secrets", "services": "services"}
    kinds |= {"serviceAccounts": "accounts", "functions": "functions"}
    parts = name.split("/")
    if len(parts) > 2:
        state.get(kinds[parts[-2]], name)


for _kind in (
    "pubsub.projects.topics",
    "pubsub.projects.subscriptions",
    "secretmanager.projects.secrets",
    "iam.projects.serviceAccounts",
    "run.projects.locations.services",
    "cloudresourcemanager.projects",
):
    answers(f"{_kind}.getIamPolicy")(_get_policy)
    answers(f"{_kind}.setIamPolicy")(_set_policy)
