"""The verbs of queues, topics, buckets and secrets on SQS, SNS, S3, Secrets Manager and Parameter Store.

AWS's library is imported at the first use of a resource. What a name of the service stands for on AWS is in
the function's environment, for what it was granted and nothing else.
"""

from __future__ import annotations

from os import environ
from time import time
from uuid import uuid4

from pys_multi.encoding import parse_json
from pys_multi.errors import NotFound, ResourceError
from pys_multi.outgoing import encoded_word, in_groups
from pys_multi.resources import ObjectInfo, Table
from pys_multi_providers.aws.calls import Clients, Refused, call
from pys_multi_providers.aws.events import ATTRIBUTES, ENCODING, GROUP
from pys_multi_providers.aws.tables import TableVerbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pys_multi.app import App
    from pys_multi.resources import Outgoing

    Json = dict[str, Any]

#: Environment: {name of a resource: queue URL | topic ARN | bucket | table | ARN of a secret | name of a parameter}.
RESOURCES = "PYS_MULTI_RESOURCES"
#: Entries of one SendMessageBatch, and bytes of it ("Amazon SQS message quotas", 2026-11).
_BATCH, _BATCH_BYTES = 10, 1_048_576
#: Attributes of one message; the topic's raw delivery drops messages with more.
_MAX_ATTRIBUTES = 10
#: Seconds that the value of a secret is kept: a rotated one is seen after that.
SECRET_TTL = 300.0
#: Times that messages which SQS could not take are sent again.
_SENDS = 3


