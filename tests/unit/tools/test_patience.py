"""Work side by side, and attempts that are made again while an error may pass."""

from __future__ import annotations

import threading

import pytest

from pys_multi_tools.errors import ProviderError
from pys_multi_tools.patience import each, patiently, which


class Busy(ProviderError):
    """Passes."""


def test_work_is_done_side_by_side_and_in_order() -> None:
    together = threading.Barrier(3, timeout=10)

    def work(number: int) -> int:
        together.wait()
        return number * 2

    assert each(work, [1, 2, 3]) == [2, 4, 6]
    assert each(str, range(40)) == [str(number) for number in range(40)]
    assert each(work, []) == []
    assert which(lambda number: number % 2 == 1, range(6)) == [1, 3, 5]


def test_the_first_error_is_raised_once_all_have_ended() -> None:
    ended = []

    def work(number: int) -> None:
        ended.append(number)
        if number in (3, 5):
            raise ValueError(str(number))

    with pytest.raises(ValueError, match="3"):
        each(work, range(10))
    assert sorted(ended) == list(range(10))


def test_patience_is_for_errors_that_pass_and_ends() -> None:
    left: list[ProviderError] = []

    def attempt() -> int:
        if left:
            raise left.pop(0)
        return 1

    def passes(error: Busy) -> bool:
        return error.what != "no"

    left[:] = [Busy("later"), Busy("later")]
    assert patiently(attempt, Busy, passes, seconds=30) == 1
    left[:] = [Busy("later"), Busy("no")]
    with pytest.raises(Busy, match="no"):
        patiently(attempt, Busy, passes, seconds=30)
    left[:] = [ProviderError("another")]
    with pytest.raises(ProviderError, match="another"):
        patiently(attempt, Busy, passes, seconds=30)
    left[:] = [Busy("later")]
    with pytest.raises(Busy, match="later"):
        patiently(attempt, Busy, passes, seconds=-1)
