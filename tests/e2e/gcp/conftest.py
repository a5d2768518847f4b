"""One control plane for all tests of a worker; every test has a service of its own in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_stage import SECRET, GcpStage, environment


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("gcp"))  # one control plane, in one worker


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Runs what is deployed to it."""
    with ControlPlane(tmp_path_factory.mktemp("gcp")) as found:
        yield found


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Only says which build would run, which is enough where what runs is not looked at."""
    with ControlPlane(tmp_path_factory.mktemp("gcp-answering"), runs=False) as found:
        yield found


def _stage(cloud: ControlPlane, folder: Path) -> Iterator[GcpStage]:
    with environment({**cloud.environment, "API_KEY": SECRET}):
        found = GcpStage(folder / "project", service=f"s{uuid.uuid4().hex[:8]}")
        try:
            yield found
        finally:
            cloud.denied.clear()
            cloud.disabled.clear()
            cloud.interfere = lambda _: None
            found.settings = ""
            found.write()
            found.destroy()


@pytest.fixture
def stage(running: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcpStage]:
    """A stage that runs, and is gone afterwards with its data."""
    yield from _stage(running, tmp_path_factory.mktemp("stage", numbered=True))


@pytest.fixture
def quick(answering: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcpStage]:
    """A stage that does not run, and is gone afterwards with its data."""
    yield from _stage(answering, tmp_path_factory.mktemp("quick", numbered=True))
