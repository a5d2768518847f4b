"""Calls of what is live: HTTP through the front, an HTTP request to one function, an event to one trigger."""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pys_multi.model import Function, Mount, Route, Trigger
from pys_multi_providers.aws.client import Cloud
from pys_multi_providers.aws.engine import Engine
from pys_multi_providers.aws.names import ALIAS
from pys_multi_providers.aws.view import settings_of
from pys_multi_tools import calling
from pys_multi_tools.deployment import Invocation, InvocationResult
from pys_multi_tools.errors import ProviderError

Json = dict[str, Any]

#: Seconds that a call may take beyond its function's timeout.
_MARGIN = 15.0


def invoke(engine: Engine, invocation: Invocation) -> InvocationResult:
    """Makes one call, once: what fails is not tried again."""
    service = engine.deployment.service
    if invocation.trigger is not None:
        function, trigger = next((f, t) for f in service.functions for t in f.triggers if t.id == invocation.trigger)
        if not isinstance(trigger, Route | Mount):
            return _event(engine, function, trigger, invocation.body)
    if invocation.function is not None:
        function = next(f for f in service.functions if f.name == invocation.function)
        return _request(engine, function, invocation)
    return _through_front(engine, invocation)


def _event(engine: Engine, function: Function, trigger: Trigger, body: bytes) -> InvocationResult:
    """An event in the envelope that the runtime knows, past queue and topic."""
    started = time.perf_counter()
    answer = _call(engine, function, {"pys_multi": {"trigger": trigger.id, **calling.envelope_of(trigger, body)}})
    duration = (time.perf_counter() - started) * 1000
    request_id = str(answer.get("ResponseMetadata", {}).get("RequestId", ""))
    found = json.loads(answer["Payload"] or b"{}")
    error = _error(answer, found) or "; ".join((found.get("failures") or {}).values())
    return InvocationResult(status=500 if error else 200, duration_ms=duration, error=error, request_id=request_id)


def _request(engine: Engine, function: Function, invocation: Invocation) -> InvocationResult:
    """An HTTP request to one function, past the front's routes, as the front would hand it over."""
    make = {"rest-api": _rest_event, "alb": _alb_event}.get(settings_of(engine.deployment).http, _v2_event)
    event = {
        **make(engine, invocation),
        "body": base64.b64encode(invocation.body).decode(),
        "isBase64Encoded": True,
    }
    started = time.perf_counter()
    answer = _call(engine, function, event)
    duration = (time.perf_counter() - started) * 1000
    found = json.loads(answer["Payload"] or b"{}")
    request_id = str(answer.get("ResponseMetadata", {}).get("RequestId", ""))
    if error := _error(answer, found):
        return InvocationResult(status=502, duration_ms=duration, error=error, request_id=request_id)
    body = found.get("body", "")
    several = [(name, value) for name, values in found.get("multiValueHeaders", {}).items() for value in values]
    cookies = [("set-cookie", value) for value in found.get("cookies", ())]
    return InvocationResult(
        status=found["statusCode"],
        headers=(*found.get("headers", {}).items(), *several, *cookies),
        body=base64.b64decode(body) if found.get("isBase64Encoded") else body.encode(),
        request_id=request_id,
        duration_ms=duration,
    )


def _v2_event(engine: Engine, invocation: Invocation) -> Json:
    path, _, query = (invocation.path or "/").partition("?")
    is_url = settings_of(engine.deployment).http == "function-url"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path if is_url else unquote(path),
        "rawQueryString": query,
        "headers": {name.lower(): value for name, value in invocation.headers},
        "requestContext": {
            "http": {"method": invocation.method, "path": path, "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"},
            # Whoever may invoke the function is known to AWS, as behind a private route.
            "authorizer": {"iam": {"userArn": engine.cloud.identity["Arn"], "accountId": engine.cloud.account}},
            "stage": "$default",
            # No base path belongs before a path that does not come through the front.
            "domainName": "invoke.execute-api.amazonaws.com",
            "requestId": uuid.uuid4().hex,
        },
    }


