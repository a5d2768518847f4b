"""Every call to AWS goes wrong once, in each way there is: one more run converges, and 0 always means serving.

A run makes some sixty calls in each of three stories (the first deploy, one of new code, destroy), and each can go
wrong in six ways. The default run takes some of them, others for every version of the code; PYS_MULTI_ALL_FAULTS=1
takes all, which needs an hour or two (``tests/support/README.md``).
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
from tests.support.aws_stage import SECRET, inventory, name_of, refusal, served
from tests.support.fault_process import Driver
from tests.support.fault_proxy import Call, Fault, FaultProxy
from tests.support.ministack import MiniStack

SERVICE = f"f{uuid.uuid4().hex[:8]}"
ALL = bool(os.environ.get("PYS_MULTI_ALL_FAULTS"))
STORIES = ("first deploy", "new code", "destroy")
#: Of calls that are made while something is waited for, only the first ones are surely made again.
MOST = 3
KINDS = ("kill", "drop", "delay", "throttle", "500", "500 after")


def _throttled(call: Call) -> Any:
    code = "SlowDown" if name_of(call).startswith("s3.") else "ThrottlingException"
    return refusal(code, "Rate exceeded", 503 if code == "SlowDown" else 400)(call)


def _failed(call: Call) -> Any:
    return refusal("InternalFailure", "a bad day", 500)(call)


def _fault(name: str, number: int, kind: str) -> Fault:
    if kind == "throttle":
        return Fault(name, number, "refuse", answer=_throttled)
    if kind == "500":
        return Fault(name, number, "refuse", answer=_failed)
    if kind == "500 after":
        return Fault(name, number, "break", answer=_failed)
    return Fault(name, number, kind)


class Story:
    """What is done before, during and after the call that goes wrong."""

    def __init__(self, driver: Driver, cloud: MiniStack, proxy: FaultProxy, name: str) -> None:
        self.driver, self.cloud, self.proxy, self.name = driver, cloud, proxy, name
        self.mark = "one" if name == "first deploy" else "two"
        self.action = "destroy" if name == "destroy" else "deploy"
        self.calls, self.wanted = self._without_a_fault()

    def prepare(self) -> None:
        """To where it begins, whatever was before."""
        if self.name == "first deploy":
            self.sure("destroy", "two")
        elif self.name == "new code":
            self.sure("destroy", "two")
            self.sure("deploy", "one")
        else:
            self.sure("deploy", "two")

    def sure(self, action: str, mark: str) -> None:
        code, text = self.driver.run(action, mark)
        assert code == 0, f"{action} {mark} without a fault: {text}"

    def _without_a_fault(self) -> tuple[list[tuple[str, int]], dict[str, Any]]:
        """The calls of a run in which nothing goes wrong, and what there is after it."""
        self.prepare()
        self.proxy.arm()
        code, text = self.driver.run(self.action, self.mark, self.proxy)
        assert code == 0, text
        calls = sorted({call for call in self.proxy.calls if call[1] <= MOST})
        return calls, self.there()

    def there(self) -> dict[str, Any]:
        """What there is, but for what counts the deploys of the emulator's life."""
        found = inventory(self.cloud, SERVICE)
        versions = found.pop("versions")
        found["live"] = {name: dict(versions[name])[live[0]] for name, live in found["live"].items()}
        found["weights"] = {name: live[1] for name, live in inventory(self.cloud, SERVICE)["live"].items()}
        found["versions"] = {name: sorted(text for _, text in entries) for name, entries in versions.items()}
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
        differing = [
            f"{key}: {found[key]} instead of {value}" for key, value in self.wanted.items() if found[key] != value
        ]
        if self.action == "deploy" and (runs := served(self.cloud, SERVICE)) != self.driver.builds[self.mark]:
            differing.append(f"it serves {runs}")
        return "; ".join(differing)


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
def stories(driver: Driver, cloud: MiniStack) -> Iterator[Callable[[str], Story]]:
    """A story by its name; what a run of it without a fault does is looked at once."""
    known: dict[str, Story] = {}
    with FaultProxy(cloud.url, name_of) as proxy:

        def story(name: str) -> Story:
            if name not in known:
                known[name] = Story(driver, cloud, proxy, name)
            return known[name]

        yield story


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
