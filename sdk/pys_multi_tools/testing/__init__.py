"""For tests: a client for the service you write, and the contract suite for the provider you write.

with Client(app) as client:                 # unit tests of a service, in this process
    assert client.post("/orders", json={"sku": "A-1"}).status == 201
    client.run_pending()                    # the worker handles what the route has sent

class TestMyProvider(ProviderContract):     # every provider must pass it; needs pytest
    name = "mycloud"
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pys_multi_tools.testing.client import Client, Outcome, Reply

if TYPE_CHECKING:
    from pys_multi_tools.testing.contract import ProviderContract

__all__ = ["Client", "Outcome", "ProviderContract", "Reply"]


def __getattr__(name: str) -> Any:
    # The client needs no pytest, so only who asks for the contract imports it.
    if name != "ProviderContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    contract = f"{__name__}.contract"
    if contract not in sys.modules:
        import pytest

        pytest.register_assert_rewrite(contract)
    return import_module(contract).ProviderContract
