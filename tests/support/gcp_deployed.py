"""What a rendered document of the gcp provider says, as far as it concerns the functions and what they are sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

_REFERENCE = re.compile(r"\$\{function:(?P<function>[^:}]+):serviceConfig\.uri\}")
_PUBSUB = "//pubsub.googleapis.com/"


@dataclass(frozen=True, slots=True)
class DeployedFunction:
    """environment: plain variables. secrets: variable → name of the secret. timeout: seconds. invokers: IAM members."""

    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    timeout: int
    invokers: frozenset[str]


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """path: of the endpoint, below the address of the function. backoff: seconds, the least and the most."""

    name: str
    topic: str
    function: str
    path: str
    caller: str
    backoff: tuple[float, float]
    dead_topic: str
    attempts: int
    ordered: bool

    @property
    def trigger(self) -> str:
        return unquote(self.path.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class Notification:
    """Of a bucket: where it tells which events about objects below a prefix. attributes: added to each message."""

    bucket: str
    topic: str
    events: tuple[str, ...]
    prefix: str
    attributes: Mapping[str, str]


class Document:
    """kept: pull subscription → topic. dead: trigger → the pull subscription of its dead letters."""

    def __init__(self, text: str) -> None:
        self._resources = json.loads(text)["resources"]
        self.functions = {
            self._environment(entry)["PYS_MULTI_FUNCTION"]: self._function(entry)
            for entry in self._of("cloudfunctions.v2.projects.locations.functions")
        }
        self.topics = [entry["name"] for entry in self._of("pubsub.v1.projects.topics")]
        self.buckets = [entry["name"] for entry in self._of("storage.v1.buckets")]
        self.kept: dict[str, str] = {}
        self.subscriptions: list[PushSubscription] = []
        for entry in self._of("pubsub.v1.projects.subscriptions"):
            if entry["body"].get("pushConfig"):
                self.subscriptions.append(_subscription(entry))
            else:
                self.kept[entry["name"]] = entry["body"]["topic"]
        of_topic = {topic: name for name, topic in self.kept.items()}
        self.dead = {found.trigger: of_topic[found.dead_topic] for found in self.subscriptions}
        self.notifications = [
            Notification(
                bucket=entry["name"],
                topic=entry["body"]["topic"].removeprefix(_PUBSUB),
                events=tuple(entry["body"]["event_types"]),
                prefix=entry["body"].get("object_name_prefix", ""),
                attributes=entry["body"].get("custom_attributes", {}),
            )
            for entry in self._of("storage.v1.notifications")
        ]
        [events] = [entry for entry in self._resources if entry["id"] == "events-account"]
        #: The account in whose name events come.
        self.events_account: str = events["name"].rpartition("/")[2]

    def _of(self, kind: str) -> Iterator[Any]:
        return (entry for entry in self._resources if entry["kind"] == kind)

    def _environment(self, entry: Any) -> dict[str, str]:
        found: dict[str, str] = entry["body"]["serviceConfig"]["environmentVariables"]
        return found

    def _function(self, entry: Any) -> DeployedFunction:
        config = entry["body"]["serviceConfig"]
        service = entry["name"].replace("/functions/", "/services/")
        return DeployedFunction(
            environment=self._environment(entry),
            secrets={variable["key"]: variable["secret"] for variable in config["secretEnvironmentVariables"]},
            timeout=config["timeoutSeconds"],
            invokers=frozenset(
                member
                for binding in self._of("run.v2.projects.locations.services:iam")
                if binding["name"] == service and binding["role"] == "roles/run.invoker"
                for member in binding["members"]
            ),
        )


def _subscription(entry: Any) -> PushSubscription:
    body = entry["body"]
    push, retry, dead = body["pushConfig"], body["retryPolicy"], body["deadLetterPolicy"]
    address = _REFERENCE.match(push["pushEndpoint"])
    assert address is not None, push
    # The address itself: what Cloud Run takes as the audience of a token.
    assert push["oidcToken"]["audience"] == address.group(), push
    return PushSubscription(
        name=entry["name"],
        topic=body["topic"],
        function=address["function"],
        path=push["pushEndpoint"][address.end() :],
        caller=push["oidcToken"]["serviceAccountEmail"],
        backoff=(_seconds(retry["minimumBackoff"]), _seconds(retry["maximumBackoff"])),
        dead_topic=dead["deadLetterTopic"],
        attempts=dead["maxDeliveryAttempts"],
        ordered=body["enableMessageOrdering"],
    )


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))
