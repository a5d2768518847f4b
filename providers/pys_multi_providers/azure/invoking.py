"""Calls of what is live: HTTP to the function that has the route, an event to one trigger."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

from pys_multi.model import Function, Mount, Route, Trigger
from pys_multi.routing import RouteTable, Template
from pys_multi_providers.azure.apps import App
from pys_multi_providers.azure.engine import Engine, routes_of
from pys_multi_providers.azure.entry import EVENTS_ROUTE
from pys_multi_tools import calling
from pys_multi_tools.deployment import Invocation, InvocationResult
from pys_multi_tools.errors import ProviderError

Json = dict[str, Any]

#: Seconds that a call may take beyond its function's timeout; an instance may have to start first.
_MARGIN = 60.0


def invoke(engine: Engine, invocation: Invocation) -> InvocationResult:
    """Makes one call, once: what fails is not tried again."""
    service = engine.service
    if invocation.trigger is not None:
        function, trigger = next((f, t) for f in service.functions for t in f.triggers if t.id == invocation.trigger)
        if not isinstance(trigger, Route | Mount):
            return _event(engine, function, trigger, invocation.body)
    if invocation.function is not None:
        function = next(f for f in service.functions if f.name == invocation.function)
    else:
        function = owner(engine, invocation)
    app = _app(engine, function)
    headers = invocation.headers
    given = {name.lower() for name, _ in headers}
    if "x-functions-key" not in given and _asks_for_key(function):
        headers = (*headers, ("x-functions-key", engine.apps.key(app)))
    return _call(engine, app, replace(invocation, headers=headers), function.timeout + _MARGIN)


def owner(engine: Engine, invocation: Invocation) -> Function:
    """The function that answers a path. There is no gateway: each function has an address of its own."""
    with_routes = [function for function in engine.service.functions if routes_of(function)]
    if not with_routes:
        raise ProviderError("no function of this service has routes", where="invoke", hint="name a trigger")
    path = unquote((invocation.path or "/").partition("?")[0])
    found = [function for function in with_routes if _answers(function, path)]
    # Where none has the route, the one with the most of them says so.
    return found[0] if found else max(with_routes, key=lambda function: len(routes_of(function)))


def _answers(function: Function, path: str) -> bool:
    table = RouteTable()
    mounts = []
    for trigger in routes_of(function):
        if isinstance(trigger, Route):
            table.add(trigger.method, Template(trigger.path), True)
        else:
            mounts.append(trigger.path.rstrip("/"))
    return bool(table.allowed(path)) or any(path == mount or path.startswith(f"{mount}/") for mount in mounts)


def _asks_for_key(function: Function) -> bool:
    """Whether some route of it is private; a key does no harm to the others."""
    return any(not (trigger.public or trigger.auth) for trigger in routes_of(function))


def _event(engine: Engine, function: Function, trigger: Trigger, body: bytes) -> InvocationResult:
    """An event in the envelope that the runtime knows, past queue and topic."""
    return _by_hand(engine, function, trigger, calling.envelope_of(trigger, body))


def deliver(engine: Engine, function: Function, trigger: Trigger, message: Json) -> InvocationResult:
    """Hands one message to its handler, and to nobody else. Raises ProviderError where no answer comes."""
    return _by_hand(engine, function, trigger, {"messages": [message]})


def _by_hand(engine: Engine, function: Function, trigger: Trigger, envelope: Json) -> InvocationResult:
    app = _app(engine, function)
    asked = Invocation(
        method="POST",
        path=f"/{EVENTS_ROUTE}/{quote(trigger.id, safe='')}",
        headers=(("content-type", "application/json"), ("x-functions-key", engine.apps.key(app))),
        body=json.dumps(envelope).encode(),
    )
    result = _call(engine, app, asked, function.timeout + _MARGIN)
    if result.status != 200:
        error = f"the function app answers {result.status}: {result.body.decode('utf-8', 'replace')[:500]}"
        return replace(result, status=500, body=b"", headers=(), error=error)
    failures = json.loads(result.body).get("failures") or {}
    error = "; ".join(failures.values())
    return replace(result, status=500 if error else 200, body=b"", headers=(), error=error)


def _call(engine: Engine, app: App, invocation: Invocation, timeout: float) -> InvocationResult:
    address = engine.cloud.address("app", app.host)
    headers = invocation.headers
    if not any(name.lower() == "host" for name, _ in headers):
        headers = (("host", app.host), *headers)
    return calling.call(address, replace(invocation, headers=headers), timeout)


def _app(engine: Engine, function: Function) -> App:
    app = engine.apps.all()[function.name]
    if app is None:
        raise ProviderError("it is not there", where=f"function {function.name}", hint="deploy first")
    return app
