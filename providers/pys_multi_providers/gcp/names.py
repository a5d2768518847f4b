"""What things are called on Google Cloud: stable, within each service's limit, and never the same for two things.

    shop-dev-api                      a function, topic, queue, secret, service account: service, stage, name
    shop-dev-jobs.dead                what pys-multi adds to a queue; no name of a service's has "." in it
    shop-dev.worker.resize            what pys-multi adds to a trigger
    shop-dev-receipts-1a2b3c4d5e      a bucket: unique in the world, by the project in its hash

A service or stage with a hyphen could be mistaken for another pair of them, so names of theirs end in a hash of the
whole; so does what is too long, which keeps its beginning. Limits: the documentation of each API in the discovery
documents of google-api-python-client 2.202, and "Bucket naming requirements" (2026-11).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

#: A function's service on Cloud Run bears its name, and has less room for it ("Cloud Run, services: 49 characters").
_FUNCTION, _ACCOUNT, _DATABASE, _BUCKET = 49, 30, 63, 63
_TOPIC, _SECRET, _JOB, _LOGS = 255, 255, 500, 100
#: The shortest names that Google takes for an account, and for a database.
_SHORTEST_ACCOUNT, _SHORTEST_DATABASE, _SHORTEST_FUNCTION = 6, 4, 4


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one service at one stage, in one project."""

    service: str
    stage: str
    project: str

    @property
    def owner(self) -> str:
        """How descriptions say whose a thing is, where a kind of thing has no labels."""
        return f"pys-multi {self.service}/{self.stage}"

    def function(self, function: str) -> str:
        """A function (4 to 49 lower-case letters, digits and hyphens)."""
        return self._joined(function, _FUNCTION, _SHORTEST_FUNCTION)

    def account(self, function: str) -> str:
        """The id of a function's service account (6 to 30)."""
        return self._joined(function, _ACCOUNT, _SHORTEST_ACCOUNT)

    @property
    def events_account(self) -> str:
        """The id of the account that Pub/Sub and Scheduler call with."""
        return self.own_account("events")

    def own_account(self, purpose: str) -> str:
        """The id of an account of pys-multi's own; no function can be called that."""
        text = f"{self.service}-{self.stage}-{purpose}"
        return f"{text[: _ACCOUNT - 9].rstrip('-')}-{_hash(self._whole(f'_{purpose}'))}"

    def email(self, account: str) -> str:
        """The address of a service account of this project."""
        # The project "example.com:shop" has its accounts at shop.example.com ("Service accounts", domain-scoped).
        domain, _, name = self.project.rpartition(":")
        return f"{account}@{name}.{domain + '.' if domain else ''}iam.gserviceaccount.com"

    def topic(self, name: str) -> str:
        """The topic behind a topic or queue (255), and a queue's subscription."""
        return self._joined(name, _TOPIC)

    def dead(self, name: str) -> str:
        """The topic, and the subscription, of what a queue could not deliver."""
        return f"{self._joined(name, _TOPIC - 5)}.dead"

    def trigger(self, trigger: str) -> str:
        """The subscription of a trigger on a topic or bucket, and the topic that a bucket tells."""
        return self._dotted(trigger, _TOPIC - 5)

    def dead_trigger(self, trigger: str) -> str:
        """The topic, and the subscription, of what could not be delivered to a trigger."""
        return f"{self._dotted(trigger, _TOPIC - 5)}.dead"

    def bucket(self, bucket: str) -> str:
        """A bucket (63 lower-case letters, digits and hyphens)."""
        plain = re.sub("[^a-z0-9]+", "-", f"{self.service}-{self.stage}-{bucket}".lower())[: _BUCKET - 11].strip("-")
        return f"{plain}-{_hash(f'{self.project}/{self._whole(bucket)}', 10)}"

    @property
    def database(self) -> str:
        """The Firestore database (4 to 63 lower-case letters, digits and hyphens)."""
        return self._joined("", _DATABASE, _SHORTEST_DATABASE)

    def secret(self, secret: str) -> str:
        """A secret (255 letters, digits, hyphens and underscores)."""
        return self._joined(secret, _SECRET)

    @property
    def logs(self) -> str:
        """The bucket of Cloud Logging and the sink into it (100 letters, digits, hyphens, underscores and periods)."""
        return self._joined("", _LOGS)

    def job(self, trigger: str, part: int = 0) -> str:
        """A job of Scheduler (500 letters, digits, hyphens and underscores); part counts those of one trigger."""
        text = self._dotted(trigger, _JOB - 8).replace(".", "_")
        return f"{text}-part{part + 1}" if part else text

    @property
    def labels(self) -> dict[str, str]:
        """The labels of everything that can have some."""
        return {"pys-multi-service": self.service, "pys-multi-stage": self.stage}

    def _joined(self, name: str, limit: int, shortest: int = 0) -> str:
        text = "-".join(part for part in (self.service, self.stage, name) if part)
        unclear = "-" in self.service or "-" in self.stage
        if not unclear and shortest <= len(text) <= limit:
            return text
        room = limit - 9
        if len(text) > room and name:
            # Of what is cut, the end says which of the service's it is.
            last = name[: max(room // 2, room - len(text) + len(name) - 1)].rstrip("-")
            text = f"{text[: room - len(last) - 1].rstrip('-')}-{last}"
        return f"{text[:room].rstrip('-')}-{_hash(self._whole(name))}"

    def _dotted(self, trigger: str, limit: int) -> str:
        """A trigger's id in letters that Google takes; a handler's name may have others in it."""
        beginning = self._joined("", limit // 2)
        plain = re.sub("[^A-Za-z0-9_-]", ".", trigger)
        text = f"{beginning}.{plain}"
        if plain == trigger.replace(":", ".") and len(text) <= limit:
            return text
        return f"{text[: limit - 9]}-{_hash(trigger)}"

    def _whole(self, name: str) -> str:
        return f"{self.service}/{self.stage}/{name}"


def _hash(text: str, length: int = 8) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def fit_id(text: str, whole: str, limit: int, sign: str = "-") -> str:
    """An id: the text, or as much of it as fits with a hash of the whole of what it stands for."""
    return text if len(text) <= limit else f"{text[: limit - 9].rstrip(sign)}{sign}{_hash(whole)}"
