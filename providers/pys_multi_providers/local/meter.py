"""What was counted, by function and minute: kept for a day, and across a restart of the supervisor."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: How long counts are kept, in seconds.
RETENTION = 24 * 3600.0
# Latencies are counted in steps of 7 %: a percentile is off by half a step at most.
_STEP = math.log(1.07)


class Counts:
    """Invocations, errors, throttles and latencies of one function in some time."""

    __slots__ = ("errors", "invocations", "latencies", "throttles")

    def __init__(self) -> None:
        self.invocations = 0
        self.errors = 0
        self.throttles = 0
        self.latencies: dict[int, int] = defaultdict(int)

    def add(self, other: Counts) -> None:
        self.invocations += other.invocations
        self.errors += other.errors
        self.throttles += other.throttles
        for step, count in other.latencies.items():
            self.latencies[step] += count

    def percentile(self, part: float) -> float | None:
        """Milliseconds within which this part (0 to 1) of the invocations ended; None without any."""
        wanted = math.ceil(part * sum(self.latencies.values()))
        seen = 0
        for step in sorted(self.latencies):
            seen += self.latencies[step]
            if seen >= wanted:
                return round(math.exp((step + 0.5) * _STEP), 3)
        return None

    def to_json(self) -> list[Any]:
        return [self.invocations, self.errors, self.throttles, list(self.latencies.items())]

    @classmethod
    def from_json(cls, document: list[Any]) -> Counts:
        counts = cls()
        counts.invocations, counts.errors, counts.throttles, latencies = document
        counts.latencies.update({int(step): int(count) for step, count in latencies})
        return counts


class Meter:
    """Counts in memory; :meth:`save` appends what is new to the file, one JSON line a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._minutes: dict[tuple[int, str], Counts] = _load(path)
        self._unsaved: dict[tuple[int, str], Counts] = {}
        self._compact()

    def record(self, function: str, milliseconds: float, error: bool) -> None:
        counts = self._now(function)
        counts.invocations += 1
        counts.errors += error
        counts.latencies[int(math.log(max(milliseconds, 0.001)) // _STEP)] += 1

    def throttled(self, function: str) -> None:
        self._now(function).throttles += 1

    def save(self) -> None:
        """Puts what was counted since the last time on the disk. Never raises: a full disk loses counts only."""
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        _append(self._path, unsaved)
        for key, counts in unsaved.items():
            self._minutes.setdefault(key, Counts()).add(counts)
        oldest = _minute(time.time() - RETENTION)
        for key in [key for key in self._minutes if key[0] < oldest]:
            del self._minutes[key]

    def since(self, moment: float) -> dict[str, Counts]:
        """The counts of every function from the minute of ``moment`` (seconds since the epoch) on."""
        return _sum((*self._minutes.items(), *self._unsaved.items()), moment)

    def _now(self, function: str) -> Counts:
        key = (_minute(time.time()), function)
        counts = self._unsaved.get(key)
        if counts is None:
            counts = self._unsaved[key] = Counts()
        return counts

    def _compact(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        if self._minutes:
            _append(temporary, self._minutes)
            temporary.replace(self._path)


def read(path: Path, moment: float) -> dict[str, Counts]:
    """What a supervisor that no longer runs has counted since ``moment``."""
    return _sum(_load(path).items(), moment)


def _sum(entries: Iterable[tuple[tuple[int, str], Counts]], moment: float) -> dict[str, Counts]:
    total: dict[str, Counts] = {}
    for (minute, function), counts in entries:
        if minute >= _minute(moment):
            total.setdefault(function, Counts()).add(counts)
    return total


def _minute(moment: float) -> int:
    return int(moment // 60)


def _append(path: Path, minutes: dict[tuple[int, str], Counts]) -> None:
    lines = [
        json.dumps([minute, function, counts.to_json()], separators=(",", ":")) + "\n"
        for (minute, function), counts in minutes.items()
    ]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))
    except OSError:
        pass


def _load(path: Path) -> dict[tuple[int, str], Counts]:
    minutes: dict[tuple[int, str], Counts] = {}
    oldest = _minute(time.time() - RETENTION)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return minutes
    for line in lines:
        try:
            minute, function, counts = json.loads(line)
            if minute >= oldest:
                minutes.setdefault((minute, function), Counts()).add(Counts.from_json(counts))
        except (ValueError, TypeError):
            continue  # a line that a crash cut off
    return minutes
