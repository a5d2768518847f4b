"""What is left when a service goes: what holds data, a vault that keeps its name, what Azure made beside, the group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pys_multi_providers.azure import changes
from pys_multi_providers.azure.client import RESOURCES, Cloud
from pys_multi_providers.azure.errors import AzureError
from pys_multi_providers.azure.inventory import Remover, Thing
from pys_multi_providers.azure.kinds import KINDS, VERSIONS
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError
from pys_multi_tools.patience import Pause

Json = dict[str, Any]

#: What a user's data is in; what these are in stays with them.
_INNER = ("container", "table", "queue", "subscription")
#: Seconds until a vault is gone for good.
_PURGED = 120.0


class Leftovers:
    """The end of one service at one stage. own: names of containers that are not a user's; insights: its name."""

    def __init__(
        self,
        cloud: Cloud,
        tags: Mapping[str, str],
        own: frozenset[str],
        insights: str,
        progress: Callable[[Progress], None],
    ) -> None:
        self._cloud, self._tags, self._own, self._insights, self._progress = cloud, tags, own, insights, progress

    def remove(self, things: list[Thing], *, delete_data: bool) -> list[Thing]:
        """Deletes them; returns what is kept because it holds data."""
        kept = [] if delete_data else [t for t in things if t.kind in _INNER and changes.holds_data(t.id, self._own)]
        for thing in kept:
            self._say("keep", str(thing))
        ids = {thing.id.lower() for thing in kept}
        around = {id for id in (t.id.lower() for t in things) if any(other.startswith(id + "/") for other in ids)}
        remover = Remover(self._cloud, self._progress)
        remover.remove([thing for thing in things if thing.id.lower() not in ids | around])
        remover.remove(self._made_by_azure())
        return kept

    def _made_by_azure(self) -> list[Thing]:
        """Azure makes a rule of alerts beside each Application Insights, and leaves it when that goes."""
        rule = f"failure anomalies - {self._insights}".lower()
        return [
            Thing(entry["id"], "alert_rule", entry)
            for entry in self._cloud.pages("resources", RESOURCES)
            if entry["type"].lower() == "microsoft.alertsmanagement/smartdetectoralertrules"
            and entry["name"].lower() == rule
        ]

    def remove_group(self, group: Json) -> None:
        """Deletes a group that deploy made, when nothing is in it any more."""
        tags = group.get("tags") or {}
        if any(tags.get(name) != value for name, value in self._tags.items()):
            return
        if next(self._cloud.pages("resources", RESOURCES), None) is not None:
            self._say("keep", f"resource group {self._cloud.resource_group}: there is more in it")
            return
        self._say("group", f"deleting {self._cloud.resource_group}, which deploy made")
        self._cloud.delete(self._cloud.group, RESOURCES)

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))


class DeletedVault:
    """A Key Vault that was deleted and keeps its name for days, with what is in it."""

    def __init__(self, cloud: Cloud, name: str, tags: Mapping[str, str], progress: Callable[[Progress], None]) -> None:
        self._cloud, self._name, self._tags, self._progress = cloud, name, tags, progress

    def recover(self, location: str) -> None:
        """Takes it up again, where there is one. Raises DeployError where it is somebody else's."""
        deleted = self._found(location)
        if deleted is None:
            return
        properties = deleted.get("properties") or {}
        if not self._is_ours(properties):
            raise DeployError(
                f"a deleted Key Vault of another group still has the name {self._name}",
                where=f"key vault {self._name}",
                hint=f"az keyvault purge --name {self._name}, or write another azure.suffix; nothing was changed",
            )
        self._say("vault", f"recovering {self._name}, which was deleted")
        id = f"{self._cloud.group}/providers/{KINDS['vault']}/{self._name}"
        settings = {"createMode": "recover", "tenantId": self._cloud.tenant, "sku": {"family": "A", "name": "standard"}}
        body = {"location": properties["location"], "tags": dict(self._tags), "properties": settings}
        self._cloud.arm("PUT", id, VERSIONS["vault"], body=body)
        pause = Pause()
        while self._cloud.found(id, VERSIONS["vault"]) is None:
            pause()

    def purge(self, location: str) -> None:
        """Frees its name, where that is allowed; it is told where it is not."""
        try:
            found = self._found(location)
            if found is None or not self._is_ours(found.get("properties") or {}):
                return
            if (found.get("properties") or {}).get("purgeProtectionEnabled"):
                self._say("keep", f"key vault {self._name}, deleted: its purge protection was asked for")
                return
            self._cloud.arm("POST", f"{self._id(location)}/purge", VERSIONS["vault"], may=(404,))  # asked twice
            # Its name is free when it is gone; a deploy that comes before finds it "being purged".
            deadline, pause = time.monotonic() + _PURGED, Pause()
            while self._found(location) is not None and time.monotonic() < deadline:
                pause()
        except AzureError as error:
            if not error.is_denied:
                raise
            self._say("keep", f"key vault {self._name}, deleted: purging it is not allowed; its name is free in days")

    def _is_ours(self, properties: Json) -> bool:
        return str(properties.get("vaultId", "")).lower().startswith(f"{self._cloud.group}/".lower())

    def _found(self, location: str) -> Json | None:
        return self._cloud.found(self._id(location), VERSIONS["vault"])

    def _id(self, location: str) -> str:
        place = self._cloud.location or location
        subscription = f"/subscriptions/{self._cloud.subscription}"
        return f"{subscription}/providers/Microsoft.KeyVault/locations/{place}/deletedVaults/{self._name}"

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))
