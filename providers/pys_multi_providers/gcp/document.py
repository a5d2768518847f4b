"""The rendered document, ``resources.json``, as values: resources and bindings of IAM, their references, their order.

A string in a body, a name or a member may hold ``${project_number}`` and ``${<entry id>:<dotted path>}``, a field of
another resource that is known once that is there, such as the address of a function. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]

FUNCTION = "cloudfunctions.v2.projects.locations.functions"
_SUBSCRIPTION = "pubsub.v1.projects.subscriptions"
#: Labels beside those of the document: which build a function runs; that a thing holds data, which is to be known also
#: when no document names it any more.
BUILD_LABEL, DATA_LABEL = "pys-multi-build", "pys-multi-data"
#: Ends the kind of an entry that is a binding on a resource of that kind.
_IAM = ":iam"
_REFERENCE = re.compile(r"\$\{([^{}]+)\}")
#: Fields that are taken away again where the document has none, by kind: the message that they are in, and their name.
#: Others are in every document, or are Google's choice where they are not.
_CLEARED: Mapping[str, tuple[tuple[str, str], ...]] = {
    FUNCTION: (
        ("buildConfig", "environmentVariables"),
        ("serviceConfig", "vpcConnector"),
        ("serviceConfig", "vpcConnectorEgressSettings"),
    ),
    _SUBSCRIPTION: (("", "deadLetterPolicy"), ("", "retryPolicy")),
}
#: Values of a user's own, in which nothing is replaced.
_VERBATIM = frozenset({"environmentVariables", "object_name_prefix"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A resource. name: in full. after: ids of entries that come first."""

    id: str
    kind: str
    name: str
    body: Mapping[str, Any]
    after: tuple[str, ...] = ()
    holds_data: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """Members that have a role on a resource. kind, name: of that resource."""

    id: str
    kind: str
    name: str
    role: str
    members: tuple[str, ...]
    condition: Mapping[str, str] | None = None
    after: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        """Whether everybody has the role."""
        return "allUsers" in self.members or "allAuthenticatedUsers" in self.members


@dataclass(frozen=True, slots=True)
class Document:
    """All of a service at a stage."""

    entries: tuple[Entry, ...]
    bindings: tuple[Binding, ...] = ()
    _by_id: Mapping[str, Entry] = field(default_factory=dict, repr=False, compare=False)

    def entry(self, id: str) -> Entry | None:
        """The resource of that id."""
        return self._by_id.get(id)

    def functions(self) -> dict[str, Entry]:
        """The functions by their names in the service."""
        return {entry.id.partition(":")[2]: entry for entry in self.entries if entry.kind == FUNCTION}


def parse(text: str) -> Document:
    """The document of a rendered text."""
    entries, bindings = [], []
    for item in json.loads(text)["resources"]:
        after = tuple(item.get("after") or ())
        if item["kind"].endswith(_IAM):
            bindings.append(
                Binding(
                    id=item["id"],
                    kind=item["kind"].removesuffix(_IAM),
                    name=item["name"],
                    role=item["role"],
                    members=tuple(item["members"]),
                    condition=item.get("condition"),
                    after=after,
                )
            )
        else:
            holds, body = bool(item.get("holds_data")), _with_cleared(item["kind"], item["body"])
            if holds and "labels" in body:
                body = {**body, "labels": {**body["labels"], DATA_LABEL: "kept"}}
            entries.append(Entry(item["id"], item["kind"], item["name"], body, after, holds))
    return of(entries, bindings)


