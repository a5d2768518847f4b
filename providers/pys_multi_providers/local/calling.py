"""One HTTP call through the front of a stage."""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

from pys_multi_tools.deployment import Invocation, InvocationResult
from pys_multi_tools.errors import ProviderError


def call(url: str, invocation: Invocation, timeout: float) -> InvocationResult:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    started = time.perf_counter()
    try:
        connection.putrequest(invocation.method, invocation.path or "/", skip_accept_encoding=True)
        given = {name.lower() for name, _ in invocation.headers}
        for name, value in invocation.headers:
            connection.putheader(name, value)
        if "content-length" not in given and (invocation.body or invocation.method in ("POST", "PUT", "PATCH")):
            connection.putheader("content-length", str(len(invocation.body)))
        connection.endheaders(invocation.body or None)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        hint = "see status and logs"
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
