"""One emulator for all tests of a worker; every test has a service of its own in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.aws_stage import SECRET, AwsStage, environment
from tests.support.ministack import MiniStack


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("aws"))  # one emulator, in one worker


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    emulator = MiniStack(tmp_path_factory.mktemp("ministack"))
    try:
        yield emulator
    finally:
        emulator.stop()


@pytest.fixture
def credentials(cloud: MiniStack) -> Iterator[None]:
    with environment({**cloud.environment, "API_KEY": SECRET}):
        yield


@pytest.fixture
def stage(cloud: MiniStack, credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStage]:
    """A stage that is gone afterwards, with its data."""
    root = tmp_path_factory.mktemp("stage", numbered=True) / "project"
    found = AwsStage(root, service=f"s{uuid.uuid4().hex[:8]}")
    try:
        yield found
    finally:
        found.settings = ""
        found.write()
        found.destroy()
