"""For tests: a client for the service you write, and the contract suite for the provider you write.

with Client(app) as client:                 # unit tests of a service, in this process
    assert client.post("/orders", json={"sku": "A-1"}).status == 201
    client.run_pending()                    # the worker handles what the route has sent

class TestMyProvider(ProviderContract):     # every provider must pass it
    name = "mycloud"
"""

from pys_multi_tools.testing.client import Client, Outcome, Reply
from pys_multi_tools.testing.contract import ProviderContract

__all__ = ["Client", "Outcome", "ProviderContract", "Reply"]
