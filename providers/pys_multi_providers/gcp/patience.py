"""How long a call is tried again while Google is busy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pys_multi_providers.gcp.errors import GcpError
from pys_multi_tools.patience import patiently

T = TypeVar("T")

#: Seconds that a call is tried again for.
_PATIENCE = 90.0


def ridden_out(attempt: Callable[[], T], again: bool) -> T:
    """Attempts again while Google is busy; where what was asked may be done already, only if it may be done twice."""

    def may_pass(error: GcpError) -> bool:
        return error.is_passing and (again or error.code == "RESOURCE_EXHAUSTED")

    return patiently(attempt, GcpError, may_pass, seconds=_PATIENCE, most=10.0)
