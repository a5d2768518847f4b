"""From what must be and what is there to what has to be done: a step for every resource and policy. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pys_multi_providers.gcp import policies
from pys_multi_providers.gcp.client import PROJECTS, SERVICES
from pys_multi_providers.gcp.difference import SHARED, Difference, differences, same
from pys_multi_providers.gcp.document import DATA_LABEL, FUNCTION, Document, Entry, Look, Policy, Unknown, resolved
from pys_multi_providers.gcp.document import policies as policies_of
from pys_multi_providers.gcp.kinds import BUCKETS, DATABASES, JOBS, KINDS, LOG_BUCKETS, NOTIFICATIONS, WORDS
from pys_multi_providers.gcp.live import Live
from pys_multi_tools.deployment import Change

Json = dict[str, Any]

#: Fields of a function that say how it is, not how it must be: Cloud Run functions copies what it builds, and answers
#: with the name of the copy. Which build it is, its label says.
SAID = frozenset({"serviceConfig.allTrafficOnLatestRevision", "buildConfig.source"})
#: Kinds that hold data whatever a document says of them.
HOLDING = frozenset({BUCKETS, DATABASES, LOG_BUCKETS})


@dataclass(frozen=True, slots=True)
class Step:
    """What has to be done with a resource. body: resolved; live: as it is now; kept: it is not wanted, and stays for
    the data in it."""

    action: Literal["create", "update", "replace", "delete", "unchanged", "foreign"]
    entry: Entry
    body: Mapping[str, Any]
    live: Mapping[str, Any] | None = None
    differences: tuple[Difference, ...] = ()
    reason: str = ""
    kept: bool = False

    @property
    def holds_data(self) -> bool:
        """Whether what it is about may hold a user's data."""
        return self.entry.holds_data or self.entry.kind in HOLDING

    @property
    def is_cut_off(self) -> bool:
        """Whether it is a subscription whose topic somebody deleted: nothing can be sent to it again."""
        return (self.live or {}).get("topic") == "_deleted-topic_"


@dataclass(frozen=True, slots=True)
class Permission:
    """What has to be done with a policy."""

    policy: Policy
    missing: frozenset[policies.Grant]
    surplus: frozenset[policies.Grant]
    on_ours: bool

    @property
    def is_pending(self) -> bool:
        """Whether anything has to be done."""
        return bool(self.missing or self.surplus)


@dataclass(frozen=True, slots=True)
class Steps:
    """Everything that has to be done, by id; deletions apart."""

    resources: Mapping[str, Step]
    permissions: Mapping[str, Permission]
    deletions: tuple[Step, ...]

    @property
    def pending(self) -> bool:
        """Whether anything has to be done."""
        return (
            any(step.action != "unchanged" for step in self.resources.values())
            or any(permission.is_pending for permission in self.permissions.values())
            or any(not step.kept for step in self.deletions)
        )

    def foreign(self) -> list[Step]:
        """What has a name that we want, and is not ours."""
        return [step for step in self.resources.values() if step.action == "foreign"]


def compare(document: Document, live: Live, look: Look) -> Steps:
    """What has to be done. look: references → values."""
    resources = {
        entry.id: _notification(document, entry, live, look)
        if entry.kind == NOTIFICATIONS
        else _resource(document, entry, live, look)
        for entry in document.entries
    }
    permissions = {policy.id: permission_of(document, policy, live, look) for policy in policies_of(document)}
    for policy in _former(document, live):
        permissions[policy.id] = permission_of(document, policy, live, look)
    return Steps(resources, permissions, tuple(_deletions(document, live, resources)))


def _resource(document: Document, entry: Entry, live: Live, look: Look) -> Step:
    body = resolved(document, entry.body, look)
    found = live.get(entry)
    if found is None:
        return Step("create", entry, body)
    if not live.is_ours(entry):
        return Step("foreign", entry, body, found)
    differing = tuple(differences(body, found, ignored=SAID))
    if is_paused(entry.kind, found):
        differing += (("state", found["state"], "ENABLED"),)
    fixed = KINDS[entry.kind].fixed
    if any(path.partition(".")[0] in fixed for path, _, _ in differing):
        names = ", ".join(sorted({p.partition(".")[0] for p, _, _ in differing} & set(fixed)))
        return Step("replace", entry, body, found, differing, f"{names} cannot change in place")
    if differing:
        return Step("update", entry, body, found, differing)
    if entry.kind == FUNCTION and (reason := unfinished(found)):
        return Step("update", entry, body, found, (), reason)
    return Step("unchanged", entry, body, found)


def is_paused(kind: str, found: Mapping[str, Any]) -> bool:
    """Whether it is a schedule that somebody paused; no field of it that one could write says so."""
    return kind == JOBS and found.get("state") == "PAUSED"


def unfinished(function: Mapping[str, Any]) -> str:
    """Why a function that is as it must be has to be deployed nevertheless; empty where it has not."""
    state = function.get("state", "ACTIVE")
    if state == "ACTIVE":
        return ""
    if state == "DEPLOYING":
        return "it is being deployed"
    messages = "; ".join(str(m.get("message", "")) for m in function.get("stateMessages") or ())
    return f"its last deploy {'failed' if state == 'FAILED' else 'ended as ' + str(state)}" + (
        f": {messages}" if messages else ""
    )


def _notification(document: Document, entry: Entry, live: Live, look: Look) -> Step:
    body = resolved(document, entry.body, look)
    for found in live.notifications.get(entry.name, ()):
        if _same_notification(body, found):
            return Step("unchanged", entry, body, found)
    return Step("create", entry, body)


