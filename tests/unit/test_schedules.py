"""The neutral schedule grammar, with croniter as the reference for what a cron means."""

from __future__ import annotations

import subprocess
import sys
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from pys_multi.errors import DefinitionError
from pys_multi.schedules import Cron, Every, cron, every, load_zone, parse

BERLIN = ZoneInfo("Europe/Berlin")

# --- every


@pytest.mark.parametrize(
    ("text", "minutes", "canonical"),
    [
        ("15 minutes", 15, "every 15 minutes"),
        ("1 minute", 1, "every 1 minute"),
        ("every 1 minutes", 1, "every 1 minute"),
        ("  EVERY  60   Minutes ", 60, "every 1 hour"),
        ("36 hours", 2160, "every 36 hours"),
        ("48 hours", 2880, "every 2 days"),
        ("120 seconds", 2, "every 2 minutes"),
        ("366 days", 527040, "every 366 days"),
    ],
)
def test_every_reads_periods_and_has_one_canonical_text(text: str, minutes: int, canonical: str) -> None:
    schedule = every(text)
    assert (schedule.minutes, schedule.text, schedule.timezone) == (minutes, canonical, "UTC")
    assert parse(schedule.text) == schedule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every",
        "minutes",
        "15",
        "15minutes",
        "0 minutes",
        "-5 minutes",
        "1.5 hours",
        "five minutes",
        "30 seconds",
        "90 seconds",
        "1 second",
        "2 weeks",
        "1 month",
        "3 minutess",
        "367 days",
        "99999999999999999999 minutes",
        "١ minute",
        "15 minutes please",
    ],
)
def test_every_refuses(text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        every(text)
    assert repr(text) in str(caught.value)


def test_every_refuses_what_is_not_text() -> None:
    with pytest.raises(DefinitionError, match="15 minutes"):
        every(15)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="text"):
        parse(None)  # type: ignore[arg-type]


def test_every_has_no_time_zone() -> None:
    with pytest.raises(DefinitionError, match="no time zone"):
        parse("every 1 day", "Europe/Berlin")


