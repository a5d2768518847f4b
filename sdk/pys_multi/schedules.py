"""When a schedule runs: one neutral grammar, which every provider translates into its cloud's dialect.

    every 15 minutes            N minutes, hours or days, counted from 1970-01-01T00:00Z
    0 6 * * MON-FRI             five fields of unix cron, in a named time zone
    @daily                      a name for one of five crons

``every`` needs no memory of the last run: the ticks are the multiples of N since the epoch, so that two
instances, a restart and a redeploy all agree on them. It knows no daylight saving time.

A cron reads the clock on the wall of its time zone. Where the clocks jump forward, a time that does not
exist runs at the first minute that does; where they go back, a time that exists twice runs the first time.
So a daily run happens exactly once a day. Who wants a steady rhythm through such a night uses ``every``.

If both day fields are restricted, a day that matches either one runs, as in unix cron (POSIX crontab); a
field that lists every value is the same as ``*``.

Parsing looks at no time zone database, because a function defines its schedules on a host that may have
none; ``zone()`` and ``next_after()`` do.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime, tzinfo
    from typing import NoReturn

_UNIT_MINUTES = {"minute": 1, "hour": 60, "day": 1440}
_MAX_DAYS = 366

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTH_NAMES = {name: number for number, name in enumerate(_MONTHS, 1)}
_WEEKDAY_NAMES = {name: number for number, name in enumerate(_WEEKDAYS)}
_LONGEST_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# (name, lowest, highest as written, names); a weekday of 7 is Sunday, as 0 is.
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTH_NAMES),
    ("day of week", 0, 7, _WEEKDAY_NAMES),
)


class _Frozen:
    """What both kinds of schedule are: frozen, equal by what they mean, and written in one canonical way."""

    __slots__ = ("text", "timezone")
    text: str
    timezone: str

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a schedule is frozen; {name} cannot be set")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Frozen):
            return NotImplemented
        return self.text == other.text and self.timezone == other.timezone

    def __hash__(self) -> int:
        return hash((self.text, self.timezone))

    def __repr__(self) -> str:
        return f"<Schedule {self.text!r} {self.timezone}>"

    def zone(self) -> tzinfo:
        """The time zone. Raises DefinitionError where the host's time zone database does not know it."""
        return load_zone(self.timezone)


