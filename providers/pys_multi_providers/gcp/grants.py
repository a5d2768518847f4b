"""Grants → predefined roles of IAM, each on the one resource ("IAM roles and permissions index", 2026-11).

The narrowest there is: whoever may replace an object may delete it, and whoever may write to Firestore may read there.
"""

from __future__ import annotations

from collections.abc import Iterable

PUBLISHER, SUBSCRIBER = "roles/pubsub.publisher", "roles/pubsub.subscriber"
INVOKER = "roles/run.invoker"
#: Lets Pub/Sub make identity tokens of an account, and nothing else.
IDENTITY_TOKENS = "roles/iam.serviceAccountOpenIdTokenCreator"
#: Lets an account sign, as presigned URLs need; on itself alone, it can do no more than it could before.
SIGNER = "roles/iam.serviceAccountTokenCreator"
_ACCESSOR = "roles/secretmanager.secretAccessor"
_OBJECT_VIEWER, _OBJECT_USER = "roles/storage.objectViewer", "roles/storage.objectUser"
#: Replaces, deletes and lists objects, and reads none; whoever may only create them could not replace one.
_OBJECT_WRITER = "roles/storage.legacyBucketWriter"
_ENTITY_VIEWER, _ENTITY_USER = "roles/datastore.viewer", "roles/datastore.user"

#: Verbs that change nothing.
_READS = frozenset({"get", "query", "list", "exists"})
#: Verbs of buckets that read no object.
_WRITES = frozenset({"put", "delete", "list"})
#: Verbs whose presigned URLs are signed by the function.
_SIGNS = frozenset({"get", "put"})


def role(kind: str, verbs: Iterable[str]) -> str:
    """The role that verbs on a resource of the model's kind need."""
    match kind:
        case "queue" | "topic":
            return PUBLISHER
        case "secret":
            return _ACCESSOR
        case "bucket":
            if _READS.issuperset(verbs):
                return _OBJECT_VIEWER
            return _OBJECT_WRITER if _WRITES.issuperset(verbs) else _OBJECT_USER
    return _ENTITY_VIEWER if _READS.issuperset(verbs) else _ENTITY_USER


def signs(kind: str, verbs: Iterable[str]) -> bool:
    """Whether these verbs can presign URLs."""
    return kind == "bucket" and not _SIGNS.isdisjoint(verbs)