@given(st.integers(1, 366 * 1440), st.datetimes(datetime(1, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_every_ticks_on_multiples_of_the_epoch(minutes: int, moment: datetime) -> None:
    schedule = Every(minutes)
    tick = schedule.next_after(moment)
    assert moment < tick <= moment + timedelta(minutes=minutes)
    assert (tick - datetime(1970, 1, 1, tzinfo=UTC)) % timedelta(minutes=minutes) == timedelta()
    assert schedule.next_after(tick) - tick == timedelta(minutes=minutes)


# --- cron: parsing


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0 6 * * MON-FRI", "0 6 * * 1-5"),
        ("0  6\t* * mon,TUE,wed", "0 6 * * 1-3"),
        ("*/1 0-23 1-31 JAN-DEC 0-7", "* * * * *"),
        ("*/15 * * * *", "*/15 * * * *"),
        ("5-59/15 9-17/4 * 1,6,12 *", "5-50/15 9-17/4 * 1,6,12 *"),
        ("30,0 5,6,7,9 * * *", "0,30 5-7,9 * * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * SAT-SUN", "0 0 * * 0,6"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 */2 * MON", "0 0 1-31/2 * 1"),
        ("0 0 */2 * *", "0 0 */2 * *"),
        ("@hourly", "0 * * * *"),
        ("@DAILY", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 2 MON", "0 0 31 2 1"),
        ("0 0 31 2,3 *", "0 0 31 2,3 *"),
    ],
)
def test_cron_has_one_canonical_text(text: str, canonical: str) -> None:
    schedule = parse(text, "Europe/Berlin")
    assert schedule.text == canonical
    assert parse(canonical, "Europe/Berlin") == schedule
    assert hash(parse(canonical, "Europe/Berlin")) == hash(schedule)
    assert parse(canonical, "UTC") != schedule


@pytest.mark.parametrize(
    ("text", "field", "part_of_the_message"),
    [
        ("60 * * * *", "minute", "0-59"),
        ("* 24 * * *", "hour", "0-23"),
        ("* * 0 * *", "day of month", "1-31"),
        ("* * 32 * *", "day of month", "1-31"),
        ("* * * 13 *", "month", "1-12"),
        ("* * * * 8", "day of week", "0-7"),
        ("* * * JANUARY *", "month", "JAN"),
        ("* * * * MOND", "day of week", "MON"),
        ("MON * * * *", "minute", "0-59"),
        ("0 6 ? * MON", "day of month", "'?'"),
        ("0 6 1 * ?", "day of week", "'?'"),
        ("0 0 L * *", "day of month", "L, W"),
        ("0 0 15W * *", "day of month", "L, W"),
        ("0 0 * * FRI#2", "day of week", "L, W"),
        ("0 0 * * 5L", "day of week", "L, W"),
        ("H * * * *", "minute", "H are not"),
        ("5/15 * * * *", "minute", "5-59/15"),
        ("*/0 * * * *", "minute", "step"),
        ("*/60 * * * *", "minute", "step"),
        ("*/x * * * *", "minute", "step"),
        ("*/ * * * *", "minute", "step"),
        ("0-10/20 * * * *", "minute", "step"),
        ("0 22-2 * * *", "hour", "22-23,0-2"),
        ("1, * * * *", "minute", "missing"),
        ("-5 * * * *", "minute", "missing"),
        ("1-2-3 * * * *", "minute", "not a value"),
        ("1-* * * * *", "minute", "stands alone"),
        ("1,*5 * * * *", "minute", "not a value"),
        ("+5 * * * *", "minute", "not a value"),
        ("١ * * * *", "minute", "not a value"),
        ("00000 * * * *", "minute", "not a value"),
    ],
)
def test_cron_refuses_and_names_the_field(text: str, field: str, part_of_the_message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        cron(text)
    assert f"{text!r}: {field} " in str(caught.value)
    assert part_of_the_message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part_of_the_message"),
    [
        ("", "five fields"),
        ("0 6 * *", "here are 4"),
        ("0 0 6 * * *", "no seconds"),
        ("0 6 * * ? 2030 *", "no seconds"),
        ("@reboot", "@daily"),
        ("CRON_TZ=Europe/Berlin 0 6 * * *", "timezone argument"),
        ("0 0 31 2 *", "never runs"),
        ("0 0 30 FEB *", "never runs"),
        ("0 0 31 4,6,9,11 *", "never runs"),
    ],
)
def test_cron_refuses_the_whole(text: str, part_of_the_message: str) -> None:
    with pytest.raises(DefinitionError, match=part_of_the_message):
        cron(text)


@pytest.mark.parametrize("name", ["", "Berlin!", "../etc/passwd", "Europe//Berlin", "/UTC", "Europe/Berlin ", None])
def test_a_name_that_is_no_time_zone_is_refused_at_parse(name: str) -> None:
    with pytest.raises(DefinitionError, match="time zone"):
        cron("0 0 * * *", name)


def test_an_unknown_time_zone_names_the_nearest() -> None:
    with pytest.raises(DefinitionError, match="Europe/Berlin"):
        cron("0 0 * * *", "Europe/Berlni").zone()
    with pytest.raises(DefinitionError, match="no time zone"):
        load_zone("Europe")
    assert load_zone("America/Argentina/Buenos_Aires") is not None
    assert load_zone("Etc/GMT+5") is not None


def test_a_schedule_is_frozen() -> None:
    schedule = parse("@daily")
    with pytest.raises(AttributeError, match="frozen"):
        schedule.text = "x"  # type: ignore[misc]


def test_the_fields_are_there_for_translation() -> None:
    schedule = cron("*/30 6 1,15 * MON-FRI", "Europe/Berlin")
    assert schedule.minutes == (0, 30)
    assert schedule.hours == (6,)
    assert schedule.days == (1, 15)
    assert schedule.months == tuple(range(1, 13))
    assert schedule.weekdays == (1, 2, 3, 4, 5)
    assert (schedule.any_day, schedule.any_weekday) == (False, False)
    assert schedule.fields == ("0,30", "6", "1,15", "*", "1-5")


@given(st.text(max_size=30))
def test_any_text_parses_or_is_refused_with_our_error(text: str) -> None:
    try:
        schedule = parse(text)
    except DefinitionError:
        return
    assert parse(schedule.text) == schedule


# --- cron: ticks, against croniter


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # Not of one value: croniter reads 0-0 as every value.
    span = (
        st.tuples(st.integers(low, high - 1), number)
        .map(lambda p: (p[0], max(p[0] + 1, p[1])))
        .map(lambda pair: f"{pair[0]}-{pair[1]}")
    )
    # A range of at least four values, so that a step of up to three fits.
    stepped = st.tuples(st.integers(low, high - 3), st.integers(1, 3)).map(lambda p: f"{p[0]}-{high}/{p[1]}")
    item = st.one_of(number.map(str), span, stepped)
    return st.one_of(
        st.just("*"),
        st.integers(2, high - low).map(lambda n: f"*/{n}"),
        st.lists(item, min_size=1, max_size=3).map(",".join),
    )


crons = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)).map(" ".join)
moments = st.datetimes(datetime(1996, 1, 1), datetime(2060, 1, 1))


def _parsed(text: str) -> Cron | None:
    try:
        return cron(text)
    except DefinitionError as error:
        if "never runs" in str(error):
            return None
        raise


@settings(max_examples=400, deadline=None)
@given(crons, moments)
def test_ticks_in_utc_are_those_of_croniter(text: str, moment: datetime) -> None:
    schedule = _parsed(text)
    if schedule is None:
        return
    # The canonical text goes to the reference too: what is translated means what was written. A day field
    # that spells out every value restricts nothing here; implementations differ, so only `*` is compared.
    _, _, day, _, weekday = text.split()
    spelled_out = (schedule.any_day and day != "*") or (schedule.any_weekday and weekday != "*")
    for written in [schedule.text] if spelled_out else [text, schedule.text]:
        reference = croniter(written, moment, max_years_between_matches=9)
        tick = moment.replace(tzinfo=UTC)
        for _ in range(4):
            tick = schedule.next_after(tick)
            assert tick == reference.get_next(datetime).replace(tzinfo=UTC)


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"]
TRANSITIONS = {
    "Europe/Berlin": [datetime(2026, 3, 29, 2), datetime(2026, 10, 25, 2)],
    "America/New_York": [datetime(2026, 3, 8, 2), datetime(2026, 11, 1, 1)],
    "Australia/Lord_Howe": [datetime(2026, 10, 4, 2), datetime(2026, 4, 5, 1, 30)],  # half an hour
    "Pacific/Apia": [datetime(2011, 12, 30, 0)],  # a whole day was skipped
    "Asia/Kathmandu": [datetime(2026, 6, 1)],  # no transition, and an odd offset
}


@cache
def _minutes_around(name: str, transition: datetime) -> tuple[list[datetime], list[datetime]]:
    """Every minute of the days around, and the latest wall shown up to it."""
    zone = ZoneInfo(name)
    first = transition.replace(tzinfo=UTC) - timedelta(days=2)
    instants = [first + timedelta(minutes=n) for n in range(5 * 1440)]
    walls = accumulate((i.astimezone(zone).replace(tzinfo=None) for i in instants), max)
    return instants, list(walls)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ZONES).flatmap(lambda z: st.tuples(st.just(z), st.sampled_from(TRANSITIONS[z]))),
    st.tuples(_field(0, 59), st.sampled_from(["*", "0-4", "1,2,3", "2", "0-23/2"])).map(
        lambda pair: f"{pair[0]} {pair[1]} * * *"
    ),
    st.integers(-300, 300),
)
def test_ticks_around_a_clock_change_follow_the_stated_rule(
    place: tuple[str, datetime], text: str, offset: int
) -> None:
    name, transition = place
    instants_around, walls_around = _minutes_around(name, transition)
    start_wall = transition - timedelta(hours=5)
    reference = croniter(text, start_wall - timedelta(minutes=1))
    # croniter walks a naive clock; each wall stands for the first minute that shows or has passed it.
    instants: list[datetime] = []
    wall = reference.get_next(datetime)
    while wall < transition + timedelta(hours=30):
        instants.append(instants_around[bisect_left(walls_around, wall)])
        wall = reference.get_next(datetime)
    schedule = cron(text, name)
    start = transition.replace(tzinfo=ZoneInfo(name)).astimezone(UTC) + timedelta(minutes=offset)
    later = sorted({instant for instant in instants if instant > start})
    if not later or instants[0] > start:
        return
    assert schedule.next_after(start) == later[0]


