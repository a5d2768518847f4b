"""Azurite, once for all tests of a worker of pytest-xdist that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.azurite import WHY_NOT, Azurite, installed


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    if installed() is None:
        pytest.skip(WHY_NOT)
    azurite = Azurite(tmp_path_factory.mktemp("azurite"))
    yield azurite
    azurite.stop()
