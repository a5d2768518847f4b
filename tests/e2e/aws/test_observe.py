"""Status, logs, metrics, invoke, dead letters and doctor of what is deployed, once for all of these tests."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator

import pytest
from tests.support.aws_stage import SECRET, AwsStage, environment
from tests.support.local_stage import wait_for
from tests.support.ministack import ACCOUNT, REGION, MiniStack

from pys_multi_tools import pipeline
from pys_multi_tools.deployment import Invocation, LogRecord


@pytest.fixture(scope="module")
def stage(cloud: MiniStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStage]:
    found = AwsStage(tmp_path_factory.mktemp("observe") / "project", service=f"o{uuid.uuid4().hex[:8]}")
    with environment({**cloud.environment, "API_KEY": SECRET}):
        try:
            found.deploy()
            yield found
        finally:
            found.destroy()


@pytest.fixture(scope="module")
def placement(stage: AwsStage) -> pipeline.Placement:
    return stage.place()


@pytest.fixture(scope="module")
def url(placement: pipeline.Placement) -> str:
    return pipeline.status(placement).url


def test_status_says_what_serves(placement: pipeline.Placement, stage: AwsStage) -> None:
    status = pipeline.status(placement)
    assert status.state == "serving"
    assert [(function.name, function.state) for function in status.functions] == [
        ("api", "serving"),
        ("worker", "serving"),
    ]
    assert status.builds == (status.functions[0].build_id,)
    assert [queue.name for queue in status.queues] == ["jobs"]


def test_a_failed_request_is_found_in_the_log_by_its_id(
    placement: pipeline.Placement, cloud: MiniStack, url: str
) -> None:
    status, body = cloud.call(url, path="/fails")
    assert status == 500
    request_id = json.loads(body)["request_id"]

    def errors() -> list[LogRecord]:
        found = pipeline.logs(placement, function="api")
        return [record for record in found if record.level == "error" and record.request_id == request_id]

    [record] = wait_for(errors, "the error in the log")
    assert record.function == "api"
    assert "as wanted" in str(record.fields["exception"])


def test_logs_of_all_functions_are_one_stream_that_goes_on(
    placement: pipeline.Placement, cloud: MiniStack, url: str
) -> None:
    sku = uuid.uuid4().hex
    assert cloud.call(url, "POST", f"/jobs?sku={sku}")[0] == 202
    stream = pipeline.logs(placement, follow=True)
    found = next(record for record in itertools.islice(stream, 10_000) if sku in record.message)
    assert found.function == "worker"
    times = [record.time for record in pipeline.logs(placement)]
    assert times == sorted(times)


def test_metrics_count_calls(placement: pipeline.Placement, cloud: MiniStack, url: str) -> None:
    assert cloud.call(url, path="/hello/m")[0] == 200
    metrics = wait_for(
        lambda: (m := pipeline.metrics(placement)).functions[0].invocations and m, "an invocation is counted"
    )
    api = metrics.functions[0]
    assert api.name == "api"
    assert api.p50_ms is not None
    assert api.p99_ms is not None
    assert api.p50_ms <= api.p99_ms
    assert [queue.name for queue in metrics.queues] == ["jobs"]


def test_invoke_calls_a_route_a_function_and_a_trigger(placement: pipeline.Placement, cloud: MiniStack) -> None:
    front = pipeline.invoke(placement, Invocation(path="/hello/front"))
    assert (front.status, json.loads(front.body)["hello"]) == (200, "front")
    assert pipeline.invoke(placement, Invocation(path="/private")).status == 200
    private = pipeline.invoke(placement, Invocation(function="api", path="/private"))
    assert (private.status, private.body) == (200, b'{"private":"yes"}')
    assert pipeline.invoke(placement, Invocation(function="api", path="/nothing")).status == 404
    good = pipeline.invoke(placement, Invocation(trigger="work", body=b'{"sku": "i1"}'))
    assert (good.status, good.error) == (200, "")
    assert pipeline.invoke(placement, Invocation(function="api", path="/stock/i1")).status == 200
    bad = pipeline.invoke(placement, Invocation(trigger="work", body=b'{"sku": "bad"}'))
    assert bad.status == 500
    assert "a bad one" in bad.error
    assert pipeline.invoke(placement, Invocation(trigger="nightly")).status == 200


def test_dead_letters_are_shown_and_delivered_again(
    placement: pipeline.Placement, cloud: MiniStack, stage: AwsStage
) -> None:
    queues = cloud.client("sqs")
    dead = queues.get_queue_url(QueueName=f"{stage.service}_test__dead_jobs")["QueueUrl"]
    for sku in ("d1", "d2"):
        queues.send_message(QueueUrl=dead, MessageBody=json.dumps({"sku": sku}))
    assert next(q for q in pipeline.status(placement).queues if q.name == "jobs").dead == 2
    letters = pipeline.dead_letters(placement, "jobs")
    assert [json.loads(letter.body)["sku"] for letter in letters] == ["d1", "d2"]
    assert pipeline.redrive(placement, "jobs", [letters[0].id]) == 1
    wait_for(lambda: pipeline.invoke(placement, Invocation(function="api", path="/stock/d1")).status == 200, "d1")
    assert [json.loads(letter.body)["sku"] for letter in pipeline.dead_letters(placement, "jobs")] == ["d2"]
    assert pipeline.redrive(placement, "jobs") == 1
    assert pipeline.dead_letters(placement, "jobs") == []


def test_doctor_says_whose_account_it_is_and_what_is_missing(placement: pipeline.Placement) -> None:
    findings = {finding.subject: finding for finding in placement.provider.doctor(placement.deployment)}
    assert all(finding.ok for finding in findings.values()), findings
    assert REGION in findings["aws region"].text
    assert ACCOUNT in findings["aws credentials"].text
    assert "create complete" in findings["aws stack"].text or "update complete" in findings["aws stack"].text
    with environment({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}):
        [wrong] = [finding for finding in placement.provider.doctor(placement.deployment) if not finding.ok]
    assert wrong.subject == "aws credentials"
    assert "there are no credentials" in wrong.text
    assert wrong.hint
