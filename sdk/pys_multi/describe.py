"""App → Service: from what the decorators recorded to the neutral model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pys_multi import model
from pys_multi.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pys_multi.app import App, Function
    from pys_multi.cors import CORS
    from pys_multi.resources import Resource
    from pys_multi.triggers import Auth


def describe(app: App) -> model.Service:
    """The frozen model of an app. Raises DefinitionError for a schedule that is none and options that are not JSON."""
    return model.Service(
        name=app.name,
        functions=tuple(_function(app, function) for function in app.functions.values()),
        resources=tuple(_resource(resource) for resource in app.resources.values()),
    )


def _function(app: App, function: Function) -> model.Function:
    triggers: list[model.Trigger] = [
        model.Route(
            id=endpoint.id,
            method=endpoint.method,
            path=endpoint.template.text,
            handler=_reference(endpoint.handler),
            status=endpoint.status or 200,
            public=endpoint.public,
            auth=_auth(endpoint.auth),
        )
        for endpoint in function.endpoints
    ]
    triggers += [
        model.Mount(
            id=mount.id,
            path=mount.path or "/",
            interface=mount.interface,
            handler=_reference(mount.application),
            public=mount.public,
            auth=_auth(mount.auth),
        )
        for mount in function.mounts
    ]
    kinds: dict[str, type[Any]] = {
        "schedule": model.Schedule,
        "consume": model.Consume,
        "subscribe": model.Subscribe,
        "object": model.ObjectEvent,
    }
    for reaction in function.reactions:
        if reaction.kind == "schedule":
            from pys_multi.schedules import parse

            try:
                parse(reaction.settings["expression"], reaction.settings["timezone"])
            except DefinitionError as error:
                raise DefinitionError(f"{reaction.id}: {error}") from None
        trigger = kinds[reaction.kind](id=reaction.id, handler=_reference(reaction.handler), **reaction.settings)
        triggers.append(trigger)
    verbs: dict[str, list[str]] = {}
    for grant in function.uses:
        known = verbs.setdefault(grant.resource.name, [])
        known.extend(verb for verb in grant.verbs if verb not in known)
    return model.Function(
        name=function.name,
        memory=function.memory,
        timeout=float(function.timeout),
        concurrency=function.concurrency,
        environment=dict(function.environment),
        dependencies=function.dependencies,
        triggers=tuple(triggers),
        grants=tuple(model.Grant(resource=name, verbs=tuple(sorted(found))) for name, found in sorted(verbs.items())),
        cors=_cors(function.cors or app.cors),
        options=_plain(function.options, f"function {function.name!r}"),
    )


def _reference(handler: object) -> str:
    module = getattr(handler, "__module__", None) or type(handler).__module__
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    return f"{module}:{name}"


def _auth(auth: Auth | None) -> Mapping[str, Any]:
    if auth is None:
        return {}
    describe = getattr(auth, "describe", None)
    if describe is None:
        return {"kind": "custom", "name": _reference(auth)}
    described: dict[str, Any] = _plain(describe(), f"describe() of {_reference(auth)}")
    return described


def _cors(cors: CORS | None) -> model.Cors | None:
    return model.Cors(**cors.describe()) if cors is not None else None


def _resource(resource: Resource) -> model.Resource:
    kinds: dict[str, type[Any]] = {
        "queue": model.Queue,
        "topic": model.Topic,
        "bucket": model.Bucket,
        "table": model.Table,
        "secret": model.Secret,
    }
    own = {name: getattr(resource, name) for name in type(resource).__slots__}
    described: model.Resource = kinds[resource.kind](
        name=resource.name, options=_plain(resource.options, f"{resource.kind} {resource.name!r}"), **own
    )
    return described


def _plain(value: Any, where: str) -> Any:
    """A copy that JSON brings back as it is: the model goes through JSON, and nobody changes it from outside."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise DefinitionError(f"{where}: the name {key!r} is not text")
        return {key: _plain(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if value is None or type(value) in (str, int, bool) or (type(value) is float and value - value == 0):
        return value
    raise DefinitionError(f"{where}: {value!r} cannot be written as JSON; use text, numbers, lists and mappings")
