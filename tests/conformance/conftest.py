"""One deployed service per driver and session; a test says what it needs, a driver what it lacks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.driver import CAPABILITIES, Driver, Settings
from tests.conformance.drivers import DRIVERS
from tests.conformance.events_log import Seen

PROJECT = Path(__file__).parent / "service"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(capability): skipped on a driver that lacks it, with its reason")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # With pytest-xdist --dist loadgroup: all tests of one driver in one worker, which deploys once.
    for item in items:
        if Path(__file__).parent in item.path.parents and isinstance(item, pytest.Function):
            name = item.callspec.params.get("deployed") if hasattr(item, "callspec") else None
            if name is not None:
                item.add_marker(pytest.mark.xdist_group(f"conformance-{name}"))


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings()


@pytest.fixture(scope="session", params=sorted(DRIVERS))
def deployed(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    """The service, deployed once for the whole session."""
    driver = DRIVERS[request.param]()
    unknown = set(driver.lacks) - set(CAPABILITIES)
    assert not unknown, f"driver {driver.name} names capabilities that nothing asks for: {unknown}"
    try:
        driver.start(PROJECT, settings, tmp_path_factory.mktemp(driver.name))
        yield driver
    finally:
        driver.stop()


@pytest.fixture
def driver(deployed: Driver, request: pytest.FixtureRequest) -> Driver:
    for mark in request.node.iter_markers("needs"):
        for capability in mark.args:
            assert capability in CAPABILITIES, f"unknown capability {capability!r}"
            if capability in deployed.lacks:
                pytest.skip(f"{deployed.name} lacks {capability!r}: {deployed.lacks[capability]}")
    return deployed


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def seen(driver: Driver, key: str) -> Seen:
    """What handlers noted under the key of this test."""
    return Seen(driver, key)
