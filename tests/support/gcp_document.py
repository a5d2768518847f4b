"""A rendered document, each of its bodies held against Google's own discovery documents (google-api-python-client).

Stricter than Google: a field that is not known or that only Google sets, a value that is none of an enumeration, text
that is no duration or not base64, a name that no method would take, and a reference to what is not there are errors.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from typing import Any

from googleapiclient import discovery_cache

Json = dict[str, Any]

#: Kind → what is described there, and the method and parameter that take its name.
KINDS = {
    "cloudfunctions.v2.projects.locations.functions": ("Function", "get", "name"),
    "pubsub.v1.projects.topics": ("Topic", "get", "topic"),
    "pubsub.v1.projects.subscriptions": ("Subscription", "get", "subscription"),
    "cloudscheduler.v1.projects.locations.jobs": ("Job", "get", "name"),
    "storage.v1.buckets": ("Bucket", "get", "bucket"),
    "storage.v1.notifications": ("Notification", "list", "bucket"),
    "iam.v1.projects.serviceAccounts": ("ServiceAccount", "get", "name"),
    "secretmanager.v1.projects.secrets": ("Secret", "get", "name"),
    "firestore.v1.projects.databases": ("GoogleFirestoreAdminV1Database", "get", "name"),
    "firestore.v1.projects.databases.collectionGroups.fields": ("GoogleFirestoreAdminV1Field", "get", "name"),
    "logging.v2.projects.locations.buckets": ("LogBucket", "get", "name"),
    "logging.v2.projects.sinks": ("LogSink", "get", "sinkName"),
    "run.v2.projects.locations.services": ("GoogleCloudRunV2Service", "get", "name"),
    "cloudresourcemanager.v3.projects": ("Project", "get", "name"),
}
MEMBER = re.compile(r"allUsers|(user|serviceAccount|group|domain):[^\s,]+")
LABEL_KEY, LABEL_VALUE = re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")
_REFERENCE = re.compile(r"\$\{([^{}]+)\}")
#: Texts of users, in which nothing is a reference.
_PLAIN = frozenset({"environmentVariables", "object_name_prefix"})


@cache
def discovery(api: str, version: str) -> Json:
    found: Json = json.loads(discovery_cache.get_static_doc(api, version))
    return found


def method(kind: str, name: str) -> Json:
    """The method of a collection, such as "get" of "pubsub.v1.projects.topics"."""
    api, version, *path = kind.split(".")
    node = discovery(api, version)
    for part in path:
        node = node["resources"][part]
    found: Json = node["methods"][name]
    return found


class Document:
    """What is rendered for a deployment. Raises AssertionError for what Google would not take."""

    def __init__(self, text: str) -> None:
        self.document: Json = json.loads(text, object_pairs_hook=_once)
        self.entries: dict[str, Json] = {}
        for entry in self.document["resources"]:
            assert entry["id"] not in self.entries, f"two entries are called {entry['id']!r}"
            self.entries[entry["id"]] = entry
        assert self.document["schema_version"] == 1
        for entry in self.entries.values():
            self._check(entry)

    def body(self, id: str) -> Json:
        """What one resource is made from."""
        found: Json = self.entries[id]["body"]
        return found

    def of_kind(self, kind: str) -> dict[str, Json]:
        """Bodies by id, of a kind by its last word, such as "topics"."""
        return {
            id: entry["body"]
            for id, entry in self.entries.items()
            if "body" in entry and entry["kind"].rpartition(".")[2] == kind
        }

    def variables(self, function: str) -> dict[str, str]:
        """The environment of a function."""
        found: dict[str, str] = self.body(f"function:{function}")["serviceConfig"]["environmentVariables"]
        return found

    def granted(self, member: str) -> dict[str, set[str]]:
        """Name of a resource → roles that a member has on it. member: without "serviceAccount:"."""
        found: dict[str, set[str]] = {}
        for entry in self.entries.values():
            if "role" in entry and {member, f"serviceAccount:{member}"} & set(entry["members"]):
                found.setdefault(entry["name"], set()).add(entry["role"])
        return found

    # ---- checks

    def _check(self, entry: Json) -> None:
        kind = entry["kind"].removesuffix(":iam")
        schema, of, parameter = KINDS[kind]
        pattern = method(kind, of)["parameters"][parameter].get("pattern", "^[^/]+$")
        assert re.search(pattern, entry["name"]), f"{entry['id']}: {entry['name']!r} is not {pattern}"
        if entry["kind"].endswith(":iam"):
            assert entry.keys() <= {"id", "kind", "name", "role", "members", "condition"}
            self._check_binding(entry)
        else:
            assert entry.keys() <= {"id", "kind", "name", "body", "after", "holds_data"}
            assert set(entry.get("after", ())) <= {e["id"] for e in self.document["resources"]}, entry
            check(kind, schema, entry["body"])
            assert "name" not in entry["body"]
            self._check_references(entry["body"], entry["id"])
            self._check_topics(entry)

    def _check_binding(self, entry: Json) -> None:
        binding = {key: entry[key] for key in ("role", "members", "condition") if key in entry}
        check("iam.v1", "Binding", binding)
        assert re.fullmatch(r"roles/[a-z]+\.[A-Za-z]+", entry["role"])
        assert entry["members"]
        assert len(entry["members"]) == len(set(entry["members"]))
        for member in entry["members"]:
            assert MEMBER.fullmatch(member), member
            self._check_references(member, entry["id"])
        if "condition" in entry:
            assert entry["condition"]["title"]

    def _check_references(self, value: Any, where: str) -> None:
        if isinstance(value, str):
            for reference in _REFERENCE.findall(value):
                id, _, path = reference.rpartition(":")
                if reference != "project_number":
                    assert id in self.entries, f"{where}: there is no {id!r}"
                    assert path == "serviceConfig.uri"
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key not in _PLAIN:
                    self._check_references(inner, where)
        elif isinstance(value, list):
            for inner in value:
                self._check_references(inner, where)

    def _check_topics(self, entry: Json) -> None:
        """Topics and accounts that a body names are there."""
        names = {(e["kind"].rpartition(".")[2], e["name"]) for e in self.document["resources"] if "body" in e}
        body = entry["body"]
        topics = [body.get("topic", ""), body.get("deadLetterPolicy", {}).get("deadLetterTopic", "")]
        for topic in filter(None, topics):
            assert ("topics", topic.removeprefix("//pubsub.googleapis.com/")) in names, topic
        emails = {name.rpartition("/")[2] for kind, name in names if kind == "serviceAccounts"}
        for found in (body.get("pushConfig", {}), body.get("httpTarget", {})):
            if "oidcToken" in found:
                assert found["oidcToken"]["serviceAccountEmail"] in emails
        if "serviceConfig" in body:
            assert body["serviceConfig"]["serviceAccountEmail"] in emails


def check(kind: str, schema: str, value: Any) -> None:
    """Raises AssertionError where a value is not as a schema of the kind's API says."""
    api, version, *_ = kind.split(".")
    _compare(discovery(api, version)["schemas"], {"$ref": schema}, value, schema)


