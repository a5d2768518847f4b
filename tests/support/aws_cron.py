"""An evaluator of EventBridge Scheduler's cron, written from its user guide ("Schedule types", 2026-11) alone.

Six fields: minutes, hours, day of month, month, day of week (1 is Sunday), year. One of the two day fields is "?".
Times are those of a zone; one that does not exist is left out, one that exists twice is the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))


class AwsCron:
    """One expression, ``cron(0 6 ? * 2-6 *)``, in a time zone. Raises ValueError where AWS refuses it."""

    def __init__(self, expression: str, zone: str) -> None:
        found = re.fullmatch(r"cron\(([^()]+)\)", expression)
        fields = found[1].split(" ") if found else []
        if len(fields) != 6 or len(expression) > 256:
            raise ValueError(f"{expression!r} is not cron(six fields)")
        if (fields[2] == "?") == (fields[4] == "?"):
            raise ValueError(f"{expression!r}: one day field is '?', and only one")
        self._values = [_values(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)]
        self._zone = ZoneInfo(zone)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """When it goes off from ``start`` to before ``end``, in UTC."""
        minutes, hours, days, months, weekdays, years = self._values
        day = start.astimezone(self._zone).date() - timedelta(days=1)
        last = end.astimezone(self._zone).date()
        while day <= last:
            if day.month in months and day.year in years and self._on(day, days, weekdays):
                for hour in hours:
                    for minute in minutes:
                        wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self._zone)
                        instant = wall.astimezone(UTC)
                        exists = instant.astimezone(self._zone).replace(tzinfo=None) == wall.replace(tzinfo=None)
                        if exists and start <= instant < end:
                            yield instant
            day += timedelta(days=1)

    @staticmethod
    def _on(day: date, days: range | list[int] | None, weekdays: range | list[int] | None) -> bool:
        by_day = days is None or day.day in days
        return by_day and (weekdays is None or day.isoweekday() % 7 + 1 in weekdays)


def _values(field: str, low: int, high: int) -> list[int] | None:
    if field == "?":
        return None
    if field == "*":
        return list(range(low, high + 1))
    values: set[int] = set()
    for item in field.split(","):
        found = re.fullmatch(r"(\d+)(?:([-/])(\d+))?", item)
        if found is None:
            raise ValueError(f"{item!r} is no value, range or increment")
        first, sign, second = int(found[1]), found[2], int(found[3] or 0)
        if sign == "/" and second < 1:
            raise ValueError(f"{item!r} has no step")
        chosen = {None: [first], "-": range(first, second + 1), "/": range(first, high + 1, second or 1)}[sign]
        if not chosen or min(chosen) < low or max(chosen) > high:
            raise ValueError(f"{item!r} is outside of {low} to {high}")
        values.update(chosen)
    return sorted(values)
