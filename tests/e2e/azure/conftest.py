"""Two servers for all tests of a worker: one whose apps run in Microsoft's worker, one whose apps are on paper."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.arm.server import ArmServer
from tests.support.azure_host.image import NO_WORKER, WORKER_PYTHON, image
from tests.support.azure_stage import SECRET, AzureStage, OnPaper, environment, in_worker, server

from pys_multi_providers.azure import apps


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("azure"))  # one server, in one worker


@pytest.fixture(scope="session")
def arm() -> Iterator[ArmServer]:
    """Apps run in Microsoft's worker."""
    if image(WORKER_PYTHON) is None:
        pytest.skip(NO_WORKER)
    made = in_worker()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def paper() -> Iterator[ArmServer]:
    """Apps say which build they are, and nothing else."""
    made = server(OnPaper)
    yield made
    made.stop()


@pytest.fixture(scope="module", autouse=True)
def known(paper: ArmServer) -> Iterator[None]:
    """Where tokens come from, which each server takes; no longer than a module, as others look for tokens too."""
    with environment({**paper.environment, "API_KEY": SECRET}):
        yield


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not serve at once does not here: nothing is far away."""
    monkeypatch.setattr(apps, "PATIENCE", 0.5)


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ArmServer], AzureStage]:
    """A stage of its own on a server."""

    def made(on: ArmServer) -> AzureStage:
        root = tmp_path_factory.mktemp("stage", numbered=True) / "project"
        return AzureStage(root, on.url, group=f"group-{uuid.uuid4().hex[:8]}")

    return made


@pytest.fixture
def stage(arm: ArmServer, make: Callable[[ArmServer], AzureStage]) -> Iterator[AzureStage]:
    """Whose apps run; it is gone afterwards, with its data."""
    found = make(arm)
    yield found
    found.settings = ""
    found.write()
    found.destroy()


@pytest.fixture
def draft(paper: ArmServer, make: Callable[[ArmServer], AzureStage]) -> AzureStage:
    """Whose apps are on paper."""
    return make(paper)
