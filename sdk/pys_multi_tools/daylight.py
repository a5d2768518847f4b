"""Times that clocks jump over: a neutral schedule runs at the first minute after them, and most clouds skip the run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pys_multi.errors import DefinitionError
from pys_multi.model import Schedule
from pys_multi.schedules import Cron, parse
from pys_multi_tools.deployment import Problem


def problems(schedule: Schedule, consequence: str) -> Iterator[Problem]:
    """What is wrong with a schedule on a cloud whose scheduler reads the wall clock. consequence: what it does with a
    time that does not exist."""
    try:
        when = skipped(schedule.expression, schedule.timezone, datetime.now(UTC))
    except DefinitionError as error:
        yield Problem(where=schedule.id, what=str(error), hint="correct the schedule")
        return
    if when is not None:
        yield Problem(
            where=schedule.id,
            what=f"on {when:%Y-%m-%d} the clocks of {schedule.timezone} jump over its time, and {consequence}",
            hint="choose an hour that exists on every day, or UTC",
            severity="warning",
        )


def skipped(expression: str, timezone: str, now: datetime) -> datetime | None:
    """The first time in the next two years that a scheduler which reads the wall clock skips, or None.

    It comes as the instant at which a neutral schedule runs instead. Raises DefinitionError for an unknown zone.
    """
    schedule = parse(expression, timezone)
    if not isinstance(schedule, Cron) or timezone == "UTC" or len(schedule.hours) == 24:
        return None
    zone = schedule.zone()
    end = now + timedelta(days=731)
    before = now
    while before < end:
        after = before + timedelta(days=1)
        jump = (after.astimezone(zone).utcoffset() or timedelta()) - (
            before.astimezone(zone).utcoffset() or timedelta()
        )
        if jump > timedelta():
            tick = schedule.next_after(before)
            while tick <= after:
                wall = tick.astimezone(zone)
                if wall.minute not in schedule.minutes or wall.hour not in schedule.hours:
                    return tick.astimezone(UTC)
                tick = schedule.next_after(tick)
        before = after
    return None
