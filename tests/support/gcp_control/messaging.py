"""Pub/Sub and Cloud Scheduler: their resources, and the messages of subscriptions that are pulled."""

from __future__ import annotations

import base64
import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from tests.support.gcp_control.handlers import answers, patched
from tests.support.gcp_control.schema import Refusal, Request, invalid
from tests.support.gcp_control.state import State, now

Json = dict[str, Any]

#: "Pub/Sub resource names": guidelines.
_NAME = re.compile(r"projects/[^/]+/(topics|subscriptions)/(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise invalid(f"Invalid resource name given (name={name}).")
    return name


@answers("pubsub.projects.topics.create")
def create_topic(state: State, request: Request) -> Json:
    name = _named(request.parameters["name"])
    return state.add("topics", name, {**request.body, "name": name})


@answers("pubsub.projects.topics.get")
def get_topic(state: State, request: Request) -> Json:
    return state.get("topics", request.parameters["topic"])


@answers("pubsub.projects.topics.list")
def list_topics(state: State, request: Request) -> Json:
    return state.shown(list(state.of("topics").values()), request.parameters, "topics")


@answers("pubsub.projects.topics.patch")
def patch_topic(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    live, wanted = state.get("topics", name), request.body["topic"]
    mask = request.body.get("updateMask", "")
    state.of("topics")[name] = patched(live, request, wanted, mask, "Topic", immutable=("name", "kmsKeyName"))
    return state.of("topics")[name]


@answers("pubsub.projects.topics.delete")
def delete_topic(state: State, request: Request) -> Json:
    name = request.parameters["topic"]
    state.remove("topics", name)
    for subscription in state.of("subscriptions").values():
        if subscription["topic"] == name:
            subscription["topic"] = "_deleted-topic_"
    return {}


def _seconds(value: str) -> float:
    return float(value.removesuffix("s"))


def _check_subscription(state: State, body: Json) -> None:
    topic = body.get("topic", "")
    if topic != "_deleted-topic_":
        state.get("topics", topic)
    if not 10 <= body.get("ackDeadlineSeconds", 10) <= 600:
        raise invalid("ackDeadlineSeconds must be between 10 and 600.")
    if not 600 <= _seconds(body.get("messageRetentionDuration", "604800s")) <= 31 * 86_400:
        raise invalid("messageRetentionDuration must be between 10 minutes and 31 days.")
    retry = body.get("retryPolicy", {})
    least, most = (
        _seconds(retry.get(name, default)) for name, default in (("minimumBackoff", "10s"), ("maximumBackoff", "600s"))
    )
    if not 0 <= least <= most <= 600:
        raise invalid("retryPolicy: backoffs must be between 0 and 600 seconds.")
    dead = body.get("deadLetterPolicy")
    if dead is not None:
        if not 5 <= dead.get("maxDeliveryAttempts", 5) <= 100:
            raise invalid("maxDeliveryAttempts must be between 5 and 100.")
        state.get("topics", dead.get("deadLetterTopic", ""))
    push = body.get("pushConfig", {})
    if push:
        if not push.get("pushEndpoint", "").startswith(("https://", "http://127.0.0.1")):
            raise invalid("pushEndpoint must be an HTTPS URL.")
        if "oidcToken" in push:
            state.check_account(push["oidcToken"].get("serviceAccountEmail", ""))


@answers("pubsub.projects.subscriptions.create")
def create_subscription(state: State, request: Request) -> Json:
    name = _named(request.parameters["name"])
    defaults = {
        "pushConfig": {},
        "ackDeadlineSeconds": 10,
        "messageRetentionDuration": "604800s",
        "expirationPolicy": {"ttl": "2678400s"},
        "state": "ACTIVE",
    }
    body = {**defaults, **request.body, "name": name}
    _check_subscription(state, body)
    return state.add("subscriptions", name, body)


@answers("pubsub.projects.subscriptions.get")
def get_subscription(state: State, request: Request) -> Json:
    return state.get("subscriptions", request.parameters["subscription"])


@answers("pubsub.projects.subscriptions.list")
def list_subscriptions(state: State, request: Request) -> Json:
    return state.shown(list(state.of("subscriptions").values()), request.parameters, "subscriptions")


@answers("pubsub.projects.subscriptions.patch")
def patch_subscription(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    live, wanted = state.get("subscriptions", name), request.body["subscription"]
    fixed = ("name", "topic", "filter", "enableMessageOrdering")
    found = patched(live, request, wanted, request.body.get("updateMask", ""), "Subscription", immutable=fixed)
    _check_subscription(state, found)
    state.of("subscriptions")[name] = found
    return found


@answers("pubsub.projects.subscriptions.delete")
def delete_subscription(state: State, request: Request) -> Json:
    state.remove("subscriptions", request.parameters["subscription"])
    state.messages.pop(request.parameters["subscription"], None)
    return {}


@answers("pubsub.projects.topics.publish")
def publish(state: State, request: Request) -> Json:
    topic = request.parameters["topic"]
    state.get("topics", topic)
    ids = []
    for message in request.body.get("messages", []):
        if not message.get("data") and not message.get("attributes"):
            raise invalid("A message needs data or attributes.")
        base64.b64decode(message.get("data", ""), validate=True)
        id = str(state.number())
        ids.append(id)
        for name, subscription in state.of("subscriptions").items():
            if subscription["topic"] == topic:
                entry = {"message": {**message, "messageId": id, "publishTime": now()}, "hidden": False}
                state.messages.setdefault(name, []).append(entry)
    return {"messageIds": ids}


@answers("pubsub.projects.subscriptions.pull")
def pull(state: State, request: Request) -> Json:
    name = request.parameters["subscription"]
    if state.get("subscriptions", name).get("pushConfig"):
        raise Refusal(400, "FAILED_PRECONDITION", "This method is not supported for this subscription type.")
    found = []
    for entry in state.messages.get(name, []):
        if not entry["hidden"] and len(found) < int(request.body["maxMessages"]):
            entry["hidden"] = True
            entry["ack"] = f"ack-{entry['message']['messageId']}"
            found.append({"ackId": entry["ack"], "message": entry["message"]})
    return {"receivedMessages": found} if found else {}


@answers("pubsub.projects.subscriptions.acknowledge")
def acknowledge(state: State, request: Request) -> Json:
    name, ids = request.parameters["subscription"], set(request.body["ackIds"])
    state.messages[name] = [e for e in state.messages.get(name, []) if e.get("ack") not in ids]
    return {}


@answers("pubsub.projects.subscriptions.modifyAckDeadline")
def modify(state: State, request: Request) -> Json:
    for entry in state.messages.get(request.parameters["subscription"], []):
        if entry.get("ack") in request.body["ackIds"] and not request.body.get("ackDeadlineSeconds"):
            entry["hidden"] = False
    return {}


# ---- Cloud Scheduler


def _check_job(state: State, body: Json) -> None:
    schedule = body.get("schedule", "")
    if len(schedule.split()) != 5 or not croniter.is_valid(schedule):
        raise invalid(f"Schedule or time zone is invalid: {schedule}")
    try:
        ZoneInfo(body.get("timeZone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        raise invalid(f"Schedule or time zone is invalid: {body['timeZone']}") from None
    target = body.get("httpTarget")
    if target is None:
        raise invalid("One of httpTarget, appEngineHttpTarget, pubsubTarget is required.")
    if not target.get("uri", "").startswith(("http://", "https://")):
        raise invalid("httpTarget.uri must be a URL.")
    if "body" in target:
        base64.b64decode(target["body"], validate=True)
    if "oidcToken" in target:
        state.check_account(target["oidcToken"].get("serviceAccountEmail", ""))
    if len(body.get("description", "")) > 500:
        raise invalid("description must be at most 500 characters.")


def _with_header(job: Json) -> Json:
    """Scheduler says who it is."""
    target = job["httpTarget"]
    headers = {**target.get("headers", {}), "User-Agent": "Google-Cloud-Scheduler"}
    return {**job, "httpTarget": {**target, "headers": headers}}


@answers("cloudscheduler.projects.locations.jobs.create")
def create_job(state: State, request: Request) -> Json:
    name = request.body.get("name", "")
    if not re.fullmatch(re.escape(request.parameters["parent"]) + r"/jobs/[A-Za-z0-9_\-]{1,500}", name):
        raise invalid(f"Job name must be formatted: {name}")
    _check_job(state, request.body)
    defaults = {"timeZone": "UTC", "attemptDeadline": "180s", "state": "ENABLED", "userUpdateTime": now()}
    return state.add("jobs", name, _with_header({**defaults, **request.body}))


@answers("cloudscheduler.projects.locations.jobs.get")
def get_job(state: State, request: Request) -> Json:
    return state.get("jobs", request.parameters["name"])


@answers("cloudscheduler.projects.locations.jobs.list")
def list_jobs(state: State, request: Request) -> Json:
    found = [j for name, j in state.of("jobs").items() if name.startswith(request.parameters["parent"] + "/")]
    return state.shown(found, request.parameters, "jobs")


@answers("cloudscheduler.projects.locations.jobs.patch")
def patch_job(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    live = state.get("jobs", name)
    found = patched(live, request, request.body, request.parameters.get("updateMask", ""), "Job", immutable=("name",))
    _check_job(state, found)
    state.of("jobs")[name] = _with_header(found)
    return found


@answers("cloudscheduler.projects.locations.jobs.resume")
def resume_job(state: State, request: Request) -> Json:
    job = state.get("jobs", request.parameters["name"])
    if job["state"] != "PAUSED":
        raise Refusal(400, "FAILED_PRECONDITION", "The job is not paused.")
    job["state"] = "ENABLED"
    return job


@answers("cloudscheduler.projects.locations.jobs.delete")
def delete_job(state: State, request: Request) -> Json:
    state.remove("jobs", request.parameters["name"])
    return {}
