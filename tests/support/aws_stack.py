"""The data half of a stack: what of a template the emulator's own services can have, made there.

Queues with their dead-letter queues, topics and subscriptions, buckets with their notifications, tables and secrets,
each with the properties that the template gives it. What stands in functions, mappings and routes is resolved, for
the driver to make of it what AWS would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.support.aws_emulator import ACCOUNT, REGION, Emulator

Json = dict[str, Any]
_PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws"}


class Stack:
    """The resources of a template, made in an emulator. secrets: values by the logical id of those it makes."""

    def __init__(self, emulator: Emulator, template: Json, secrets: Mapping[str, str]) -> None:
        self._emulator = emulator
        self._resources: Mapping[str, Json] = template["Resources"]
        self._refs: dict[str, str] = dict(_PSEUDO)
        self._attributes: dict[tuple[str, ...], str] = {}
        self._secrets = secrets
        for kind, make in (
            ("AWS::SQS::Queue", self._queue),
            ("AWS::SNS::Topic", self._topic),
            ("AWS::DynamoDB::Table", self._table),
            ("AWS::SecretsManager::Secret", self._secret),
            ("AWS::SNS::Subscription", self._subscription),
            ("AWS::S3::Bucket", self._bucket),
        ):
            # A queue comes after its dead-letter queue, to which it refers.
            for id, properties in sorted(self.all(kind), key=lambda pair: "RedrivePolicy" in pair[1]):
                make(id, properties)

    def all(self, kind: str) -> list[tuple[str, Json]]:
        """(logical id, properties) of the resources of a type."""
        found = self._resources.items()
        return [(id, resource.get("Properties", {})) for id, resource in found if resource["Type"] == kind]

    def value(self, value: Any) -> Any:
        """A value with its references resolved."""
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "Ref" in value:
            return self._refs[value["Ref"]]
        if "Fn::GetAtt" in value:
            return self._attributes[tuple(value["Fn::GetAtt"])]
        if "Fn::Sub" in value:
            return re.sub(r"\$\{([^}!]+)\}", lambda match: self._named(match[1]), value["Fn::Sub"])
        return {name: self.value(item) for name, item in value.items()}

    def _named(self, name: str) -> str:
        id, _, attribute = name.partition(".")
        return self._attributes[id, attribute] if attribute else self._refs[name]

    # ---- one of each

    def _queue(self, id: str, properties: Json) -> None:
        name = properties["QueueName"]
        wanted = ("FifoQueue", "VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy")
        attributes = {key: self.value(properties[key]) for key in wanted if key in properties}
        self._attributes[id, "Arn"] = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        self._refs[id] = self._emulator.client("sqs").create_queue(
            QueueName=name,
            Attributes={
                key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()
            },
        )["QueueUrl"]

    def _topic(self, id: str, properties: Json) -> None:
        self._refs[id] = self._emulator.client("sns").create_topic(Name=properties["TopicName"])["TopicArn"]

    def _subscription(self, id: str, properties: Json) -> None:
        self._emulator.client("sns").subscribe(
            TopicArn=self.value(properties["TopicArn"]),
            Protocol=properties["Protocol"],
            Endpoint=self.value(properties["Endpoint"]),
            Attributes={"RawMessageDelivery": "true"} if properties.get("RawMessageDelivery") else {},
        )

    def _table(self, id: str, properties: Json) -> None:
        self._refs[id] = properties["TableName"]
        self._emulator.client("dynamodb").create_table(
            **{
                name: self.value(properties[name])
                for name in ("TableName", "AttributeDefinitions", "KeySchema", "BillingMode")
            }
        )

    def _secret(self, id: str, properties: Json) -> None:
        made = self._emulator.client("secretsmanager").create_secret(
            Name=properties["Name"], SecretString=self._secrets[id]
        )
        self._refs[id] = self._attributes[id, "Id"] = made["ARN"]

    def _bucket(self, id: str, properties: Json) -> None:
        s3 = self._emulator.client("s3")
        name = self._refs[id] = self.value(properties["BucketName"])
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=properties["VersioningConfiguration"])
        notices = properties.get("NotificationConfiguration", {}).get("QueueConfigurations", [])
        if notices:
            configurations = []
            for notice in notices:
                configuration = {"QueueArn": self.value(notice["Queue"]), "Events": [notice["Event"]]}
                if "Filter" in notice:
                    configuration["Filter"] = {"Key": {"FilterRules": notice["Filter"]["S3Key"]["Rules"]}}
                configurations.append(configuration)
            s3.put_bucket_notification_configuration(
                Bucket=name, NotificationConfiguration={"QueueConfigurations": configurations}
            )
