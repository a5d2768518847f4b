"""What things are called on Azure: stable, within each service's limit, and never the same for two things.

    shop-dev-api-1a2b3c4d      a function app, its plan and its identity: service, stage, name, and the end
    shop-dev-1a2b3c4d          what the whole service has: namespace, vault, workspace, insights
    shopdevd1a2b3c4d           its storage accounts, which take no hyphen ("d": data; "h": the hosts' own)
    orders, for.worker-ship    a queue or topic of the service; what a subscriber or a bucket's events wait in

The end makes a name unique in the world; it is a hash of the subscription, the group, the service and the stage,
so that two of those never meet. Templates do not know it: there it is a parameter. What is too long keeps its
beginning and a hash of the whole. Limits: "Naming rules and restrictions for Azure resources", 2026-11.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

#: Stands for the end of names where it is not known; :func:`pys_multi_providers.azure.expressions.sub` reads it.
UNIQUE = "${unique}"
#: Length of the end.
_END = 8
#: The first 32 letters of an app's name tell the Functions host whose locks and timers are whose.
_SITE = 32


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one service at one stage. unique: their end, where it is known."""

    service: str
    stage: str
    unique: str = UNIQUE

    # ---- one of each for a service at a stage

    @property
    def storage(self) -> str:
        """The storage account (24 letters and digits) of buckets, tables, packages and releases."""
        return self._account("d")

    @property
    def host_storage(self) -> str:
        """The storage account in which the Functions hosts keep locks, timers and keys."""
        return self._account("h")

    @property
    def namespace(self) -> str:
        """The Service Bus namespace (50, no two hyphens in a row)."""
        return re.sub("-+", "-", self._ending(50))

    @property
    def vault(self) -> str:
        """The Key Vault (24, no two hyphens in a row)."""
        return re.sub("-+", "-", self._plain(24 - 1 - _END)) + f"-{self.unique}"

    @property
    def workspace(self) -> str:
        """The Log Analytics workspace (63)."""
        return self._ending(63)

    @property
    def insights(self) -> str:
        """Application Insights (260)."""
        return self._ending(63)

    @property
    def system_topic(self) -> str:
        """What tells of the storage account's blobs (50)."""
        return self._ending(50)

    @property
    def events_identity(self) -> str:
        """In whose name that is passed on (128)."""
        return self._ending(63)

    @property
    def deployment(self) -> str:
        """The ARM deployment (64)."""
        return self._ending(64)

    # ---- one of each for a function

    def site(self, function: str) -> str:
        """A function app (32, of the 60 that are allowed)."""
        return self._ending(_SITE, function)

    def plan(self, function: str) -> str:
        """Its plan (60)."""
        return self._ending(60, function)

    def identity(self, function: str) -> str:
        """Its identity (128)."""
        return self._ending(128, function)

    def package_container(self, function: str) -> str:
        """The container that its package is in (63)."""
        return _container(f"{_OWN}package-{function}")

    # ---- what is inside of those

    @property
    def releases(self) -> str:
        """The container of releases."""
        return f"{_OWN}releases"

    @property
    def undelivered(self) -> str:
        """The container of blob events that their queue did not take."""
        return f"{_OWN}undelivered"

    def queue(self, queue: str) -> str:
        """A queue (260)."""
        return queue if queue[-1].isalnum() else f"{queue}-{_hash(queue)}"

    def topic(self, topic: str) -> str:
        """A topic (260); no resource of a service has the name of another."""
        return self.queue(topic)

    def inbox(self, trigger: str) -> str:
        """The queue of a bucket's events for one trigger (260)."""
        return fit(f"for.{_words(trigger)}", 260)

    def subscription(self, trigger: str) -> str:
        """A subscription of a topic (50), or of blob events (64)."""
        return fit(_words(trigger), 50)

    def container(self, bucket: str) -> str:
        """The container of a bucket (63 lower-case letters, digits and single hyphens)."""
        return _container(bucket, may_be_own=False)

    def table(self, table: str) -> str:
        """A table (63 letters and digits)."""
        plain = re.sub("[^A-Za-z0-9]", "", table)
        taken = plain.lower() == "tables"
        return plain if plain == table and len(plain) >= 3 and not taken else f"{plain[: 63 - 8]}{_hash(table)}"

    def secret(self, secret: str) -> str:
        """A secret of the Key Vault (127 letters, digits and hyphens)."""
        plain = re.sub("[^A-Za-z0-9-]", "-", secret)
        return plain if plain == secret else f"{plain}-{_hash(secret)}"

    # ----

    def _plain(self, limit: int, *name: str) -> str:
        return fit("-".join((self.service, self.stage, *name)), limit)

    def _ending(self, limit: int, *name: str) -> str:
        return f"{self._plain(limit - 1 - _END, *name)}-{self.unique}"

    def _account(self, kind: str) -> str:
        return f"{self.service}{self.stage}".replace("-", "")[: 24 - 1 - _END] + f"{kind}{self.unique}"


#: What the names of our own containers begin with.
_OWN = "pys-multi-"


def is_own(container: str) -> bool:
    """Whether a container is pys-multi's; those of users' buckets have no such names."""
    return container.startswith(_OWN)


def unique(subscription: str, resource_group: str, service: str, stage: str) -> str:
    """The end of the names of one service at one stage in a resource group."""
    # Ids and names of groups are the same in any case.
    return _hash(json.dumps([subscription.lower(), resource_group.lower(), service, stage]))


def fit(text: str, limit: int) -> str:
    """The text, or its beginning and a hash of it where it is longer than the limit."""
    return text if len(text) <= limit else f"{text[: limit - 9].rstrip('-.')}-{_hash(text)}"


def _container(name: str, *, may_be_own: bool = True) -> str:
    plain = re.sub("-+", "-", re.sub("[^a-z0-9]", "-", name.lower())).strip("-")
    is_free = may_be_own or not plain.startswith(_OWN)
    return fit(plain, 63) if plain == name and len(plain) >= 3 and is_free else f"{plain[:54].strip('-')}-{_hash(name)}"


def _words(trigger: str) -> str:
    """A trigger's id in letters, digits and hyphens; a handler's name may have others in it."""
    function, _, handler = trigger.partition(":")
    plain = re.sub("[^A-Za-z0-9-]", "-", trigger).strip("-")
    # Azure does not tell names apart by case, and a hyphen in the handler could be the one that ends the function.
    is_plain = plain == f"{function}-{handler}" and plain == plain.lower() and "-" not in handler
    return plain if is_plain else f"{plain}-{_hash(trigger)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_END]
