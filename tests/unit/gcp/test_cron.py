"""Schedules of Scheduler go off when the neutral ones do: compared with croniter, as a reader of unix cron."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import assume, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from pys_multi.errors import DefinitionError
from pys_multi.events import is_due
from pys_multi.schedules import Cron, parse
from pys_multi_providers.gcp.cron import translate

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2031, 1, 1), timezones=st.just(UTC))
#: Without daylight saving time, as Scheduler promises nothing for the hours of a change.
ZONES = st.sampled_from(["UTC", "Asia/Kathmandu", "Asia/Tokyo", "America/Phoenix"])


def field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    span = st.tuples(value, value).filter(lambda pair: pair[0] < pair[1])
    step = span.flatmap(lambda pair: st.integers(1, pair[1] - pair[0]).map(lambda step: f"{pair[0]}-{pair[1]}/{step}"))
    every = st.integers(1, high - low).map("*/{}".format)
    item = st.one_of(value.map(str), span.map(lambda pair: f"{pair[0]}-{pair[1]}"), step, every)
    return st.one_of(st.just("*"), item, st.lists(item, min_size=1, max_size=4).map(",".join))


CRONS = st.builds("{} {} {} {} {}".format, field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))


def ticks(text: str, zone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    found = croniter(text, (start - timedelta(minutes=1)).astimezone(ZoneInfo(zone)), ret_type=datetime)
    while (tick := found.get_next().astimezone(UTC)) < end:
        if tick >= start:
            yield tick


def due(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """When the function runs: Scheduler's jobs, less what the function itself lets pass."""
    found = []
    for part in translate(expression, zone):
        envelope: dict[str, Any] = {
            name: {"expression": value, "timezone": part.timezone}
            for name, value in (("only", part.only), ("unless", part.unless))
            if value
        }
        found += [t for t in ticks(part.text, part.timezone, start, end) if is_due(envelope, t.timestamp())]
    return sorted(found)


def neutral(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    schedule = parse(expression, zone)
    found = []
    tick = schedule.next_after(start - timedelta(microseconds=1))
    while tick < end:
        found.append(tick)
        tick = schedule.next_after(tick)
    return found


@limits(max_examples=50)
@given(cron=CRONS, zone=ZONES, start=MOMENTS)
def test_a_cron_goes_off_at_the_same_times(cron: str, zone: str, start: datetime) -> None:
    try:
        schedule = parse(cron, zone)
    except DefinitionError:
        assume(False)
    assert isinstance(schedule, Cron)
    busy = len(schedule.minutes) * len(schedule.hours)
    end = start + timedelta(days=1 if busy > 100 else 5 if busy > 10 else 40)
    assert due(cron, zone, start, end) == neutral(cron, zone, start, end)


PERIODS = st.one_of(
    st.integers(1, 400).map("every {} minutes".format),
    st.integers(1, 100).map("every {} hours".format),
    st.integers(1, 60).map("every {} days".format),
    st.sampled_from([f"every {n} minutes" for n in range(1, 1441) if 1440 % n == 0]),
)


@limits(max_examples=50)
@given(every=PERIODS, start=MOMENTS)
def test_an_interval_goes_off_at_the_same_times(every: str, start: datetime) -> None:
    minutes: int = parse(every).minutes  # type: ignore[union-attr,assignment]
    end = start + timedelta(minutes=min(max(3 * minutes, 1440), 100_000 if minutes % 1440 == 0 else 3000))
    assert due(every, "UTC", start, end) == neutral(every, "UTC", start, end)


@pytest.mark.parametrize(
    ("expression", "zone", "texts"),
    [
        ("0 6 * * MON-FRI", "Europe/Berlin", ["0 6 * * 1-5"]),
        ("*/15 * * * *", "UTC", ["*/15 * * * *"]),
        ("0 0 1 * *", "UTC", ["0 0 1 * *"]),
        ("0 0 13 * FRI", "UTC", ["0 0 13 * *", "0 0 * * 5"]),
        ("@yearly", "UTC", ["0 0 1 1 *"]),
        ("every 15 minutes", "UTC", ["*/15 * * * *"]),
        ("every 2 hours", "UTC", ["0 */2 * * *"]),
        ("every 1 day", "UTC", ["0 0 * * *"]),
        ("every 90 minutes", "UTC", ["0 */3 * * *", "30 1-22/3 * * *"]),
        ("every 20 days", "UTC", ["0 0 * * *"]),
    ],
)
def test_what_a_schedule_becomes(expression: str, zone: str, texts: list[str]) -> None:
    assert [part.text for part in translate(expression, zone)] == texts
    assert all(part.timezone == zone for part in translate(expression, zone))


def test_an_interval_that_divides_no_day_says_which_of_its_runs_count() -> None:
    (part,) = translate("every 20 days", "UTC")
    assert part.only == "every 20 days"


def test_a_friday_the_thirteenth_is_one_run() -> None:
    friday = datetime(2026, 11, 13, tzinfo=UTC)
    assert due("0 0 13 * FRI", "UTC", friday, friday + timedelta(hours=1)) == [friday]
