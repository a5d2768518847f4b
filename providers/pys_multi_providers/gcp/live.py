"""What is there: everything of this service and stage, and whatever has a name that the document wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pys_multi_providers.gcp import policies
from pys_multi_providers.gcp.client import PROJECTS, SERVICES, Cloud
from pys_multi_providers.gcp.document import Document, Entry
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.kinds import BUCKETS, DATABASES, FIELDS, KINDS, NOTIFICATIONS, SINKS, Kind, owned
from pys_multi_tools.patience import each

Json = dict[str, Any]
Key = tuple[str, str]


@dataclass(slots=True)
class Live:
    """The project as it is. things: by kind and full name; ours: those of this service and stage."""

    things: dict[Key, Json] = field(default_factory=dict)
    ours: set[Key] = field(default_factory=set)
    notifications: dict[str, list[Json]] = field(default_factory=dict)
    services: dict[str, Json] = field(default_factory=dict)
    policies: dict[Key, Json] = field(default_factory=dict)

    def get(self, entry: Entry) -> Json | None:
        """The resource of an entry, whoever it belongs to."""
        return self.things.get((entry.kind, entry.name))

    def is_ours(self, entry: Entry) -> bool:
        """Whether it is there and of this service and stage."""
        return entry.kind == FIELDS or (entry.kind, entry.name) in self.ours

    @property
    def emails(self) -> frozenset[str]:
        """The e-mails of our service accounts."""
        return policies.accounts_of(self.ours)


Owned = Callable[[str, Mapping[str, Any]], bool]


def reader(owner: str, labels: Mapping[str, str], database: str) -> Owned:
    """Tells whose a resource is."""
    return lambda kind, body: owned(kind, body, owner, labels, database)


def name_of(kind: str, thing: Mapping[str, Any], cloud: Cloud) -> str:
    """The full name of a resource as the document writes it: with the id of the project."""
    name = str(thing["name"])
    if kind == SINKS:
        return f"projects/{cloud.project}/sinks/{name}"
    if kind == BUCKETS or not name.startswith("projects/"):
        return name
    return f"projects/{cloud.project}/{name.split('/', 2)[2]}"


def read(cloud: Cloud, document: Document, is_owned: Owned, former: Document | None = None) -> Live:
    """Everything at once, by listings; side by side. former: another document whose policies are looked at, too."""
    live = Live()
    wanted = {entry.kind for entry in document.entries}

    def listed(kind: Kind, parent: Json) -> list[Json]:
        try:
            found = cloud.pages(kind.name, kind.key, **parent)
            # A deleted bucket of logs stays for a week, and can be taken back.
            return [thing for thing in found if thing.get("lifecycleState") != "DELETE_REQUESTED"]
        except GcpError as error:
            # An API that is not enabled has nothing of ours, unless the document asks for it.
            if error.code == "SERVICE_DISABLED" and kind.name not in wanted:
                return []
            raise

    def services() -> list[Json]:
        try:
            return list(cloud.pages(SERVICES, "services", parent=cloud.location))
        except GcpError as error:
            if error.code == "SERVICE_DISABLED" and not document.functions():
                return []
            raise

    work: list[Callable[[], list[Json]]] = [services]
    parents = [(kind, kind.parent(cloud)) for kind in KINDS.values() if kind.parent is not None]
    work += [lambda pair=pair: listed(*pair) for pair in parents]  # type: ignore[misc]  # a default binds it
    found = each(lambda ask: ask(), work)
    live.services = {str(service["name"]): service for service in found[0]}
    named = {(entry.kind, entry.name) for entry in document.entries}
    for (kind, _), things in zip(parents, found[1:], strict=True):
        for thing in things:
            key = (kind.name, name_of(kind.name, thing, cloud))
            is_ours = is_owned(kind.name, thing)
            if is_ours:
                live.ours.add(key)
            if is_ours or key in named:
                live.things[key] = thing
    _read_notifications(cloud, document, live, is_owned)
    _read_fields(cloud, document, live)
    _read_policies(cloud, document, live, former)
    return live


def _read_fields(cloud: Cloud, document: Document, live: Live) -> None:
    """Those of the document that are indexed in a way of their own; all others are not listed."""
    wanted = {entry.name for entry in document.entries if entry.kind == FIELDS}
    for database in sorted({name.partition("/collectionGroups/")[0] for name in wanted}):
        if (DATABASES, database) in live.things:
            parent, only = f"{database}/collectionGroups/-", "indexConfig.usesAncestorConfig:false"
            for field_ in cloud.pages(FIELDS, "fields", parent=parent, filter=only):
                if (name := name_of(FIELDS, field_, cloud)) in wanted:
                    live.things[FIELDS, name] = field_


def _read_notifications(cloud: Cloud, document: Document, live: Live, is_owned: Owned) -> None:
    """Those of our buckets, and of the document's. Only ours are looked at: several may tell of the same bucket."""
    wanted = {entry.name for entry in document.entries if entry.kind == NOTIFICATIONS}
    buckets = sorted(wanted | {name for kind, name in live.ours if kind == BUCKETS})
    buckets = [name for name in buckets if (BUCKETS, name) in live.things]
    found = each(lambda name: notifications(cloud, name), buckets)
    for name, entries in zip(buckets, found, strict=True):
        live.notifications[name] = [entry for entry in entries if is_owned(NOTIFICATIONS, entry)]


def notifications(cloud: Cloud, bucket: str) -> list[Json]:
    """All notifications of a bucket; none where it is not there."""
    try:
        return list(cloud.call(NOTIFICATIONS, "list", bucket=bucket).get("items") or ())
    except GcpError as error:
        if not error.is_gone:
            raise
        return []


def _read_policies(cloud: Cloud, document: Document, live: Live, former: Document | None) -> None:
    """Of every resource that the documents grant something on, of ours, and of the project."""
    bindings = (*document.bindings, *(former.bindings if former is not None else ()))
    wanted = {(binding.kind, binding.name) for binding in bindings}
    wanted |= {key for key in live.ours if key[0] in _WITH_POLICY}
    wanted |= {(SERVICES, name) for name in live.services if _is_function(live, name)}
    if live.emails:
        wanted.add((PROJECTS, f"projects/{cloud.project}"))
    there = [key for key in sorted(wanted) if _is_there(live, document, key)]
    for key, policy in zip(there, each(lambda key: policies.read(cloud, *key), there), strict=True):
        live.policies[key] = policy


#: Kinds whose resources have policies that we write; functions have theirs on their services.
_WITH_POLICY = frozenset(
    kind for kind in KINDS if not kind.startswith(("cloudfunctions.", "cloudscheduler.", "firestore.", "logging."))
)


def _is_function(live: Live, service: str) -> bool:
    return any(service == name.replace("/functions/", "/services/") for _, name in live.ours)


def _is_there(live: Live, document: Document, key: Key) -> bool:
    """Whether there may be a policy: resources of the document are known to be there or not; others, such as
    somebody's secret that a function reads, are not."""
    kind, name = key
    if kind == SERVICES:
        return name in live.services
    return key in live.things or all(key != (entry.kind, entry.name) for entry in document.entries)
