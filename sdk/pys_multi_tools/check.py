"""What keeps a service from running, found before anything is uploaded: every problem at once.

Rules that hold everywhere, then what a provider says it can do compared with what the service asks for,
then what the provider alone knows. Nothing here asks which provider it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from inspect import isasyncgenfunction, isgeneratorfunction, unwrap
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pys_multi import model
from pys_multi.errors import DefinitionError
from pys_multi.schedules import parse
from pys_multi_tools.deployment import Capabilities, Deployment, Problem

if TYPE_CHECKING:
    from pys_multi.app import App
    from pys_multi_tools.provider import Provider


def check(app: App, deployment: Deployment, provider: Provider, providers: Iterable[str] = ()) -> list[Problem]:
    """Every problem of a service on a provider, errors first; providers are the names that are installed."""
    service = deployment.service
    problems = [
        *check_handlers(app),
        *check_service(service),
        *check_capabilities(service, provider.name, provider.capabilities),
        *check_options(service, provider, providers),
        *check_settings(deployment),
        *check_streaming(app, provider.name, provider.capabilities),
        *provider.check(deployment),
    ]
    python = deployment.project.settings.python
    if python is not None and python not in provider.capabilities.limits.python:
        problems.append(
            _error(
                deployment.project.sources.get("python", "python"),
                f"{provider.name} has no Python {python}",
                f"choose one of {', '.join(provider.capabilities.limits.python)}",
            )
        )
    return sorted(problems, key=lambda problem: problem.severity != "error")


def check_handlers(app: App) -> Iterator[Problem]:
    """Handlers that ask for what they cannot get."""
    from pys_multi.parameters import bind
    from pys_multi.reactions import Runner

    for function in app.functions.values():
        for endpoint in function.endpoints:
            try:
                bind(endpoint.handler, endpoint.template.parameters, endpoint.method)
            except DefinitionError as error:
                yield _error(endpoint.id, str(error), "change the handler's parameters")
        for reaction in function.reactions:
            try:
                Runner(reaction, ())
            except DefinitionError as error:
                yield _error(reaction.id, str(error), "change the handler's parameters")


def check_service(service: model.Service) -> Iterator[Problem]:
    """Rules that hold on every provider."""
    if not service.functions:
        yield _error(
            f"service {service.name}",
            "it has no function",
            'add a handler, such as @app.get("/"), or a function, app.function("api")',
        )
    yield from _check_names(service)
    consumers: dict[str, model.Function] = {}
    for function in service.functions:
        if not function.triggers:
            yield _warning(
                f"function {function.name}",
                "nothing invokes it",
                "give it a route, a schedule or a queue, or remove it",
            )
        for trigger in function.triggers:
            if isinstance(trigger, model.Consume):
                other = consumers.setdefault(trigger.queue, function)
                if other is not function:
                    yield _error(
                        trigger.id,
                        f"queue {trigger.queue!r} has a consumer already, in function {other.name!r}",
                        "a message goes to one consumer; use a topic where several want it",
                    )
            if isinstance(trigger, model.Schedule):
                yield from _check_zone(trigger)
    for resource in service.resources:
        if not isinstance(resource, model.Queue):
            continue
        consumer = consumers.get(resource.name)
        if consumer is None:
            yield _warning(
                f"queue {resource.name}",
                "nobody consumes it: its messages stay until they expire",
                f"add @function.consume({resource.name}) to a handler, or remove the queue",
            )
        elif resource.visibility is not None and resource.visibility < consumer.timeout:
            yield _error(
                f"queue {resource.name}",
                f"a message is delivered again after {resource.visibility:g} s while {consumer.name} may still be "
                f"working on it for {consumer.timeout:g} s",
                f"set visibility to at least {consumer.timeout:g}, or leave it out",
            )


def _check_zone(trigger: model.Schedule) -> Iterator[Problem]:
    # Defining a schedule looks at no time zone database: a function's host may have none.
    try:
        parse(trigger.expression, trigger.timezone).zone()
    except DefinitionError as error:
        yield _error(trigger.id, str(error), 'write an IANA name, such as "Europe/Berlin" or "UTC"')


def _check_names(service: model.Service) -> Iterator[Problem]:
    # Clouds fold the case of some names, so two that differ by case alone would be one there.
    seen: dict[str, str] = {}
    for resource in service.resources:
        folded = resource.name.lower().replace("_", "-")
        if folded in seen:
            yield _error(
                f"{resource.kind} {resource.name}",
                f"its name differs from {seen[folded]!r} by case, '-' or '_' alone, and some clouds see one name",
                "give one of them another name",
            )
        seen[folded] = resource.name


def check_capabilities(service: model.Service, name: str, can: Capabilities) -> Iterator[Problem]:
    """What the service asks for and the provider does not say it can do."""
    for resource in service.resources:
        if resource.kind not in can.resources:
            yield _error(
                f"{resource.kind} {resource.name}",
                f"{name} has no {resource.kind}",
                f"use another provider for this service, or one of {', '.join(sorted(can.resources)) or 'nothing'}",
            )
        elif isinstance(resource, model.Queue) and resource.ordered and "ordered-queue" not in can.features:
            yield _error(f"queue {resource.name}", f"{name} has no ordered queues", "leave ordered=True out")
        if isinstance(resource, model.Queue) and can.limits.visibility is not None:
            yield from _limit(
                f"queue {resource.name}", "visibility", resource.visibility, can.limits.visibility, "s", name
            )
    for function in service.functions:
        yield from _check_function(function, name, can)


def _check_function(function: model.Function, name: str, can: Capabilities) -> Iterator[Problem]:
    where, limits = f"function {function.name}", can.limits
    for trigger in function.triggers:
        if trigger.kind not in can.triggers:
            yield _error(
                trigger.id,
                f"{name} cannot trigger a function by {trigger.kind}",
                f"it can by {', '.join(sorted(can.triggers))}; move this trigger to a service for another provider",
            )
        if isinstance(trigger, model.Consume):
            yield from _limit(trigger.id, "batch", trigger.batch, limits.batch, "messages", name)
            yield from _limit(trigger.id, "window", trigger.window, limits.batch_window, "s", name)
    if limits.memory_sizes and function.memory not in limits.memory_sizes:
        fitting = [size for size in limits.memory_sizes if size >= function.memory] or [limits.memory_sizes[-1]]
        yield _error(
            where,
            f"{name} has no {function.memory} MB instances; its sizes are {', '.join(map(str, limits.memory_sizes))}",
            f"write memory={fitting[0]}",
        )
    elif limits.memory is not None and not limits.memory[0] <= function.memory <= limits.memory[1]:
        yield _error(
            where,
            f"memory is {limits.memory[0]:,} to {limits.memory[1]:,} MB on {name}, not {function.memory:,}",
            f"write memory={min(max(function.memory, limits.memory[0]), limits.memory[1])}",
        )
    yield from _limit(where, "timeout", function.timeout, limits.timeout, "s", name)
    yield from _limit(where, "concurrency", function.concurrency, limits.concurrency, "requests", name)
    if any(trigger.kind in ("http", "mount") for trigger in function.triggers):
        yield from _limit(where, "timeout of a function with routes", function.timeout, limits.http_timeout, "s", name)


def _limit(where: str, what: str, value: float | None, limit: float | None, unit: str, name: str) -> Iterator[Problem]:
    if value is not None and limit is not None and value > limit:
        yield _error(where, f"{what} is at most {limit:g} {unit} on {name}, not {value:g}", f"write {limit:g} or less")


def check_options(service: model.Service, provider: Provider, providers: Iterable[str]) -> Iterator[Problem]:
    """Options under a provider's name: its own are validated, names of nobody are pointed out."""
    known = sorted({*providers, provider.name})
    for kind, owner in [("function", f) for f in service.functions] + [(r.kind, r) for r in service.resources]:
        for name, values in owner.options.items():
            where = f"{kind} {owner.name}"
            if name == provider.name:
                try:
                    provider.options_model.model_validate(dict(values))
                except ValidationError as error:
                    for entry in error.errors():
                        field = ".".join(map(str, entry["loc"]))
                        allowed = ", ".join(provider.options_model.model_fields)
                        yield _error(
                            where,
                            f"{name} option {field!r}: {entry['msg']}",
                            f"{name} knows: {allowed or 'no options'}",
                        )
            elif name not in known:
                near = get_close_matches(name, known, n=1)
                yield _warning(
                    where,
                    f"options for {name!r}, and no such provider is installed",
                    f"did you mean {near[0]!r}?" if near else f"installed: {', '.join(known)}",
                )


