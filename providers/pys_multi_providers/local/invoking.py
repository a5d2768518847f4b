"""What ``pys-multi invoke`` asks of a release: one function called directly, or one event handed to one trigger."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterable
from typing import Any

from pys_multi.http import Request
from pys_multi.messages import Context, Event, Message
from pys_multi.model import Consume, Service, Subscribe, Trigger
from pys_multi_providers.local.calls import CallFailed
from pys_multi_providers.local.pool import new_id
from pys_multi_providers.local.release import Release
from pys_multi_tools.calling import event_fields
from pys_multi_tools.errors import ProviderError


async def call(release: Release, wanted: dict[str, Any]) -> dict[str, Any]:
    """An HTTP request to one function, past the front's routes. Raises ProviderError where there is none."""
    function = wanted["function"]
    if function not in release.pools:
        known = ", ".join(release.pools)
        raise ProviderError(f"the deployed service has no function {function!r}", hint=f"it has {known}")
    path, _, query = wanted["path"].partition("?")
    context = Context(new_id())
    request = Request(
        wanted["method"],
        path or "/",
        query_string=query,
        headers=[(name.lower(), value) for name, value in wanted["headers"]],
        body=base64.b64decode(wanted["body"]),
        client="127.0.0.1",
        context=context,
    )
    started = time.perf_counter()
    response = await release.http(function, request)
    body = response.body
    if isinstance(body, AsyncIterable):
        body = b"".join([chunk if isinstance(chunk, bytes) else chunk.encode() async for chunk in body])
    elif not isinstance(body, bytes):
        body = b"".join(chunk if isinstance(chunk, bytes) else chunk.encode() for chunk in body)
    return {
        "status": response.status,
        "headers": response.headers,
        "body": base64.b64encode(body).decode(),
        "request_id": context.request_id,
        "duration_ms": (time.perf_counter() - started) * 1000,
    }


async def hand_over(release: Release, wanted: dict[str, Any]) -> dict[str, Any]:
    """An event to one trigger, past its queue. Raises ProviderError for a trigger or payload that is none."""
    function, trigger = _find(release.service, wanted["trigger"])
    body = base64.b64decode(wanted["body"])
    event = None if isinstance(trigger, Consume | Subscribe) else Event(**event_fields(trigger, body))
    started = time.perf_counter()
    async with release.capacity(function) as invoke:
        try:
            if event is None:
                message = Message(body, id=new_id(), sent_at=time.time())
                error = "; ".join((await invoke(trigger.id, "messages", [message])).values())
            else:
                error = "; ".join((await invoke(trigger.id, "event", event)).values())
        except CallFailed as failed:
            error = str(failed)
    return {"error": error, "duration_ms": (time.perf_counter() - started) * 1000}


def _find(service: Service, id: str) -> tuple[str, Trigger]:
    for function in service.functions:
        for trigger in function.triggers:
            if trigger.id == id:
                return function.name, trigger
    raise ProviderError(f"the deployed service has no trigger {id!r}", hint="deploy, and invoke again")
