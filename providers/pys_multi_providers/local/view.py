"""From a service and its settings to what the manifest's template needs, and from two manifests to a plan; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pys_multi.model import Function, Mount, Route, Service
from pys_multi_providers.local.settings import LocalOptions, LocalSettings
from pys_multi_tools.deployment import Change, Deployment

#: Kinds of resources that keep something of the user's.
_WITH_DATA = ("queue", "bucket", "table")


def view(deployment: Deployment) -> dict[str, Any]:
    """The context of ``local/manifest.json.j2``."""
    settings = deployment.settings
    if not isinstance(settings, LocalSettings):
        raise TypeError(f"settings of the local provider are LocalSettings, not {type(settings).__name__}")
    service, project = deployment.service, deployment.project.settings
    granted = secrets_of(service)
    names = {name for names in granted.values() for name in names}
    return {
        "service": service.name,
        "stage": deployment.stage,
        "python": project.python,
        "host": settings.host,
        "port": settings.port,
        "backlog": settings.backlog,
        "start_timeout": settings.start_timeout,
        "environment": dict(sorted(project.environment.items())),
        "secrets": {name: reference for name, reference in sorted(project.secrets.items()) if name in names},
        "functions": [
            {
                "name": function.name,
                "instances": instances_of(function, settings),
                "secrets": granted[function.name],
            }
            for function in service.functions
        ],
        "model": service.to_json(),
    }


def instances_of(function: Function, settings: LocalSettings) -> int:
    """How many processes a function gets: its entry in the settings, its own option, the settings' number."""
    if isinstance(settings.instances, dict) and function.name in settings.instances:
        return settings.instances[function.name]
    own = LocalOptions(**function.options.get("local", {})).instances
    return own if own is not None else settings.instances_of(function.name)


def secrets_of(service: Service) -> dict[str, list[str]]:
    """The secrets that each function was granted, by function."""
    secrets = {resource.name for resource in service.resources if resource.kind == "secret"}
    return {
        function.name: sorted({grant.resource for grant in function.grants} & secrets) for function in service.functions
    }


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any], rotated: frozenset[str]) -> list[Change]:
    """What turns one manifest into the other. rotated: secrets whose value is another one than before."""
    old = dict(_parts(before)) if before is not None else {}
    new = dict(_parts(after))
    found = []
    for (kind, name), properties in new.items():
        public = bool(properties.pop("public", False))
        was = old.pop((kind, name), None)
        if was is None:
            found.append(Change(action="create", kind=kind, name=name, public=public))
            continue
        was_public = bool(was.pop("public", False))
        differing = tuple(
            (key, was.get(key), properties.get(key))
            for key in sorted({*was, *properties})
            if was.get(key) != properties.get(key)
        )
        if public != was_public:
            differing += (("public", was_public, public),)
        if kind == "secret" and name in rotated:
            differing += (("value", "…", "another one"),)
        if differing:
            reason = ", ".join(property[0] for property in differing)
            found.append(
                Change(action="update", kind=kind, name=name, reason=reason, properties=differing, public=public)
            )
        else:
            found.append(Change(action="unchanged", kind=kind, name=name, public=public))
    for kind, name in old:
        reason = "its data stays until destroy --delete-data" if kind in _WITH_DATA else ""
        found.append(Change(action="delete", kind=kind, name=name, reason=reason))
    return found


def _parts(manifest: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """A manifest as things with a kind, a name and properties."""
    shared = {key: manifest[key] for key in ("python", "backlog", "start_timeout")}
    listen = manifest["listen"]
    yield ("listener", manifest["stage"]), {"host": listen["host"], "port": listen["port"]}
    model = manifest["model"]
    for function in model["functions"]:
        own = {key: value for key, value in function.items() if key not in ("name", "triggers", "options")}
        environment = {**manifest["environment"], **own.pop("environment")}
        yield (
            ("function", function["name"]),
            {
                **own,
                **shared,
                "environment": environment,
                "instances": manifest["functions"][function["name"]]["instances"],
            },
        )
        for trigger in function["triggers"]:
            kind = {Route.kind: "route", Mount.kind: "mount"}.get(trigger["kind"], trigger["kind"])
            yield (
                (kind, trigger["id"]),
                {key: value for key, value in trigger.items() if key not in ("id", "kind")},
            )
    for resource in model["resources"]:
        properties = {key: value for key, value in resource.items() if key not in ("name", "kind", "options")}
        if resource["kind"] == "secret":
            properties["reference"] = manifest["secrets"].get(resource["name"])
        yield (resource["kind"], resource["name"]), properties
