"""Grants → predefined roles of IAM, each on the one resource ("IAM roles and permissions index", 2026-11).

The narrowest there is. Google has none that replaces an object without being able to delete it, and none of Firestore
that writes without reading.
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
_ENTITY_VIEWER, _ENTITY_USER = "roles/datastore.viewer", "roles/datastore.user"

#: Verbs that change nothing.
_READS = frozenset({"get", "query", "list", "exists"})
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
            return _OBJECT_VIEWER if _READS.issuperset(verbs) else _OBJECT_USER
    return _ENTITY_VIEWER if _READS.issuperset(verbs) else _ENTITY_USER


def signs(kind: str, verbs: Iterable[str]) -> bool:
    """Whether these verbs can presign URLs."""
    return kind == "bucket" and not _SIGNS.isdisjoint(verbs)
