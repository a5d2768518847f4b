"""Every call to Google goes wrong once, in each way there is: one more run converges, and 0 always means serving.

A run makes some hundred calls in each of three stories (the first deploy, one of new code, destroy), and each can go
wrong in six ways. The default run takes some of them, others for every version of the code; PYS_MULTI_ALL_FAULTS=1
takes all, which needs an hour or so (``tests/support/README.md``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fault_process import Driver
from tests.support.fault_proxy import Call, FaultProxy
from tests.support.fault_story import CASES, Story
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_stage import SECRET, inventory, name_of, refusal, served

SERVICE = f"f{uuid.uuid4().hex[:8]}"


class GcpStory(Story):
    """On a control plane that can go back to how it was."""

    most = 2
    delay = 0.5

    def __init__(self, driver: Driver, cloud: ControlPlane, proxy: FaultProxy, name: str) -> None:
        self.cloud = cloud
        super().__init__(driver, proxy, name)

    def beginning(self) -> Callable[[], None]:
        self.reach()
        there = self.cloud.snapshot()
        return lambda: self.cloud.restore(there)

    def there(self) -> dict[str, Any]:
        return inventory(self.cloud, SERVICE)

    def served(self) -> dict[str, str]:
        return served(self.cloud, SERVICE)

    def throttled(self, call: Call) -> Any:
        return refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Requests' of service")(call)

    def failed(self, call: Call) -> Any:
        return refusal(500, "INTERNAL", "an internal error has occurred")(call)


@pytest.fixture(scope="module")
def driver(answering: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    folder, environment = tmp_path_factory.mktemp("faults"), {**answering.environment, "API_KEY": SECRET}
    found = Driver(Path(__file__).with_name("fault_driver.py"), [str(folder), SERVICE], answering.url, environment)
    try:
        yield found
        assert found.run("destroy", "two")[0] == 0
    finally:
        found.stop()


@pytest.fixture(scope="module")
def stories(driver: Driver, answering: ControlPlane) -> Iterator[Callable[[str], GcpStory]]:
    """A story by its name; what a run of it without a fault does is looked at once."""
    known: dict[str, GcpStory] = {}
    with FaultProxy(answering.url, name_of) as proxy:

        def story(name: str) -> GcpStory:
            if name not in known:
                known[name] = GcpStory(driver, answering, proxy, name)
            return known[name]

        yield story


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_one_more_run_converges(name: str, kind: str, stories: Callable[[str], GcpStory]) -> None:
    stories(name).converges(kind)
