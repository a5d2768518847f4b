"""Azure Monitor Logs: records of apps, and the few operators of Kusto that are asked with, strictly.

union T, …  |  T
| where COLUMN in~ ('a', …)
| project A, B, …
| order by A asc
| take N
| summarize name = sum(A) | sumif(A, B == true|false) | percentile(A, 95), … by C
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.support.arm.data import Reply
from tests.support.arm.expressions import Refused
from tests.support.arm.resources import World

Json = dict[str, Any]

_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'")
_AGGREGATE = re.compile(r"(\w+) = (sum|sumif|percentile)\((\w+)(?:, ([^)]+))?\)")


class Logs:
    """tables: rows by table, as dictionaries; columns that a row lacks are null."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tables: dict[str, list[Json]] = {}

    def add(self, table: str, **row: Any) -> None:
        """A row. TimeGenerated: as Azure writes it, with seven digits."""
        self.tables.setdefault(table, []).append(row)

    def trace(self, app: str, level: str, message: str, at: float) -> None:
        """What an app wrote, as Application Insights has it."""
        severity = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL").index(level)
        row: Json = {"AppRoleName": app, "AppRoleInstance": "0", "OperationId": "", "SeverityLevel": severity}
        self.add("AppTraces", TimeGenerated=_text(at), Message=message, **row)

    def request(self, app: str, status: int, duration: float) -> None:
        """A call of an app."""
        row: Json = {"AppRoleName": app, "DurationMs": duration, "Success": status < 500, "ItemCount": 1}
        self.add("AppRequests", TimeGenerated=_text(time.time()), **row)

    def answer(self, method: str, path: str, body: Json) -> Reply:
        match = re.fullmatch(r"/v1/workspaces/([^/]+)/query", path)
        workspaces = {
            e["properties"]["customerId"] for e in self._world.of_type("Microsoft.OperationalInsights/workspaces")
        }
        if method != "POST" or match is None or match.group(1) not in workspaces:
            raise Refused("PathNotFoundError", "The requested path does not exist", 404)
        start, end = map(_moment, body["timespan"].split("/"))
        rows = self._run(body["query"].split("\n"), start, end)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        table = {
            "name": "PrimaryResult",
            "columns": [{"name": name, "type": "dynamic"} for name in columns],
            "rows": [[row.get(name) for name in columns] for row in rows],
        }
        return 200, {"content-type": "application/json"}, json.dumps({"tables": [table]}).encode()

    def _run(self, lines: list[str], start: datetime, end: datetime) -> list[Json]:
        tables = [name.strip() for name in lines[0].removeprefix("union ").split(",")]
        if not any(name in self.tables for name in tables):
            raise Refused(
                "BadArgumentError", f"'where' operator: Failed to resolve table or column named '{tables[0]}'"
            )
        rows = [row for name in tables for row in self.tables.get(name, ())]
        rows = [row for row in rows if start <= _moment(row["TimeGenerated"]) <= end]
        for line in lines[1:]:
            rows = _step(line.removeprefix("| "), rows)
        return rows


def _step(text: str, rows: list[Json]) -> list[Json]:
    if match := re.fullmatch(r"where (\w+) in~ \((.*)\)", text):
        wanted = {re.sub(r"\\(.)", r"\1", value).lower() for value in _TEXT.findall(match.group(2))}
        return [row for row in rows if str(row.get(match.group(1), "")).lower() in wanted]
    if text.startswith("project "):
        names = [name.strip() for name in text.removeprefix("project ").split(",")]
        return [{name: row.get(name) for name in names} for row in rows]
    if match := re.fullmatch(r"order by (\w+) asc", text):
        return sorted(rows, key=lambda row: row[match.group(1)])
    if match := re.fullmatch(r"take (\d+)", text):
        return rows[: int(match.group(1))]
    if match := re.fullmatch(r"summarize (.*) by (\w+)", text):
        return _summarized(match.group(1), match.group(2), rows)
    raise Refused("SyntaxError", f"{text!r} is not known here")


def _summarized(text: str, by: str, rows: list[Json]) -> list[Json]:
    if _AGGREGATE.sub("", text).strip(", "):
        raise Refused("SyntaxError", f"{text!r} is not known here")
    groups: dict[Any, list[Json]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    found = []
    for value, members in groups.items():
        found.append({by: value, **{m[0]: _FUNCTIONS[m[1]](members, m[2], m[3]) for m in _AGGREGATE.findall(text)}})
    return found


def _sumif(rows: list[Json], column: str, condition: str) -> float:
    name, _, wanted = condition.partition(" == ")
    return sum(row[column] for row in rows if row[name] is (wanted == "true"))


def _percentile(rows: list[Json], column: str, share: str) -> float:
    values = sorted(row[column] for row in rows)
    return float(values[min(len(values) - 1, int(len(values) * int(share) / 100))])


_FUNCTIONS: dict[str, Callable[[list[Json], str, str], float]] = {
    "sum": lambda rows, column, _: sum(row[column] for row in rows),
    "sumif": _sumif,
    "percentile": _percentile,
}


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def _moment(text: str) -> datetime:
    head, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{(rest + '000000')[:6]}+00:00")
