"""The local provider keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from pys_multi_tools.testing import ProviderContract


class TestLocalProvider(ProviderContract):
    name = "local"

    def prepare(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYS_MULTI_STATE_DIR", str(folder))