def _same_notification(body: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    prefix = "object_name_prefix"
    return same(body, found) and body.get(prefix, "") == found.get(prefix, "")


def permission_of(document: Document, policy: Policy, live: Live, look: Look) -> Permission:
    """What a policy lacks, and what it has too much."""
    must = grants_of(document, policy, look)
    on_ours = is_on_ours(policy, live, document)
    found = live.policies.get((policy.kind, policy.name), {})
    emails = live.emails | wanted_emails(document)
    missing, surplus = policies.missing_and_surplus(found, must, emails, on_ours=on_ours)
    return Permission(policy, frozenset(missing), frozenset(surplus), on_ours)


def grants_of(document: Document, policy: Policy, look: Look) -> set[policies.Grant]:
    """What the bindings grant, with names filled in as far as they are known."""
    bindings = [
        replace(b, members=tuple(str(m) for m in resolved(document, list(b.members), look))) for b in policy.bindings
    ]
    return policies.wanted(bindings)


def wanted_emails(document: Document) -> frozenset[str]:
    """The e-mails of the document's service accounts."""
    return policies.accounts_of((entry.kind, entry.name) for entry in document.entries)


def is_on_ours(policy: Policy, live: Live, document: Document) -> bool:
    """Whether a policy is that of a resource of this service and stage."""
    if policy.kind == SERVICES:
        name = policy.name.replace("/services/", "/functions/")
        return (FUNCTION, name) in live.ours or any(e.name == name for e in document.entries)
    if policy.kind == PROJECTS:
        return False
    return (policy.kind, policy.name) in live.ours or any(
        (e.kind, e.name) == (policy.kind, policy.name) for e in document.entries
    )


def _former(document: Document, live: Live) -> Iterator[Policy]:
    """Policies of what is there that the document says nothing of, in which something of ours may be left."""
    known = {(policy.kind, policy.name) for policy in policies_of(document)}
    for kind, name in sorted(live.policies):
        if (kind, name) not in known:
            yield Policy(kind, name, ())


def _deletions(document: Document, live: Live, resources: Mapping[str, Step]) -> Iterator[Step]:
    wanted = {(entry.kind, entry.name) for entry in document.entries}
    for kind, name in sorted(live.ours - wanted):
        holds = DATA_LABEL in (live.things[kind, name].get("labels") or {})
        entry = Entry(id=f"{WORDS[kind]}:{name}", kind=kind, name=name, body={}, holds_data=holds)
        stays = holds or kind in HOLDING
        reason = "no longer defined" + (
            "; it stays for what it holds, until pys-multi destroy --delete-data" if stays else ""
        )
        yield Step("delete", entry, {}, live.things[kind, name], reason=reason, kept=stays)
    used = {id(step.live) for step in resources.values() if step.entry.kind == NOTIFICATIONS}
    for bucket, found in sorted(live.notifications.items()):
        for entry_ in found:
            if id(entry_) not in used:
                entry = Entry(id=f"bucket event:{entry_['id']}", kind=NOTIFICATIONS, name=bucket, body={})
                yield Step("delete", entry, {}, entry_, reason="no longer defined")


# ---- plans


def changes(steps: Steps) -> Iterator[Change]:
    """The plan that steps stand for."""
    for step in steps.resources.values():
        yield _change(step)
    for permission in steps.permissions.values():
        yield from _permissions(permission)
    for step in steps.deletions:
        yield _change(step)


def _change(step: Step) -> Change:
    name = short(step.entry.name)
    if step.entry.kind == NOTIFICATIONS:
        topic = str((step.body or step.live or {}).get("topic", "")).rpartition("/")[2]
        name = f"{step.entry.name} → {topic}"
    properties = tuple(shown for difference in step.differences for shown in _properties(*difference))
    action = step.action
    reason, data = step.reason, False
    if action == "foreign":
        action, reason = "update", "it is there and belongs to somebody else: deploy refuses it"
    elif action == "delete" and step.kept:
        action, data = "unchanged", True
    elif action in ("delete", "replace"):
        data = step.holds_data
    return Change(
        action=action, kind=WORDS[step.entry.kind], name=name, reason=reason, properties=properties, data=data
    )


def _permissions(permission: Permission) -> Iterator[Change]:
    where = short(permission.policy.name)
    for action, granted in (("create", permission.missing), ("delete", permission.surplus)):
        for grant in sorted(granted, key=lambda g: (g.role, g.member)):
            is_public = action == "create" and grant.member in ("allUsers", "allAuthenticatedUsers")
            yield Change(
                action="create" if action == "create" else "delete",
                kind="permission",
                name=f"{grant.role} on {where} for {grant.member}",
                reason="everybody may call it" if is_public else "no longer wanted" if action == "delete" else "",
                public=is_public,
            )


def _properties(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """A difference as it is told: of free keys, such as those of an environment and of our own JSON in it, the ones
    that differ."""
    if path.rpartition(".")[2].startswith("PYS_MULTI_"):
        before, after = _read(before), _read(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before and after:
        others = () if path.rpartition(".")[2] in SHARED else before
        for key in sorted({*after, *others}):
            if not same(after.get(key), before.get(key), key):
                yield from _properties(f"{path}.{key}", before.get(key), after.get(key))
    else:
        yield path, _shown(before), _shown(after)


def _read(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, Unknown) else value


def short(name: str) -> str:
    """The last part of a full name; of a field of a database, its collection too."""
    table, is_field, field = name.rpartition("/collectionGroups/")[2].partition("/fields/")
    return f"{table}.{field}" if is_field else name.rpartition("/")[2]


def losses(found: Iterable[Change]) -> set[tuple[str, str, str]]:
    """What is deleted or replaced: action, kind and name."""
    return {(c.action, c.kind, c.name) for c in found if c.action in ("delete", "replace") and c.kind != "permission"}
