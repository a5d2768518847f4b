"""The Azure provider keeps the contract, on the tests' own Resource Manager, whose apps run in Microsoft's worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.arm.server import ArmServer
from tests.support.azure_service import contract
from tests.support.azure_stage import KINDS, LOCATION, PYTHON

from pys_multi_tools.testing import ProviderContract


class TestAzureProvider(ProviderContract):
    name = "azure"

    @pytest.fixture(autouse=True)
    def on(self, arm: ArmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYS_MULTI_PYTHON", PYTHON)
        endpoints = dict.fromkeys(KINDS, arm.url)
        self.settings = {"resource_group": tmp_path.parent.name, "location": LOCATION, "endpoints": endpoints}

    # Those that need no cloud are in tests/unit/azure.
    for _name in contract(cloud=False):
        locals()[_name] = None
