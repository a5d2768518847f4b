"""Azure Monitor Logs: records of apps, and the few operators of Kusto that are asked with."""

from __future__ import annotations

import json
from typing import Any

from tests.support.arm.data import Reply
from tests.support.arm.resources import World

Json = dict[str, Any]


class Logs:
    """tables: rows by table, as dictionaries."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tables: dict[str, list[Json]] = {"AppTraces": [], "AppExceptions": [], "AppRequests": []}

    def answer(self, method: str, path: str, body: Json) -> Reply:
        return 404, {"content-type": "application/json"}, json.dumps({"error": {"code": "PathNotFoundError"}}).encode()
