"""A TOML file that knows the line of each key: the standard parser gives values without positions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pys_multi_tools.errors import SettingsError

# Only a line with one of these can be the last of a value that spans lines.
_MAY_END = re.compile(r"""]|}|\"{3}|'{3}""")
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
        if self._text.startswith("\ufeff"):
            hint = "save it as UTF-8 without one (a BOM), which TOML does not know"
            raise SettingsError("begins with a byte order mark", where=path.name, hint=hint)
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
        if self._lines is None:
            self._lines = _key_lines(self._text)
        full = (*self.table, *keys)
        for end in range(len(full), 0, -1):
            if full[:end] in self._lines:
                return f"{self.path.name}:{self._lines[full[:end]]}"
        return self.path.name


def _key_lines(text: str) -> dict[KeyPath, int]:
    """Map each key path of the document to its line, by letting tomllib parse one statement at a time.

    A statement ends with the first line at which the lines gathered so far parse, so that no second TOML
    grammar is needed here. The text as a whole is known to be valid.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    gathered: list[str] = []
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        if gathered and not _MAY_END.search(line):
            gathered.append(line)
            continue
        start = start if gathered else number
        gathered.append(line)
        parsed = _parse("\n".join(gathered))
        if parsed is None:
            continue
        is_header = gathered[0].lstrip().startswith("[")
        gathered = []
        found = _paths(parsed)
        if is_header:
            table = max(found, key=len)
            lines.setdefault(table, start)
        else:
            for keys in found:
                lines.setdefault((*table, *keys), start)
    return lines


def _parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _paths(data: Mapping[str, Any]) -> list[KeyPath]:
    found: list[KeyPath] = []
    for key, value in data.items():
        below = _paths(value) if isinstance(value, dict) else []
        found.extend([(key,), *((key, *keys) for keys in below)])
    return found


def _syntax_error(path: Path, exc: tomllib.TOMLDecodeError) -> SettingsError:
    message = str(exc)
    at = _LINE_IN_MESSAGE.search(message)
    where = f"{path.name}:{at.group(1)}" if at else path.name
    return SettingsError(f"is not valid TOML: {_LINE_IN_MESSAGE.sub('', message).strip()}", where=where)