class Every(_Frozen):
    """Every so many minutes.

    text: canonical, ``parse`` reads it back to an equal schedule. minutes: the period; count and unit: the
    same as the text says it. timezone: always UTC.
    """

    __slots__ = ("count", "minutes", "unit")
    minutes: int
    count: int
    unit: str

    def __init__(self, minutes: int) -> None:
        unit = next(unit for unit in ("day", "hour", "minute") if minutes % _UNIT_MINUTES[unit] == 0)
        count = minutes // _UNIT_MINUTES[unit]
        _set(self, minutes=minutes, count=count, unit=unit, timezone="UTC")
        _set(self, text=f"every {count} {unit}{'' if count == 1 else 's'}")

    def next_after(self, moment: datetime) -> datetime:
        """The first tick strictly after an aware ``moment``, in UTC. Raises ValueError for a naive one."""
        from datetime import UTC, datetime, timedelta

        _require_aware(moment)
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        period = timedelta(minutes=self.minutes)
        return epoch + ((moment - epoch) // period + 1) * period


class Cron(_Frozen):
    """A five-field unix cron in a time zone, each field as the sorted values it allows.

    text: canonical, ``parse`` reads it back to an equal schedule. timezone: an IANA name.
    minutes, hours, days, months, weekdays: what matches; weekdays count from 0, Sunday, to 6.
    any_day, any_weekday: whether that field allows every value and so restricts nothing.
    """

    __slots__ = ("any_day", "any_weekday", "days", "hours", "minutes", "months", "weekdays")
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    any_day: bool
    any_weekday: bool

    def __init__(self, fields: tuple[tuple[int, ...], ...], timezone: str) -> None:
        minutes, hours, days, months, weekdays = fields
        _set(self, minutes=minutes, hours=hours, days=days, months=months, weekdays=weekdays)
        _set(self, any_day=len(days) == 31, any_weekday=len(weekdays) == 7)
        _set(self, timezone=timezone, text=" ".join(self.fields))

    @property
    def fields(self) -> tuple[str, str, str, str, str]:
        """The canonical text of each field: numbers only, and no field means more than unix cron agrees on.

        Where both day fields are restricted, none begins with ``*``: implementations differ on whether
        ``*/2`` there means "or" or "and", so it is written ``1-31/2``.
        """
        star = self.any_day or self.any_weekday
        return (
            _canonical(self.minutes, 0, 59),
            _canonical(self.hours, 0, 23),
            _canonical(self.days, 1, 31, star),
            _canonical(self.months, 1, 12),
            _canonical(self.weekdays, 0, 6, star),
        )

    def next_after(self, moment: datetime) -> datetime:
        """The first tick strictly after an aware ``moment``, in UTC.

        Raises ValueError for a naive datetime, OverflowError past the year 9999, and DefinitionError
        where the host's time zone database does not know the zone.
        """
        from datetime import UTC

        _require_aware(moment)
        zone = self.zone()
        moment = moment.astimezone(UTC)
        # The walls come in order, and so do the instants they stand for: the first later one is next. No wall
        # before this one stands for a later instant, for a gap moves its ticks to the end of the gap only.
        for wall in self._walls_after(moment.astimezone(zone).replace(tzinfo=None)):
            instant = _instant(wall, zone)
            if instant > moment:
                return instant
        raise OverflowError("the schedule has no tick before the year 10000")

    def _walls_after(self, wall: datetime) -> Iterator[datetime]:
        from datetime import date, datetime, timedelta

        hour, minute = wall.hour, wall.minute + 1
        day = wall.date()
        while day < date.max:
            if day.month not in self.months:
                hour = minute = 0
                if day.year == 9999 and day.month == 12:
                    return
                day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
                continue
            if self._runs_on(day):
                for at_hour in self.hours:
                    if at_hour < hour:
                        continue
                    for at_minute in self.minutes:
                        if at_hour > hour or at_minute >= minute:
                            yield datetime(day.year, day.month, day.day, at_hour, at_minute)
            hour = minute = 0
            day += timedelta(days=1)

    def _runs_on(self, day: date) -> bool:
        by_weekday = day.isoweekday() % 7 in self.weekdays
        by_day = day.day in self.days
        return (by_weekday and by_day) if self.any_day or self.any_weekday else (by_weekday or by_day)


Schedule = Every | Cron


def parse(text: str, timezone: str = "UTC") -> Schedule:
    """A schedule from its text: ``every N minutes``, five cron fields, or ``@daily`` and its like.

    Raises DefinitionError, which names the field that is wrong.
    """
    if not isinstance(text, str):
        raise DefinitionError(f"a schedule is text such as '0 6 * * MON-FRI', not {text!r}")
    if text.strip().lower().startswith("every"):
        if timezone != "UTC":
            raise DefinitionError(
                f"schedule {text!r}: 'every' counts from the epoch and has no time zone; leave timezone out, "
                f"or say the times as a cron"
            )
        return every(text)
    return cron(text, timezone)


def every(text: str) -> Every:
    """A schedule from ``15 minutes``, ``1 hour``, ``2 days``; a leading ``every`` may stand there too.

    Raises DefinitionError.
    """
    if not isinstance(text, str):
        raise DefinitionError(f"every() takes text such as '15 minutes', not {text!r}")

    def refuse(why: str) -> NoReturn:
        raise DefinitionError(f"every({text!r}): {why}")

    words = text.lower().split()
    if words[:1] == ["every"]:
        del words[0]
    if len(words) != 2 or not (words[0].isascii() and words[0].isdigit()):
        refuse("expected a whole number and a unit, such as '15 minutes', '1 hour' or '2 days'")
    if len(words[0]) > 9:
        refuse(f"the longest period is {_MAX_DAYS} days")
    count, unit = int(words[0]), words[1]
    singular = unit.removesuffix("s")
    if count == 0:
        refuse("the period cannot be zero")
    if singular == "second":
        if count % 60:
            refuse("clouds schedule in whole minutes; use a number of seconds divisible by 60, or minutes")
        count, singular = count // 60, "minute"
    if singular not in _UNIT_MINUTES or unit.endswith("ss"):
        refuse(f"{unit!r} is not a unit; use minutes, hours or days, or a cron for weeks, months and years")
    minutes = count * _UNIT_MINUTES[singular]
    if minutes > _MAX_DAYS * 1440:
        refuse(f"the longest period is {_MAX_DAYS} days")
    return Every(minutes)


def cron(text: str, timezone: str = "UTC") -> Cron:
    """A schedule from five unix cron fields, or a name such as ``@daily``.

    timezone: an IANA name such as ``Europe/Berlin``. Raises DefinitionError, which names the field.
    """
    _check_zone_name(timezone)
    written = text.strip()
    if written.startswith("@"):
        nickname = _NICKNAMES.get(written.lower())
        if nickname is None:
            raise DefinitionError(f"schedule {text!r}: there is {', '.join(_NICKNAMES)}; no other @name")
        written = nickname
    parts = written.split()
    if parts and "=" in parts[0]:
        raise DefinitionError(f"schedule {text!r}: the time zone is the timezone argument, not part of the cron")
    if len(parts) != 5:
        extra = " (no seconds and no year)" if len(parts) in (6, 7) else ""
        raise DefinitionError(
            f"schedule {text!r}: a cron has five fields, minute, hour, day of month, month and day of "
            f"week{extra}; here are {len(parts)}"
        )
    fields = tuple(_Field(text, part, *spec).values() for part, spec in zip(parts, _FIELDS, strict=True))
    days, months, weekdays = fields[2], fields[3], fields[4]
    if len(weekdays) == 7 and days[0] > max(_LONGEST_MONTH[month] for month in months):
        raise DefinitionError(f"schedule {text!r}: never runs, for no such month has a day {days[0]}")
    return Cron(fields, timezone)


class _Field:
    """One field while it is parsed; knows how to complain."""

    __slots__ = ("high", "low", "name", "names", "part", "text")

    def __init__(self, text: str, part: str, name: str, low: int, high: int, names: dict[str, int]) -> None:
        self.text = text
        self.part = part
        self.name = name
        self.low = low
        self.high = high
        self.names = names

    def refuse(self, why: str) -> NoReturn:
        raise DefinitionError(f"schedule {self.text!r}: {self.name} {self.part!r}: {why}")

    def values(self) -> tuple[int, ...]:
        """The sorted values that the field allows."""
        if "?" in self.part:
            self.refuse("'?' is AWS's and Quartz's way to say that a day field restricts nothing; write '*'")
        values: set[int] = set()
        for item in self.part.split(","):
            values.update(self._item(item))
        if self.high == 7 and 7 in values:
            values.discard(7)
            values.add(0)
        return tuple(sorted(values))

    def _item(self, item: str) -> range:
        span, slash, step_text = item.partition("/")
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = self.low, 6 if self.high == 7 else self.high
        else:
            first = self._number(first_text)
            last = self._number(last_text) if dash else first
            if dash and self.high == 7 and last == 0 < first:
                last = 7  # SAT-SUN: the Sunday after
            if last < first:
                self.refuse(
                    f"{span} runs backwards; write it as two ranges, {first_text}-{self.high},{self.low}-{last_text}"
                )
        if not slash:
            return range(first, last + 1)
        if not (step_text.isascii() and step_text.isdigit()) or len(step_text) > 4:
            self.refuse(f"the step after '/' is a number, not {step_text!r}")
        step = int(step_text)
        if span != "*" and not dash:
            self.refuse(f"a step needs a range: write {first}-{self.high}/{step}")
        if not 1 <= step <= last - first:
            self.refuse(f"a step of {step} does not fit into {first}-{last}")
        return range(first, last + 1, step)

    def _number(self, text: str) -> int:
        named = self.names.get(text.upper())
        if named is not None:
            return named
        if not (text.isascii() and text.isdigit()) or len(text) > 4:
            if not text:
                self.refuse("a value is missing")
            if text == "*":
                self.refuse("'*' stands alone or before '/'")
            if "#" in text or text.upper() == "H" or text[-1] in "LW":
                self.refuse("L, W, # and H are not unix cron; no such rule runs the same on every cloud")
            allowed = f"{self.low}-{self.high}" + (f" or {'/'.join(self.names)}" if self.names else "")
            self.refuse(f"{text!r} is not a value; allowed is {allowed}")
        number = int(text)
        if not self.low <= number <= self.high:
            self.refuse(f"{number} is outside of {self.low}-{self.high}")
        return number


def _canonical(values: tuple[int, ...], low: int, high: int, star: bool = True) -> str:
    """The values as one field: ``*``, ``*/15``, ``9-17/2`` or a list of values and ranges."""
    if len(values) == high - low + 1:
        return "*"
    if len(values) >= 3:
        step = values[1] - values[0]
        if step > 1 and values == tuple(range(values[0], values[-1] + 1, step)):
            if values[0] == low and values[-1] + step > high:
                return f"*/{step}" if star else f"{low}-{high}/{step}"
            return f"{values[0]}-{values[-1]}/{step}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) >= 3 else ",".join(str(value) for value in run) for run in runs)


def _check_zone_name(name: str) -> None:
    """The form of an IANA name: words of letters, digits and ``_+-`` joined by slashes."""
    words = name.split("/") if isinstance(name, str) else []
    if not words or not all(
        word and word.isascii() and word.replace("_", "a").replace("+", "a").replace("-", "a").isalnum()
        for word in words
    ):
        raise DefinitionError(f"{name!r} is not a time zone; use an IANA name such as 'Europe/Berlin'")


def load_zone(name: str) -> tzinfo:
    """The time zone of an IANA name. Raises DefinitionError where the host does not know it."""
    from datetime import UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    if name == "UTC":
        return UTC
    _check_zone_name(name)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    from difflib import get_close_matches

    known = available_timezones()
    if not known:
        raise DefinitionError(
            f"no time zone database on this host to look {name!r} up in; add the package tzdata"
        ) from None
    near = get_close_matches(name, known, 1, 0.7)
    hint = f"did you mean {near[0]!r}?" if near else "use an IANA name such as 'Europe/Berlin'"
    raise DefinitionError(f"there is no time zone {name!r}; {hint}")


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    """The instant, in UTC, at which a tick on this wall clock runs."""
    from datetime import UTC, timedelta

    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant  # of two, fold=0 is the first
    # In a gap, fold=0 takes the offset from before the jump and so lands behind it, fold=1 ahead of it.
    after, before = instant, wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    return after


def _require_aware(moment: datetime) -> None:
    if moment.utcoffset() is None:
        raise ValueError("a naive datetime names no moment; give it a time zone, such as datetime.now(UTC)")


def _set(schedule: _Frozen, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(schedule, name, value)