class AwsBackend(TableVerbs):
    """`pys_multi.resources.Backend` on AWS; thread-safe."""

    def __init__(self, app: App) -> None:
        super().__init__(self._table_of, lambda once: self.clients.get("dynamodb", once=once))
        self._app = app
        self.clients = Clients()
        self._physical: dict[str, str] = parse_json(environ.get(RESOURCES, "{}"))
        #: Name → until when it holds, and the value.
        self._secrets: dict[str, tuple[float, str]] = {}

    def _where(self, kind: str, name: str) -> str:
        physical = self._physical.get(name)
        if physical is None:
            raise ResourceError(
                f"{kind} {name!r}: {RESOURCES} of this function does not say where it is; deploy the service again"
            )
        return physical

    def _table_of(self, name: str) -> tuple[Table, str]:
        handle = self._app.resources[name]
        assert isinstance(handle, Table)  # only a table's handle calls these verbs
        return handle, self._where("table", name)

    # ---- queues and topics

    def queue_send(self, queue: str, messages: list[Outgoing]) -> list[str]:
        url = self._where("queue", queue)
        entries = [_entry(number, message, url) for number, message in enumerate(messages)]
        sent: dict[str, str] = {}
        for batch in in_groups(entries, _size, most=_BATCH, room=_BATCH_BYTES):
            self._send(queue, url, batch, sent)
        return [sent[entry["Id"]] for entry in entries]

    def _send(self, queue: str, url: str, batch: list[Json], sent: dict[str, str]) -> None:
        """Sends one batch. What SQS itself could not take is sent again, and only that."""
        action = "sqs:SendMessage"
        for _ in range(_SENDS):
            answer = call(
                self.clients.get("sqs").send_message_batch, f"queue {queue!r}", action, QueueUrl=url, Entries=batch
            )
            sent.update((done["Id"], done["MessageId"]) for done in answer.get("Successful", ()))
            failed = answer.get("Failed", ())
            if not failed:
                return
            if any(failure["SenderFault"] for failure in failed):
                break
            ids = {failure["Id"] for failure in failed}
            batch = [entry for entry in batch if entry["Id"] in ids]
        first = failed[0]
        error = Refused(
            f"queue {queue!r}: {action} failed for {len(failed)} messages, after {len(sent)} were sent: "
            f"{first['Code']}: {first.get('Message', '')}"
        )
        error.code = first["Code"]
        raise error

    def topic_publish(self, topic: str, message: Outgoing) -> str:
        body, attributes = _carried(message)
        arguments: Json = {"MessageAttributes": attributes} if attributes else {}
        answer = call(
            self.clients.get("sns").publish,
            f"topic {topic!r}",
            "sns:Publish",
            TopicArn=self._where("topic", topic),
            Message=body,
            **arguments,
        )
        return str(answer["MessageId"])

    # ---- buckets

    def bucket_get(self, bucket: str, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError

        what = f"object {key!r} of bucket {bucket!r}"
        answer = call(
            self.clients.get("s3").get_object, what, "s3:GetObject", Bucket=self._where("bucket", bucket), Key=key
        )
        try:
            return bytes(answer["Body"].read())
        except (BotoCoreError, OSError) as error:
            raise ResourceError(f"{what}: it broke off while it was read: {error}") from error

    def bucket_put(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        answer = call(
            self.clients.get("s3").put_object,
            f"object {key!r} of bucket {bucket!r}",
            "s3:PutObject",
            Bucket=self._where("bucket", bucket),
            Key=key,
            Body=data,
            ContentType=content_type,
            Metadata={name: encoded_word(value) for name, value in metadata.items()},
        )
        return str(answer["ETag"]).strip('"')

    def bucket_delete(self, bucket: str, key: str) -> None:
        call(
            self.clients.get("s3").delete_object,
            f"object {key!r} of bucket {bucket!r}",
            "s3:DeleteObject",
            Bucket=self._where("bucket", bucket),
            Key=key,
        )

    def bucket_head(self, bucket: str, key: str) -> ObjectInfo | None:
        what = f"object {key!r} of bucket {bucket!r}"
        try:
            # A missing bucket is a 404 as well: HEAD has no body to tell them apart.
            answer = call(
                self.clients.get("s3").head_object, what, "s3:GetObject", Bucket=self._where("bucket", bucket), Key=key
            )
        except NotFound:
            return None
        return ObjectInfo(
            key,
            answer["ContentLength"],
            etag=answer["ETag"].strip('"'),
            modified=answer["LastModified"].timestamp(),
            content_type=answer.get("ContentType", ""),
        )

    def bucket_list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        arguments: Json = {"Bucket": self._where("bucket", bucket), "Prefix": prefix}
        return self._objects(bucket, arguments)

    def _objects(self, bucket: str, arguments: Json) -> Iterator[ObjectInfo]:
        list_objects = self.clients.get("s3").list_objects_v2
        while True:
            answer = call(list_objects, f"bucket {bucket!r}", "s3:ListBucket", **arguments)
            for found in answer.get("Contents", ()):
                yield ObjectInfo(
                    found["Key"],
                    found["Size"],
                    etag=found["ETag"].strip('"'),
                    modified=found["LastModified"].timestamp(),
                )
            if not answer.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = answer["NextContinuationToken"]

    def bucket_presign(self, bucket: str, key: str, method: str, expires: int) -> str:
        return str(
            call(
                self.clients.get("s3").generate_presigned_url,
                f"object {key!r} of bucket {bucket!r}",
                "s3:GetObject" if method == "GET" else "s3:PutObject",
                ClientMethod="get_object" if method == "GET" else "put_object",
                Params={"Bucket": self._where("bucket", bucket), "Key": key},
                ExpiresIn=expires,
            )
        )

    # ---- secrets

    def secret_value(self, secret: str) -> str:
        kept = self._secrets.get(secret)
        now = time()
        if kept is not None and now < kept[0]:
            return kept[1]
        value = self._read_secret(secret, self._where("secret", secret))
        self._secrets[secret] = (now + SECRET_TTL, value)
        return value

    def _read_secret(self, secret: str, where: str) -> str:
        what = f"secret {secret!r}"
        if ":secretsmanager:" not in where:
            # A parameter's ARN holds its name behind the word, where GetParameter takes either.
            answer = call(
                self.clients.get("ssm").get_parameter, what, "ssm:GetParameter", Name=where, WithDecryption=True
            )
            return str(answer["Parameter"]["Value"])
        answer = call(
            self.clients.get("secretsmanager").get_secret_value,
            what,
            "secretsmanager:GetSecretValue",
            SecretId=where,
        )
        if "SecretString" in answer:
            return str(answer["SecretString"])
        try:
            return bytes(answer["SecretBinary"]).decode()
        except UnicodeDecodeError:
            raise ResourceError(f"{what}: its value is binary and no text") from None


# ---- what SQS and SNS carry


def _entry(number: int, message: Outgoing, url: str) -> Json:
    body, attributes = _carried(message)
    group = message.group
    if group and not _is_group(group):
        from hashlib import sha256
        from json import dumps

        attributes[GROUP] = _text(dumps(group))
        group = sha256(group.encode()).hexdigest()
    entry: Json = {"Id": str(number), "MessageBody": body}
    if attributes:
        entry["MessageAttributes"] = attributes
    if url.endswith(".fifo"):
        if message.delay:
            raise ValueError("SQS delays no single message of an ordered queue: send it later, or without a delay")
        entry["MessageGroupId"] = group
        # Every message is one of its own; sent again after a lost answer, it is still the same.
        entry["MessageDeduplicationId"] = uuid4().hex
    elif message.delay:
        # Whole seconds, and not before its time.
        entry["DelaySeconds"] = -int(-message.delay // 1)
    return entry


def _carried(message: Outgoing) -> tuple[str, Json]:
    """Body and attributes as SQS and SNS carry them: text of certain characters that is not empty."""
    native: dict[str, str] = {}
    try:
        body = message.body.decode()
    except UnicodeDecodeError:
        body = ""
    if not _is_carried(body):
        from binascii import b2a_base64

        # Without any byte a blank line is left, which decodes to nothing.
        body = b2a_base64(message.body, newline=not message.body).decode()
        native[ENCODING] = "base64"
    plain = message.attributes
    # Two are pys-multi's own: the encoding and the group.
    if len(plain) <= _MAX_ATTRIBUTES - 2 and all(_is_name(name) and _is_carried(plain[name]) for name in plain):
        native |= plain
    elif plain:
        from json import dumps

        native[ATTRIBUTES] = dumps(dict(plain))
    return body, {name: _text(value) for name, value in native.items()}


def _text(value: str) -> Json:
    """The value of an attribute."""
    return {"DataType": "String", "StringValue": value}


def _is_group(text: str) -> bool:
    """Whether SQS takes the group ("SendMessage", MessageGroupId: letters, digits and punctuation of ASCII)."""
    return len(text) <= 128 and all("!" <= character <= "~" for character in text)


def _is_carried(text: str) -> bool:
    """Whether SQS takes the text ("SendMessage", MessageBody)."""
    return bool(text) and all(c >= " " or c in "\t\n\r" for c in text) and "\ufffe" not in text and "\uffff" not in text


def _is_name(name: str) -> bool:
    """Whether SQS takes the name of an attribute, and it is not one of pys-multi's own."""
    return (
        0 < len(name) <= 256
        and name.isascii()
        and name.replace("_", "").replace("-", "").replace(".", "").isalnum()
        and not name.startswith(".")
        and not name.endswith(".")
        and ".." not in name
        and not name.lower().startswith(("aws.", "amazon.", "pys-multi-"))
    )


def _size(entry: Json) -> int:
    """What counts of a message: its body, and names, types and values of its attributes."""
    attributes: Mapping[str, Mapping[str, str]] = entry.get("MessageAttributes", {})
    texts = [entry["MessageBody"], *attributes]
    texts += [text for value in attributes.values() for text in value.values()]
    return sum(len(text.encode()) for text in texts)
