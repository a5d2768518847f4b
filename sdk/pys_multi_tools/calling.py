"""What ``pys-multi invoke`` sends, the same on every provider: an HTTP call to an address, an event for a trigger."""

from __future__ import annotations

import base64
import http.client
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from pys_multi.model import Consume, ObjectEvent, Subscribe, Trigger
from pys_multi_tools.deployment import Invocation, InvocationResult
from pys_multi_tools.errors import ProviderError

#: (URL, what is asked) → headers that say who is calling.
Sign = Callable[[str, Invocation], Mapping[str, str]]

#: What stands in a target as it is (RFC 3986, section 3.3 and 3.4); ``%`` because what is encoded stays so.
_SAFE = "/%:@!$&'()*+,;=~-._"


def call(address: str, invocation: Invocation, timeout: float, *, sign: Sign = lambda *_: {}) -> InvocationResult:
    """One HTTP call, made once. address: URL of the front, whose path comes before the invocation's; timeout: seconds.

    Where the caller brings ``Authorization``, that is a token for the function, and nothing is signed. Raises
    ProviderError where no answer comes.
    """
    parts = urlsplit(address)
    path, _, query = (invocation.path or "/").partition("?")
    target = parts.path.rstrip("/") + quote(path, safe=_SAFE) + (f"?{quote(query, safe=_SAFE + '?')}" if query else "")
    url = f"{parts.scheme}://{parts.netloc}{target}"
    given = {name.lower() for name, _ in invocation.headers}
    headers = list(invocation.headers)
    if "host" not in given:
        headers.insert(0, ("host", parts.netloc))
    if "content-length" not in given and (invocation.body or invocation.method in ("POST", "PUT", "PATCH")):
        headers.append(("content-length", str(len(invocation.body))))
    if "authorization" not in given:
        headers += sign(url, invocation).items()
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    # Names below localhost are this machine (RFC 6761), which not every resolver knows: emulators use them.
    host = "127.0.0.1" if (parts.hostname or "").endswith(".localhost") else parts.hostname or ""
    connection = kind(host, parts.port, timeout=timeout)
    started = time.perf_counter()
    try:
        connection.putrequest(invocation.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(invocation.body or None)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        hint = "see pys-multi status and logs"
        raise ProviderError(f"the call failed: {error or type(error).__name__}", where=url, hint=hint) from error
    finally:
        connection.close()
    return InvocationResult(
        status=response.status,
        headers=tuple(response.getheaders()),
        body=body,
        request_id=response.getheader("x-request-id") or "",
        duration_ms=(time.perf_counter() - started) * 1000,
    )


def envelope_of(trigger: Trigger, body: bytes) -> dict[str, Any]:
    """An event for a trigger in pys-multi's own envelope (`pys_multi.events`), as every function takes it."""
    if isinstance(trigger, Consume | Subscribe):
        return {"messages": [{**body_fields(body), "id": uuid.uuid4().hex, "sent_at": time.time()}]}
    return {"event": event_fields(trigger, body)}


def body_fields(body: bytes) -> dict[str, Any]:
    """The body of a message in an envelope."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "base64": True}


def event_fields(trigger: Trigger, body: bytes) -> dict[str, Any]:
    """The fields of a schedule's or bucket's event that ``invoke`` makes up, with what the payload says of it.

    Raises ProviderError for a payload that is no JSON object.
    """
    try:
        given = json.loads(body) if body.strip() else {}
        if not isinstance(given, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        hint = 'write an object such as {"key": "a.pdf", "size": 3}'
        raise ProviderError(f"the payload is not an event: {error}", where=trigger.id, hint=hint) from None
    known = {name: given[name] for name in ("key", "size", "etag", "time") if name in given}
    kind = {"kind": "schedule"}
    if isinstance(trigger, ObjectEvent):
        kind = {"kind": trigger.event, "bucket": trigger.bucket}
    return {"id": uuid.uuid4().hex, "time": time.time(), **known, **kind}
