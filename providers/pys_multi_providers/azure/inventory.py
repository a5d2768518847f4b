"""What of a service is there: found by its tags, and in what bears them; what is too much of it is deleted.

Queues, containers and the like bear no tags, but what they are in does. Role assignments bear none either, but those
to an identity of ours are ours: all that a function may do is what its service says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pys_multi_providers.azure.client import RESOURCES, Cloud
from pys_multi_providers.azure.errors import AzureError
from pys_multi_providers.azure.index import WORDS, called, split
from pys_multi_providers.azure.kinds import KINDS, VERSIONS
from pys_multi_tools.deployment import Progress
from pys_multi_tools.patience import Pause, each

Json = dict[str, Any]

#: The order in which things go: what hangs on others before those.
_ORDER = (
    "publishing",
    "site",
    "plan",
    "event_subscription",
    "system_topic",
    "assignment",
    "identity",
    "insights",
    "workspace",
    "secret",
    "vault",
    "subscription",
    "queue",
    "topic",
    "namespace",
    "table",
    "container",
    "account",
)
#: Collections below each kind of thing: (path, kind).
_INSIDE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "namespace": (("queues", "queue"), ("topics", "topic")),
    "topic": (("subscriptions", "subscription"),),
    "system_topic": (("eventSubscriptions", "event_subscription"),),
    "account": (("blobServices/default/containers", "container"), ("tableServices/default/tables", "table")),
}
#: What can be listed, so that it is known to be missing or too much.
LISTED = frozenset(_ORDER) - {"publishing", "secret"}


@dataclass(frozen=True, slots=True)
class Thing:
    """One resource. kind: the word of kinds.py, or its type. properties: as far as the list that it came from says."""

    id: str
    kind: str
    properties: Mapping[str, Any]

    @property
    def name(self) -> str:
        return split(self.id)[2][-1]

    def __str__(self) -> str:
        return called(self.id)


class Inventory:
    """The things of one service at one stage."""

    def __init__(self, cloud: Cloud, tags: Mapping[str, str], closed: frozenset[str]) -> None:
        """tags: those that all of it bears. closed: accounts whose inside is not ours, but their user's."""
        self._cloud, self._tags, self._closed = cloud, tags, closed

    @cached_property
    def things(self) -> list[Thing]:
        """All that is ours."""
        found = list(self.tagged())
        level = found
        while level:
            looks = [(thing, *inside) for thing in level for inside in _INSIDE.get(thing.kind, ())]
            level = [
                thing
                for things in each(lambda look: list(self._inside(*look)), looks)
                for thing in things
                if split(thing.id)[2][0] not in self._closed
            ]
            found += level
        return found + self._assignments([thing for thing in found if thing.kind == "identity"])

    def tagged(self) -> Iterator[Thing]:
        """What bears the tags itself."""
        (key, value), *others = self._tags.items()
        query = f"$filter=tagName eq '{key}' and tagValue eq '{value}'".replace(" ", "%20")
        for entry in self._cloud.pages("resources", RESOURCES, query):
            tags = entry.get("tags") or {}
            if all(tags.get(name) == wanted for name, wanted in others):
                yield Thing(entry["id"], WORDS.get(entry["type"].lower(), entry["type"]), entry)

    def _inside(self, thing: Thing, path: str, kind: str) -> Iterator[Thing]:
        for entry in self._cloud.pages(f"{thing.id}/{path}", VERSIONS[kind]):
            yield Thing(entry["id"], kind, entry.get("properties") or {})

    def _assignments(self, identities: list[Thing]) -> list[Thing]:
        if not identities:
            return []
        ours = {thing.id.lower() for thing in identities}
        known = self._cloud.pages(f"providers/{KINDS['identity']}", VERSIONS["identity"])
        principals = [e["properties"]["principalId"] for e in known if e["id"].lower() in ours]

        def of(principal: str) -> list[Thing]:
            query = f"$filter=principalId%20eq%20'{principal}'"
            found = self._cloud.pages(f"providers/{KINDS['assignment']}", VERSIONS["assignment"], query)
            # What is above the group, somebody else has assigned.
            group = self._cloud.group.lower() + "/"
            return [
                Thing(entry["id"], "assignment", entry.get("properties") or {})
                for entry in found
                if entry["id"].lower().startswith(group)
            ]

        return [thing for things in each(of, principals) for thing in things]

    def ids(self) -> set[str]:
        """In lower case."""
        return {thing.id.lower() for thing in self.things}


class Remover:
    """Deletes things, each after what hangs on it."""

    def __init__(self, cloud: Cloud, progress: Callable[[Progress], None]) -> None:
        self._cloud, self._progress = cloud, progress

    def remove(self, things: Iterable[Thing]) -> None:
        """All of them; what is in one that is deleted goes with it."""
        todo = list(things)
        gone = {thing.id.lower() for thing in todo}
        todo = [thing for thing in todo if not _is_within(thing, gone)]
        for kind in (*_ORDER, ""):
            batch = [t for t in todo if (t.kind if t.kind in _ORDER else "") == kind]
            each(self._one, batch)

    def _one(self, thing: Thing) -> None:
        self._progress(Progress(step="delete", text=str(thing)))
        version = VERSIONS.get(thing.kind)
        if version is None:
            self._cloud.delete(thing.id, self._version(thing.id))
            return
        # Without it a workspace is kept for two weeks, and the next one of its name is that one again.
        query = "force=true" if thing.kind == "workspace" else ""
        deadline, pause = time.monotonic() + 180, Pause(most=5.0)
        while True:
            try:
                self._cloud.delete(thing.id, version, query=query)
                return
            except AzureError as error:
                # A plan has its app for a little longer than there is an app.
                if error.status != 409 or error.code == "ScopeLocked" or time.monotonic() > deadline:
                    raise
            pause()

    def _version(self, id: str) -> str:
        """The newest version of the interface of a type that is not ours."""
        namespace, _, kind = split(id)[1].partition("/")
        found = self._cloud.arm("GET", f"/subscriptions/{self._cloud.subscription}/providers/{namespace}", RESOURCES)
        for entry in found.get("resourceTypes") or ():
            if entry["resourceType"].lower() == kind.lower():
                return str(entry.get("defaultApiVersion") or entry["apiVersions"][0])
        raise AzureError("UnknownType", f"Azure knows no versions of {namespace}/{kind}", where=id)


def _is_within(thing: Thing, others: set[str]) -> bool:
    """Whether what it is in is among others; a role on something goes with that."""
    id = thing.id.lower()
    parts = id.split("/")
    above = {"/".join(parts[:n]) for n in range(1, len(parts))}
    return bool(above & others)
