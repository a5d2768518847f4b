"""What a command prints: data on stdout, the rest on stderr, readable without colour."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pys_multi_tools.deployment import Progress

#: Version of the JSON that every command prints; raised when a reader of the former one would misread it.
SCHEMA_VERSION = 1

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "bold": "1", "dim": "2"}


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Return ``text`` in a colour where the stream shows colours."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if has_colour(stream) else text


def has_colour(stream: TextIO) -> bool:
    """Whether to colour: NO_COLOR and FORCE_COLOR (any value but the empty one) decide, else the terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def is_interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")


def say(text: str) -> None:
    """Print a line that is not data."""
    print(text, file=sys.stderr)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a JSON document with its schema version."""
    print(json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=2, ensure_ascii=False))


def print_json_line(document: Mapping[str, Any]) -> None:
    """Print a JSON document on one line at once."""
    print(json.dumps({"schema_version": SCHEMA_VERSION, **document}, ensure_ascii=False), flush=True)


def plain(value: object) -> Any:
    """Return frozen results as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, without borders and without cutting anything."""
    texts = [["-" if cell is None or cell == "" else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    header = "  ".join(name.upper().ljust(width) for name, width in zip(headers, widths, strict=True)).rstrip()
    print(paint(header, "dim", sys.stdout))
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def milliseconds(value: float | None) -> str:
    """Return a latency for a person."""
    return "" if value is None else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def duration(seconds: float | None) -> str:
    """Return a time span for a person, in its largest two units."""
    if seconds is None:
        return ""
    rest = int(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def shown(path: Path) -> str:
    """Return a path as a person would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone. Raises typer.Abort for no, ToolError when nobody can answer."""
    if yes:
        return
    if not is_interactive():
        from pys_multi_tools.errors import ToolError

        raise ToolError("nobody is there to confirm", where=question, hint="add --yes")
    import typer

    typer.confirm(question, abort=True, err=True)


@contextlib.contextmanager
def progress_shown() -> Iterator[Callable[[Progress], None]]:
    """Show the steps of something long: a moving line in a terminal, one line a step elsewhere."""
    if sys.stderr.isatty() and not os.environ.get("CI"):
        with _live_progress() as callback:
            yield callback
        return
    last, lock = "", Lock()

    def line(progress: Progress) -> None:
        nonlocal last
        text = f"{progress.step}: {progress.text}" if progress.text else progress.step
        with lock:  # what is done side by side is told line by line
            if text != last:
                say(text)
                last = text

    yield line


@contextlib.contextmanager
def _live_progress() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.fields[step]:<10}"), BarColumn(20), TextColumn("{task.description}"))
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:

        def show(progress: Progress) -> None:
            if progress.step not in tasks:
                for task in tasks.values():
                    bars.update(task, total=1, completed=1)
                tasks[progress.step] = bars.add_task("", total=None, step=progress.step)
            task = tasks[progress.step]
            bars.update(task, description=progress.text.replace("[", "\\["))
            if progress.fraction is not None:
                bars.update(task, total=1, completed=progress.fraction)

        yield show
        for task in tasks.values():
            bars.update(task, total=1, completed=1)


def clock(seconds: float) -> str:
    """Return a time of day for a log line, local, to the millisecond."""
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}"