def check_settings(deployment: Deployment) -> Iterator[Problem]:
    """Settings that name what the service does not have."""
    secrets = [resource.name for resource in deployment.service.resources if resource.kind == "secret"]
    for name in deployment.project.settings.secrets:
        if name not in secrets:
            near = get_close_matches(name, secrets, n=1)
            yield _warning(
                deployment.project.sources.get(f"secrets.{name}", f"secrets.{name}"),
                f"the service has no secret {name!r}",
                f"did you mean {near[0]!r}?" if near else f'define it with app.secret("{name}"), or remove the line',
            )
    functions = [function.name for function in deployment.service.functions]
    for name in deployment.project.settings.profile:
        if name not in functions:
            near = get_close_matches(name, functions, n=1)
            yield _warning(
                deployment.project.sources.get(f"profile.{name}", f"profile.{name}"),
                f"the service has no function {name!r}",
                f"did you mean {near[0]!r}?" if near else "remove the table",
            )


def check_streaming(app: App, name: str, can: Capabilities) -> Iterator[Problem]:
    """Handlers that give their response piece by piece where a provider waits for all of it."""
    if "streaming" in can.features:
        return
    for function in app.functions.values():
        for endpoint in function.endpoints:
            if isgeneratorfunction(handler := unwrap(endpoint.handler)) or isasyncgenfunction(handler):
                yield _warning(
                    endpoint.id,
                    f"it streams, and {name} has no streaming: the caller gets the response when all of it is there",
                    "put what is large into a bucket and redirect to its presigned URL, or use another provider",
                )


def public_routes(service: model.Service) -> list[tuple[str, str]]:
    """(function, "METHOD path") of every route that whoever reaches it may call."""
    return [
        (function.name, f"{trigger.method} {trigger.path}" if isinstance(trigger, model.Route) else f"* {trigger.path}")
        for function in service.functions
        for trigger in function.triggers
        if isinstance(trigger, model.Route | model.Mount) and trigger.public
    ]


def _error(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint)


def _warning(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint, severity="warning")
