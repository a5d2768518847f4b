"""What a change does to a service, from its model before and after: no cloud is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Model = Mapping[str, Any]

_SETTINGS = ("memory", "timeout", "concurrency", "environment", "dependencies", "options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """sign: "+", "-" or "~". about: "endpoint" (which anybody can call), "permission", "trigger", "function" or
    "resource"."""

    sign: str
    about: str
    name: str
    detail: str = ""


def compare(before: Model, after: Model) -> tuple[Difference, ...]:
    """The differences of two models, as ``show --json`` prints them; an empty model has nothing."""
    return tuple(
        difference
        for about, items in (
            ("endpoint", _endpoints),
            ("permission", _permissions),
            ("function", _functions),
            ("trigger", _triggers),
            ("resource", _resources),
        )
        for difference in _differences(about, dict(items(before)), dict(items(after)))
    )


def _differences(about: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield Difference(sign="+", about=about, name=name)
        elif name not in after:
            yield Difference(sign="-", about=about, name=name)
        elif before[name] != after[name]:
            old, new = before[name], after[name]
            keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            yield Difference(sign="~", about=about, name=name, detail=", ".join(_change(k, old, new) for k in keys))


def _change(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    values = (old.get(key), new.get(key))
    if all(isinstance(value, int | float | str | bool | None) for value in values):
        return f"{key} {values[0]} → {values[1]}"
    return key  # tables hold environments and options, whose values are nobody's business here


def _endpoints(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    for function, trigger in _all_triggers(model):
        if trigger.get("public"):
            yield f"{trigger.get('method', '*')} {trigger.get('path')} ({function})", {}


def _permissions(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    for function in model.get("functions", ()):
        for grant in function.get("grants", ()):
            for verb in grant.get("verbs", ()):
                yield f"{function['name']} may {verb} on {grant['resource']}", {}


def _functions(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    for function in model.get("functions", ()):
        yield function["name"], {key: function.get(key) for key in _SETTINGS}


def _triggers(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    for _, trigger in _all_triggers(model):
        yield trigger["id"], {key: value for key, value in trigger.items() if key not in ("id", "handler")}


def _resources(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    for resource in model.get("resources", ()):
        yield f"{resource.get('kind')} {resource['name']}", dict(resource)


def _all_triggers(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    for function in model.get("functions", ()):
        for trigger in function.get("triggers", ()):
            yield function["name"], trigger
