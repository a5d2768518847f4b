"""What holds data and outlives its stack: found by the stack and by tags, told or deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pys_multi_providers.aws.artefacts import empty
from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_providers.aws.stack import Stack, State
from pys_multi_tools.deployment import Progress

_KEPT = ("Retain", "RetainExceptOnCreate")
_TYPES = {"AWS::S3::Bucket": "bucket", "AWS::SQS::Queue": "queue", "AWS::DynamoDB::Table": "table"}
_GONE = (
    "NoSuchBucket",
    "404",
    "ResourceNotFoundException",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
)


@dataclass(frozen=True, slots=True)
class Thing:
    """A bucket, table or queue. id: its name."""

    kind: str
    id: str


def tagged(cloud: Cloud, tags: Mapping[str, str]) -> set[Thing]:
    """The things that bear our tags, with a stack or without one."""
    found = set()
    filters = [{"Key": key, "Values": [value]} for key, value in tags.items() if key.startswith("pys-multi:")]
    for entry in cloud.pages(
        "resourcegroupstaggingapi",
        "get_resources",
        "ResourceTagMappingList",
        TagFilters=filters,
        ResourceTypeFilters=["s3:bucket", "sqs:queue", "dynamodb:table"],
    ):
        _, _, service, _, _, name = str(entry["ResourceARN"]).split(":", 5)
        kind = {"s3": "bucket", "sqs": "queue", "dynamodb": "table"}.get(service)
        if kind is not None:
            found.add(Thing(kind, name.removeprefix("table/")))
    return found


class Data:
    """What of a stage holds data."""

    def __init__(self, cloud: Cloud, stack: Stack, progress: Callable[[Progress], None]) -> None:
        self._cloud, self._stack, self._progress = cloud, stack, progress
        self._things: set[Thing] = set()

    def find(self, state: State | None) -> None:
        """Looks while the stack is still there; tags alone are found with a delay."""
        if state is not None and not state.is_empty:
            resources = json.loads(self._stack.template())["Resources"]
            for entry in self._stack.resources():
                kind = _TYPES.get(entry["ResourceType"])
                kept = resources.get(entry["LogicalResourceId"], {}).get("DeletionPolicy") in _KEPT
                if kind and kept and entry.get("PhysicalResourceId"):
                    self._things.add(Thing(kind, entry["PhysicalResourceId"].rpartition("/")[2]))
        self._things |= tagged(self._cloud, self._stack.tags)

    def tell(self) -> None:
        """Says what stays."""
        for thing in sorted(self._things, key=lambda thing: (thing.kind, thing.id)):
            self._say("keep", f"{thing.kind} {thing.id}; --delete-data deletes it, a deploy takes it up again")

    def delete(self) -> None:
        """Deletes all of it, with what is in it."""
        for thing in sorted(self._things, key=lambda thing: (thing.kind, thing.id)):
            self._say("data", f"deleting {thing.kind} {thing.id}")
            try:
                self._delete(thing)
            except AwsError as error:
                if not error.code.startswith(_GONE):
                    raise

    def _delete(self, thing: Thing) -> None:
        if thing.kind == "bucket":
            empty(self._cloud, thing.id, say=lambda count: self._say("data", f"{thing.id}: {count} objects deleted"))
            owner = self._cloud.account
            self._cloud.call("s3", "delete_bucket", Bucket=thing.id, ExpectedBucketOwner=owner)
        elif thing.kind == "table":
            self._cloud.call("dynamodb", "delete_table", TableName=thing.id)
        else:
            url = self._cloud.call("sqs", "get_queue_url", QueueName=thing.id)["QueueUrl"]
            self._cloud.call("sqs", "delete_queue", QueueUrl=url)

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))
