"""Around every handler of a function, be it called over HTTP or by an event."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from pys_multi import Response, current_context

log = logging.getLogger("shop")


def timed(request_or_event: Any, call_next: Callable[[Any], Any]) -> Any:
    """Logs how long a handler took, and tells an HTTP caller as well."""
    started = time.perf_counter()
    try:
        result = call_next(request_or_event)
    finally:
        milliseconds = (time.perf_counter() - started) * 1000
        context = current_context()
        trigger = context.trigger if context else ""
        log.debug("%s took %.1f ms", trigger, milliseconds)
    if isinstance(result, Response):
        result.header("server-timing", f"handler;dur={milliseconds:.1f}")
    return result
