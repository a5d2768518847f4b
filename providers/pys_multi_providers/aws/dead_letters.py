"""Messages that failed all their deliveries: looked at, and put back into their queue."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from pys_multi_providers.aws.client import Cloud
from pys_multi_providers.aws.engine import Engine
from pys_multi_providers.aws.events import ENCODING
from pys_multi_providers.aws.observe import queue_names
from pys_multi_tools.deployment import DeadLetter
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.suggest import did_you_mean

Json = dict[str, Any]

#: Seconds that a message is hidden from others while it is looked at or moved.
_HIDDEN = 60


def dead_letters(engine: Engine, queue: str, limit: int) -> list[DeadLetter]:
    """The oldest dead letters; they stay where they are."""
    _, dead = _urls(engine, queue)
    found: list[Json] = []
    try:
        found.extend(_received(engine.cloud, dead, limit))
    finally:
        _show_again(engine.cloud, dead, found)
    letters = [_letter(queue, message) for message in found]
    return sorted(letters, key=lambda letter: letter.sent_at)


def redrive(engine: Engine, queue: str, ids: Sequence[str] | None) -> int:
    """Puts dead letters back into their queue: sent first and deleted then, so that none is lost."""
    source, dead = _urls(engine, queue)
    count = 0
    others = []
    for message in _received(engine.cloud, dead, None):
        if ids is not None and message["MessageId"] not in ids:
            others.append(message)
            continue
        attributes = message.get("Attributes", {})
        arguments: Json = {}
        if "MessageGroupId" in attributes:
            arguments["MessageGroupId"] = attributes["MessageGroupId"]
        if source.endswith(".fifo"):
            arguments["MessageDeduplicationId"] = f"redrive-{message['MessageId']}"
        engine.cloud.call(
            "sqs",
            "send_message",
            QueueUrl=source,
            MessageBody=message["Body"],
            MessageAttributes=message.get("MessageAttributes", {}),
            **arguments,
        )
        engine.cloud.call("sqs", "delete_message", QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        count += 1
    _show_again(engine.cloud, dead, others)
    return count


def _received(cloud: Cloud, url: str, limit: int | None) -> Iterator[Json]:
    """The messages of a queue, each once."""
    seen: set[str] = set()
    while limit is None or len(seen) < limit:
        answer = cloud.call(
            "sqs",
            "receive_message",
            QueueUrl=url,
            MaxNumberOfMessages=10 if limit is None else min(10, limit - len(seen)),
            VisibilityTimeout=_HIDDEN,
            WaitTimeSeconds=1,  # asks all of SQS's servers, as no waiting would not
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        fresh = [message for message in answer.get("Messages", ()) if message["MessageId"] not in seen]
        if not fresh:
            return
        for message in fresh:
            seen.add(message["MessageId"])
            yield message


def _show_again(cloud: Cloud, url: str, messages: Sequence[Json]) -> None:
    for message in messages:
        cloud.call(
            "sqs",
            "change_message_visibility",
            QueueUrl=url,
            ReceiptHandle=message["ReceiptHandle"],
            VisibilityTimeout=0,
        )


def _letter(queue: str, message: Json) -> DeadLetter:
    own = message.get("Attributes", {})
    attributes = {
        name: value["StringValue"]
        for name, value in message.get("MessageAttributes", {}).items()
        if "StringValue" in value
    }
    body = message["Body"]
    is_binary = attributes.pop(ENCODING, "") == "base64"
    return DeadLetter(
        queue=queue,
        id=message["MessageId"],
        reason="failed all of its deliveries; pys-multi logs has the errors",
        body=base64.b64decode(body) if is_binary else body.encode(),
        attributes=attributes,
        sent_at=int(own.get("SentTimestamp", 0)) / 1000,
    )


def _urls(engine: Engine, queue: str) -> tuple[str, str]:
    """The addresses of a queue and of its dead letters' one. Raises ProviderError for a queue that is none."""
    known = {name: (live, dead) for name, live, dead in queue_names(engine)}
    if queue not in known:
        raise ProviderError(
            f"there is no queue '{queue}'", where=engine.stack.name, hint=did_you_mean(queue, list(known))
        )
    live, dead = (engine.cloud.call("sqs", "get_queue_url", QueueName=name)["QueueUrl"] for name in known[queue])
    return live, dead
