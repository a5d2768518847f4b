"""A neutral schedule → the timer of Azure Functions that starts it.

A timer has one NCRONTAB expression of six fields, seconds first, and on Flex Consumption it is in UTC ("Timer trigger
for Azure Functions" and "Flex Consumption plan", considerations; 2026-11). NCrontab knows numbers, ranges, steps and
lists; weekdays count from 0, Sunday, to 6; and a day must match both day fields where unix cron asks for either.

So a timer goes off whenever the schedule can be due, under every offset that its time zone has, and ``only`` says that
there are times among those at which it is not: the function then looks, and lets them pass. Where clocks jump over a
time, the first minute after that is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import gcd

from pys_multi.schedules import Cron, Every, load_zone, parse

_DAY = 1440
#: Years whose offsets are looked at: after them, time zone databases repeat their last rule.
_FIRST, _LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timer:
    """schedule: the NCRONTAB expression. only: whether it goes off also when the neutral schedule is not due."""

    schedule: str
    only: bool = False


@dataclass(frozen=True, slots=True)
class _Zone:
    """Offsets from UTC in minutes, and what clocks jump over: from and to on the wall, and when in UTC."""

    offsets: tuple[int, ...]
    gaps: tuple[tuple[int, int, int], ...]


def translate(expression: str, timezone: str) -> Timer:
    """The timer of a neutral schedule. Raises DefinitionError, also for a time zone that this machine does not know."""
    schedule = parse(expression, timezone)
    return _cron(schedule) if isinstance(schedule, Cron) else _every(schedule)


def starts(timer: Timer, days: int = 30) -> int:
    """How often a timer goes off in that many days from 2026-01-01 on."""
    _, minutes, hours, day, month, weekday = timer.schedule.split()
    a_day = len(_values(minutes, 0, 59)) * len(_values(hours, 0, 23))
    allowed = _values(day, 1, 31), _values(month, 1, 12), _values(weekday, 0, 6)
    dates = (_FIRST + timedelta(days=number) for number in range(days))
    return a_day * sum(
        d.day in allowed[0] and d.month in allowed[1] and d.isoweekday() % 7 in allowed[2] for d in dates
    )


def _every(schedule: Every) -> Timer:
    period = gcd(schedule.minutes, _DAY)
    return _timer(set(range(0, _DAY, period)), only=period != schedule.minutes)


def _cron(schedule: Cron) -> Timer:
    zone = _zone(schedule.timezone)
    walls = {60 * hour + minute for hour in schedule.hours for minute in schedule.minutes}
    times = {wall - offset for wall in walls for offset in zone.offsets}
    jumped = {instant for first, last, instant in zone.gaps if any(first <= wall < last for wall in walls)}
    # The days of UTC that the times are on, counted from the one on the wall.
    shifts = {time // _DAY for time in times} | ({0, -1, 1} if jumped else set())
    days, months = _field(schedule.days, 1, 31), _field(schedule.months, 1, 12)
    weekdays = _field(schedule.weekdays, 0, 6)
    only = len(zone.offsets) > 1 or bool(jumped)
    if not schedule.any_day and not schedule.any_weekday:
        days, weekdays, only = "*", "*", True  # either of them, which is neither of Azure's two fields
    if shifts != {0} and (days, months, weekdays) != ("*", "*", "*"):
        if len(shifts) == 1 and (days, months) == ("*", "*"):
            shift = next(iter(shifts))
            weekdays = _field(sorted((day + shift) % 7 for day in schedule.weekdays), 0, 6)
        else:
            days, months, weekdays, only = "*", "*", "*", True
    return _timer({time % _DAY for time in times} | jumped, f"{days} {months} {weekdays}", only=only)


def _timer(times: set[int], days: str = "* * *", *, only: bool) -> Timer:
    """The timer for these minutes of a day: all of these minutes in all of these hours."""
    hours, minutes = sorted({time // 60 for time in times}), sorted({time % 60 for time in times})
    exact = len(hours) * len(minutes) == len(times)
    return Timer(f"0 {_field(minutes, 0, 59)} {_field(hours, 0, 23)} {days}", only or not exact)


@lru_cache(maxsize=1000)
def _zone(name: str) -> _Zone:
    zone = load_zone(name)

    def offset(moment: datetime) -> int:
        return (moment.astimezone(zone).utcoffset() or timedelta()) // timedelta(minutes=1)

    offsets, gaps = {offset(_FIRST)}, set()
    before = _FIRST
    while before < _LAST:
        after = before + timedelta(days=1)
        was, becomes = offset(before), offset(after)
        if becomes != was:
            offsets.add(becomes)
        if becomes > was:
            jump = before
            while offset(jump) == was:
                jump += timedelta(minutes=1)
            instant = 60 * jump.hour + jump.minute
            gaps |= {(instant + was - shift, instant + becomes - shift, instant) for shift in (-_DAY, 0, _DAY)}
        before = after
    return _Zone(tuple(sorted(offsets)), tuple(sorted(gaps)))


def _field(values: Sequence[int], low: int, high: int) -> str:
    """One field: ``*``, a range with a step, or a list of values and ranges."""
    if len(values) == high - low + 1:
        return "*"
    if len(values) > 2:
        step = values[1] - values[0]
        if step > 1 and list(values) == list(range(values[0], high + 1, step)):
            return f"*/{step}" if values[0] == low else f"{values[0]}-{high}/{step}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _values(field: str, low: int, high: int) -> set[int]:
    """What one field of ours allows."""
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if span == "*" else (int(first), int(last or first))
        found |= set(range(begin, end + 1, int(step or 1)))
    return found
