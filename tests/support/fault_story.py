"""A deploy or destroy in which one call goes wrong: one more run converges, and 0 always means serving."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from typing import Any

from tests.support.fault_process import Driver
from tests.support.fault_proxy import Call, Fault, FaultProxy

ALL = bool(os.environ.get("PYS_MULTI_ALL_FAULTS"))
STORIES = ("first deploy", "new code", "destroy")
KINDS = ("kill", "drop", "delay", "throttle", "500", "500 after")
#: Each kind once and each story twice, unless all of them are asked for.
CASES = [(story, kind) for i, story in enumerate(STORIES) for j, kind in enumerate(KINDS) if ALL or (i + j) % 3 == 0]


class Story:
    """What is done before, during and after the call that goes wrong. A cloud says where it begins, what there is then,
    and how its calls fail."""

    #: Of calls that are made side by side, or while something is waited for, only the first ones are surely made again.
    most = 3
    #: Seconds that a delayed call waits.
    delay = 0.3

    def __init__(self, driver: Driver, proxy: FaultProxy, name: str) -> None:
        self.driver, self.proxy, self.name = driver, proxy, name
        self.mark = "one" if name == "first deploy" else "two"
        self.action = "destroy" if name == "destroy" else "deploy"
        #: Returns to where the story begins, whatever was before.
        self.prepare = self.beginning()
        self.prepare()
        # The calls of a run in which nothing goes wrong, and what there is after it.
        self.proxy.arm()
        self.sure(self.action, self.mark, proxy)
        self.calls = sorted({call for call in proxy.calls if call[1] <= self.most})
        self.wanted = self.there()

    # ---- of the cloud

    def beginning(self) -> Callable[[], None]:
        """What returns to where the story begins."""
        raise NotImplementedError

    def there(self) -> dict[str, Any]:
        """What there is, but for what differs from one deploy to the next."""
        raise NotImplementedError

    def served(self) -> dict[str, str]:
        """Function → the build that it runs."""
        raise NotImplementedError

    def throttled(self, call: Call) -> Any:
        raise NotImplementedError

    def failed(self, call: Call) -> Any:
        raise NotImplementedError

    # ---- of all

    def reach(self) -> None:
        """To where it begins, by deploys and destroys."""
        if self.name == "destroy":
            self.sure("deploy", "two")
            return
        self.sure("destroy", "two")
        if self.name == "new code":
            self.sure("deploy", "one")

    def sure(self, action: str, mark: str, proxy: FaultProxy | None = None) -> None:
        code, text = self.driver.run(action, mark, proxy)
        assert code == 0, f"{action} {mark} without a fault: {text}"

    def converges(self, kind: str) -> None:
        """Fails where a fault of that kind, in one of the calls or in each, is not made up for."""
        faults = [(*call, kind) for call in self.calls]
        if not ALL:
            # The same for the same code, so that a failure can be looked at.
            faults = [random.Random(repr((self.driver.builds, kind))).choice(faults)]
        results = {fault: self.suffer(*fault) for fault in faults}
        wrong = {fault: text for fault, text in results.items() if text not in ("", "-")}
        missed = sum(text == "-" for text in results.values())
        print(f"{self.name}, {kind}: {len(results)} faults, {missed} not met, {len(wrong)} wrong")
        assert not wrong, "\n".join(f"{fault}: {text}" for fault, text in wrong.items())

    def suffer(self, name: str, number: int, kind: str) -> str:
        """One fault and one more run. Returns what is wrong then, or nothing; "-" where the call was not made."""
        self.prepare()
        self.proxy.arm(self._fault(name, number, kind))
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

    def _fault(self, name: str, number: int, kind: str) -> Fault:
        if kind == "throttle":
            return Fault(name, number, "refuse", answer=self.throttled)
        if kind == "500":
            return Fault(name, number, "refuse", answer=self.failed)
        if kind == "500 after":
            return Fault(name, number, "break", answer=self.failed)
        return Fault(name, number, kind, seconds=self.delay)

    def wrong(self) -> str:
        """How what is there differs from what a run without a fault makes."""
        found = self.there()
        differing = [
            f"{key}: {found.get(key)} instead of {self.wanted.get(key)}"
            for key in sorted({*found, *self.wanted})
            if found.get(key) != self.wanted.get(key)
        ]
        if self.action == "deploy" and (runs := self.served()) != self.driver.builds[self.mark]:
            differing.append(f"it serves {runs}")
        return "; ".join(differing)
