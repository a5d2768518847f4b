"""Every call to Azure goes wrong once, in each way there is: one more run converges, and 0 always means serving.

A run makes some thirty to eighty calls in each of three stories (the first deploy, one of new code, destroy), and each
can go wrong in six ways. The default run takes some of them, others for every version of the code;
PYS_MULTI_ALL_FAULTS=1 takes all, which needs half an hour (``tests/support/README.md``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.arm.server import ArmServer
from tests.support.azure_stage import inventory, name_of, refusal, served
from tests.support.fault_process import Driver
from tests.support.fault_proxy import Call, FaultProxy
from tests.support.fault_story import CASES, Story


class AzureStory(Story):
    """On a Resource Manager that can go back to how it was."""

    def __init__(self, driver: Driver, arm: ArmServer, group: str, proxy: FaultProxy, name: str) -> None:
        self.arm, self.group = arm, group
        super().__init__(driver, proxy, name)

    def beginning(self) -> Callable[[], None]:
        if self.name != "first deploy":
            self.sure("deploy", "one" if self.name == "new code" else "two")
        return self.arm.keep()

    def there(self) -> dict[str, Any]:
        self.arm.deployments.join()
        self.arm.sites.wait()
        found = inventory(self.arm, self.group)
        blobs = [name for names in self.arm.blobs.containers.values() for name in names]
        # When a release was noted differs; how often it was and which builds it is of does not.
        found["blobs"] = sorted(f"releases/{b.partition('-')[2]}" if b.startswith("releases/") else b for b in blobs)
        found["secrets"] = {vault: {n: v[-1] for n, v in s.items()} for vault, s in self.arm.world.secrets.items()}
        return found

    def served(self) -> dict[str, str]:
        return served(self.arm, self.group)

    def throttled(self, call: Call) -> Any:
        return refusal("TooManyRequests", "Too many requests", 429, {"retry-after-ms": "20", "retry-after": "1"})(call)

    def failed(self, call: Call) -> Any:
        return refusal("InternalServerError", "a bad day", 500)(call)


@pytest.fixture(scope="module")
def stories(paper: ArmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], AzureStory]]:
    """A story by its name; what a run of it without a fault does is looked at once."""
    known: dict[str, AzureStory] = {}
    nothing = paper.keep()
    service = f"f{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("faults")
    driver = Driver(Path(__file__).with_name("fault_driver.py"), [str(folder), service, paper.url], paper.url, {})
    try:
        with FaultProxy(paper.url, name_of) as proxy:

            def story(name: str) -> AzureStory:
                if name not in known:
                    nothing()
                    known[name] = AzureStory(driver, paper, f"group-{service}", proxy, name)
                return known[name]

            yield story
    finally:
        nothing()
        driver.stop()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_one_more_run_converges(name: str, kind: str, stories: Callable[[str], AzureStory]) -> None:
    stories(name).converges(kind)
