"""What failed comes again when it does on every provider, by SQS's own call for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.aws_emulator import CREDENTIALS, REGION
from tests.support.lambda_events import LambdaContext
from tests.support.noting_front import NotingFront

from pys_multi import App, Message
from pys_multi.runtime import Runtime
from pys_multi_providers.aws.resources import AwsBackend
from pys_multi_providers.aws.retries import backoff
from pys_multi_providers.aws.runtime import Adapter
from pys_multi_providers.local.pump import backoff as local_backoff

app = App("shop")
worker = app.function("worker", timeout=5)
jobs, hasty = app.queue("jobs"), app.queue("hasty", visibility=3)


@worker.consume(jobs)
def job(message: Message) -> None:
    raise ValueError("as asked")


@worker.consume(hasty)
def hasty_job(message: Message) -> None:
    raise ValueError("as asked")


@pytest.mark.parametrize("visibility", [3, 30, 43_200])
def test_they_are_as_long_as_on_this_machine(visibility: int) -> None:
    for attempt in range(1, 40):
        assert backoff(attempt, visibility) == local_backoff(attempt, visibility)


@pytest.fixture
def sqs() -> Iterator[NotingFront]:
    """It answers nothing that anybody waits for."""
    found = NotingFront()
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def consume(sqs: NotingFront, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    queues = {"shop_dev_jobs": "worker:job", "shop_dev_hasty": "worker:hasty_job"}
    for name, value in {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": sqs.url,
        "AWS_DEFAULT_REGION": REGION,
        "PYS_MULTI_QUEUES": json.dumps(queues),
    }.items():
        monkeypatch.setenv(name, value)
    runtime = Runtime(app, "worker", connect=lambda: AwsBackend(app), logs=False)

    def call(queue: str, *attempts: int, left: float = 5) -> Any:
        records = [
            {
                "messageId": f"m{number}",
                "receiptHandle": f"r{number}",
                "body": "x",
                "attributes": {"ApproximateReceiveCount": str(attempt)},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{queue}",
            }
            for number, attempt in enumerate(attempts)
        ]
        answer = Adapter(runtime, "http-api")({"Records": records}, LambdaContext(left))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    return call


def test_what_failed_is_shown_again_by_its_attempt_and_not_after_its_visibility(
    sqs: NotingFront, consume: Callable[..., Any]
) -> None:
    assert consume("shop_dev_jobs", 1, 2, 4, 9) == ["m0", "m1", "m2", "m3"]
    [(_, _, headers, body)] = sqs.seen
    assert headers["x-amz-target"] == "AmazonSQS.ChangeMessageVisibilityBatch"
    asked = json.loads(body)
    assert asked["QueueUrl"] == f"{sqs.url}/123456789012/shop_dev_jobs"
    assert [(e["ReceiptHandle"], e["VisibilityTimeout"]) for e in asked["Entries"]] == [
        ("r0", 1),
        ("r1", 2),
        ("r2", 8),
        ("r3", 30),  # six times the timeout of the function
    ]
    consume("shop_dev_hasty", 9)
    assert json.loads(sqs.seen[1][3])["Entries"][0]["VisibilityTimeout"] == 3


def test_where_it_cannot_be_done_the_message_comes_later_and_the_log_says_so(
    consume: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert consume("shop_dev_jobs", 1) == ["m0"]
    assert "comes again only after its queue's visibility" in caplog.text


def test_it_is_not_done_when_the_functions_time_is_nearly_over(sqs: NotingFront, consume: Callable[..., Any]) -> None:
    assert consume("shop_dev_jobs", 1, left=0.3) == ["m0"]
    assert sqs.seen == []
