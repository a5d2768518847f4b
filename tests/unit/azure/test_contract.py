"""What of the contract of providers needs no cloud; the rest is tested against a Resource Manager of the tests' own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pys_multi_tools import provider as providers
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.provider import Provider
from pys_multi_tools.target import Target
from pys_multi_tools.testing import ProviderContract

#: Checks without the fixture `deployed` that ask the cloud all the same.
ASKING = {
    "test_a_plan_submits_what_render_writes",
    "test_a_first_plan_creates_every_function",
    "test_no_secret_is_in_configuration_plan_or_bundle",
    "test_what_was_never_deployed_is_absent",
    "test_what_was_never_deployed_cannot_be_invoked",
    "test_what_was_never_deployed_can_be_destroyed",
}


def needing_a_cloud() -> Iterator[str]:
    for name, check in inspect.getmembers(ProviderContract, inspect.isfunction):
        if name.startswith("test_") and (name in ASKING or "deployed" in inspect.signature(check).parameters):
            yield name


#: What is imported where the worker has what it is for, and is made of its classes.
OF_THE_WORKER = "pys_multi_providers.azure.streaming"


class TestAzureProvider(ProviderContract):
    name = "azure"
    settings = {"resource_group": "g", "location": "westeurope"}  # noqa: RUF012  (as the contract has it)

    @pytest.fixture
    def provider(self, monkeypatch: pytest.MonkeyPatch) -> Provider:
        provider: Provider = providers.load(self.name)
        target = provider.target

        def without(deployment: Deployment) -> Target:
            found = target(deployment)
            return replace(found, runtime_modules=tuple(m for m in found.runtime_modules if m != OF_THE_WORKER))

        monkeypatch.setattr(provider, "target", without)
        return provider

    for _name in list(needing_a_cloud()):
        locals()[_name] = None