def _rest_event(engine: Engine, invocation: Invocation) -> Json:
    path, _, query = (invocation.path or "/").partition("?")
    parsed: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parsed.setdefault(name, []).append(value)
    identity = {"userArn": engine.cloud.identity["Arn"], "accountId": engine.cloud.account, "sourceIp": "127.0.0.1"}
    return {
        "httpMethod": invocation.method,
        "path": path,
        "multiValueHeaders": _several(invocation),
        "multiValueQueryStringParameters": parsed,
        "requestContext": {"path": path, "identity": identity, "requestId": uuid.uuid4().hex},
    }


def _alb_event(engine: Engine, invocation: Invocation) -> Json:  # noqa: ARG001  (one signature for all)
    path, _, query = (invocation.path or "/").partition("?")
    parsed: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        parsed.setdefault(name, []).append(value)
    return {
        "httpMethod": invocation.method,
        "path": path,
        "multiValueHeaders": {**_several(invocation), "x-forwarded-for": ["127.0.0.1"]},
        "multiValueQueryStringParameters": parsed,
        "requestContext": {"elb": {}},
    }


def _several(invocation: Invocation) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in invocation.headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _call(engine: Engine, function: Function, event: Json) -> Json:
    return engine.cloud.call_once(
        "lambda",
        "invoke",
        function.timeout + _MARGIN,
        FunctionName=engine.names.function(function.name),
        Qualifier=ALIAS,
        Payload=json.dumps(event).encode(),
    )


def _error(answer: Json, found: Any) -> str:
    if not answer.get("FunctionError"):
        return ""
    if isinstance(found, dict) and found.get("errorMessage"):
        return f"{found.get('errorType', 'error')}: {found['errorMessage']}"
    return str(answer["FunctionError"])


# ---- through the front


def _through_front(engine: Engine, invocation: Invocation) -> InvocationResult:
    """As any caller would, signed with the deployer's credentials, which private routes ask for."""
    front = settings_of(engine.deployment).http
    if front in ("rest-api", "alb"):
        hint = "call it at its own address, or add --function NAME"
        raise ProviderError("what stands in front of the functions is not of this service", where="invoke", hint=hint)
    state = engine.stack.read()
    outputs = state.outputs if state is not None else {}
    is_url = front == "function-url"
    address = outputs.get("DomainUrl") or outputs.get("Url", "")
    if is_url:
        urls = [value for name, value in outputs.items() if name.endswith("Url")]
        if len(urls) > 1:
            raise ProviderError("every function has its own address", where="invoke", hint="add --function NAME")
        address = urls[0] if urls else ""
    if not address:
        raise ProviderError("nothing answers HTTP", where=f"stack {engine.stack.name}", hint="deploy first")
    timeout = max((f.timeout for f in engine.deployment.service.functions), default=0.0) + _MARGIN
    return call(engine.cloud, "lambda" if is_url else "execute-api", address, invocation, timeout)


def call(cloud: Cloud, service: str, address: str, invocation: Invocation, timeout: float) -> InvocationResult:
    """One signed HTTP call."""

    def sign(url: str, invocation: Invocation) -> dict[str, str]:
        # SigV4 wants the host and AWS's own headers signed; the others may come from anybody's proxy.
        signed = {name.lower(): value for name, value in invocation.headers if name.lower().startswith("x-amz-")}
        host = {"host": urlsplit(url).netloc}
        found = cloud.signed(service, invocation.method, url, host | signed, invocation.body)
        return {name: value for name, value in found.items() if name not in host | signed}

    result = calling.call(address, invocation, timeout, sign=sign)
    names = {name.lower(): value for name, value in result.headers}
    return replace(result, request_id=result.request_id or names.get("apigw-requestid", ""))
