"""Schedules of AWS go off when the neutral ones do: compared with an evaluator of AWS's dialect of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.support.aws_cron import AwsCron

from pys_multi.errors import DefinitionError
from pys_multi.events import is_due
from pys_multi.schedules import Cron, parse
from pys_multi_providers.aws.cron import translate
from pys_multi_tools.daylight import skipped

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2031, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])


def field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    span = st.tuples(value, value).filter(lambda pair: pair[0] < pair[1])
    step = span.flatmap(lambda pair: st.integers(1, pair[1] - pair[0]).map(lambda step: f"{pair[0]}-{pair[1]}/{step}"))
    every = st.integers(1, high - low).map("*/{}".format)
    item = st.one_of(value.map(str), span.map(lambda pair: f"{pair[0]}-{pair[1]}"), step, every)
    return st.one_of(st.just("*"), item, st.lists(item, min_size=1, max_size=4).map(",".join))


CRONS = st.builds("{} {} {} {} {}".format, field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))


def due(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """When the function runs: AWS's schedules, less what the function itself lets pass."""
    found = []
    for part in translate(expression, zone):
        envelope: dict[str, Any] = {
            name: {"expression": value, "timezone": part.timezone}
            for name, value in (("only", part.only), ("unless", part.unless))
            if value
        }
        found += [
            tick for tick in AwsCron(part.text, part.timezone).between(start, end) if is_due(envelope, tick.timestamp())
        ]
    return sorted(found)


def neutral(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    schedule = parse(expression, zone)
    found = []
    tick = schedule.next_after(start - timedelta(microseconds=1))
    while tick < end:
        found.append(tick)
        tick = schedule.next_after(tick)
    if isinstance(schedule, Cron):
        # AWS leaves out what does not exist; the neutral one runs at the end of the gap, once for all in it.
        local = [(tick, tick.astimezone(schedule.zone())) for tick in found]
        found = [tick for tick, wall in local if wall.minute in schedule.minutes and wall.hour in schedule.hours]
    return found


@given(cron=CRONS, zone=ZONES, start=MOMENTS)
def test_a_cron_goes_off_at_the_same_times(cron: str, zone: str, start: datetime) -> None:
    try:
        schedule = parse(cron, zone)
    except DefinitionError:
        assume(False)
    busy = len(schedule.minutes) * len(schedule.hours) > 100  # type: ignore[union-attr]
    end = start + timedelta(days=3 if busy else 60)
    assert due(cron, zone, start, end) == neutral(cron, zone, start, end)


PERIODS = st.one_of(
    st.integers(1, 400).map("every {} minutes".format),
    st.integers(1, 100).map("every {} hours".format),
    st.integers(1, 60).map("every {} days".format),
    st.sampled_from([f"every {n} minutes" for n in range(1, 1441) if 1440 % n == 0]),
)


@given(every=PERIODS, start=MOMENTS)
def test_an_interval_goes_off_at_the_same_times(every: str, start: datetime) -> None:
    minutes: int = parse(every).minutes  # type: ignore[union-attr,assignment]
    end = start + timedelta(minutes=min(max(3 * minutes, 2880), 200_000 if minutes % 1440 == 0 else 12_000))
    assert due(every, "UTC", start, end) == neutral(every, "UTC", start, end)


@pytest.mark.parametrize(
    ("expression", "zone", "texts"),
    [
        ("0 6 * * MON-FRI", "Europe/Berlin", ["cron(0 6 ? * 2-6 *)"]),
        ("*/15 * * * *", "UTC", ["cron(0/15 * * * ? *)"]),
        ("0 0 1 * *", "UTC", ["cron(0 0 1 * ? *)"]),
        ("0 0 13 * FRI", "UTC", ["cron(0 0 13 * ? *)", "cron(0 0 ? * 6 *)"]),
        ("@yearly", "UTC", ["cron(0 0 1 1 ? *)"]),
        ("every 15 minutes", "UTC", ["cron(0/15 * * * ? *)"]),
        ("every 2 hours", "UTC", ["cron(0 0/2 * * ? *)"]),
        ("every 1 day", "UTC", ["cron(0 0 * * ? *)"]),
        ("every 90 minutes", "UTC", ["cron(0 0/3 * * ? *)", "cron(30 1/3 * * ? *)"]),
        ("every 20 days", "UTC", ["cron(0 0 * * ? *)"]),
    ],
)
def test_what_a_schedule_becomes(expression: str, zone: str, texts: list[str]) -> None:
    assert [part.text for part in translate(expression, zone)] == texts
    assert all(part.timezone == zone for part in translate(expression, zone))


def test_an_interval_that_divides_no_day_says_which_of_its_runs_count() -> None:
    (part,) = translate("every 20 days", "UTC")
    assert part.only == "every 20 days"


def test_the_longest_expression_is_one_that_aws_takes() -> None:
    """Pairs with a gap after each are the longest way to write a field; AWS takes 256 characters."""
    minutes, hours, days = (
        ",".join(str(n) for n in range(low, high) if n % 3 != 2) for low, high in ((0, 60), (0, 24), (1, 32))
    )
    (part,) = translate(f"{minutes} {hours} {days} 1,2,4,5,7,8,10,11 *", "UTC")
    assert 200 < len(part.text) <= 256


def test_a_friday_the_thirteenth_is_one_run() -> None:
    friday = datetime(2026, 11, 13, tzinfo=UTC)
    assert due("0 0 13 * FRI", "UTC", friday, friday + timedelta(days=1)) == [friday]


def test_a_time_that_clocks_jump_over_is_found() -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert skipped("30 2 * * *", "Europe/Berlin", now) == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)
    assert skipped("30 3 * * *", "Europe/Berlin", now) is None
    assert skipped("30 2 * * MON", "Europe/Berlin", now) is None
    assert skipped("30 2 * * *", "UTC", now) is None
    assert skipped("every 15 minutes", "UTC", now) is None
