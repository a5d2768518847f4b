"""Long-running operations: followed until they end, with their own error's text."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pys_multi_providers.gcp.client import Cloud
from pys_multi_providers.gcp.errors import GcpError, failed
from pys_multi_tools.patience import Pause

Json = dict[str, Any]

#: Seconds that one may take: a build of a function is limited to an hour, and takes a minute or two.
_PATIENCE = 1800.0


def follow(cloud: Cloud, api: str, begun: Mapping[str, Any], asked: str, say: Callable[[float], None]) -> None:
    """Returns once an operation has ended well. say: is told the seconds so far, every ten or so.

    Raises GcpError with the operation's own error; with ``maybe`` where its end is not known.
    """
    name = str(begun.get("name") or "")
    found: Mapping[str, Any] = begun
    started = told = time.monotonic()
    pause = Pause(first=0.05, most=5.0)
    while not found.get("done"):
        if not name:
            return
        pause()
        try:
            found = cloud.operation(api, name)
        except GcpError as error:
            if not error.is_gone:
                raise
            return  # what is over and forgotten: the resource itself says how it ended
        now = time.monotonic()
        if now - told > 10:
            told = now
            say(now - started)
        if now - started > _PATIENCE:
            hint = "deploy again: it waits for what runs"
            raise GcpError("DEADLINE_EXCEEDED", "the operation does not end", where=asked, hint=hint, maybe=True)
    if found.get("error"):
        raise failed(found["error"], asked)
