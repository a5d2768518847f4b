"""The toy keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from pys_multi_tools.testing import ProviderContract


class TestToyProvider(ProviderContract):
    name = "toy"

    def prepare(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = {"directory": str(folder)}
