"""A canary goes on where it does no worse than the build before, and back where it does, or is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from pys_multi_tools.canary import Failures, bake
from pys_multi_tools.deployment import Rollout
from pys_multi_tools.errors import DeployError

Look = Callable[[float], Iterable[tuple[str, Failures, Failures]]]


def baked(failures: Look) -> list[object]:
    """What was done, in order."""
    done: list[object] = []
    try:
        bake(
            Rollout(steps=(0.1, 0.5), bake=0.0),
            give=done.append,
            failures=failures,
            back=lambda: done.append("back"),
            say=lambda *_: None,
        )
    except (DeployError, KeyboardInterrupt) as error:
        done.append(type(error))
    return done


@pytest.mark.parametrize(
    ("new", "former"),
    [
        (Failures(100, 0), Failures(100, 0)),
        (Failures(0, 0), Failures(100, 0)),
        (Failures(100, 1), Failures(100, 0)),
        (Failures(10, 5), Failures(100, 50)),
    ],
)
def test_what_does_no_worse_goes_on(new: Failures, former: Failures) -> None:
    assert baked(lambda _: [("api", new, former)]) == [0.1, 0.5]


@pytest.mark.parametrize(
    ("new", "former"),
    [(Failures(100, 2), Failures(100, 0)), (Failures(0, 1), Failures(0, 0)), (Failures(1, 1), Failures(100, 98))],
)
def test_what_fails_more_often_goes_back(new: Failures, former: Failures) -> None:
    assert baked(lambda _: [("worker", former, former), ("api", new, former)]) == [0.1, "back", DeployError]


def test_an_interrupt_leaves_no_call_with_a_build_that_nobody_watches() -> None:
    def interrupted(_: float) -> list[tuple[str, Failures, Failures]]:
        raise KeyboardInterrupt

    assert baked(interrupted) == [0.1, "back", KeyboardInterrupt]


def test_a_failure_says_of_which_function() -> None:
    with pytest.raises(DeployError, match="function api: the canary failed: 2 of 4 calls of the new build") as raised:
        bake(
            Rollout(steps=(0.1,), bake=0.0),
            give=lambda _: None,
            failures=lambda _: [("api", Failures(4, 2), Failures(9, 0))],
            back=lambda: None,
            say=lambda *_: None,
        )
    assert "pys-multi logs" in str(raised.value)
