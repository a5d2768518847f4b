"""The kinds of resources that a document can have: how each is listed, made, changed and deleted, and how it says whose
it is. What Google calls the same thing in each API differs; here it is a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pys_multi_providers.gcp.client import FUNCTIONS, Cloud

Json = dict[str, Any]

TOPICS = "pubsub.v1.projects.topics"
SUBSCRIPTIONS = "pubsub.v1.projects.subscriptions"
JOBS = "cloudscheduler.v1.projects.locations.jobs"
BUCKETS = "storage.v1.buckets"
NOTIFICATIONS = "storage.v1.notifications"
ACCOUNTS = "iam.v1.projects.serviceAccounts"
SECRETS = "secretmanager.v1.projects.secrets"
DATABASES = "firestore.v1.projects.databases"
FIELDS = "firestore.v1.projects.databases.collectionGroups.fields"
LOG_BUCKETS = "logging.v2.projects.locations.buckets"
SINKS = "logging.v2.projects.sinks"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. word: what it is called in plans. key: of the entries in an answer to a listing.

    parent: what is listed; None for a part of something else, which is looked for there and goes with it.
    fixed: fields that cannot change in place. depth: of update masks. operations: the API whose long-running operation
    a create, a patch or a delete begins; empty where they are done when they are answered.
    """

    name: str
    word: str
    key: str
    parent: Callable[[Cloud], Json] | None
    get: Callable[[str], Json]
    create: Callable[[Cloud, str, Json], Json]
    patch: Callable[[str, Json, str], Json]
    delete: Callable[[str], Json]
    fixed: tuple[str, ...] = ()
    depth: int = 1
    operations: str = ""
    making: str = "create"


def _project(name: str) -> Callable[[Cloud], Json]:
    return lambda cloud: {name: f"projects/{cloud.project}"}


def _location(cloud: Cloud) -> Json:
    return {"parent": cloud.location}


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _parent(name: str) -> str:
    return name.rpartition("/")[0].rpartition("/")[0]


def _named(name: str) -> Json:
    return {"name": name}


def _sink(name: str) -> Json:
    return {"sinkName": name}


def _create_account(cloud: Cloud, name: str, body: Json) -> Json:
    given = {"accountId": _last(name).partition("@")[0], "serviceAccount": body}
    return {"name": f"projects/{cloud.project}", "body": given}


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name=FUNCTIONS,
            word="function",
            key="functions",
            parent=_location,
            get=_named,
            create=lambda _, name, body: {"parent": _parent(name), "functionId": _last(name), "body": body},
            patch=lambda name, body, mask: {"name": name, "body": body, "updateMask": mask},
            delete=_named,
            fixed=("environment",),
            depth=2,
            operations="cloudfunctions",
        ),
        Kind(
            name=TOPICS,
            word="topic",
            key="topics",
            parent=_project("project"),
            get=lambda name: {"topic": name},
            create=lambda _, name, body: {"name": name, "body": body},
            patch=lambda name, body, mask: {"name": name, "body": {"topic": body, "updateMask": mask}},
            delete=lambda name: {"topic": name},
            fixed=("kmsKeyName",),
        ),
        Kind(
            name=SUBSCRIPTIONS,
            word="subscription",
            key="subscriptions",
            parent=_project("project"),
            get=lambda name: {"subscription": name},
            create=lambda _, name, body: {"name": name, "body": body},
            patch=lambda name, body, mask: {"name": name, "body": {"subscription": body, "updateMask": mask}},
            delete=lambda name: {"subscription": name},
            fixed=("topic", "filter", "enableMessageOrdering"),
        ),
        Kind(
            name=JOBS,
            word="schedule",
            key="jobs",
            parent=_location,
            get=_named,
            create=lambda _, name, body: {"parent": _parent(name), "body": {**body, "name": name}},
            patch=lambda name, body, mask: {"name": name, "body": {**body, "name": name}, "updateMask": mask},
            delete=_named,
        ),
        Kind(
            name=BUCKETS,
            word="bucket",
            key="items",
            parent=lambda cloud: {"project": cloud.project},
            get=lambda name: {"bucket": name},
            create=lambda cloud, name, body: {"project": cloud.project, "body": {**body, "name": name}},
            patch=lambda name, body, _: {"bucket": name, "body": body},
            delete=lambda name: {"bucket": name},
            fixed=("location",),
            making="insert",
        ),
        Kind(
            name=ACCOUNTS,
            word="service account",
            key="accounts",
            parent=_project("name"),
            get=_named,
            create=_create_account,
            patch=lambda name, body, mask: {"name": name, "body": {"serviceAccount": body, "updateMask": mask}},
            delete=_named,
        ),
        Kind(
            name=SECRETS,
            word="secret",
            key="secrets",
            parent=_project("parent"),
            get=_named,
            create=lambda _, name, body: {"parent": _parent(name), "secretId": _last(name), "body": body},
            patch=lambda name, body, mask: {"name": name, "body": body, "updateMask": mask},
            delete=_named,
            fixed=("replication",),
        ),
        Kind(
            name=DATABASES,
            word="database",
            key="databases",
            parent=_project("parent"),
            get=_named,
            create=lambda _, name, body: {"parent": _parent(name), "databaseId": _last(name), "body": body},
            patch=lambda name, body, mask: {"name": name, "body": body, "updateMask": mask},
            delete=_named,
            fixed=("locationId", "type"),
            operations="firestore",
        ),
        Kind(
            name=FIELDS,
            word="index of field",
            key="fields",
            parent=None,
            get=_named,
            # Every field is there; what can be said of one is how it is indexed.
            create=lambda _, name, body: {"name": name, "body": body, "updateMask": "indexConfig"},
            patch=lambda name, body, mask: {"name": name, "body": body, "updateMask": mask},
            delete=_named,
            operations="firestore",
            making="patch",
        ),
        Kind(
            name=LOG_BUCKETS,
            word="log bucket",
            key="buckets",
            parent=_location,
            get=_named,
            create=lambda _, name, body: {"parent": _parent(name), "bucketId": _last(name), "body": body},
            patch=lambda name, body, mask: {"name": name, "body": body, "updateMask": mask},
            delete=_named,
        ),
        Kind(
            name=SINKS,
            word="log sink",
            key="sinks",
            parent=_project("parent"),
            get=_sink,
            create=lambda _, name, body: {
                "parent": _parent(name),
                "body": {**body, "name": _last(name)},
                "uniqueWriterIdentity": True,
            },
            patch=lambda name, body, mask: {
                **_sink(name),
                "body": {**body, "name": _last(name)},
                "updateMask": mask,
                "uniqueWriterIdentity": True,
            },
            delete=_sink,
        ),
    )
}
#: What something that is no resource of its own is called in plans.
WORDS = {**{name: kind.word for name, kind in KINDS.items()}, NOTIFICATIONS: "bucket event"}


def owned(kind: str, body: Mapping[str, Any], owner: str, labels: Mapping[str, str], database: str) -> bool:
    """Whether a resource is of this service and stage, by its labels; by its description where its kind has no labels;
    a database by its name, as it has neither."""
    if kind in (JOBS, ACCOUNTS, LOG_BUCKETS, SINKS):
        first = str(body.get("description", "")).splitlines()[:1]
        return bool(first) and (first[0] == owner or first[0].startswith((f"{owner} ", f"{owner}:", f"{owner},")))
    if kind in (DATABASES, FIELDS):
        return _last(str(body.get("name", "")).partition("/collectionGroups/")[0]) == database
    found = body.get("custom_attributes" if kind == NOTIFICATIONS else "labels") or {}
    return all(found.get(key) == value for key, value in labels.items())