def test_a_time_that_does_not_exist_runs_at_the_first_minute_that_does() -> None:
    schedule = cron("30 2 * * *", "Europe/Berlin")
    tick = schedule.next_after(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert tick == datetime(2026, 3, 29, 3, 0, tzinfo=BERLIN)
    assert schedule.next_after(tick) == datetime(2026, 3, 30, 2, 30, tzinfo=BERLIN)


def test_several_times_of_one_gap_run_once() -> None:
    schedule = cron("*/15 2,3 * * *", "Europe/Berlin")
    first = schedule.next_after(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert first == datetime(2026, 3, 29, 3, 0, tzinfo=BERLIN)
    assert schedule.next_after(first) == datetime(2026, 3, 29, 3, 15, tzinfo=BERLIN)


def test_a_time_that_exists_twice_runs_once() -> None:
    schedule = cron("30 2 * * *", "Europe/Berlin")
    tick = schedule.next_after(datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert tick == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert schedule.next_after(tick) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_leap_days_across_a_century_that_has_none() -> None:
    schedule = cron("0 0 29 2 *")
    assert schedule.next_after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


def test_seconds_do_not_hide_a_tick() -> None:
    schedule = cron("* * * * *")
    assert schedule.next_after(datetime(2026, 1, 1, 0, 0, 59, 999999, tzinfo=UTC)) == datetime(
        2026, 1, 1, 0, 1, tzinfo=UTC
    )
    assert schedule.next_after(datetime(2026, 1, 1, 0, 1, tzinfo=UTC)) == datetime(2026, 1, 1, 0, 2, tzinfo=UTC)


def test_the_moment_may_be_in_any_zone() -> None:
    moment = datetime(2026, 6, 1, 5, 59, tzinfo=BERLIN)
    tick = cron("0 6 * * *", "Europe/Berlin").next_after(moment)
    assert tick == datetime(2026, 6, 1, 4, 0, tzinfo=UTC)


def test_a_naive_moment_is_refused() -> None:
    for schedule in (parse("@daily"), parse("every 1 hour")):
        with pytest.raises(ValueError, match="naive"):
            schedule.next_after(datetime(2026, 1, 1))


def test_the_end_of_the_calendar_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(OverflowError):
        cron("0 0 29 2 *").next_after(datetime(9997, 1, 1, tzinfo=UTC))


def test_parsing_needs_neither_a_clock_nor_time_zones() -> None:
    """A function parses at import, on a host that may have no time zone database."""
    code = (
        "import sys; import pys_multi.schedules as s;"
        "s.parse('0 6 * * MON-FRI', 'Europe/Berlin'); s.every('15 minutes');"
        "print(sorted({'datetime', 'zoneinfo', 're', 'typing', 'dataclasses', 'calendar'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