def _with_cleared(kind: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = dict(body)
    for message, name in _CLEARED.get(kind, ()):
        if message:
            found[message] = {name: None, **found.get(message, {})}
        else:
            found.setdefault(name, None)
    return found


def of(entries: Iterable[Entry], bindings: Iterable[Binding] = ()) -> Document:
    """A document of these."""
    found = tuple(entries)
    return Document(found, tuple(bindings), {entry.id: entry for entry in found})


def email_of(account: str) -> str:
    """The address in the name of a service account."""
    return account.rpartition("/")[2]


# ---- references


@dataclass(frozen=True, slots=True)
class Unknown:
    """What stands for a value that is known once a resource is there."""

    text: str

    def __str__(self) -> str:
        return f"(known after {self.text})"


Look = Callable[[str], "str | None"]


def resolved(document: Document, value: Any, look: Look) -> Any:
    """The value with its references replaced; a string with one that is not known yet becomes Unknown.

    look: a reference, without its brackets → what it stands for, None where that is not known yet.
    """
    if isinstance(value, str):
        return _string(document, value, look)
    if isinstance(value, Mapping):
        return {key: inner if key in _VERBATIM else resolved(document, inner, look) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(document, inner, look) for inner in value]
    return value


def _string(document: Document, text: str, look: Look) -> str | Unknown:
    parts = _REFERENCE.split(text)
    for index in range(1, len(parts), 2):
        if not _is_reference(document, parts[index]):
            parts[index] = f"${{{parts[index]}}}"
            continue
        found = look(parts[index])
        if found is None:
            return Unknown(parts[index].rpartition(":")[0] or parts[index])
        parts[index] = found
    return "".join(parts)


def _is_reference(document: Document, text: str) -> bool:
    return text == "project_number" or document.entry(text.rpartition(":")[0]) is not None


def lookup(document: Document, live: Callable[[Entry], Mapping[str, Any] | None], number: Callable[[], str]) -> Look:
    """How references are looked up. live: an entry → the resource as it is; number: of the project."""

    def look(reference: str) -> str | None:
        if reference == "project_number":
            return number()
        id, _, path = reference.rpartition(":")
        entry = document.entry(id)
        found: Any = live(entry) if entry is not None else None
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return str(found) if found else None

    return look


# ---- order


@dataclass(frozen=True, slots=True)
class Policy:
    """All bindings of the document on one resource: a policy is written as a whole."""

    kind: str
    name: str
    bindings: tuple[Binding, ...]

    @property
    def id(self) -> str:
        """What it is told apart by."""
        return f"{self.kind}{_IAM} {self.name}"


Item = Entry | Policy


def policies(document: Document) -> tuple[Policy, ...]:
    """The bindings by their resource."""
    found: dict[tuple[str, str], list[Binding]] = {}
    for binding in document.bindings:
        found.setdefault((binding.kind, binding.name), []).append(binding)
    return tuple(Policy(kind, name, tuple(bindings)) for (kind, name), bindings in found.items())


@dataclass(frozen=True, slots=True)
class Phases:
    """Everything in the order in which it is made: what functions need, the functions, what needs them; each in levels,
    and what is in one level may be made side by side."""

    before: list[list[Item]]
    functions: list[list[Entry]]
    after: list[list[Item]]


def phases(document: Document) -> Phases:
    """The order of a document, by its references, names, grants and ``after``."""
    granted = policies(document)
    every: list[Item] = [*document.entries, *granted]
    items = {item.id: item for item in every}
    policy_of = {binding.id: policy.id for policy in granted for binding in policy.bindings}
    needs = {
        id: {policy_of.get(other, other) for other in _needs(document, item)} & items.keys() - {id}
        for id, item in items.items()
    }
    functions = {id for id, item in items.items() if isinstance(item, Entry) and item.kind == FUNCTION}
    behind: set[str] = set()
    while more := {id for id in items.keys() - functions - behind if needs[id] & (functions | behind)}:
        behind |= more

    def levels(left: set[str]) -> list[list[Item]]:
        found = []
        while left:
            # A circle is made all at once, which is better than not at all.
            ready = {id for id in left if not needs[id] & left} or set(left)
            found.append([item for id, item in items.items() if id in ready])
            left -= ready
        return found

    of_functions = levels(set(functions))
    return Phases(
        levels(items.keys() - functions - behind),
        [[item for item in level if isinstance(item, Entry)] for level in of_functions],
        levels(behind),
    )


def _needs(document: Document, item: Item) -> Iterator[str]:
    named = {entry.name: entry.id for entry in document.entries}
    emails = {email_of(entry.name): entry.id for entry in document.entries if ".serviceAccounts" in entry.kind}
    if isinstance(item, Policy):
        members = [member for binding in item.bindings for member in binding.members]
        for binding in item.bindings:
            yield from binding.after
        for entry in document.entries:
            # A function's service on Cloud Run has the name of the function.
            if item.name in (entry.name, entry.name.replace("/functions/", "/services/")):
                yield entry.id
    else:
        members = list(_strings(item.body))
        yield from item.after
    for text in members:
        for reference in _REFERENCE.findall(text):
            yield reference.rpartition(":")[0]
        plain = text.removeprefix("//pubsub.googleapis.com/").removeprefix("serviceAccount:")
        if plain in named or plain in emails:
            yield named.get(plain) or emails[plain]
    if isinstance(item, Policy):
        return
    if item.kind.endswith(".notifications"):
        yield from (e.id for e in document.entries if e.kind.endswith(".buckets") and e.name == item.name)
        yield from (b.id for b in document.bindings if f"//pubsub.googleapis.com/{b.name}" == item.body.get("topic"))
    if item.kind == FUNCTION:
        # A revision starts with its secrets, and what it may do should be known by then.
        account = f"serviceAccount:{item.body.get('serviceConfig', {}).get('serviceAccountEmail', '')}"
        for binding in document.bindings:
            if account in binding.members and not binding.kind.startswith("run."):
                yield binding.id


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in _VERBATIM:
                yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)


def with_build(entry: Entry, bucket: str, name: str, build: str) -> Entry:
    """A function with the build that it runs."""
    body = dict(entry.body)
    source = {"storageSource": {"bucket": bucket, "object": name}}
    body["buildConfig"] = {**body.get("buildConfig", {}), "source": source}
    body["labels"] = {**body.get("labels", {}), BUILD_LABEL: build}
    return replace(entry, body=body)
