"""What is live, looked at: status, logs, metrics, calls, dead letters, drift, doctor."""

from __future__ import annotations

import base64
import itertools
import json
import time

import pytest
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_control.state import PROJECT, REGION
from tests.support.gcp_stage import GcpStage

from pys_multi_tools import pipeline
from pys_multi_tools.deployment import Invocation
from pys_multi_tools.errors import ProviderError


def test_calls_logs_numbers_and_dead_letters(stage: GcpStage, running: ControlPlane) -> None:
    outputs = stage.deploy()
    placement = stage.place()
    begun = time.time()
    hello = pipeline.invoke(placement, Invocation(path="/hello/ada"))
    assert (hello.status, json.loads(hello.body)["hello"]) == (200, "ada")
    private = pipeline.invoke(placement, Invocation(path="/private"))
    assert (private.status, private.body) == (200, b'{"private":"yes"}')
    assert pipeline.invoke(placement, Invocation(path="/fails")).status == 500
    assert pipeline.invoke(placement, Invocation(path="/nowhere")).status == 404

    well = pipeline.invoke(placement, Invocation(trigger="worker:work", body=b'{"sku": "a1"}'))
    assert (well.status, well.error) == (200, "")
    bad = pipeline.invoke(placement, Invocation(trigger="work", body=b'{"sku": "bad"}'))
    assert bad.status == 500
    assert "a bad one" in bad.error
    assert pipeline.invoke(placement, Invocation(trigger="nightly")).status == 200
    arrived = pipeline.invoke(placement, Invocation(trigger="arrived", body=b'{"key": "a.pdf", "size": 3}'))
    assert (arrived.status, arrived.error) == (200, "")
    with pytest.raises(ProviderError, match="not an event"):
        pipeline.invoke(placement, Invocation(trigger="arrived", body=b"[]"))

    records = list(pipeline.logs(placement, since=begun - 5))
    said = [(record.function, record.message) for record in records]
    for line in (("api", "hello to ada"), ("worker", "worked on a1"), ("worker", "arrived a.pdf")):
        assert line in said
    assert ("worker", "nightly one") in said
    failed = next(record for record in records if record.level == "error" and record.function == "api")
    assert "as wanted" in str(failed)
    assert failed.request_id
    assert [record.time for record in records] == sorted(record.time for record in records)
    assert {record.function for record in pipeline.logs(placement, function="api")} == {"api"}
    followed = pipeline.logs(placement, since=begun - 5, follow=True)
    got = list(itertools.islice(followed, len(records)))
    assert [record.message for record in got] == [record.message for record in records]
    pipeline.invoke(placement, Invocation(path="/hello/bob"))
    assert any(record.message == "hello to bob" for record in itertools.islice(followed, 5))

    numbers = {f.name: f for f in pipeline.metrics(placement).functions}
    assert numbers["api"].invocations >= 4
    assert numbers["api"].errors == 1
    assert numbers["worker"].errors == 1
    assert numbers["api"].p50_ms is not None

    status = pipeline.status(placement)
    assert (status.state, status.url) == ("serving", outputs.url)
    assert {f.name: f.build_id for f in status.functions} == outputs.build_ids
    assert {queue.name for queue in status.queues} == {"jobs", "worker:read", "worker:arrived"}


def test_dead_letters_are_shown_and_put_back(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    dead = f"projects/{PROJECT}/subscriptions/{quick.service}-test-jobs.dead"
    attributes = {
        "CloudPubSubDeadLetterSourceDeliveryCount": "6",
        "CloudPubSubDeadLetterSourceSubscription": "jobs",
        "colour": "red",
    }
    answering.state.messages[dead] = [
        {
            "message": {
                "messageId": str(n),
                "data": base64.b64encode(f'{{"sku": "{n}"}}'.encode()).decode(),
                "attributes": attributes,
                "publishTime": "2026-11-24T10:00:00.123456789Z",
            },
            "hidden": False,
        }
        for n in (1, 2, 3)
    ]
    placement = quick.place()
    letters = pipeline.dead_letters(placement, "jobs")
    assert [(letter.id, letter.body, letter.attempts) for letter in letters] == [
        (str(n), f'{{"sku": "{n}"}}'.encode(), 6) for n in (1, 2, 3)
    ]
    assert letters[0].attributes == {"colour": "red"}
    status = {queue.name: queue for queue in pipeline.status(placement).queues}
    assert status["jobs"].dead == 3
    assert pipeline.redrive(placement, "jobs", ["2"]) == 1
    assert [letter.id for letter in pipeline.dead_letters(placement, "jobs")] == ["1", "3"]
    [back] = answering.state.messages[f"projects/{PROJECT}/subscriptions/{quick.service}-test-jobs"]
    assert base64.b64decode(back["message"]["data"]) == b'{"sku": "2"}'
    assert back["message"]["attributes"]["pys-multi-id"] == "2"
    assert not [name for name in back["message"]["attributes"] if name.startswith("CloudPubSub")]
    assert pipeline.redrive(placement, "jobs") == 2
    assert pipeline.dead_letters(placement, "jobs") == []
    with pytest.raises(ProviderError, match="no queue 'jbos'") as caught:
        pipeline.dead_letters(placement, "jbos")
    assert "jobs" in caught.value.hint


def test_drift_is_what_others_changed_since_the_last_deploy(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    assert pipeline.plan(quick.place(), refresh=True).pending == ()
    name = f"projects/{PROJECT}/locations/{REGION}/functions/{quick.service}-test-api"
    answering.state.of("functions")[name]["labels"]["pys-multi-build"] = "0" * 16
    [change] = pipeline.plan(quick.place(), refresh=True).pending
    assert (change.kind, change.reason) == ("function", "changed by other means")


def test_doctor_and_status_before_and_after(quick: GcpStage, answering: ControlPlane) -> None:
    placement = quick.place()
    assert pipeline.status(placement).state == "absent"
    findings = {f.subject: f for f in placement.provider.doctor(placement.deployment)}
    assert findings["gcp credentials"].ok
    assert "deployer@" in findings["gcp credentials"].text
    assert "deploy will make" in findings["gcp bundles"].text or findings["gcp release"].text.startswith("nothing")
    assert findings["gcp APIs"].hint == (f"gcloud services enable artifactregistry.googleapis.com --project {PROJECT}")
    outputs = quick.deploy()
    findings = {f.subject: f for f in placement.provider.doctor(placement.deployment)}
    assert outputs.build_ids["api"] in findings["gcp release"].text
