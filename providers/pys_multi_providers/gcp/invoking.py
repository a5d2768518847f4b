"""Calls of what is live: HTTP to the function that has the route, an event straight to its trigger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from pys_multi.model import Function, Mount, Route, Trigger
from pys_multi.routing import RouteTable, Template
from pys_multi_providers.gcp import observe
from pys_multi_providers.gcp.engine import Engine
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_tools import calling
from pys_multi_tools.deployment import Invocation, InvocationResult
from pys_multi_tools.errors import ProviderError

Json = dict[str, Any]

#: Seconds that a call may take beyond its function's timeout.
_MARGIN = 15.0
_EVENTS = "/.pys-multi/events/"


def invoke(engine: Engine, invocation: Invocation) -> InvocationResult:
    """Makes one call, once: what fails is not tried again."""
    service = engine.deployment.service
    if invocation.trigger is not None:
        function, trigger = next((f, t) for f in service.functions for t in f.triggers if t.id == invocation.trigger)
        if not isinstance(trigger, Route | Mount):
            return _event(engine, function, trigger, invocation.body)
    if invocation.function is not None:
        function = next(f for f in service.functions if f.name == invocation.function)
    else:
        function = owner_of(engine, invocation)
    return calling.call(
        address_of(engine, function), invocation, function.timeout + _MARGIN, sign=_signed(engine, function)
    )


def owner_of(engine: Engine, invocation: Invocation) -> Function:
    """The function whose route or mounted application a call is for; else the one with most routes, which says 404."""
    path = (invocation.path or "/").partition("?")[0]
    functions = [f for f in engine.deployment.service.functions if engine.routes(f.name)]
    if not functions:
        raise ProviderError("nothing answers HTTP", where=engine.names.service, hint="invoke a trigger: --trigger NAME")
    table = RouteTable()
    for function in functions:
        for trigger in function.triggers:
            if isinstance(trigger, Route):
                table.add(trigger.method, Template(trigger.path), function)
    found = table.find(invocation.method, path)
    if found is not None:
        owner: Function = found[0]
        return owner
    mounts = [(t.path.rstrip("/"), f) for f in functions for t in f.triggers if isinstance(t, Mount)]
    fitting = [(base, f) for base, f in mounts if path == base or path.startswith(f"{base}/")]
    if fitting:
        return max(fitting, key=lambda entry: len(entry[0]))[1]
    return max(functions, key=lambda function: engine.routes(function.name))


def address_of(engine: Engine, function: Function) -> str:
    """Where a function answers. Raises ProviderError where it is not there."""
    functions, _ = observe.listed(engine)
    live = functions.get(engine.names.function(function.name), {})
    uri = str(live.get("serviceConfig", {}).get("uri", ""))
    if not uri:
        raise ProviderError("it is not there", where=f"function {function.name}", hint="deploy first")
    return uri.rstrip("/")


def _event(engine: Engine, function: Function, trigger: Trigger, body: bytes) -> InvocationResult:
    """An event in the envelope that the runtime knows, past topic and subscription."""
    given = Invocation(
        method="POST",
        path=f"{_EVENTS}{quote(trigger.id, safe='')}",
        headers=(("content-type", "application/json"),),
        body=json.dumps(calling.envelope_of(trigger, body)).encode(),
    )
    address = address_of(engine, function)
    answer = calling.call(address, given, function.timeout + _MARGIN, sign=_signed(engine, function))
    error = _error(answer)
    return InvocationResult(
        status=500 if error else 200, duration_ms=answer.duration_ms, error=error, request_id=answer.request_id
    )


def _error(answer: InvocationResult) -> str:
    if answer.status < 300:
        return ""
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = {}
    if isinstance(found, dict) and found.get("failures"):
        return "; ".join(str(why) for why in found["failures"].values())
    detail = found.get("detail") if isinstance(found, dict) else ""
    return str(detail or f"HTTP {answer.status}")


def _signed(engine: Engine, function: Function) -> Callable[[str, Invocation], dict[str, str]]:
    """Says who calls: the service's own account of events, which every function knows, or else whoever deploys."""

    def sign(_: str, __: Invocation) -> dict[str, str]:
        audience = address_of(engine, function)
        account = engine.names.email(engine.names.events_account)
        try:
            token = engine.cloud.identity_token(audience, account)
        except GcpError as error:
            if error.code not in ("PERMISSION_DENIED", "NOT_FOUND", "SERVICE_DISABLED"):
                raise
            token = engine.cloud.identity_token(audience)
        return {"authorization": f"Bearer {token}"} if token else {}

    return sign
