"""What of the contract of providers needs no cloud; the rest of it is in tests/e2e/azure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.azure_service import contract

from pys_multi_tools import provider as providers
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.provider import Provider
from pys_multi_tools.target import Target
from pys_multi_tools.testing import ProviderContract

#: What is made of classes that every worker has, and imported nowhere else.
OF_THE_WORKER = {"pys_multi_providers.azure.objects", "pys_multi_providers.azure.streaming"}


class TestAzureProvider(ProviderContract):
    name = "azure"
    settings = {"resource_group": "g", "location": "westeurope"}  # noqa: RUF012  (as the contract has it)

    @pytest.fixture
    def provider(self, monkeypatch: pytest.MonkeyPatch) -> Provider:
        provider: Provider = providers.load(self.name)
        target = provider.target

        def without(deployment: Deployment) -> Target:
            found = target(deployment)
            return replace(found, runtime_modules=tuple(m for m in found.runtime_modules if m not in OF_THE_WORKER))

        monkeypatch.setattr(provider, "target", without)
        return provider

    for _name in contract(cloud=True):
        locals()[_name] = None
