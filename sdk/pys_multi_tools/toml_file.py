"""A TOML file that knows on which line each key stands: the standard parser gives values without positions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pys_multi_tools.errors import SettingsError

_HEADER = re.compile(r"^\s*\[\[?[^\[\]]+\]\]?\s*(#.*)?$")
_LINE_IN_MESSAGE = re.compile(r"\(at line (\d+), column \d+\)")

KeyPath = tuple[str, ...]


class TomlFile:
    """One parsed TOML file, seen from one of its tables.

    path: the file.
    table: dotted path of the table that is read, as a tuple; () is the whole document.
    data: that table; empty when the file has none.
    """

    def __init__(self, path: Path, table: KeyPath = ()) -> None:
        self.path = path
        self.table = table
        try:
            self._text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as exc:
            raise SettingsError(f"is not UTF-8: {exc.reason} at byte {exc.start}", where=path.name) from exc
        except OSError as exc:
            raise SettingsError(f"cannot be read: {exc.strerror}", where=str(path)) from exc
        try:
            document = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as exc:
            raise _syntax_error(path, exc) from exc
        self._lines: dict[KeyPath, int] | None = None
        found: Any = document
        for key in table:
            found = found.get(key, {}) if isinstance(found, dict) else {}
        if not isinstance(found, dict):
            raise SettingsError(f"'{'.'.join(table)}' must be a table", where=path.name)
        self.data: dict[str, Any] = found

    def where(self, keys: KeyPath) -> str:
        """Return "file:line" of a key below the table, or of the nearest table around it that has a line."""
        lines = self._index()
        full = (*self.table, *keys)
        for end in range(len(full), 0, -1):
            if full[:end] in lines:
                return f"{self.path.name}:{lines[full[:end]]}"
        return self.path.name

    def _index(self) -> dict[KeyPath, int]:
        if self._lines is None:
            self._lines = _key_lines(self._text, self.table)
        return self._lines


def _key_lines(text: str, wanted: KeyPath) -> dict[KeyPath, int]:
    """Map each key path at or below ``wanted`` to its line, by letting tomllib parse one statement at a time.

    A statement ends with the first line at which the lines gathered so far parse, which needs no second TOML
    grammar here. Tables that cannot hold ``wanted`` are skipped, so a long pyproject.toml costs nothing.
    """
    lines: dict[KeyPath, int] = {}
    prefix: KeyPath = ()
    gathered: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not gathered and _HEADER.match(line):
            header = _parse(line)
            if header is None:
                continue  # a row of a multi-line array in a table that is skipped
            prefix = next(iter(_paths(header, leaves_only=True)), ())
            lines.setdefault(prefix, number)
            continue
        if prefix[: len(wanted)] != wanted[: len(prefix)]:
            continue
        if not gathered and not line.strip():
            continue
        start = start if gathered else number
        gathered.append(line)
        parsed = _parse("\n".join(gathered))
        if parsed is not None:
            gathered = []
            for keys in _paths(parsed):
                lines.setdefault((*prefix, *keys), start)
    return lines


def _parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _paths(data: Mapping[str, Any], leaves_only: bool = False) -> list[KeyPath]:
    found: list[KeyPath] = []
    for key, value in data.items():
        below = _paths(value, leaves_only) if isinstance(value, dict) else []
        if not (leaves_only and below):
            found.append((key,))
        found.extend((key, *keys) for keys in below)
    return found


def _syntax_error(path: Path, exc: tomllib.TOMLDecodeError) -> SettingsError:
    message = str(exc)
    at = _LINE_IN_MESSAGE.search(message)
    where = f"{path.name}:{at.group(1)}" if at else path.name
    return SettingsError(f"is not valid TOML: {_LINE_IN_MESSAGE.sub('', message).strip()}", where=where)
