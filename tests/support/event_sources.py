"""Event source mappings of Lambda: from SQS queues to functions.

What a mapping does ("Using Lambda with Amazon SQS"): it collects a batch within its window, invokes, deletes what was
handled, and leaves what `batchItemFailures` names, or everything after an error, in the queue, which makes it visible
again after its visibility timeout and hands it to the dead-letter queue after so many receives.
One thing is quicker here: what an error failed is visible again after a second, for six times a function's timeout,
which the queues have, is longer than a suite can wait. What a function names comes when the function had SQS show it.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.aws_emulator import ACCOUNT, REGION, Emulator
from tests.support.lambda_runtime import Result


@dataclass(frozen=True, slots=True)
class Mapping_:
    """From a queue to a function. window in seconds."""

    queue: str
    url: str
    batch: int
    window: float
    invoke: Callable[[Any], Result]


class EventSources:
    """The mappings of a service, polled until they are stopped."""

    def __init__(self, emulator: Emulator, mappings: list[Mapping_], *, retry_after: int = 1) -> None:
        self._sqs = emulator.client("sqs")
        self._address = urlsplit(emulator.url).netloc
        self._mappings = {mapping.queue: mapping for mapping in mappings}
        self._retry_after = retry_after
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # As many batches at once as there are queues: one queue's slow handler keeps no other waiting.
        self._pool = ThreadPoolExecutor(max(len(mappings), 1))
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(10)
        self._pool.shutdown()

    def _poll(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        while not self._stopped.is_set():
            connection.request("GET", "/_waiting")
            names = json.loads(connection.getresponse().read())
            taken = [name for name in names if name in self._mappings and self._take(name)]
            for name in taken:
                self._pool.submit(self._batch, self._mappings[name])
            if not taken:
                time.sleep(0.01)  # all of them are being read already
        connection.close()

    def _take(self, name: str) -> bool:
        with self._lock:
            free = name not in self._busy
            self._busy.add(name)
        return free

    def _batch(self, mapping: Mapping_) -> None:
        try:
            messages = self._receive(mapping, mapping.batch)
            deadline = time.monotonic() + mapping.window
            while messages and len(messages) < mapping.batch and (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 0.05))
                messages += self._receive(mapping, mapping.batch - len(messages))
            if messages:
                self._settle(mapping, messages, mapping.invoke({"Records": [_record(mapping, m) for m in messages]}))
        finally:
            with self._lock:
                self._busy.discard(mapping.queue)

    def _receive(self, mapping: Mapping_, count: int) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=mapping.url,
            MaxNumberOfMessages=min(count, 10),
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    def _settle(self, mapping: Mapping_, messages: list[dict[str, Any]], result: Result) -> None:
        failed = {message["MessageId"] for message in messages}
        if result.error is None:
            named = {failure["itemIdentifier"] for failure in (result.payload or {}).get("batchItemFailures", ())}
            assert named <= failed, "an id that was not in the batch: Lambda would take all of it as failed"
            failed = named
        for message in messages:
            receipt = message["ReceiptHandle"]
            if message["MessageId"] in failed:
                if result.error is None:
                    continue
                self._sqs.change_message_visibility(
                    QueueUrl=mapping.url, ReceiptHandle=receipt, VisibilityTimeout=self._retry_after
                )
            else:
                self._sqs.delete_message(QueueUrl=mapping.url, ReceiptHandle=receipt)


def _record(mapping: Mapping_, message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the event has it ("Using Lambda with Amazon SQS", example events)."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": {
            name: value for name, value in message["Attributes"].items() if name not in ("QueueUrl", "QueueArn")
        },
        "messageAttributes": {
            name: {
                "stringValue": value["StringValue"],
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{mapping.queue}",
        "awsRegion": REGION,
    }
