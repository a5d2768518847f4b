"""What a deployment would change, in the published form ("Deployments - What If", WhatIfOperationResult).

With the noise that the documentation of what-if warns of: a value with reference() in it always differs, what a
provider filled in looks like something that is deleted, and what it does not show like something that is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.arm.resources import World, filled_in, shown
from tests.support.arm.template import Template

Json = dict[str, Any]


def changes(world: World, template: Template) -> list[Json]:
    found = []
    for resource in template.resources:
        foreseen = template.foreseen(resource)
        after = {
            "id": resource.id,
            "name": resource.name.rpartition("/")[2],
            "type": resource.type,
            "apiVersion": resource.api,
            **foreseen,
        }
        entry = world.get(resource.id)
        if entry is None:
            found.append({"resourceId": resource.id, "changeType": "Create", "after": after})
            continue
        before = {**shown(entry), "apiVersion": resource.api}
        known = dict(world.bodies.get(resource.id.lower(), {}))
        if filled := filled_in(resource.type):
            known["properties"] = {**filled, **known.get("properties", {})}
        delta = list(_delta("", before, foreseen, known))
        kind = "Modify" if delta else "NoChange"
        change: Json = {"resourceId": resource.id, "changeType": kind, "before": before, "after": after}
        found.append({**change, "delta": delta} if delta else change)
    wanted = {resource.id.lower() for resource in template.resources}
    group = template.context.group_id.lower() + "/"
    for id, entry in sorted(world.resources.items()):
        if id.startswith(group) and id not in wanted:
            found.append({"resourceId": entry["id"], "changeType": "Ignore", "before": shown(entry)})
    return found


def _delta(path: str, before: Any, after: Any, known: Any) -> Iterator[Json]:
    """known: what was put or filled in, so that the provider's read-only values are not taken for changes."""
    for name in sorted({*after, *(known if isinstance(known, dict) else ())}):
        here = f"{path}.{name}" if path else name
        if name not in after:
            if name in before and name not in ("id", "name", "type"):
                yield {"path": here, "propertyChangeType": "Delete", "before": before[name]}
            continue
        old, new = before.get(name), after[name]
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _delta(here, old, new, known.get(name, {}) if isinstance(known, dict) else {})
        elif name not in before:
            yield {"path": here, "propertyChangeType": "Create", "after": new}
        elif isinstance(old, list) and isinstance(new, list):
            children = list(_array(old, new))
            if children:
                yield {"path": here, "propertyChangeType": "Array", "children": children}
        elif old != new:
            yield {"path": here, "propertyChangeType": "Modify", "before": old, "after": new}


def _array(old: list[Any], new: list[Any]) -> Iterator[Json]:
    for number in range(max(len(old), len(new))):
        if number >= len(old):
            yield {"path": str(number), "propertyChangeType": "Create", "after": new[number]}
        elif number >= len(new):
            yield {"path": str(number), "propertyChangeType": "Delete", "before": old[number]}
        elif old[number] != new[number]:
            yield {"path": str(number), "propertyChangeType": "Modify", "before": old[number], "after": new[number]}
