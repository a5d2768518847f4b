"""A neutral schedule → what Cloud Scheduler takes: unix cron with a time zone ("Cron job format", 2026-11).

A neutral cron that restricts both the day of the month and the weekday runs on a day that matches either. Whether
Scheduler reads it so is written nowhere, so it becomes two jobs; the second leaves out the days of the first. An
interval that does not divide a day has no cron; the nearest one that has goes off more often, and the function lets
those that are not due pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from pys_multi.schedules import Cron, Every, parse

_DAY = 1440


@dataclass(frozen=True, slots=True)
class Expression:
    """One job. only, unless: neutral schedules; a run counts where ``only`` has a tick and ``unless`` has none."""

    text: str
    timezone: str
    only: str = ""
    unless: str = ""


def translate(expression: str, timezone: str) -> list[Expression]:
    """The jobs that together run when the neutral schedule does. Raises DefinitionError."""
    schedule = parse(expression, timezone)
    return list(_cron(schedule) if isinstance(schedule, Cron) else _every(schedule))


def _cron(schedule: Cron) -> Iterator[Expression]:
    minute, hour, day, month, weekday = schedule.fields
    if schedule.any_day or schedule.any_weekday:
        yield Expression(f"{minute} {hour} {day} {month} {weekday}", schedule.timezone)
        return
    by_day = f"{minute} {hour} {day} {month} *"
    yield Expression(by_day, schedule.timezone)
    yield Expression(f"{minute} {hour} * {month} {weekday}", schedule.timezone, unless=by_day)


def _every(schedule: Every) -> Iterator[Expression]:
    period = gcd(schedule.minutes, _DAY)
    only = schedule.text if period != schedule.minutes else ""
    # The hours of a day that have the same minutes share a job.
    minutes_of: dict[int, list[int]] = {}
    for tick in range(0, _DAY, period):
        minutes_of.setdefault(tick // 60, []).append(tick % 60)
    hours_of: dict[tuple[int, ...], list[int]] = {}
    for hour, minutes in minutes_of.items():
        hours_of.setdefault(tuple(minutes), []).append(hour)
    for same, hours in hours_of.items():
        # The neutral grammar writes a field in the shortest way.
        text = f"{','.join(map(str, same))} {','.join(map(str, hours))} * * *"
        yield Expression(parse(text).text, "UTC", only)
