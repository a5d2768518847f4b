"""Deploy, deploy again, change, go back and destroy, on a control plane that runs what is deployed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_control.state import PROJECT, REGION
from tests.support.gcp_stage import SECRET, GcpStage, inventory, left, served

from pys_multi_providers.gcp.rollout import HEALTH
from pys_multi_tools import pipeline
from pys_multi_tools.calling import call
from pys_multi_tools.deployment import Invocation
from pys_multi_tools.errors import DeployError, ProviderError


def get(url: str, path: str) -> tuple[int, bytes]:
    answer = call(url, Invocation(path=path), timeout=30)
    return answer.status, answer.body


def test_what_is_deployed_answers_and_goes_from_build_to_build(stage: GcpStage, running: ControlPlane) -> None:
    first = stage.deploy()
    assert get(first.url, "/hello/ada") == (200, b'{"hello":"ada","build":"one"}')
    assert get(first.url, "/private")[0] == 401
    assert served(running, stage.service) == first.build_ids
    # Nobody but the service's own account and those who deploy may call a function without routes.
    worker = first.url.replace("-api", "-worker")
    assert get(worker, HEALTH)[0] == 403

    running.calls.clear()
    before = inventory(running, stage.service)
    assert stage.deploy() == first
    assert stage.plan() == ()
    assert running.mutating() == []
    assert inventory(running, stage.service) == before

    stage.write("two", lambda code: code + '\n@api.get("/new", public=True)\ndef new() -> None: ...\n')
    running.calls.clear()
    second = stage.deploy()
    assert get(second.url, "/hello/ada") == (200, b'{"hello":"ada","build":"two"}')
    assert get(second.url, "/new")[0] == 204
    assert {name for name in running.mutating() if "objects" not in name} == {
        "cloudfunctions.projects.locations.functions.patch",
        "run.projects.locations.services.patch",
    }
    assert stage.plan() == ()

    back = stage.rollback()
    assert back.build_ids == first.build_ids
    assert get(back.url, "/hello/ada") == (200, b'{"hello":"ada","build":"one"}')
    assert get(back.url, "/new")[0] == 404
    assert stage.status().builds == (first.build_ids["api"], second.build_ids["api"])
    with pytest.raises(ProviderError, match="is not known"):
        stage.rollback("f" * 16)


def test_a_build_that_does_not_start_is_never_called(stage: GcpStage, running: ControlPlane) -> None:
    first = stage.deploy()
    stage.write("two", lambda code: code + '\nimport os\nif "K_SERVICE" in os.environ: 1 / 0\n')
    with pytest.raises(DeployError, match=r"does not start: .*division by zero") as caught:
        stage.deploy()
    assert caught.value.where.startswith("function ")
    assert served(running, stage.service) == first.build_ids
    status = stage.status()
    assert status.functions[0].build_id == first.build_ids["api"]
    assert "its last deploy failed" in status.functions[0].reason
    stage.write("three")
    third = stage.deploy()
    assert served(running, stage.service) == third.build_ids
    assert stage.plan() == ()


def test_a_project_may_have_a_main_of_its_own(stage: GcpStage, running: ControlPlane) -> None:
    """functions-framework loads main.py, which is what many a project calls its own."""
    module = stage.root / "app.py"
    module.rename(stage.root / "main.py")
    placed = stage.place()
    assert placed.deployment.app == "main:app"
    first = stage.deploy()
    assert get(first.url, "/hello/ada")[0] == 200
    (stage.root / "main.py").rename(module)
    second = stage.deploy()
    assert get(second.url, "/hello/ada")[0] == 200
    name = f"projects/{PROJECT}/locations/{REGION}/functions/{stage.service}-test-api"
    assert "environmentVariables" not in running.state.of("functions")[name]["buildConfig"]
    assert stage.plan() == ()


def test_a_change_of_the_configuration_alone_becomes_live(
    quick: GcpStage, answering: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering.state, "page", 2)  # what is listed comes in pages
    quick.deploy()
    quick.write(change=lambda code: code.replace('"api", timeout=10', '"api", timeout=11'))
    [change] = [change for change in quick.plan() if change.kind == "function"]
    assert (change.action, change.name) == ("update", f"{quick.service}-test-api")
    assert change.properties == (("serviceConfig.timeoutSeconds", 10, 11),)
    quick.deploy()
    function = answering.state.of("functions")[
        f"projects/{PROJECT}/locations/{REGION}/functions/{quick.service}-test-api"
    ]
    assert function["serviceConfig"]["timeoutSeconds"] == 11
    assert quick.plan() == ()


def test_what_others_changed_is_seen_and_set_right(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    before = inventory(answering, quick.service)
    state = answering.state
    topic = f"projects/{PROJECT}/topics/{quick.service}-test-news"
    state.of("topics")[topic]["labels"]["cost-centre"] = "42"
    subscription = f"projects/{PROJECT}/subscriptions/{quick.service}-test-jobs"
    state.of("subscriptions")[subscription]["retryPolicy"] = {"minimumBackoff": "9s", "maximumBackoff": "600s"}
    service = f"projects/{PROJECT}/locations/{REGION}/services/{quick.service}-test-worker"
    policy = state.policies[service]
    policy["bindings"].append({"role": "roles/run.invoker", "members": ["allUsers"]})
    policy["bindings"].append({"role": "roles/run.viewer", "members": ["user:auditor@example.com"]})
    job = f"projects/{PROJECT}/locations/{REGION}/jobs/{quick.service}-test_worker_nightly"
    state.of("jobs")[job]["state"] = "PAUSED"
    function = f"projects/{PROJECT}/locations/{REGION}/functions/{quick.service}-test-api"
    state.of("functions")[function]["serviceConfig"]["environmentVariables"]["DEBUG"] = "1"
    state.of("functions")[function]["labels"]["team"] = "orders"
    found = {c.kind: c.properties for c in quick.plan()}
    assert found["schedule"] == (("state", "PAUSED", "ENABLED"),)
    assert found["function"] == (("serviceConfig.environmentVariables.DEBUG", "1", None),)
    quick.deploy()
    assert state.of("jobs")[job]["state"] == "ENABLED"
    assert "DEBUG" not in state.of("functions")[function]["serviceConfig"]["environmentVariables"]
    state.of("subscriptions")[subscription]["retryPolicy"] = {"minimumBackoff": "9s", "maximumBackoff": "600s"}
    state.policies[service]["bindings"].append({"role": "roles/run.invoker", "members": ["allUsers"]})
    del state.of("jobs")[job]
    changes = {(c.action, c.kind) for c in quick.plan()}
    assert changes == {("update", "subscription"), ("delete", "permission"), ("create", "schedule")}
    quick.deploy()
    assert quick.plan() == ()
    after = inventory(answering, quick.service)
    extra = [right for right in after["rights"] if right not in before["rights"]]
    assert [right.split()[0] for right in extra] == ["roles/run.viewer"], "what is not ours stays"
    assert after | {"rights": []} == before | {"rights": []}
    assert state.of("topics")[topic]["labels"]["cost-centre"] == "42"


def test_destroy_leaves_data_and_the_next_deploy_takes_it_up(quick: GcpStage, answering: ControlPlane) -> None:
    first = quick.deploy()
    quick.destroy(delete_data=False)
    kept = left(answering, quick.service)
    assert set(kept) == {"topics", "subscriptions", "databases", "fields", "buckets", "rights"}
    assert f"keep: database {quick.service}-test" in quick.told()
    assert not [right for right in kept["rights"] if "gcp-sa-pubsub" not in right], "no right of ours is left"
    assert quick.status().state == "absent"
    again = quick.deploy()
    assert again.build_ids == first.build_ids
    assert "create: database" not in quick.told()
    bucket = kept["buckets"][0]
    answering.state.objects[bucket, "a.txt"] = {
        "meta": {"name": "a.txt", "generation": "7", "bucket": bucket},
        "data": b"",
    }
    quick.destroy(delete_data=True)
    assert left(answering, quick.service) == {}
    project = json.dumps(answering.state.policies.get(f"projects/{PROJECT}", {}))
    assert quick.service not in project
    quick.destroy(delete_data=True)  # nothing is there, which is well


def test_what_is_no_longer_defined_goes_unless_it_holds_data(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    plan = quick.place().provider.plan(quick.place().deployment)

    def without(code: str) -> str:
        code = code.replace('files = app.bucket("files")\n', "").replace("news.publish, ", "")
        code = code.replace('news = app.topic("news")\n', "")
        head, _, tail = code.partition("@worker.subscribe(news)")
        return head + tail[tail.index("@worker.schedule") :].partition("@worker.created")[0]

    quick.write(change=without)
    changes = quick.plan()
    gone = {(change.kind, change.name.removeprefix(quick.service)) for change in changes if change.action == "delete"}
    assert {("topic", "-test-news"), ("subscription", "-test.worker.read"), ("topic", "-test.worker.arrived")} <= gone
    assert not [name for kind, name in gone if kind == "bucket"]
    new = quick.place().provider.render(quick.place().deployment)
    with pytest.raises(DeployError, match="this would delete"):
        # The plan is of before the change: what it does not say is not done.
        quick.deploy(plan=replace(plan, deployment=quick.place().deployment, config=new))
    quick.deploy()
    assert "which is no longer defined" in quick.told()
    found = inventory(answering, quick.service)
    assert len(found["buckets"]) == 1
    assert found["notifications"] == 0
    assert not [name for name in found["topics"] if name.endswith(("news", "arrived"))]
    assert quick.plan() == ()
    quick.destroy(delete_data=True)
    assert left(answering, quick.service) == {}


def test_a_queue_that_loses_its_consumer_keeps_its_messages_and_calls_nobody(
    quick: GcpStage, answering: ControlPlane
) -> None:
    quick.deploy()
    name = f"projects/{PROJECT}/subscriptions/{quick.service}-test-jobs"
    before = dict(answering.state.of("subscriptions")[name])
    assert before["pushConfig"]["pushEndpoint"].endswith("/.pys-multi/events/worker%3Awork")
    assert before["deadLetterPolicy"]["deadLetterTopic"].endswith("-jobs.dead")
    answering.state.messages[name] = [{"message": {"data": "e30=", "messageId": "1"}, "hidden": False}]

    def without(code: str) -> str:
        head, _, tail = code.partition("@worker.consume(jobs)")
        return head + "@worker.subscribe" + tail.partition("@worker.subscribe")[2]

    quick.write(change=without)
    [change] = [change for change in quick.plan() if change.kind == "subscription" and change.action == "update"]
    assert {"pushConfig", "deadLetterPolicy", "retryPolicy"} <= {path for path, _, _ in change.properties}
    quick.deploy()
    after = answering.state.of("subscriptions")[name]
    assert after["pushConfig"] == {}
    assert not {"deadLetterPolicy", "retryPolicy"} & after.keys()
    assert len(answering.state.messages[name]) == 1
    assert f"{name}.dead" in answering.state.of("subscriptions"), "its dead letters stay"
    assert quick.plan() == ()
    letter = {"message": {"data": "e30=", "messageId": "2", "publishTime": "2026-01-01T00:00:00Z"}, "hidden": False}
    answering.state.messages[f"{name}.dead"] = [letter]
    assert [letter.id for letter in pipeline.dead_letters(quick.place(), "jobs")] == ["2"]
    quick.write()
    quick.deploy()
    assert answering.state.of("subscriptions")[name] == before


def test_items_are_taken_out_of_the_index(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    name = f"projects/{PROJECT}/databases/{quick.service}-test/collectionGroups/stock/fields/item"
    made = answering.state.of("fields")[name]
    assert not made["indexConfig"].get("indexes")
    # Somebody takes it back, and somebody else wants an index.
    del answering.state.of("fields")[name]
    assert [(c.action, c.kind, c.name) for c in quick.plan()] == [("create", "index of field", "stock.item")]
    quick.deploy()
    assert answering.state.of("fields")[name] == made
    answering.state.of("fields")[name] = {
        **made,
        "indexConfig": {**made["indexConfig"], "indexes": [{"queryScope": "COLLECTION"}]},
    }
    assert [(c.action, c.name) for c in quick.plan()] == [("update", "stock.item")]
    quick.deploy()
    assert answering.state.of("fields")[name] == made
    # A table that goes leaves its items, so it stays as it is.
    quick.write(
        change=lambda code: (
            code.replace('stock = app.table("stock", key="sku")\n', "")
            .replace(", stock.get", "")
            .replace(", uses=[stock.put]", "")
        )
    )
    quick.deploy()
    assert answering.state.of("fields")[name] == made
    quick.destroy()
    assert name not in answering.state.of("fields")


def test_logs_are_kept_for_a_time_of_their_own(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    state = answering.state
    sink = f"projects/{PROJECT}/sinks/{quick.service}-test"
    bucket = f"projects/{PROJECT}/locations/{REGION}/buckets/{quick.service}-test"
    assert (sink in state.of("sinks"), bucket in state.of("log buckets")) == (False, False)
    for days in (90, 30):
        quick.settings = f"[tool.pys-multi.gcp]\nlog_retention_days = {days}\n"
        quick.write()
        quick.deploy()
        assert quick.plan() == ()
        assert state.of("log buckets")[bucket]["retentionDays"] == days
        assert state.of("sinks")[sink]["destination"].endswith(bucket)
    state.of("sinks")[sink]["filter"] = "severity>=ERROR"
    [change] = quick.plan()
    assert (change.kind, [path for path, _, _ in change.properties]) == ("log sink", ["filter"])
    quick.settings = ""
    quick.write()
    quick.deploy()
    assert sink not in state.of("sinks")
    assert state.of("log buckets")[bucket]["lifecycleState"] == "ACTIVE", "it holds logs"
    assert "keep: log bucket" in quick.told()
    quick.destroy()
    assert state.of("log buckets")[bucket]["lifecycleState"] == "DELETE_REQUESTED"
    assert quick.status().state == "absent"
    # Its name is taken for a week, so it is taken back.
    quick.settings = "[tool.pys-multi.gcp]\nlog_retention_days = 60\n"
    quick.write()
    quick.deploy()
    assert state.of("log buckets")[bucket]["lifecycleState"] == "ACTIVE"
    assert state.of("log buckets")[bucket]["retentionDays"] == 60
    assert quick.plan() == ()
    state.of("sinks")[sink]["description"] = "somebody's"
    with pytest.raises(DeployError, match="is not of this service and stage"):
        quick.deploy()
    del state.of("sinks")[sink]
    quick.destroy()
    del state.of("log buckets")[bucket]


def test_a_function_that_leaves_its_network_is_taken_out_of_it(quick: GcpStage, answering: ControlPlane) -> None:
    connector = f"projects/{PROJECT}/locations/{REGION}/connectors/net"
    network = f'"api", timeout=10, gcp={{"vpc_connector": "{connector}"}}'
    quick.write(change=lambda code: code.replace('"api", timeout=10', network))
    quick.deploy()
    name = f"projects/{PROJECT}/locations/{REGION}/functions/{quick.service}-test-api"
    assert answering.state.of("functions")[name]["serviceConfig"]["vpcConnector"] == connector
    quick.write()
    quick.deploy()
    assert not [field for field in answering.state.of("functions")[name]["serviceConfig"] if "vpc" in field]
    assert quick.plan() == ()


def test_what_is_somebody_elses_is_not_touched(quick: GcpStage, answering: ControlPlane) -> None:
    name = f"projects/{PROJECT}/topics/{quick.service}-test-news"
    answering.state.of("topics")[name] = {"name": name, "labels": {"team": "other"}}
    [change] = [change for change in quick.plan() if "somebody else" in change.reason]
    assert change.name == f"{quick.service}-test-news"
    answering.calls.clear()
    with pytest.raises(DeployError, match="is not of this service and stage") as caught:
        quick.deploy()
    assert "rename" in caught.value.hint
    assert answering.mutating() == []
    quick.destroy()
    assert answering.state.of("topics").pop(name) == {"name": name, "labels": {"team": "other"}}


def test_a_stage_is_in_one_region(quick: GcpStage, answering: ControlPlane) -> None:
    labels = {"pys-multi-service": quick.service, "pys-multi-stage": "test"}
    name = f"projects/{PROJECT}/locations/us-east1/functions/{quick.service}-test-api"
    answering.state.of("functions")[name] = {"name": name, "labels": labels, "state": "ACTIVE", "environment": "GEN_2"}
    answering.calls.clear()
    for step in (quick.plan, quick.deploy):
        with pytest.raises(DeployError, match="it is deployed in us-east1") as caught:
            step()
        assert "--region us-east1" in caught.value.hint
    assert answering.mutating() == []
    del answering.state.of("functions")[name]


def test_a_name_of_a_bucket_that_another_project_has(quick: GcpStage, answering: ControlPlane) -> None:
    from pys_multi_providers.gcp.view import names_of

    bucket = names_of(quick.place().deployment).bucket("files")
    answering.state.of("buckets")[bucket] = {"name": bucket, "projectNumber": "1", "location": "US"}
    with pytest.raises(DeployError, match="taken by another project"):
        quick.deploy()
    del answering.state.of("buckets")[bucket]
    outputs = quick.deploy()
    assert served(answering, quick.service) == outputs.build_ids


def test_a_secret_that_changed_is_a_change_and_nothing_shows_its_value(
    quick: GcpStage, answering: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = quick.deploy()
    name = f"projects/{PROJECT}/secrets/{quick.service}-test-API_KEY"
    assert list(answering.state.of("versions")[name]) == ["1"]
    things = {kind: found for kind, found in answering.state.things.items() if kind != "versions"}
    shown = [json.dumps(things), quick.told(), repr(outputs), repr(quick.status()), repr(quick.plan())]
    shown += [str(entry["data"]) for entry in answering.state.objects.values() if entry["data"][:2] != b"PK"]
    assert not [text for text in shown if SECRET in text]

    monkeypatch.setenv("API_KEY", "another-value-0123")
    [change] = quick.plan()
    assert (change.kind, change.name) == ("secret value", f"{quick.service}-test-API_KEY")
    assert "another" not in repr(change)
    quick.deploy()
    assert list(answering.state.of("versions")[name]) == ["1", "2"]
    assert quick.plan() == ()
