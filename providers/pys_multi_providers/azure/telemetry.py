"""Questions to Azure Monitor Logs, in Kusto, about the workspace of a stage ("Azure Monitor Log Analytics API")."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pys_multi_providers.azure.client import Cloud
from pys_multi_providers.azure.errors import AzureError
from pys_multi_providers.azure.kinds import VERSIONS

Json = dict[str, Any]


class Telemetry:
    """The workspace of one stage."""

    def __init__(self, cloud: Cloud, workspace: str) -> None:
        """workspace: its id in Resource Manager."""
        self._cloud, self._id = cloud, workspace
        self._customer: str | None = None

    def ask(self, query: str, start: float, end: float) -> list[Json]:
        """The rows of an answer, by name of the column; none where there is no workspace or nothing was logged yet.

        start, end: seconds since the epoch.
        """
        customer = self._customer_id()
        if not customer:
            return []
        body = json.dumps({"query": query, "timespan": f"{moment(start)}/{moment(end)}"}).encode()
        url = f"https://{self._cloud.logs_host}/v1/workspaces/{customer}/query"
        try:
            answer = self._cloud.call(
                "logs", "POST", url, headers={"Content-Type": "application/json"}, body=body
            ).json()
        except AzureError as error:
            if "Failed to resolve table" in error.what or error.code == "PathNotFoundError":
                return []  # a workspace knows a table once something is in it
            raise
        found = []
        for table in answer.get("tables") or ():
            columns = [column["name"] for column in table["columns"]]
            found += [dict(zip(columns, row, strict=True)) for row in table["rows"]]
        return found

    def _customer_id(self) -> str:
        if self._customer is None:
            found = self._cloud.found(self._id, VERSIONS["workspace"]) or {}
            self._customer = str((found.get("properties") or {}).get("customerId", ""))
        return self._customer


def text(value: str) -> str:
    """A text in Kusto."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def among(values: Iterable[str]) -> str:
    """A list of texts in Kusto."""
    return "(" + ", ".join(map(text, values)) + ")"


def moment(seconds: float) -> str:
    """ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
