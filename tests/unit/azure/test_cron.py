"""Timers: whenever a neutral schedule is due the timer goes off, and it says when it goes off more often.

NCrontab is read here anew from its description ("NCrontab expression" of its repository and "Timer trigger for Azure
Functions"), one value after the other, without a line of what writes the expressions.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pys_multi.errors import DefinitionError
from pys_multi.schedules import parse
from pys_multi_providers.azure.cron import Timer, starts, translate

_FIELDS = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))


class Ncrontab:
    """A six-field expression; refuses what NCrontab refuses."""

    def __init__(self, text: str) -> None:
        parts = text.split(" ")
        assert len(parts) == 6, text
        self.second, self.minute, self.hour, self.day, self.month, self.weekday = (
            {value for item in part.split(",") for value in self.values(item, low, high)}
            for part, (_, low, high) in zip(parts, _FIELDS, strict=True)
        )
        assert self.second == {0}

    @staticmethod
    def values(item: str, low: int, high: int) -> range:
        span, slash, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin, end = int(first), int(last) if dash else int(first)
            assert not slash or dash, "a step needs a range"
        assert low <= begin <= end <= high, item
        assert not slash or int(step) > 0
        return range(begin, end + 1, int(step) if slash else 1)

    def goes_off(self, moment: datetime) -> bool:
        """Whether it goes off in that minute, in UTC: all fields must match."""
        return (
            moment.minute in self.minute
            and moment.hour in self.hour
            and moment.day in self.day
            and moment.month in self.month
            and moment.isoweekday() % 7 in self.weekday
        )

    def on(self, day: datetime) -> list[datetime]:
        """All the times of a day."""
        return [
            time
            for hour in sorted(self.hour)
            for minute in sorted(self.minute)
            if self.goes_off(time := day.replace(hour=hour, minute=minute))
        ]


def due(expression: str, timezone: str, first: datetime, last: datetime) -> list[datetime]:
    schedule = parse(expression, timezone)
    found, moment = [], first - timedelta(minutes=1)
    while (moment := schedule.next_after(moment)) < last:
        found.append(moment)
    return found


def goes_off(timer: Timer, first: datetime, last: datetime) -> list[datetime]:
    reader = Ncrontab(timer.schedule)
    return [time for number in range((last - first).days) for time in reader.on(first + timedelta(days=number))]


def check(expression: str, timezone: str, first: datetime, days: int) -> None:
    timer = translate(expression, timezone)
    last = first + timedelta(days=days)
    wanted, found = due(expression, timezone, first, last), goes_off(timer, first, last)
    missing = sorted(set(wanted) - set(found))
    assert not missing, f"{expression} in {timezone}: {timer.schedule} misses {missing[0]:%Y-%m-%d %H:%M} UTC"
    if not timer.only:
        assert found == wanted, f"{expression} in {timezone}: {timer.schedule} goes off at other times"


YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "timezone", "timer"),
    [
        ("every 1 minute", "UTC", Timer("0 * * * * *")),
        ("every 15 minutes", "UTC", Timer("0 */15 * * * *")),
        ("every 1 hour", "UTC", Timer("0 0 * * * *")),
        ("every 6 hours", "UTC", Timer("0 0 */6 * * *")),
        ("every 45 minutes", "UTC", Timer("0 */15 * * * *", only=True)),
        ("every 20 days", "UTC", Timer("0 0 0 * * *", only=True)),
        ("@daily", "UTC", Timer("0 0 0 * * *")),
        ("0 6 * * MON-FRI", "UTC", Timer("0 0 6 * * 1-5")),
        ("*/20 8-17 1 */3 *", "UTC", Timer("0 */20 8-17 1 */3 *")),
        ("0 0 * * 7", "UTC", Timer("0 0 0 * * 0")),
        ("0 12 13 * FRI", "UTC", Timer("0 0 12 * * *", only=True)),
        ("0 3 * * MON", "Asia/Tokyo", Timer("0 0 18 * * 0")),
        ("30 9 * * *", "Asia/Kolkata", Timer("0 0 4 * * *")),
        ("0 9 * * *", "Europe/Berlin", Timer("0 0 7,8 * * *", only=True)),
        ("30 2 * * *", "Europe/Berlin", Timer("0 0,30 0,1 * * *", only=True)),
        ("0 0 1 * *", "America/New_York", Timer("0 0 4,5 1 * *", only=True)),
        ("0 0 1 * *", "Europe/Berlin", Timer("0 0 22,23 * * *", only=True)),
    ],
)
def test_a_schedule_is_this_timer(expression: str, timezone: str, timer: Timer) -> None:
    assert translate(expression, timezone) == timer
    check(expression, timezone, YEAR, 40 if expression.startswith("every") else 800)


# Zones with and without clocks that jump, by whole hours, by half an hour, at other times of the year, far from UTC.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "America/Havana",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Asia/Beirut",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Pacific/Easter",
]


@pytest.mark.parametrize("timezone", ZONES)
def test_no_run_is_missed_in_any_zone_on_the_days_around_its_jumps(timezone: str) -> None:
    for expression in ("30 2 * * *", "0 0 * * SUN", "15 23 28-31 * *", "*/30 0-3 * 3,10 *", "59 1 1 * MON"):
        check(expression, timezone, YEAR, 1100)


def test_every_minute_of_a_day_is_met_in_a_zone_that_jumps() -> None:
    for minute in range(0, 1440, 7):
        check(f"{minute % 60} {minute // 60} * * *", "Europe/Berlin", datetime(2027, 3, 26, tzinfo=UTC), 4)
        check(f"{minute % 60} {minute // 60} * * *", "Europe/Berlin", datetime(2027, 10, 29, tzinfo=UTC), 4)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.integers(1, 30).map(lambda step: f"*/{step}")
    item = st.one_of(number.map(str), ranges, steps, st.just("*"))
    return st.lists(item, min_size=1, max_size=3).map(",".join)


CRONS = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 7)).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(expression=CRONS, timezone=st.sampled_from(ZONES), number=st.integers(0, 4000))
@example(expression="30 2 31 3 *", timezone="Europe/Berlin", number=86)
def test_any_cron_in_any_zone_is_met(expression: str, timezone: str, number: int) -> None:
    try:
        translate(expression, timezone)
    except DefinitionError:
        return  # never runs
    check(expression, timezone, YEAR + timedelta(days=number), 5)


@settings(max_examples=100, deadline=None)
@given(minutes=st.integers(1, 366 * 1440))
def test_any_interval_is_met(minutes: int) -> None:
    check(f"every {minutes} minutes", "UTC", YEAR + timedelta(days=random.Random(minutes).randrange(3000)), 5)


def test_starts_are_counted() -> None:
    assert starts(Timer("0 */15 * * * *")) == 2880
    assert (
        starts(Timer("0 0 7,8 * * 1-5")) == len([d for d in range(30) if (YEAR + timedelta(days=d)).weekday() < 5]) * 2
    )
    assert starts(Timer("0 0 0 1 1 *")) == 1


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(DefinitionError):
        translate("0 0 * *", "UTC")
    with pytest.raises(DefinitionError, match="Mars"):
        translate("0 0 * * *", "Mars/Olympus")
