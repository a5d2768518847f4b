"""What things are called on AWS: stable, within each service's limit, and never the same for two things.

    shop_dev_api                                             a function, topic, table, queue: service, stage, name
    shop_dev__dead_orders                                    what pys-multi adds: its third word begins with "_"
    shop-dev-receipts-1a2b3c4d-123456789012-eu-central-1     a bucket: unique in the world, no "_" allowed

Services, stages and functions have no "_" in their names and no name begins with one, so the words can be
told apart again, and two services in one account never meet. What is too long keeps its beginning and ends
in a hash of the whole. Limits: the "naming" sections of the services' API references, 2026-11.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

#: Longest name of a region, such as us-isob-east-1 or ap-southeast-1, with room for two more letters.
_REGION = 16
_ACCOUNT = 12
#: What is left of a role's 64 letters.
_ROLE = 64 - 1 - _REGION
#: What is left of a bucket's 63, before the account and region that end it.
_BUCKET = 63 - 2 - _ACCOUNT - _REGION
#: A pattern of IAM for a hash.
_ANY_HASH = "?" * 8
#: Name of the alias that every trigger calls.
ALIAS = "live"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one service at one stage."""

    service: str
    stage: str

    @property
    def stack(self) -> str:
        """The stack; 128 letters, digits and hyphens, so that a stage with a hyphen needs a hash to be told apart."""
        text = f"{self.service}-{self.stage}"
        return f"{text}-{_hash(self._joined())}" if "-" in self.stage else text

    @property
    def api(self) -> str:
        """The HTTP API (128), and the group of schedules (64)."""
        return fit(self._joined(), 64)

    def function(self, function: str) -> str:
        """A function (64)."""
        return fit(self._joined(function), 64)

    def role(self, function: str) -> str:
        """A role (64, and one for all regions: the template adds "-" and the region's name)."""
        return fit(self._joined(function), _ROLE)

    @property
    def roles(self) -> str:
        """The pattern of all of them."""
        return self.all(_ROLE)

    @property
    def scheduler_role(self) -> str:
        """The role of the schedules."""
        return self.role("_scheduler")

    def all(self, limit: int) -> str:
        """A pattern of IAM for every name of this stage and of no other, where they have that limit.

        Only where service and stage together nearly reach the limit, a name of another stage can fit it too.
        """
        return f"{self._joined('')[: limit - 9]}*"

    def log_group(self, function: str) -> str:
        """The log group of a function, where Lambda itself would put it."""
        return f"/aws/lambda/{self.function(function)}"

    @property
    def api_log_group(self) -> str:
        """The access log; this prefix keeps the log resource policy of the account short."""
        return f"/aws/vendedlogs/{self.api}"

    def queue(self, queue: str, *, ordered: bool = False) -> str:
        """A queue (80, with the ending)."""
        return self._queue(queue, ordered)

    def dead_queue(self, queue: str, *, ordered: bool = False) -> str:
        """The queue of what a queue could not deliver."""
        return self._queue(f"_dead_{queue}", ordered)

    def trigger_queue(self, trigger: str) -> str:
        """The queue between a topic or bucket and the function that a trigger belongs to."""
        return self._queue(f"_for_{_words(trigger)}", False)

    def dead_trigger_queue(self, trigger: str) -> str:
        """The queue of what such a queue could not deliver."""
        return self._queue(f"_deadfor_{_words(trigger)}", False)

    @property
    def dead_schedules(self) -> str:
        """The queue of the runs of schedules that failed."""
        return self._queue("_deadschedules", False)

    def topic(self, topic: str) -> str:
        """A topic (256)."""
        return fit(self._joined(topic), 256)

    def table(self, table: str) -> str:
        """A table (255)."""
        return fit(self._joined(table), 255)

    def bucket(self, bucket: str) -> str:
        """A bucket (63 lower-case letters, digits and hyphens), for ``Fn::Sub``: the account and region end it."""
        whole = self._joined(bucket)
        plain = _plain(whole)[: _BUCKET - 9].strip("-")
        return f"{plain}-{_hash(whole)}-${{AWS::AccountId}}-${{AWS::Region}}"

    def secret(self, secret: str) -> str:
        """A secret of Secrets Manager (512)."""
        return f"{self.service}/{self.stage}/{secret}"

    def schedule(self, trigger: str, part: int = 0) -> str:
        """A schedule (64) in the group of the stage; part counts those of one trigger."""
        text = _words(trigger)
        return fit(f"_{part}_{text}" if part else text, 64)

    def artefact(self, build: str) -> str:
        """The key of a bundle in the bucket of bundles; build may be a reference for ``Fn::Sub``."""
        return f"{self.service}/{self.stage}/{build}.zip"

    def _queue(self, name: str, ordered: bool) -> str:
        ending = ".fifo" if ordered else ""
        return fit(self._joined(name), 80 - len(ending)) + ending

    def _joined(self, *name: str) -> str:
        return "_".join((self.service, self.stage, *name))


class PreviewNames(Names):
    """Patterns of IAM for the names of every preview of a service: each stage that begins with ``pr-``."""

    __slots__ = ()

    def __init__(self, service: str) -> None:
        super().__init__(service, "pr-*")

    @property
    def stack(self) -> str:
        """A stage with a hyphen has a stack that ends in a hash."""
        return f"{self.service}-{self.stage}-{_ANY_HASH}"

    @property
    def api(self) -> str:
        """The HTTP APIs and groups of schedules; cut where one of them may be."""
        return f"{self._joined().removesuffix('*')[: 64 - 9]}*"

    def bucket(self, bucket: str) -> str:  # noqa: ARG002 (the number of the preview may leave no room for its name)
        """The buckets, all alike."""
        beginning, room = _plain(f"{self.service}-pr-"), _BUCKET - 9
        plain = f"{beginning}*" if len(beginning) < room else beginning[:room].strip("-")
        return f"{plain}-{_ANY_HASH}-${{AWS::AccountId}}-${{AWS::Region}}"


def artefact_bucket(account: str, region: str) -> str:
    """The bucket of bundles of an account in a region."""
    return f"pys-multi-{account}-{region}"


def logical(*words: str) -> str:
    """The logical id of a resource in the template: letters and digits, 255 at most.

    A word that cannot be read back from its capitals alone ends in a hash.
    """
    return "".join(_capitals(word) for word in words)


def fit(text: str, limit: int) -> str:
    """The text, or its beginning and a hash of it where it is longer than the limit."""
    return text if len(text) <= limit else f"{text[: limit - 9]}_{_hash(text)}"


@lru_cache(maxsize=100_000)  # every name stands in many ids
def _capitals(word: str) -> str:
    text = "".join(part[:1].upper() + part[1:] for part in re.split("[^A-Za-z0-9]+", word))
    back = re.sub("(?<!^)([A-Z])", r"-\1", text).lower()
    if back == word and len(text) <= 60:
        return text
    return f"{text[:50]}{_hash(word)}"


def _plain(text: str) -> str:
    """The text in the letters of a bucket's name."""
    return re.sub("[^a-z0-9]+", "-", text.lower())


def _words(trigger: str) -> str:
    """A trigger's id in letters that AWS takes; a handler's name may have others in it."""
    plain = re.sub("[^A-Za-z0-9_-]", "_", trigger)
    return plain if plain == trigger.replace(":", "_") else f"{plain}_{_hash(trigger)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
