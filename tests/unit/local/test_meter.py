"""Counts are exact, percentiles near, and both are there after a restart."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.local import meter
from pys_multi_providers.local.meter import RETENTION, Counts, Meter


def test_counts_are_saved_and_read_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = Meter(path)
    first.record("api", 5.0, False)
    first.record("api", 7.0, True)
    first.throttled("api")
    first.save()
    first.record("api", 9.0, False)
    first.save()
    first.save()
    second = Meter(path)
    second.record("worker", 1.0, False)
    counted = second.since(0)
    assert (counted["api"].invocations, counted["api"].errors, counted["api"].throttles) == (3, 1, 1)
    assert counted["worker"].invocations == 1
    assert meter.read(path, 0)["api"].invocations == 3
    assert second.since(time.time() + 120) == {}


def test_what_is_damaged_or_too_old_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    old = int((time.time() - RETENTION) // 60) - 5
    now = int(time.time() // 60)
    path.write_text(f'[{old}, "api", [9, 0, 0, []]]\n[{now}, "api", [2, 1, 0, [[3, 2]]]]\nnonsense\n[{now}, "api", [1,')
    assert Meter(path).since(0)["api"].invocations == 2


def test_a_file_that_cannot_be_written_loses_counts_only(tmp_path: Path) -> None:
    unwritable = Meter(tmp_path / "missing" / "metrics.jsonl")
    unwritable.record("api", 1.0, False)
    unwritable.save()
    assert unwritable.since(0)["api"].invocations == 1


@given(st.lists(st.floats(0.001, 100_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_are_near(latencies: list[float], part: float) -> None:
    counter = Meter(Path("/nowhere/at/all"))
    for latency in latencies:
        counter.record("api", latency, False)
    import math

    exact = sorted(latencies)[math.ceil(part * len(latencies)) - 1]
    assert counter.since(0)["api"].percentile(part) == pytest.approx(exact, rel=0.04, abs=0.001)


def test_nothing_counted_has_no_percentile() -> None:
    assert Counts().percentile(0.5) is None
