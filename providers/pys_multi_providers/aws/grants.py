"""Grants → the actions of IAM that they stand for ("Service Authorization Reference", 2026-11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: Verbs of each kind of resource → actions on the resource itself.
_ACTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "queue": {"send": ("sqs:SendMessage",)},
    "topic": {"publish": ("sns:Publish",)},
    "table": {
        "get": ("dynamodb:GetItem",),
        # Without a key it is every item.
        "query": ("dynamodb:Query", "dynamodb:Scan"),
        "put": ("dynamodb:PutItem",),
        "delete": ("dynamodb:DeleteItem",),
        "update": ("dynamodb:UpdateItem",),
    },
    "bucket": {
        "list": ("s3:ListBucket",),
        # Without it, S3 answers 403, and not 404, for what is not there ("GetObject", "HeadObject", permissions).
        "get": ("s3:ListBucket",),
        "exists": ("s3:ListBucket",),
    },
    "secretsmanager": {"value": ("secretsmanager:GetSecretValue",)},
    "ssm": {"value": ("ssm:GetParameter",)},
}
#: Verbs of a bucket → actions on its objects, which have ARNs of their own.
_OBJECT_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "get": ("s3:GetObject",),
    "exists": ("s3:GetObject",),
    "put": ("s3:PutObject",),
    "delete": ("s3:DeleteObject",),
}
#: What Lambda does with a queue in the name of the function ("Using Lambda with Amazon SQS"), and the function itself
#: with what failed.
CONSUME = ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")

#: What whoever uses something that a key of one's own encrypts does with the key ("SQS key management", "Encryption
#: context" of S3, SNS, DynamoDB and Secrets Manager): reads with the first, writes with both.
KEY = ("kms:Decrypt", "kms:GenerateDataKey")


def actions(kind: str, verbs: Iterable[str]) -> list[str]:
    """The actions on a resource; kind is the model's, for secrets the service that keeps it."""
    return sorted({action for verb in verbs for action in _ACTIONS[kind].get(verb, ())})


def object_actions(verbs: Iterable[str]) -> list[str]:
    """The actions on the objects of a bucket."""
    return sorted({action for verb in verbs for action in _OBJECT_ACTIONS.get(verb, ())})
