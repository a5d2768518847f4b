"""The logs of a stage: one file of JSON lines per function, rotated by size, read by ``pys-multi logs``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pys_multi_tools.deployment import LogRecord
from pys_multi_tools.journal import fields_of

#: Former files that are kept of each function.
KEPT = 4
#: What is kept of one line, in bytes.
LONGEST = 64 * 1024
_POLL = 0.1
# What pys_multi.logs calls them; everything else of a record is in its fields.
_KNOWN = ("time", "level", "message", "request_id", "function")


class Journal:
    """Writes. It never raises: a log that cannot be written must not stop the service."""

    def __init__(self, directory: Path, *, max_bytes: int = 10_000_000) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._files: dict[str, tuple[int, int]] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def output(self, function: str, instance: str, lines: list[bytes]) -> None:
        """Lines that an instance printed: a JSON record of pys_multi.logs, or anything else."""
        now = time.time()
        self._write(function, [_parse(line, now, instance) for line in lines if line.strip()])

    def note(self, function: str, level: str, message: str, instance: str) -> None:
        """Something that the supervisor has to say about a function."""
        record = {"time": time.time(), "level": level, "message": message, "instance": instance, "source": "supervisor"}
        self._write(function, [record])

    def close(self) -> None:
        for descriptor, _ in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _write(self, function: str, records: list[dict[str, Any]]) -> None:
        if not records:
            return
        data = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()
        try:
            descriptor, size = self._open(function)
            if size and size + len(data) > self._max_bytes:
                self._rotate(function)
                descriptor, size = self._open(function)
            os.write(descriptor, data)
            self._files[function] = (descriptor, size + len(data))
        except OSError:
            pass

    def _open(self, function: str) -> tuple[int, int]:
        if function not in self._files:
            path = self._directory / f"{function}.log"
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._files[function] = (descriptor, os.fstat(descriptor).st_size)
        return self._files[function]

    def _rotate(self, function: str) -> None:
        os.close(self._files.pop(function)[0])
        for number in range(KEPT, 0, -1):
            source = self._directory / (f"{function}.log.{number - 1}" if number > 1 else f"{function}.log")
            if source.exists():
                source.replace(self._directory / f"{function}.log.{number}")


def _parse(line: bytes, now: float, instance: str) -> dict[str, Any]:
    if line.startswith(b"{"):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("message"), str):
            at = record.get("time")
            # The record knows best when it was made, unless it is somebody else's idea of a time.
            record["time"] = at if isinstance(at, int | float) and now - 3600 < at <= now else now
            record["instance"] = instance
            return record
    cut = line[:LONGEST].rstrip(b"\r").decode(errors="replace")
    return {"time": now, "level": "info", "message": cut, "instance": instance}


class _Reader:
    """One function's files, from the oldest to the newest, and on."""

    def __init__(self, directory: Path, function: str) -> None:
        self.function = function
        self._path = directory / f"{function}.log"
        self._file: Any = None
        self._rest = b""

    def former(self, since: float) -> Iterator[dict[str, Any]]:
        for number in range(KEPT, 0, -1):
            path = self._path.with_name(f"{self._path.name}.{number}")
            try:
                # A file that was last written before the time asked for holds nothing of it.
                data = path.read_bytes() if path.stat().st_mtime >= since else b""
            except OSError:
                continue
            yield from _records(data.splitlines())

    def new(self) -> Iterator[dict[str, Any]]:
        """What was written since the last call."""
        while True:
            if self._file is None:
                try:
                    self._file = self._path.open("rb")
                except OSError:
                    return
            lines = (self._rest + self._file.read()).split(b"\n")
            self._rest = lines.pop()
            yield from _records(lines)
            if not self._was_rotated():
                return
            yield from _records((self._rest + self._file.read()).split(b"\n"))
            self.close()

    def _was_rotated(self) -> bool:
        try:
            return bool(os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino)
        except OSError:
            return False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""


def read(
    directory: Path,
    *,
    function: str | None = None,
    since: float | None = None,
    follow: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[LogRecord]:
    """The records of one function, or of all, in order of time; with ``follow`` it goes on for ever."""
    start = since or 0.0
    readers: dict[str, _Reader] = {}
    try:
        while True:
            batch: list[LogRecord] = []
            for path in sorted(directory.glob("*.log")):
                name = path.name.removesuffix(".log")
                if name in readers or (function is not None and name != function):
                    continue
                readers[name] = _Reader(directory, name)
                batch += (_to_record(record, name) for record in readers[name].former(start))
            for reader in readers.values():
                batch += (_to_record(record, reader.function) for record in reader.new())
            yield from sorted((record for record in batch if record.time >= start), key=lambda record: record.time)
            if not follow:
                return
            wait(_POLL)
    finally:
        for reader in readers.values():
            reader.close()


def _records(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a line that a crash cut off
        if isinstance(record, dict):
            yield record


def _to_record(record: dict[str, Any], function: str) -> LogRecord:
    instance = str(record.pop("instance", ""))
    return LogRecord(
        time=float(record["time"]),
        level=str(record.get("level", "info")).lower(),
        function=function,
        message=str(record.get("message", "")),
        request_id=str(record.get("request_id", "")),
        instance=instance,
        fields=fields_of(record),
    )
