"""The toy keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from pys_multi_tools.testing import ProviderContract


class TestToyProvider(ProviderContract):
    name = "toy"

    @pytest.fixture(autouse=True)
    def in_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "settings", {"directory": str(tmp_path / "cloud")})
