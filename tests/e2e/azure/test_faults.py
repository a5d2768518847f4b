"""Every call to Azure goes wrong once, in each way there is: one more run converges, and 0 always means serving.

A run makes some thirty to eighty calls in each of three stories (the first deploy, one of new code, destroy), and each
can go wrong in six ways. The default run takes some of them, others for every version of the code;
PYS_MULTI_ALL_FAULTS=1 takes all, which needs half an hour (``tests/support/README.md``).
"""

from __future__ import annotations

import os
import random
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.arm.server import ArmServer
from tests.support.azure_stage import inventory, name_of, refusal, served
from tests.support.fault_process import Driver
from tests.support.fault_proxy import Call, Fault, FaultProxy

ALL = bool(os.environ.get("PYS_MULTI_ALL_FAULTS"))
STORIES = ("first deploy", "new code", "destroy")
#: Of calls that are made while something is waited for, only the first ones are surely made again.
MOST = 3
KINDS = ("kill", "drop", "delay", "throttle", "500", "500 after")


def _throttled(call: Call) -> Any:
    return refusal("TooManyRequests", "Too many requests", 429, {"retry-after-ms": "20", "retry-after": "1"})(call)


def _failed(call: Call) -> Any:
    return refusal("InternalServerError", "a bad day", 500)(call)


def _fault(name: str, number: int, kind: str) -> Fault:
    if kind == "throttle":
        return Fault(name, number, "refuse", answer=_throttled)
    if kind == "500":
        return Fault(name, number, "refuse", answer=_failed)
    if kind == "500 after":
        return Fault(name, number, "break", answer=_failed)
    return Fault(name, number, kind, seconds=0.3)


class Story:
    """What is done before, during and after the call that goes wrong."""

    def __init__(self, driver: Driver, arm: ArmServer, group: str, proxy: FaultProxy, name: str) -> None:
        self.driver, self.arm, self.group, self.proxy, self.name = driver, arm, group, proxy, name
        self.mark = "one" if name == "first deploy" else "two"
        self.action = "destroy" if name == "destroy" else "deploy"
        if name == "new code":
            self.sure("deploy", "one")
        elif name == "destroy":
            self.sure("deploy", "two")
        #: Returns to where the story begins.
        self.prepare = arm.keep()
        self.proxy.arm()
        self.sure(self.action, self.mark, proxy)
        self.calls = sorted({call for call in proxy.calls if call[1] <= MOST})
        self.wanted = self.there()

    def sure(self, action: str, mark: str, proxy: FaultProxy | None = None) -> None:
        code, text = self.driver.run(action, mark, proxy)
        assert code == 0, f"{action} {mark} without a fault: {text}"

    def there(self) -> dict[str, Any]:
        self.arm.deployments.join()
        self.arm.sites.wait()
        found = inventory(self.arm, self.group)
        blobs = [name for names in self.arm.blobs.containers.values() for name in names]
        # When a release was noted differs; how often it was and which builds it is of does not.
        found["blobs"] = sorted(f"releases/{b.partition('-')[2]}" if b.startswith("releases/") else b for b in blobs)
        found["secrets"] = {vault: {n: v[-1] for n, v in s.items()} for vault, s in self.arm.world.secrets.items()}
        return found

    def suffer(self, name: str, number: int, kind: str) -> str:
        """One fault and one more run. Returns what is wrong then, or nothing; "-" where the call was not made."""
        self.prepare()
        self.proxy.arm(_fault(name, number, kind))
        code, text = self.driver.run(self.action, self.mark, self.proxy)
        fired = self.proxy.fired
        if code not in (0, 1, -signal.SIGKILL):
            return f"exit code {code}: {text}"
        if code == 0 and (wrong := self.wrong()):
            return f"it said 0, and {wrong}"
        if code == 1 and "→" not in text:
            return f"no hint: {text}"
        if code != 0:
            code, text = self.driver.run(self.action, self.mark)
            if code != 0:
                return f"the next run failed: {text}"
            if wrong := self.wrong():
                return f"after the next run {wrong}"
        return "" if fired else "-"

    def wrong(self) -> str:
        """How what is there differs from what a run without a fault makes."""
        found = self.there()
        keys = sorted({*found, *self.wanted})
        differing = [
            f"{key}: {found.get(key)} instead of {self.wanted.get(key)}"
            for key in keys
            if found.get(key) != self.wanted.get(key)
        ]
        if self.action == "deploy":
            runs = served(self.arm, self.group)
            if runs != self.driver.builds[self.mark]:
                differing.append(f"it serves {runs}")
        return "; ".join(differing)


@pytest.fixture(scope="module")
def stories(paper: ArmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Story]]:
    """A story by its name; what a run of it without a fault does is looked at once."""
    known: dict[str, Story] = {}
    nothing = paper.keep()
    service = f"f{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("faults")
    driver = Driver(Path(__file__).with_name("fault_driver.py"), [str(folder), service, paper.url], paper.url, {})
    try:
        with FaultProxy(paper.url, name_of) as proxy:

            def story(name: str) -> Story:
                if name not in known:
                    nothing()
                    known[name] = Story(driver, paper, f"group-{service}", proxy, name)
                return known[name]

            yield story
    finally:
        nothing()
        driver.stop()


#: Each kind once and each story twice, unless all of them are asked for.
CASES = [(story, kind) for i, story in enumerate(STORIES) for j, kind in enumerate(KINDS) if ALL or (i + j) % 3 == 0]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_one_more_run_converges(name: str, kind: str, stories: Callable[[str], Story]) -> None:
    story = stories(name)
    faults = [(*call, kind) for call in story.calls]
    if not ALL:
        # The same for the same code, so that a failure can be looked at.
        faults = [random.Random(repr((story.driver.builds, kind))).choice(faults)]
    results = {fault: story.suffer(*fault) for fault in faults}
    wrong = {fault: text for fault, text in results.items() if text not in ("", "-")}
    missed = sum(text == "-" for text in results.values())
    print(f"{name}, {kind}: {len(results)} faults, {missed} not met, {len(wrong)} wrong")
    assert not wrong, "\n".join(f"{fault}: {text}" for fault, text in wrong.items())
