"""Grants → the built-in roles that they stand for ("Azure built-in roles", 2026-07).

Azure knows reading, and reading with writing: a function that may only put or delete gets a role by which Azure would
let it read that one container or table as well. The runtime refuses it all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

BLOB_OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
BLOB_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
#: Asks for the key that presigned URLs are signed with; it opens nothing that the function itself may not.
BLOB_DELEGATOR = "db58b8e5-c6ad-4a2a-8342-4190687cbf4a"
TABLE_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
TABLE_READER = "76199698-9eea-4c19-bc75-cec21354c6b6"
BUS_RECEIVER = "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0"
BUS_SENDER = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39"
VAULT_SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
METRICS_PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"

#: All that the template assigns: a deployer need not be able to assign any other.
ASSIGNED = (
    BLOB_OWNER,
    BLOB_CONTRIBUTOR,
    BLOB_READER,
    BLOB_DELEGATOR,
    TABLE_CONTRIBUTOR,
    TABLE_READER,
    BUS_RECEIVER,
    BUS_SENDER,
    VAULT_SECRETS_USER,
    METRICS_PUBLISHER,
)
#: What only looks, of a bucket and of a table.
_READING = frozenset({"get", "list", "exists", "query"})
#: The verbs of a bucket for whose sake a URL can be presigned.
_PRESIGNED = frozenset({"get", "put"})


def role(kind: str, verbs: Iterable[str]) -> str:
    """The role on a resource of that kind, in the model's words, that covers the verbs."""
    if kind == "secret":
        return VAULT_SECRETS_USER
    if kind in ("queue", "topic"):
        return BUS_SENDER
    reads = _READING.issuperset(verbs)
    if kind == "bucket":
        return BLOB_READER if reads else BLOB_CONTRIBUTOR
    return TABLE_READER if reads else TABLE_CONTRIBUTOR


def presigns(verbs: Iterable[str]) -> bool:
    """Whether the verbs of a bucket let a function presign URLs."""
    return not _PRESIGNED.isdisjoint(verbs)
