"""Every call to AWS goes wrong once, in each way there is: one more run converges, and 0 always means serving.

A run makes some sixty calls in each of three stories (the first deploy, one of new code, destroy), and each can go
wrong in six ways. The default run takes some of them, others for every version of the code; PYS_MULTI_ALL_FAULTS=1
takes all, which needs an hour or two (``tests/support/README.md``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.aws_stage import SECRET, inventory, name_of, refusal, served
from tests.support.fault_process import Driver
from tests.support.fault_proxy import Call, FaultProxy
from tests.support.fault_story import CASES, Story
from tests.support.ministack import MiniStack

SERVICE = f"f{uuid.uuid4().hex[:8]}"


class AwsStory(Story):
    """On an emulator of AWS."""

    delay = 1.5

    def __init__(self, driver: Driver, cloud: MiniStack, proxy: FaultProxy, name: str) -> None:
        self.cloud = cloud
        super().__init__(driver, proxy, name)

    def beginning(self) -> Callable[[], None]:
        return self.reach

    def there(self) -> dict[str, Any]:
        """What there is, but for what counts the deploys of the emulator's life."""
        found = inventory(self.cloud, SERVICE)
        versions = found.pop("versions")
        found["live"] = {name: dict(versions[name])[live[0]] for name, live in found["live"].items()}
        found["weights"] = {name: live[1] for name, live in inventory(self.cloud, SERVICE)["live"].items()}
        found["versions"] = {name: sorted(text for _, text in entries) for name, entries in versions.items()}
        return found

    def served(self) -> dict[str, str]:
        return served(self.cloud, SERVICE)

    def throttled(self, call: Call) -> Any:
        code = "SlowDown" if name_of(call).startswith("s3.") else "ThrottlingException"
        return refusal(code, "Rate exceeded", 503 if code == "SlowDown" else 400)(call)

    def failed(self, call: Call) -> Any:
        return refusal("InternalFailure", "a bad day", 500)(call)


@pytest.fixture(scope="module")
def driver(cloud: MiniStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    folder, environment = tmp_path_factory.mktemp("faults"), {**cloud.environment, "API_KEY": SECRET}
    found = Driver(Path(__file__).with_name("fault_driver.py"), [str(folder), SERVICE], cloud.url, environment)
    try:
        yield found
        assert found.run("destroy", "two")[0] == 0
    finally:
        found.stop()


@pytest.fixture(scope="module")
def stories(driver: Driver, cloud: MiniStack) -> Iterator[Callable[[str], AwsStory]]:
    """A story by its name; what a run of it without a fault does is looked at once."""
    known: dict[str, AwsStory] = {}
    with FaultProxy(cloud.url, name_of) as proxy:

        def story(name: str) -> AwsStory:
            if name not in known:
                known[name] = AwsStory(driver, cloud, proxy, name)
            return known[name]

        yield story


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_one_more_run_converges(name: str, kind: str, stories: Callable[[str], AwsStory]) -> None:
    stories(name).converges(kind)