def _compare(schemas: Json, schema: Json, value: Any, where: str) -> None:
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    assert not schema.get("readOnly"), f"{where} is set by Google alone"
    kind = schema.get("type")
    if kind == "object":
        assert isinstance(value, dict), where
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            assert known is not None, f"{where} has no field {name!r}"
            assert not known.get("readOnly"), f"{where}.{name} is set by Google alone"
            assert not known.get("deprecated"), f"{where}.{name} is deprecated"
            _compare(schemas, known, inner, f"{where}.{name}")
            if name == "labels":
                assert len(inner) <= 64
                for key, text in inner.items():
                    assert LABEL_KEY.fullmatch(key), key
                    assert LABEL_VALUE.fullmatch(text), text
    elif kind == "array":
        assert isinstance(value, list), where
        for number, inner in enumerate(value):
            _compare(schemas, schema["items"], inner, f"{where}[{number}]")
    elif kind == "string":
        assert isinstance(value, str), where
        if "enum" in schema:
            assert value in schema["enum"], f"{where}: {value!r} is none of {schema['enum']}"
        if "pattern" in schema:
            assert re.search(schema["pattern"], value), f"{where}: {value!r} is not {schema['pattern']}"
        match schema.get("format"):
            case "google-duration":
                assert re.fullmatch(r"[0-9]+(\.[0-9]{1,9})?s", value), f"{where}: {value!r} is no duration"
            case "byte":
                base64.b64decode(value, validate=True)
            case "int64" | "uint64":
                assert re.fullmatch("[0-9]+", value), f"{where}: {value!r} is no number"
    elif kind == "integer":
        assert isinstance(value, int), where
        assert not isinstance(value, bool), where
        assert -(2**31) <= value < 2**31
    elif kind == "boolean":
        assert isinstance(value, bool), where
    else:
        raise AssertionError(f"{where}: a {kind} is compared nowhere")


def _once(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key stands there twice"
    return found
