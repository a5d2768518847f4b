"""From what-if to the neutral plan; pure.

What-if tells of more than a deploy does ("ARM template deployment what-if operation", 2026-11: reference() is never
resolved, values that a provider fills in look deleted, values that it does not show look new). So what the template
says is compared with what the last deployed one said. Where that is the same, a difference is noise, unless it is one
between two plain values: then somebody changed the resource by other means, and a deploy sets it right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pys_multi_providers.azure import grants
from pys_multi_providers.azure.index import WORDS, at, joined, named, split, word
from pys_multi_providers.azure.kinds import KINDS
from pys_multi_tools.deployment import Action, Change

Json = Mapping[str, Any]
Property = tuple[str, Any, Any]

#: What holds a user's data. A topic keeps nothing, what is subscribed to it does.
DATA = frozenset(("account", "container", "table", "namespace", "queue", "subscription"))
_ROLES = {
    value: name.lower().replace("_", " ") for name, value in vars(grants).items() if name.isupper() and len(value) == 36
}
_IDENTITY = re.compile(r"resourceId\('Microsoft\.ManagedIdentity/userAssignedIdentities', (concat\(.*?\)|'[^']*')\)")


#: A deploy puts a template in place where that differs or something is missing, and then sets all of it right.
_BY_HAND = "changed by other means; the next deploy that changes the stage's resources sets it right"

#: Where the settings of an app are, and the tag that tells that they differ.
_SETTINGS, _SETTINGS_TAG = "siteConfig.appSettings", "tags.pys-multi-settings"


@dataclass(frozen=True, slots=True)
class About:
    """What a plan is about. old, new: resources of the last and of this template, by id in lower case; old is None
    where nothing was deployed. public: names of the apps with routes that strangers reach. own: names of containers
    that are not a user's."""

    old: Mapping[str, Json] | None
    new: Mapping[str, Json]
    unique: str
    public: frozenset[str]
    own: frozenset[str]


def all_unchanged(about: About) -> tuple[Change, ...]:
    """The plan where nothing changes."""
    return _sorted(_change("unchanged", id, about) for id in about.new)


def created(about: About) -> tuple[Change, ...]:
    """The plan where there is no group yet, so that Azure is asked nothing."""
    return _sorted(_change("create", id, about) for id in about.new)


def foreseen(result: Json, about: About) -> tuple[Change, ...]:
    """The plan that a what-if stands for."""
    found = []
    for entry in (result.get("properties") or result).get("changes") or ():
        change = _of(entry, about)
        if change is not None:
            found.append(change)
    return _sorted(found)


def drifted(result: Json, about: About) -> tuple[Change, ...]:
    """What was changed by other means since the last deploy, whose template the what-if is of."""
    found = []
    for entry in (result.get("properties") or result).get("changes") or ():
        id, kind = str(entry["resourceId"]), entry["changeType"]
        if kind == "Create":
            found.append(_change("create", id, about, reason="deleted by other means", after=entry.get("after")))
        elif kind == "Modify" and (kept := tuple(_properties(entry, about)[0])):
            found.append(_change("update", id, about, reason=_BY_HAND, properties=kept))
    return _sorted(found)


def surplus(ids: Iterable[str], about: About) -> tuple[Change, ...]:
    """What is there and no longer defined."""
    return _sorted(
        _change("delete", id, about, reason="no longer defined", data=holds_data(id, about.own)) for id in ids
    )


def losses(changes: Iterable[Change]) -> set[tuple[str, str, str]]:
    """What is deleted: action, kind and name."""
    return {(c.action, c.kind, c.name) for c in changes if c.action in ("delete", "replace")}


def holds_data(id: str, own: frozenset[str]) -> bool:
    """Whether what has this id holds a user's data. own: names of containers that are ours."""
    _, type, names = split(id)
    return WORDS.get(type.lower()) in DATA and names[-1] not in own


def _of(entry: Json, about: About) -> Change | None:
    id, kind = str(entry["resourceId"]), entry["changeType"]
    if kind == "Ignore":
        return None
    if kind == "Create":
        return _change("create", id, about, after=entry.get("after"))
    if kind == "Unsupported":
        is_same = about.old is not None and about.old.get(id.lower()) == about.new.get(id.lower())
        reason = f"Azure foresees nothing of it: {entry.get('unsupportedReason') or 'no reason'}"
        return _change("unchanged" if is_same else "update", id, about, reason="" if is_same else reason)
    if kind != "Modify":
        return _change("unchanged", id, about)
    kept, dropped = _properties(entry, about)
    if not kept:
        reason = f"what-if differs in {', '.join(dropped)}, which a deploy does not change" if dropped else ""
        return _change("unchanged", id, about, reason=reason)
    return _change("update", id, about, properties=tuple(kept), reason=_why(id, kept, about))


