"""What holds data and outlives its stack: found again by its name and tags, taken up, told or deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pys_multi_providers.aws.artefacts import empty
from pys_multi_providers.aws.client import AwsError, Cloud
from pys_multi_providers.aws.stack import Stack, State
from pys_multi_tools.deployment import Progress
from pys_multi_tools.patience import each

Json = dict[str, Any]

_KEPT = ("Retain", "RetainExceptOnCreate")
#: What holds data: what it is called here, and the property that names it.
_TYPES = {
    "AWS::S3::Bucket": ("bucket", "BucketName"),
    "AWS::SQS::Queue": ("queue", "QueueName"),
    "AWS::DynamoDB::Table": ("table", "TableName"),
}
_GONE = (
    "NoSuchBucket",
    "404",
    "ResourceNotFoundException",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
)


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """A bucket, table or queue. id: its name."""

    kind: str
    id: str


def tagged(cloud: Cloud, tags: Mapping[str, str]) -> set[Thing]:
    """The things that bear our tags, with a stack or without one; those of the last minutes may be missing."""
    found = set()
    filters = [{"Key": key, "Values": [value]} for key, value in _marks(tags).items()]
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


def named(cloud: Cloud, template: Json, tags: Mapping[str, str]) -> dict[str, Thing]:
    """Logical id → the thing that is there already under the name that a template gives to what holds data.

    Only those whose tags say that they are ours: nobody else's table is ever taken or deleted for its name.
    """

    def look(entry: tuple[str, Json]) -> Thing | None:
        kind, naming = _TYPES[entry[1]["Type"]]
        name = entry[1]["Properties"][naming]
        if isinstance(name, dict):
            name = name["Fn::Sub"].replace("${AWS::AccountId}", cloud.account).replace("${AWS::Region}", cloud.region)
        thing = Thing(kind, name)
        found = _tags(cloud, thing)
        return thing if found is not None and _marks(tags).items() <= found.items() else None

    wanted = [(id, resource) for id, resource in template["Resources"].items() if holds_data(resource)]
    return {id: thing for (id, _), thing in zip(wanted, each(look, wanted), strict=True) if thing is not None}


def holds_data(resource: Json) -> bool:
    """Whether the template keeps it on deletion, which it does with what holds a user's data and nothing else."""
    return resource.get("DeletionPolicy") in _KEPT and resource["Type"] in _TYPES


def identifier(cloud: Cloud, thing: Thing) -> Json:
    """What CloudFormation knows it by when it is taken into a stack."""
    if thing.kind == "queue":
        return {"QueueUrl": _url(cloud, thing.id)}
    return {"TableName" if thing.kind == "table" else "BucketName": thing.id}


def _tags(cloud: Cloud, thing: Thing) -> dict[str, str] | None:
    """The tags; None where there is no such thing."""
    try:
        if thing.kind == "queue":
            tags: dict[str, str] = cloud.call("sqs", "list_queue_tags", QueueUrl=_url(cloud, thing.id)).get("Tags", {})
            return tags
        if thing.kind == "table":
            arn = cloud.call("dynamodb", "describe_table", TableName=thing.id)["Table"]["TableArn"]
            found = list(cloud.pages("dynamodb", "list_tags_of_resource", "Tags", ResourceArn=arn))
        else:
            found = cloud.call("s3", "get_bucket_tagging", Bucket=thing.id)["TagSet"]
    except AwsError as error:
        if error.code == "NoSuchTagSet":
            return {}
        if error.code.startswith(_GONE) or error.code in ("AccessDenied", "403"):  # a bucket of somebody else
            return None
        raise
    return {tag["Key"]: tag["Value"] for tag in found}


def _url(cloud: Cloud, queue: str) -> str:
    return str(cloud.call("sqs", "get_queue_url", QueueName=queue)["QueueUrl"])


def _marks(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.startswith("pys-multi:")}


class Data:
    """What of a stage holds data."""

    def __init__(self, cloud: Cloud, stack: Stack, progress: Callable[[Progress], None]) -> None:
        self._cloud, self._stack, self._progress = cloud, stack, progress
        self._things: set[Thing] = set()

    def find(self, state: State | None, template: Json) -> None:
        """Looks everywhere, while the stack is still there. template: of the service as it is now."""
        if state is not None and not state.is_empty:
            resources = json.loads(self._stack.template())["Resources"]
            for entry in self._stack.resources():
                resource = resources.get(entry["LogicalResourceId"])
                if resource is not None and holds_data(resource) and entry.get("PhysicalResourceId"):
                    kind, _ = _TYPES[entry["ResourceType"]]
                    self._things.add(Thing(kind, entry["PhysicalResourceId"].rpartition("/")[2]))
        self._things |= tagged(self._cloud, self._stack.tags)
        self._things |= set(named(self._cloud, template, self._stack.tags).values())

    def tell(self) -> None:
        """Says what stays."""
        for thing in sorted(self._things):
            self._say("keep", f"{thing.kind} {thing.id}; --delete-data deletes it, a deploy takes it up again")

    def delete(self) -> None:
        """Deletes all of it, with what is in it."""
        for thing in sorted(self._things):
            self._say("data", f"deleting {thing.kind} {thing.id}")
            try:
                self._delete(thing)
            except AwsError as error:
                if not error.code.startswith(_GONE):
                    raise

    def _delete(self, thing: Thing) -> None:
        if thing.kind == "bucket":
            empty(self._cloud, thing.id, say=lambda count: self._say("data", f"{thing.id}: {count} objects deleted"))
            self._cloud.call("s3", "delete_bucket", Bucket=thing.id, ExpectedBucketOwner=self._cloud.account)
        elif thing.kind == "table":
            self._cloud.call("dynamodb", "delete_table", TableName=thing.id)
        else:
            self._cloud.call("sqs", "delete_queue", QueueUrl=_url(self._cloud, thing.id))

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))
