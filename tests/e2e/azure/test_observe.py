"""Status, logs, metrics, invoke, dead letters, drift and doctor of what is deployed, once for all of these tests."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

import pytest
from tests.support.arm.data import Reply
from tests.support.arm.resources import SUBSCRIPTION, TENANT
from tests.support.arm.server import ArmServer
from tests.support.azure_stage import AzureStage
from tests.support.service_bus import Namespace

from pys_multi_tools import pipeline
from pys_multi_tools.deployment import Invocation, LogRecord
from pys_multi_tools.errors import ProviderError

MORE = """
news = app.topic("news")

@api.get("/fails", public=True)
def fails() -> dict[str, str]:
    raise RuntimeError("as wanted")

@api.get("/variable/{name}", public=True)
def variable(name: str) -> dict[str, str]:
    return {"value": os.environ[name]}

@worker.subscribe(news)
def hear(message) -> None:
    assert message.body != b"bad"
"""
#: What a user may write into a setting, and ARM, Jinja, JSON or YAML would take for something of theirs.
HOSTILE = (
    "[concat('a', 'b')]",
    "[[resourceGroup().id]",
    "[not closed",
    "it's ${unique} {{ x }} {% raw %} {0}",
    'said "so"\nand \\n',
    "!Ref no",
    "1.10",
    "é 😀",
)


@pytest.fixture(scope="module")
def stage(arm: ArmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureStage]:
    found = AzureStage(tmp_path_factory.mktemp("observe") / "project", arm.url, service=f"o{uuid.uuid4().hex[:8]}")
    variables = "".join(
        f"V{number} = {json.dumps(value, ensure_ascii=False)}\n" for number, value in enumerate(HOSTILE)
    )
    found.settings = f"[tool.pys-multi.environment]\n{variables}"
    found.write("one", lambda code: code + MORE)
    try:
        found.deploy()
        yield found
    finally:
        found.destroy()


@pytest.fixture(scope="module")
def placement(stage: AzureStage) -> pipeline.Placement:
    return stage.place()


@pytest.fixture
def bus(arm: ArmServer, stage: AzureStage) -> Iterator[Namespace]:
    """The data plane of the stage's namespace."""
    namespace = Namespace()
    namespace.add_queue("jobs", deliveries=2)
    namespace.add_topic("news")
    namespace.add_subscription("news", "worker-hear")

    def forward(
        _: str, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        claims = base64.urlsafe_b64encode(json.dumps({"aud": "https://servicebus.azure.net", "exp": 2**40}).encode())
        named = {**headers, "authorization": f"Bearer x.{claims.decode().rstrip('=')}.x"}
        connection = http.client.HTTPConnection(urlsplit(namespace.url).netloc, timeout=20)
        connection.request(method, path + (f"?{urlencode(query)}" if query else ""), body, named)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        text = response.read()
        connection.close()
        fields.pop("transfer-encoding", None)
        return response.status, fields, text

    def counts(id: str) -> dict[str, int]:
        path = id.partition("/namespaces/")[2].partition("/")[2]
        name = path.removeprefix("queues/").removeprefix("topics/")
        queue, dead = namespace.queues.get(name), namespace.queues.get(f"{name}/$DeadLetterQueue")
        if queue is None or dead is None:
            return {}
        return {"activeMessageCount": len(queue.messages), "deadLetterMessageCount": len(dead.messages)}

    arm.bus, arm.counts = forward, counts
    yield namespace
    arm.bus, arm.counts = (lambda *_: (404, {}, b"")), (lambda _: {})
    namespace.stop()


def test_status_says_what_serves(placement: pipeline.Placement) -> None:
    status = pipeline.status(placement)
    assert status.state == "serving"
    assert [(function.name, function.state) for function in status.functions] == [
        ("api", "serving"),
        ("worker", "serving"),
    ]
    assert status.builds == (status.functions[0].build_id,)
    assert [queue.name for queue in status.queues] == ["jobs", "worker:hear"]
    assert status.url.endswith(".azurewebsites.net")


def test_what_a_user_writes_reaches_the_function_as_it_is(arm: ArmServer, stage: AzureStage) -> None:
    seen = [json.loads(stage.call(arm, f"/variable/V{number}")[1])["value"] for number in range(len(HOSTILE))]
    assert tuple(seen) == HOSTILE


def test_a_failed_request_is_found_in_the_log_by_its_id(
    placement: pipeline.Placement, arm: ArmServer, stage: AzureStage
) -> None:
    status, body = stage.call(arm, "/fails")
    assert status == 500
    request_id = json.loads(body)["request_id"]

    def errors() -> list[LogRecord]:
        found = pipeline.logs(placement, function="api")
        return [record for record in found if record.level == "error" and record.request_id == request_id]

    [record] = errors()
    assert record.function == "api"
    assert "as wanted" in str(record.fields["exception"])
    assert [r for r in pipeline.logs(placement, function="worker") if r.request_id == request_id] == []


def test_logs_of_all_functions_are_one_stream_that_goes_on(
    placement: pipeline.Placement, arm: ArmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pys_multi_providers.azure import journal

    # Pages of three rows, so that they are put together; and no time between two looks.
    monkeypatch.setattr(journal, "_ROWS", 3)
    monkeypatch.setattr(journal, "_POLL", 0.01)
    whole = [record.message for record in pipeline.logs(placement)]
    monkeypatch.setattr(journal, "_ROWS", 5000)
    assert [record.message for record in pipeline.logs(placement)] == whole
    sku = uuid.uuid4().hex
    stream = pipeline.logs(placement, since=time.time() - 5, follow=True)
    assert pipeline.invoke(placement, Invocation(trigger="work", body=json.dumps({"sku": sku}).encode())).status == 200
    found = next(record for record in itertools.islice(stream, 10_000) if sku in record.message)
    assert found.function == "worker"
    times = [record.time for record in pipeline.logs(placement)]
    assert times == sorted(times)


def test_metrics_count_calls(placement: pipeline.Placement, arm: ArmServer, stage: AzureStage) -> None:
    before = pipeline.metrics(placement).functions[0]
    assert stage.call(arm, "/hello/m")[0] == 200
    assert stage.call(arm, "/fails")[0] == 500
    metrics = pipeline.metrics(placement)
    api = metrics.functions[0]
    assert (api.name, api.invocations - before.invocations, api.errors - before.errors) == ("api", 2, 1)
    assert api.p50_ms is not None
    assert api.p99_ms is not None
    assert api.p50_ms <= api.p99_ms
    assert [queue.name for queue in metrics.queues] == ["jobs", "worker:hear"]


def test_invoke_calls_a_route_a_function_and_a_trigger(placement: pipeline.Placement) -> None:
    front = pipeline.invoke(placement, Invocation(path="/hello/front"))
    assert (front.status, json.loads(front.body)["hello"]) == (200, "front")
    assert pipeline.invoke(placement, Invocation(path="/private")).status == 200
    private = pipeline.invoke(placement, Invocation(function="api", path="/private"))
    assert (private.status, private.body) == (200, b'{"private":"yes"}')
    assert pipeline.invoke(placement, Invocation(function="api", path="/nothing")).status == 404
    good = pipeline.invoke(placement, Invocation(trigger="work", body=b'{"sku": "i1"}'))
    assert (good.status, good.error) == (200, "")
    bad = pipeline.invoke(placement, Invocation(trigger="work", body=b'{"sku": "bad"}'))
    assert bad.status == 500
    assert "a bad one" in bad.error
    assert pipeline.invoke(placement, Invocation(trigger="nightly")).status == 200


def test_dead_letters_are_shown_and_put_back(placement: pipeline.Placement, bus: Namespace) -> None:
    dead, queue = bus.queues["jobs/$DeadLetterQueue"], bus.queues["jobs"]
    properties = {"color": 'red "and" blue', "count": "3"}
    for number, sku in enumerate(("d1", "d2")):
        letter = bus.make(json.dumps({"sku": sku}).encode(), properties=properties, reason="MaxDeliveryCountExceeded")
        dead.add(replace(letter, sequence=number))
    assert next(q for q in pipeline.status(placement).queues if q.name == "jobs").dead == 2
    letters = pipeline.dead_letters(placement, "jobs")
    assert [json.loads(letter.body)["sku"] for letter in letters] == ["d1", "d2"]
    assert letters[0].reason == "MaxDeliveryCountExceeded"
    assert dict(letters[0].attributes) == {"color": 'red "and" blue', "count": "3"}
    assert pipeline.redrive(placement, "jobs", [letters[0].id]) == 1
    [back] = queue.messages
    assert (back.id, back.body, back.properties) == (letters[0].id, b'{"sku": "d1"}', dict(letters[0].attributes))
    assert [json.loads(letter.body)["sku"] for letter in pipeline.dead_letters(placement, "jobs")] == ["d2"]
    dead.add(replace(bus.make(b"\xff of somebody else"), sequence=2))
    assert pipeline.redrive(placement, "jobs") == 2
    assert pipeline.dead_letters(placement, "jobs") == []
    assert [message.body[:1] for message in queue.messages] == [b"{", b"{", b"\xff"]


def test_dead_letters_of_a_subscription_go_to_nobody_else(placement: pipeline.Placement, bus: Namespace) -> None:
    dead = bus.queues["news/subscriptions/worker-hear/$DeadLetterQueue"]
    for number, body in enumerate((b"n1", b"bad")):
        dead.add(replace(bus.make(body), sequence=number))
    assert [letter.body for letter in pipeline.dead_letters(placement, "worker:hear")] == [b"n1", b"bad"]
    assert pipeline.redrive(placement, "worker:hear") == 1
    # What fails again stays; what is sent to the topic would come to everybody.
    assert [letter.body for letter in pipeline.dead_letters(placement, "worker:hear")] == [b"bad"]
    assert bus.queues["news/subscriptions/worker-hear"].messages == []
    with pytest.raises(ProviderError, match="no queue 'worker:heard'"):
        pipeline.dead_letters(placement, "worker:heard")


def test_dead_letters_of_what_was_never_deployed(stage: AzureStage) -> None:
    nothing = AzureStage(stage.root.parent / "elsewhere", stage.url, group="group-of-nothing")
    with pytest.raises(ProviderError, match="nothing was deployed"):
        pipeline.dead_letters(nothing.place(), "jobs")


def test_drift_is_what_somebody_changed_by_other_means(stage: AzureStage, arm: ArmServer) -> None:
    assert stage.plan(refresh=True) == ()
    queue = next(e for e in arm.world.of_type("Microsoft.ServiceBus/namespaces/queues") if stage.group in e["id"])
    queue["properties"]["maxDeliveryCount"] = 99
    release = next(
        e for e in arm.world.resources.values() if e["name"] == "pys-multi-releases" and stage.group in e["id"]
    )
    kept = arm.blobs.containers[release["id"].lower()]
    try:
        [change] = stage.plan(refresh=True)
        assert (change.kind, change.action, change.name) == ("queue", "update", "jobs")
        assert change.reason.startswith("changed by other means; the next deploy")
        assert change.properties == (("properties.maxDeliveryCount", 99, 2),)
        arm.world.delete(release["id"])
        changes = stage.plan(refresh=True)
        found = {(c.kind, c.name): c for c in changes}
        assert len(found) == len(changes)  # each is told once, also where a deploy sets it right
        assert found["container", "pys-multi-releases"].action == "create"
        stage.deploy()  # what is missing is made again, and with it the rest is set right
        assert stage.plan(refresh=True) == ()
    finally:
        arm.blobs.containers[release["id"].lower()] |= kept


def test_doctor_says_whose_subscription_it_is_and_what_is_missing(
    placement: pipeline.Placement, arm: ArmServer
) -> None:
    findings = {finding.subject: finding for finding in placement.provider.doctor(placement.deployment)}
    assert all(finding.ok for finding in findings.values()), findings
    assert SUBSCRIPTION in findings["azure subscription"].text
    assert TENANT in findings["azure credentials"].text
    assert "has succeeded" in findings["azure deployment"].text
    arm.registered.remove("Microsoft.EventGrid")
    try:
        [wrong] = [finding for finding in placement.provider.doctor(placement.deployment) if not finding.ok]
    finally:
        arm.registered.add("Microsoft.EventGrid")
    assert wrong.hint == "az provider register --namespace Microsoft.EventGrid"
