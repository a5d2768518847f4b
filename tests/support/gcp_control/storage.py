"""Cloud Storage: buckets, objects with generations and preconditions, notifications, policies."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from tests.support.gcp_control.handlers import answers
from tests.support.gcp_control.schema import Refusal, Request, invalid
from tests.support.gcp_control.state import NUMBER, PROJECT, State, now

Json = dict[str, Any]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


def refusal(code: int, reason: str, message: str) -> Refusal:
    """Storage names reasons, and has no status."""
    return Refusal(code, "", message, [{"reason": reason, "domain": "global", "message": message}])


def _bucket(state: State, request: Request) -> Json:
    name = request.parameters["bucket"]
    found = state.of("buckets").get(name)
    if found is None:
        raise refusal(404, "notFound", "The specified bucket does not exist.")
    if found["projectNumber"] != NUMBER:
        raise refusal(403, "forbidden", f"{request.caller} does not have storage.buckets.get access to {name}.")
    return found


def _check_generation(request: Request, generation: str, metageneration: str) -> None:
    for name, live in (("ifGenerationMatch", generation), ("ifMetagenerationMatch", metageneration)):
        if name in request.parameters and request.parameters[name] != live:
            raise refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


@answers("storage.buckets.insert")
def insert_bucket(state: State, request: Request) -> Json:
    name = request.body.get("name", "")
    if not _BUCKET.fullmatch(name):
        raise refusal(400, "invalid", f"Invalid bucket name: '{name}'")
    if request.parameters.get("project") != PROJECT:
        raise refusal(400, "invalid", "Unknown project.")
    if name in state.of("buckets"):
        yours = state.of("buckets")[name]["projectNumber"] == NUMBER
        text = "Your previous request to create the named bucket succeeded and you already own it."
        raise refusal(409, "conflict", text if yours else "The requested bucket name is not available.")
    defaults = {
        "kind": "storage#bucket",
        "id": name,
        "projectNumber": NUMBER,
        "metageneration": "1",
        "location": "US",
        "storageClass": "STANDARD",
        "timeCreated": now(),
        "etag": "CAE=",
    }
    found = {**defaults, **request.body}
    found["location"] = found["location"].upper()
    state.of("buckets")[name] = found
    return found


@answers("storage.buckets.get")
def get_bucket(state: State, request: Request) -> Json:
    return _bucket(state, request)


@answers("storage.buckets.list")
def list_buckets(state: State, request: Request) -> Json:
    prefix = request.parameters.get("prefix", "")
    mine = [b for n, b in sorted(state.of("buckets").items()) if n.startswith(prefix) and b["projectNumber"] == NUMBER]
    return state.shown(mine, request.parameters, "items", "maxResults")


@answers("storage.buckets.patch")
def patch_bucket(state: State, request: Request) -> Json:
    found = _bucket(state, request)
    _check_generation(request, "", found["metageneration"])
    for name in ("name", "location"):
        if name in request.body and request.body[name] != found[name]:
            raise refusal(400, "invalid", f"Bucket {name} cannot be changed.")

    def merge(live: Json, change: Json) -> Json:
        out = dict(live)
        for key, value in change.items():
            if value is None:
                out.pop(key, None)
            else:
                out[key] = merge(out.get(key, {}), value) if isinstance(value, dict) else value
        return out

    found = {**merge(found, request.body), "metageneration": str(int(found["metageneration"]) + 1)}
    state.of("buckets")[found["name"]] = found
    return found


@answers("storage.buckets.delete")
def delete_bucket(state: State, request: Request) -> None:
    name = _bucket(state, request)["name"]
    if any(bucket == name for bucket, _ in state.objects):
        raise refusal(409, "conflict", "The bucket you tried to delete is not empty.")
    del state.of("buckets")[name]
    state.policies.pop(f"buckets/{name}", None)
    state.of("notifications").pop(name, None)


@answers("storage.buckets.getIamPolicy")
def bucket_policy(state: State, request: Request) -> Json:
    name = _bucket(state, request)["name"]
    return state.policy(f"buckets/{name}", int(request.parameters.get("optionsRequestedPolicyVersion") or 1))


@answers("storage.buckets.setIamPolicy")
def set_bucket_policy(state: State, request: Request) -> Json:
    bucket = _bucket(state, request)
    members = {m for b in request.body.get("bindings", []) for m in b.get("members", [])}
    if members & {"allUsers"} and bucket.get("iamConfiguration", {}).get("publicAccessPrevention") == "enforced":
        raise refusal(
            412, "conditionNotMet", "One or more users named in the policy do not belong to a permitted customer."
        )
    try:
        return state.set_policy(f"buckets/{bucket['name']}", request.body)
    except Refusal as found:
        if found.status != "ABORTED":
            raise
        raise refusal(412, "conditionNotMet", found.message) from None


# ---- objects


def _object(state: State, request: Request) -> Json:
    bucket = _bucket(state, request)["name"]
    found = state.objects.get((bucket, request.parameters["object"]))
    if found is None:
        raise refusal(404, "notFound", f"No such object: {bucket}/{request.parameters['object']}")
    return found


@answers("storage.objects.insert")
def insert_object(state: State, request: Request) -> Json:
    bucket = _bucket(state, request)["name"]
    if not request.method.is_upload or request.parameters.get("uploadType") != "media":
        raise invalid("this server takes uploads of uploadType=media alone")
    name = request.parameters["name"]
    live = state.objects.get((bucket, name))
    _check_generation(request, live["meta"]["generation"] if live else "0", "")
    meta = {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": str(state.number()),
        "metageneration": "1",
        "size": str(len(request.data)),
        "md5Hash": base64.b64encode(hashlib.md5(request.data, usedforsecurity=False).digest()).decode(),
        "updated": now(),
        "contentType": request.headers.get("content-type", ""),
    }
    state.objects[bucket, name] = {"meta": meta, "data": request.data}
    return meta


@answers("storage.objects.get")
def get_object(state: State, request: Request) -> Any:
    found = _object(state, request)
    _check_generation(request, found["meta"]["generation"], "1")
    return found["data"] if request.parameters.get("alt") == "media" else found["meta"]


@answers("storage.objects.list")
def list_objects(state: State, request: Request) -> Json:
    bucket, prefix = _bucket(state, request)["name"], request.parameters.get("prefix", "")
    found = [o["meta"] for (b, n), o in sorted(state.objects.items()) if b == bucket and n.startswith(prefix)]
    return state.shown(found, request.parameters, "items", "maxResults")


@answers("storage.objects.delete")
def delete_object(state: State, request: Request) -> None:
    found = _object(state, request)
    _check_generation(request, found["meta"]["generation"], "1")
    del state.objects[found["meta"]["bucket"], found["meta"]["name"]]


# ---- notifications


@answers("storage.notifications.insert")
def insert_notification(state: State, request: Request) -> Json:
    bucket = _bucket(state, request)["name"]
    topic = request.body.get("topic", "").removeprefix("//pubsub.googleapis.com/")
    agent = f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
    if topic not in state.of("topics"):
        raise refusal(400, "invalid", f"Cloud Pub/Sub topic not found: {topic}")
    if not state.may(topic, "roles/pubsub.publisher", agent):
        raise refusal(403, "forbidden", f"The service account {agent} does not have permission to publish to {topic}.")
    if request.body.get("payload_format") not in ("JSON_API_V1", "NONE"):
        raise refusal(400, "required", "payload_format is required.")
    id = str(state.number())
    found = {**request.body, "id": id, "kind": "storage#notification", "etag": id}
    state.of("notifications").setdefault(bucket, {})[id] = found
    return found


@answers("storage.notifications.list")
def list_notifications(state: State, request: Request) -> Json:
    bucket = _bucket(state, request)["name"]
    return {"items": list(state.of("notifications").get(bucket, {}).values())}


@answers("storage.notifications.delete")
def delete_notification(state: State, request: Request) -> None:
    bucket = _bucket(state, request)["name"]
    if state.of("notifications").get(bucket, {}).pop(request.parameters["notification"], None) is None:
        raise refusal(404, "notFound", "Not Found")


@answers("storage.projects.serviceAccount.get")
def service_account(state: State, request: Request) -> Json:
    email = f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
    return {"kind": "storage#serviceAccount", "email_address": email}
