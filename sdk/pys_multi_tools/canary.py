"""A new build gets a share of the calls first, and none where it fails more often than the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pys_multi_tools.deployment import Rollout
from pys_multi_tools.errors import DeployError

#: Share of the calls by which a new build may fail more often than the former one.
_TOLERATED = 0.01
#: Seconds between two looks.
_POLL = 10.0


@dataclass(frozen=True, slots=True)
class Failures:
    """Calls of one build of a function, and how many of them failed."""

    calls: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Share of the calls that failed."""
        return self.failed / self.calls if self.calls else float(self.failed > 0)


def bake(
    rollout: Rollout,
    *,
    give: Callable[[float], object],
    failures: Callable[[float], Iterable[tuple[str, Failures, Failures]]],
    back: Callable[[], object],
    say: Callable[[str, str, float | None], object],
) -> None:
    """Goes through the steps of a rollout. Raises DeployError where the new build fails, and then the former one is
    called alone again, as after an interrupt: nobody would watch.

    give: lets the new build have a share of the calls. failures: since a time, of each function the new build's and
    the former one's. back: lets the former one have all of them. say: step, text, how much of it is done.
    """
    try:
        for share in rollout.steps:
            give(share)
            begun = time.time()
            while (left := begun + rollout.bake - time.time()) > 0:
                say("canary", f"{share:.0%} of the calls, {left:.0f} s to go", 1 - left / rollout.bake)
                time.sleep(min(left, _POLL))
                _judge(failures(begun))
            _judge(failures(begun))
    except BaseException:
        say("canary", "back to the former build", None)
        back()
        raise


def _judge(failures: Iterable[tuple[str, Failures, Failures]]) -> None:
    for function, new, former in failures:
        if new.rate > former.rate + _TOLERATED:
            raise DeployError(
                f"the canary failed: {new.failed} of {new.calls} calls of the new build, against {former.failed} of "
                f"{former.calls} of the former one",
                where=f"function {function}",
                hint="all calls go to the former build again; see pys-multi logs",
            )
