"""What Google Cloud would refuse is said before anything is uploaded, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.gcp_service import deployment

from pys_multi import App
from pys_multi import model as m
from pys_multi_providers.gcp.provider import GcpProvider
from pys_multi_tools.check import check_capabilities, check_options, check_streaming
from pys_multi_tools.deployment import Problem


def problems(app: App | m.Service, **options: Any) -> list[Problem]:
    found = GcpProvider().check(deployment(app, **options))
    assert all(problem.where and problem.what and problem.hint for problem in found)
    return found


def only(app: App | m.Service, **options: Any) -> Problem:
    (found,) = problems(app, **options)
    return found


def routed(**options: Any) -> App:
    app = App("shop", public=True)
    app.function("api", **options).get("/")(lambda: None)
    return app


def handler(message: Any = None) -> None: ...


def test_a_service_that_google_takes_has_no_problem() -> None:
    app = routed(environment={"LOG_LEVEL": "info"}, gcp={"labels": {"team": "a_b-1"}})
    assert problems(app, labels={"cost-centre": "42"}) == []


@pytest.mark.parametrize("missing", ["project", "region"])
def test_a_project_and_a_region_must_be_named(missing: str) -> None:
    found = only(routed(), **{missing: None})
    assert found.where == f"gcp.{missing}"
    assert f"--{missing}" in found.hint


def test_both_can_be_missing() -> None:
    assert [problem.where for problem in problems(routed(), project=None, region=None)] == ["gcp.project", "gcp.region"]


# ---- functions


def test_limits_are_compared() -> None:
    app = App("shop", public=True)
    app.function("api", memory=64, timeout=4000, concurrency=1001).get("/")(lambda: None)
    found = list(check_capabilities(app.service(), "gcp", GcpProvider.capabilities))
    assert len(found) == 3
    assert problems(routed(memory=32_768, timeout=3600, concurrency=1000)) == []


@pytest.mark.parametrize(
    ("options", "cpu", "expected"),
    [
        ({"concurrency": 2}, 0.5, "takes one request at a time"),
        ({"memory": 1024}, 0.4, "at most 512 MB"),
        ({"memory": 2048}, 0.9, "at most 1,024 MB"),
        ({"memory": 8192}, 1, "128 to 4,096 MB"),
        ({"memory": 16_384}, 2, "128 to 8,192 MB"),
        ({"memory": 1024}, 4, "2,048 to 16,384 MB"),
        ({"memory": 2048}, 6, "4,096 to 24,576 MB"),
        ({"memory": 2048}, 8, "4,096 to 32,768 MB"),
        ({"memory": 8192}, 3, "has no 3 processors"),
        ({}, 1.5, "has no 1.5 processors"),
    ],
)
def test_memory_and_processors_go_together(options: dict[str, Any], cpu: float, expected: str) -> None:
    assert expected in only(routed(**options, gcp={"cpu": cpu})).what


@pytest.mark.parametrize(("memory", "cpu"), [(512, 0.08), (1024, 0.5), (4096, 1), (8192, 2), (32_768, 8), (128, 2)])
def test_what_goes_together_is_taken(memory: int, cpu: float) -> None:
    assert problems(routed(memory=memory, gcp={"cpu": cpu})) == []


def test_more_instances_are_kept_than_there_may_be() -> None:
    found = only(routed(gcp={"min_instances": 5, "max_instances": 2}))
    assert (found.where, found.hint) == ("function api", "raise max_instances")


def test_a_batch_is_as_many_requests_at_once() -> None:
    app = App("shop")
    worker = app.function("worker")
    worker.consume(app.queue("jobs"), batch=600)(handler)
    worker.consume(app.queue("more"), batch=600)(handler)
    assert "1,200 requests at once" in only(app).what


@pytest.mark.parametrize("kind", ["consume", "subscribe", "created"])
def test_an_event_does_not_take_as_long_as_a_request(kind: str) -> None:
    app = App("shop")
    worker = app.function("worker", timeout=541)
    register = {
        "consume": lambda: worker.consume(app.queue("jobs")),
        "subscribe": lambda: worker.subscribe(app.topic("news")),
        "created": lambda: worker.created(app.bucket("files")),
    }
    register[kind]()(handler)
    found = only(app)
    assert (found.where, found.hint[:17]) == ("worker:handler", "write timeout=540")


def test_a_window_is_a_part_of_the_time_of_an_event() -> None:
    app = App("shop")
    app.function("worker", timeout=500).consume(app.queue("jobs"), batch=10, window=60)(handler)
    found = only(app)
    assert "its window is 60 s" in found.what
    assert "timeout=480" in found.hint


def test_a_run_of_a_schedule_takes_half_an_hour_at_most() -> None:
    app = App("shop")
    app.function("worker", timeout=1800).every("1 hour")(handler)
    assert problems(app) == []
    app = App("shop")
    app.function("worker", timeout=1801).every("1 hour")(handler)
    assert "1,800 s for a run" in only(app).what


def test_a_run_that_clocks_jump_over_is_warned_of() -> None:
    app = App("shop")
    app.function("worker").schedule("30 2 * * *", timezone="Europe/Berlin")(handler)
    found = only(app)
    assert found.severity == "warning"
    assert "Europe/Berlin jump" in found.what


@pytest.mark.parametrize("name", ["PORT", "K_SERVICE", "FUNCTION_TARGET", "X_GOOGLE_A", "CLOUD_RUN_X", "THREADS"])
def test_variables_of_the_platform_cannot_be_set(name: str) -> None:
    assert "set by the platform" in only(routed(environment={name: "x"})).what


@pytest.mark.parametrize("name", ["1ST", "WITH-DASH", "spaced out", "é"])
def test_names_that_cloud_run_does_not_take_are_refused(name: str) -> None:
    assert repr(name) in only(routed(environment={name: "x"})).what


def test_a_variable_has_32_kilobytes() -> None:
    assert problems(routed(environment={"LARGE": "x" * 32_768})) == []
    assert "32,769 bytes" in only(routed(environment={"LARGE": "x" * 32_769})).what
    assert "bytes" in only(routed(), environment={"LARGE": "é" * 16_385}).what


def test_a_function_with_too_many_resources_is_told_what_takes_the_room() -> None:
    app = App("shop", public=True)
    tables = [app.table(f"a-table-with-a-name-as-long-as-it-may-be-and-more-{n}", key="id") for n in range(300)]
    app.function("api", uses=tables).get("/")(lambda: None)
    assert "says where its resources are" in only(app).what


def test_an_environment_has_a_thousand_variables() -> None:
    assert "1,000" in only(routed(environment={f"V{number}": "x" for number in range(1000)})).what


def test_a_connector_is_of_the_same_region() -> None:
    connector = "projects/acme/locations/us-east1/connectors/net"
    assert "is not in europe-west1" in only(routed(gcp={"vpc_connector": connector})).what


@pytest.mark.parametrize("path", ["/healthz", "/eventlog", "/_ah/warmup"])
def test_paths_that_cloud_run_keeps_are_refused(path: str) -> None:
    app = App("shop", public=True)
    app.function("api").get(path)(lambda: None)
    assert path in only(app).what


def test_paths_that_end_in_z_are_warned_of() -> None:
    app = App("shop", public=True)
    app.function("api").get("/quiz")(lambda: None)
    assert only(app).severity == "warning"


def test_of_a_group_a_token_does_not_tell() -> None:
    app = App("shop")
    api = app.function("api")
    api.get("/private")(lambda: None)
    assert problems(app, invokers=["group:ops@acme.example"]) == []
    api.get("/open", public=True)(lambda: None)
    assert problems(app, invokers=["user:ann@acme.example"]) == []
    found = only(app, invokers=["group:ops@acme.example"])
    assert found.where == "api:GET /private"


# ---- resources


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({}, "nothing says where it is"),
        ({"KEY": "aws-sm:key"}, "'aws-sm', which Google Cloud does not know"),
        ({"KEY": "gcp-sm:bad name"}, "neither the name of a secret"),
        ({"KEY": "gcp-sm:projects/p/secrets"}, "neither the name of a secret"),
        ({"KEY": "gcp-sm:key/versions/0"}, "neither the name of a secret"),
        ({"KEY": f"gcp-sm:{'k' * 256}"}, "neither the name of a secret"),
    ],
)
def test_a_secret_needs_a_reference_that_google_has_a_place_for(reference: dict[str, str], expected: str) -> None:
    app = App("shop", public=True)
    app.function("api", uses=[app.secret("KEY")]).get("/")(lambda: None)
    found = only(app, secrets=reference)
    assert found.where == "secrets.KEY"
    assert expected in found.what


@pytest.mark.parametrize(
    "reference", ["env:KEY", "file:key", "gcp-sm:key", "gcp-sm:projects/p-1/secrets/key", "gcp-sm:key/versions/7"]
)
def test_references_are_taken(reference: str) -> None:
    app = App("shop", public=True)
    app.function("api", uses=[app.secret("KEY")]).get("/")(lambda: None)
    assert problems(app, secrets={"KEY": reference}) == []


def test_pub_sub_delivers_a_hundred_times() -> None:
    app = App("shop")
    worker = app.function("worker")
    worker.consume(app.queue("jobs", retries=99))(handler)
    assert problems(app) == []
    worker.consume(app.queue("more", retries=100))(handler)
    worker.subscribe(app.topic("news"), retries=100)(handler)
    worker.created(app.bucket("files"), retries=100)(handler)
    found = problems(app)
    assert sorted(problem.where for problem in found) == ["queue more", "worker:handler-3", "worker:handler-4"]
    assert {problem.hint for problem in found} == {"write retries=99"}


def test_the_visibility_has_ten_seconds_to_ten_minutes() -> None:
    app = App("shop")
    app.function("worker", timeout=5).consume(app.queue("jobs", visibility=8))(handler)
    assert only(app).severity == "warning"
    app = App("shop")
    app.function("worker").consume(app.queue("jobs", visibility=601))(handler)
    (found,) = check_capabilities(app.service(), "gcp", GcpProvider.capabilities)
    assert "600" in found.what + found.hint


def test_storage_tells_ten_of_one_kind_of_event() -> None:
    app = App("shop")
    files = app.bucket("files")
    worker = app.function("worker")
    for number in range(10):
        worker.created(files, prefix=f"{number}/")(handler)
        worker.deleted(files, prefix=f"{number}/")(handler)
    assert problems(app) == []
    worker.created(files)(handler)
    assert "11 triggers" in only(app).what


@pytest.mark.parametrize("prefix", ["x" * 1025, "a\nb"])
def test_a_prefix_that_no_object_has_is_refused(prefix: str) -> None:
    app = App("shop")
    app.function("worker").created(app.bucket("files"), prefix=prefix)(handler)
    assert only(app).where == "worker:handler"


def test_resources_have_no_options() -> None:
    app = App("shop", public=True)
    app.function("api", uses=[app.bucket("files", gcp={"a": 1})]).get("/")(lambda: None)
    assert only(app).where == "bucket files"


def test_options_of_a_function_are_validated_by_the_model() -> None:
    app = routed(gcp={"cpu": -1, "min_instances": -1, "memory": 5})
    found = list(check_options(app.service(), GcpProvider(), ["gcp"]))
    assert len(found) == 3
    assert any("'memory'" in problem.what for problem in found)


def test_streams_are_streams() -> None:
    app = App("shop", public=True)

    @app.get("/rows")
    def rows() -> Any:
        yield "a"

    assert list(check_streaming(app, "gcp", GcpProvider.capabilities)) == []


# ---- names and quotas


def test_google_keeps_its_name_to_itself() -> None:
    app = App("google", public=True)
    app.function("api").get("/")(lambda: None)
    assert "'goog'" in only(app).what


@pytest.mark.parametrize("bucket", ["google-files", "g00gle", "my-googlething"])
def test_a_bucket_is_not_google_s(bucket: str) -> None:
    app = App("shop", public=True)
    app.function("api", uses=[app.bucket(bucket)]).get("/")(lambda: None)
    assert only(app).where == f"bucket {bucket}"


@pytest.mark.parametrize(("key", "whose"), [("goog-x", "Google's"), ("pys-multi-stage", "pys-multi's")])
def test_labels_of_others_are_refused(key: str, whose: str) -> None:
    assert whose in only(routed(), labels={key: "x"}).what
    found = only(routed(gcp={"labels": {key: "x"}}))
    assert (found.where, whose in found.what) == ("function api", True)


def test_google_takes_64_labels() -> None:
    assert problems(routed(), labels={f"l{number}": "x" for number in range(60)}) == []
    assert "61 labels" in only(routed(), labels={f"l{number}": "x" for number in range(61)}).what


def test_a_large_service_is_told_of_quotas() -> None:
    service = routed().service()
    trigger = m.Schedule(id="x", expression="0 6 * * *", handler="h")
    functions = tuple(m.Function(name=f"f{n}", triggers=(replace(trigger, id=f"f{n}:run"),)) for n in range(1001))
    found = problems(replace(service, functions=functions))
    assert [problem.severity for problem in found] == ["warning"] * 3
    assert all("quota" in problem.hint for problem in found)


def test_one_sink_tells_of_some_hundreds_of_functions() -> None:
    names = [f"a-function-with-a-rather-long-name-{number}" for number in range(400)]
    service = m.Service(name="shop", functions=tuple(m.Function(name=name) for name in names))
    assert not [problem for problem in problems(service) if "sink" in problem.what]
    [found] = [problem for problem in problems(service, log_retention_days=90) if "sink" in problem.what]
    assert "20,000 characters" in found.hint


def test_a_service_without_functions_is_no_document() -> None:
    assert problems(App("empty")) == []
