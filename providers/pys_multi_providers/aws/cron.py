"""A neutral schedule → what EventBridge Scheduler takes ("Schedule types" of its user guide, 2026-11).

Its cron has six fields, counts weekdays from 1 (Sunday), and restricts either the day of the month or the
weekday: the other one is "?". A neutral cron that restricts both runs on a day that matches either, so it becomes
two; the second leaves out the days of the first. An interval that does not divide a day or its days has no
cron; the nearest one that has goes off more often, and the function lets those that are not due pass. Its own
``rate()`` would count from the deploy, not from the epoch as everywhere else.

Where clocks jump forward over a time, AWS skips it, while a neutral cron runs at the first minute that exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from pys_multi.schedules import Cron, Every, parse

_DAY = 1440


@dataclass(frozen=True, slots=True)
class Expression:
    """One schedule of AWS. only, unless: neutral schedules; a run counts where ``only`` has a tick and ``unless``
    has none."""

    text: str
    timezone: str
    only: str = ""
    unless: str = ""


def translate(expression: str, timezone: str) -> list[Expression]:
    """The schedules of AWS that together run when the neutral one does. Raises DefinitionError."""
    schedule = parse(expression, timezone)
    if isinstance(schedule, Cron):
        return list(_cron(schedule))
    return list(_every(schedule))


def _cron(schedule: Cron) -> Iterator[Expression]:
    days, weekdays = _field(schedule.days, 1, 31), _field([day + 1 for day in schedule.weekdays], 1, 7)
    if schedule.any_weekday:
        yield Expression(_text(schedule, days, "?"), schedule.timezone)
    elif schedule.any_day:
        yield Expression(_text(schedule, "?", weekdays), schedule.timezone)
    else:
        minute, hour, day, month, _ = schedule.fields
        yield Expression(_text(schedule, days, "?"), schedule.timezone)
        yield Expression(_text(schedule, "?", weekdays), schedule.timezone, unless=f"{minute} {hour} {day} {month} *")


def _text(schedule: Cron, days: str, weekdays: str) -> str:
    months = _field(schedule.months, 1, 12)
    return f"cron({_field(schedule.minutes, 0, 59)} {_field(schedule.hours, 0, 23)} {days} {months} {weekdays} *)"


def _every(schedule: Every) -> Iterator[Expression]:
    period = gcd(schedule.minutes, _DAY)
    only = schedule.text if period != schedule.minutes else ""
    # Ticks of one day by hour, then the hours that have the same minutes.
    hours: dict[int, list[int]] = {}
    for tick in range(0, _DAY, period):
        hours.setdefault(tick // 60, []).append(tick % 60)
    same: dict[tuple[int, ...], list[int]] = {}
    for hour, minutes in hours.items():
        same.setdefault(tuple(minutes), []).append(hour)
    for minutes_, hours_ in same.items():
        yield Expression(f"cron({_field(minutes_, 0, 59)} {_field(hours_, 0, 23)} * * ? *)", "UTC", only)


def _field(values: tuple[int, ...] | list[int], low: int, high: int) -> str:
    """One field: ``*``, a start and a step, or a list of values and ranges."""
    if len(values) == high - low + 1:
        return "*"
    if len(values) > 2:
        step = values[1] - values[0]
        if step > 1 and list(values) == list(range(values[0], high + 1, step)):
            return f"{values[0]}/{step}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