def _why(id: str, kept: list[Property], about: About) -> str:
    old = (about.old or {}).get(id.lower())
    new = about.new.get(id.lower(), {})
    if old is not None and all(
        at(old, path) == at(new, path) and not path.startswith("setting ") for path, _, _ in kept
    ):
        return "changed by other means since the last deploy"
    return ""


def _properties(entry: Json, about: About) -> tuple[list[Property], list[str]]:
    """(what a deploy changes, what is only noise) of a difference."""
    id = str(entry["resourceId"]).lower()
    if split(id)[1].lower() == KINDS["assignment"].lower():
        return [], ["principalId"]  # a role is assigned or not: nothing of it changes, and its principal is a reference
    old, new = (about.old or {}).get(id), about.new.get(id, {})
    kept: list[Property] = []
    dropped: list[str] = []
    for path, kind, before, after in _flat(entry.get("delta") or ()):
        top = path.partition("[")[0]
        if top.endswith(_SETTINGS):
            kept += _settings(old, new, top, about.unique)
            continue
        is_said = old is None or at(old, top) != at(new, top)
        is_plain = kind == "Modify" and not _is_expression(after) and before is not None and after is not None
        if kind != "NoEffect" and (is_plain or (is_said and kind != "Delete") or (is_said and old is not None)):
            kept.append((path, before, after))
        else:
            dropped.append(path)
    if any(name.startswith("setting ") for name, _, _ in kept):
        kept = [entry for entry in kept if entry[0] != _SETTINGS_TAG]  # it only says that they differ
    return kept, sorted(set(dropped))


def _settings(old: Json | None, new: Json, path: str, unique: str) -> Iterator[Property]:
    """The settings of an app that differ: Azure shows nobody what they are, so both templates say."""
    before, after = ({e["name"]: named(e["value"], unique) for e in at(r or {}, path) or ()} for r in (old, new))
    for name in sorted({*before, *after} if old is not None else ()):
        if before.get(name) != after.get(name):
            yield f"setting {name}", before.get(name), after.get(name)


def _flat(delta: Iterable[Json], path: str = "") -> Iterator[tuple[str, str, Any, Any]]:
    for entry in delta:
        part = str(entry["path"])
        here = f"{path}[{part}]" if path and part.isdigit() else f"{path}.{part}" if path else part
        kind = str(entry["propertyChangeType"])
        if entry.get("children"):
            # What an array gained or lost is told as a whole; Azure's numbers in it mean little to a reader.
            yield from ((p, "Array" if kind == "Array" else k, b, a) for p, k, b, a in _flat(entry["children"], here))
        else:
            yield here, kind, entry.get("before"), entry.get("after")


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("[") and not value.startswith("[[")


def _change(
    action: Action,
    id: str,
    about: About,
    *,
    reason: str = "",
    properties: tuple[Property, ...] = (),
    data: bool = False,
    after: Json | None = None,
) -> Change:
    scope, type, names = split(id)
    name = "/".join(names[-2:]) if type.lower() == KINDS["publishing"].lower() else names[-1]
    if type.lower() == KINDS["assignment"].lower():
        name, reason = _assignment(scope, name, after, about, reason)
    return Change(
        action=action,
        kind="container" if name in about.own else word(type),
        name=name,
        reason=reason,
        properties=properties,
        public=action in ("create", "update") and type.lower() == KINDS["site"].lower() and name in about.public,
        data=data,
    )


def _assignment(scope: str, name: str, after: Json | None, about: About, reason: str) -> tuple[str, str]:
    """What a role assignment is called, and what it allows."""
    properties = (after or {}).get("properties") or {}
    role = str(properties.get("roleDefinitionId", "")).rpartition("/")[2]
    who = _IDENTITY.search(str(properties.get("principalId", "")))
    _, type, names = split(scope)
    place = f"{word(type)} {names[-1]}"
    if who is None or role not in _ROLES:
        return f"{name} on {place}", reason
    identity = "".join(joined(who.group(1), about.unique))
    return f"{identity} on {place}", f"it becomes {_ROLES[role]}" + (f"; {reason}" if reason else "")


def _sorted(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: (change.kind, change.name)))
