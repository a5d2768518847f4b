"""What Azure would refuse is said before anything is uploaded, with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.azure_service import deployment

from pys_multi import App
from pys_multi import model as m
from pys_multi_providers.azure import checks
from pys_multi_providers.azure.provider import AzureProvider
from pys_multi_tools import pipeline
from pys_multi_tools.check import check_capabilities, check_options
from pys_multi_tools.deployment import Problem
from pys_multi_tools.errors import ProviderError


def problems(app: App | m.Service, **options: Any) -> list[Problem]:
    found = AzureProvider().check(deployment(app, **options))
    assert all(problem.where and problem.what and problem.hint for problem in found)
    return found


def only(app: App | m.Service, **options: Any) -> Problem:
    (found,) = problems(app, **options)
    return found


def routed(**options: Any) -> App:
    app = App("shop", public=True)
    app.function("api", **options).get("/")(lambda: None)
    return app


def test_a_service_that_azure_takes_has_no_problem() -> None:
    app = routed(environment={"LOG_LEVEL": "info"}, memory=256, azure={"tags": {"team": "größe: 1"}})
    assert problems(app, tags={"cost-centre": "42"}) == []


# ---- functions


@pytest.mark.parametrize(("memory", "runs_on"), [(513, 2048), (1024, 2048), (3000, 4096)])
def test_a_size_between_those_of_azure_is_said_to_cost_the_next(memory: int, runs_on: int) -> None:
    found = only(routed(memory=memory))
    assert (found.severity, found.where) == ("warning", "function api")
    assert f"runs on {runs_on:,} MB" in found.what
    assert f"write memory={runs_on}" in found.hint


@pytest.mark.parametrize("memory", [1, 128, 256, 512, 2048, 4096])
def test_a_size_of_azure_and_the_small_ones_are_as_good_as_said(memory: int) -> None:
    assert problems(routed(memory=memory)) == []


def test_limits_are_compared() -> None:
    app = routed(memory=5000, timeout=231, concurrency=2000)
    found = list(check_capabilities(app.service(), "azure", AzureProvider.capabilities))
    assert [problem.hint for problem in found] == ["write memory=4096", "write 1000 or less", "write 230 or less"]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_versions_of_python_that_functions_have(python: str) -> None:
    assert python in AzureProvider.capabilities.limits.python
    target = AzureProvider().target(deployment(routed(), python=python))
    assert (target.python, target.system, target.architecture) == (python, "linux", "x86_64")


def test_a_function_without_routes_may_take_its_time() -> None:
    app = App("shop")
    app.function("worker", timeout=7000).every("1 hour")(lambda: None)
    assert problems(app) == []


def test_a_message_is_not_kept_from_others_for_ever() -> None:
    app = App("shop")
    app.function("worker", timeout=7200).consume(app.queue("jobs"))(lambda message: None)
    found = only(app)
    assert "7,200 s at most" in found.what
    assert "write timeout=7110" in found.hint


def test_more_always_ready_than_there_may_be() -> None:
    found = only(routed(azure={"always_ready": 5, "max_instances": 4}))
    assert "5 instances are always ready" in found.what


def test_options_are_validated_by_the_model() -> None:
    app = routed(azure={"always_ready": -1, "max_instances": 2000, "vnet": "subnet-1", "memory": 5})
    found = list(check_options(app.service(), AzureProvider(), ["azure"]))
    assert len(found) == 4
    assert any("'memory'" in problem.what for problem in found)


def test_a_canary_is_refused_with_what_is_offered_instead() -> None:
    placed: Any = {"name": "azure", "provider": AzureProvider(), "deployment": deployment(routed()), "loaded": None}
    with pytest.raises(ProviderError, match="knows no canary") as caught:
        pipeline.require_canary(pipeline.Placement(**placed))
    assert "slots" in caught.value.hint
    assert "rollback" in caught.value.hint


# ---- the environment


@pytest.mark.parametrize("name", ["TZ", "tz"])
def test_a_time_zone_is_refused_with_what_to_do(name: str) -> None:
    found = only(routed(environment={name: "Europe/Berlin"}))
    assert "no time zone but UTC" in found.what
    assert "timezone=" in found.hint


@pytest.mark.parametrize(
    "name",
    [
        "AzureWebJobsStorage",
        "AZUREFUNCTIONSJOBHOST__logging",
        "FUNCTIONS_WORKER_RUNTIME",
        "FUNCTIONS_EXTENSION_VERSION",
        "WEBSITE_RUN_FROM_PACKAGE",
        "WEBSITE_TIME_ZONE",
        "SCM_DO_BUILD_DURING_DEPLOYMENT",
        "ENABLE_ORYX_BUILD",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "SERVICE_BUS__credential",
        "IDENTITY_HEADER",
        "AZURE_CLIENT_ID",
    ],
)
def test_settings_of_azure_cannot_be_set(name: str) -> None:
    assert "own" in only(routed(environment={name: "x"})).what
    assert only(routed(), environment={name: "x"}).where == f"environment.{name}"


@pytest.mark.parametrize("name", ["1ST", "WITH-DASH", "spaced out", "é", "A:B", "A.B"])
def test_names_that_azure_does_not_take_are_refused(name: str) -> None:
    assert repr(name) in only(routed(environment={name: "x"})).what


def test_two_settings_that_differ_by_case_are_one() -> None:
    assert "'LEVEL' and 'level'" in only(routed(environment={"level": "x"}), environment={"LEVEL": "y"}).what


@pytest.mark.parametrize("value", ["@Microsoft.KeyVault(SecretUri=x)", " @microsoft.appconfiguration(Endpoint=x)"])
def test_a_value_that_azure_would_replace_is_refused(value: str) -> None:
    assert "reference" in only(routed(environment={"A": value})).what


def test_too_many_resources_of_one_function_are_told() -> None:
    app = App("shop", public=True)
    tables = [app.table(f"a-table-with-a-rather-long-name-that-takes-room-{number}", key="id") for number in range(200)]
    app.function("api", uses=tables).get("/")(lambda: None)
    found = problems(app)
    assert any("24,576" in problem.what and problem.where == "function api" for problem in found)


# ---- schedules


@pytest.mark.parametrize(("expression", "timezone"), [("*/15 8-17 * * MON-FRI", "UTC"), ("0 9 * * *", "Asia/Tokyo")])
def test_a_schedule_that_azure_has_is_no_problem(expression: str, timezone: str) -> None:
    app = App("shop")
    app.function("worker").schedule(expression, timezone=timezone)(lambda: None)
    assert problems(app) == []


@pytest.mark.parametrize(
    ("expression", "timezone", "starts"),
    [("0 9 * * *", "Europe/Berlin", 60), ("0 0 13 * FRI", "UTC", 30), ("every 45 minutes", "UTC", 2880)],
)
def test_a_schedule_that_azure_lacks_is_said_to_start_more_often(expression: str, timezone: str, starts: int) -> None:
    app = App("shop")

    @app.function("worker").schedule(expression, timezone=timezone)
    def job() -> None: ...

    found = only(app)
    assert (found.severity, found.where) == ("warning", "worker:job")
    assert f"{starts:,} times in 30 days" in found.what


def test_an_unknown_time_zone_is_an_error() -> None:
    schedule = m.Schedule(id="a:b", expression="0 0 * * *", timezone="Mars/Olympus", handler="a.b")
    found = only(m.Service(name="shop", functions=(m.Function(name="a", triggers=(schedule,)),)))
    assert "Mars/Olympus" in found.what


# ---- routes


@pytest.mark.parametrize("path", ["/admin", "/admin/users", "/Runtime/x"])
def test_paths_of_the_host_are_refused(path: str) -> None:
    app = App("shop", public=True)
    app.get(path)(lambda: None)
    assert "keeps paths" in only(app).what


def test_paths_that_only_begin_like_them_are_refused_where_each_route_is_a_function() -> None:
    app = App("shop")
    app.get("/administration", public=True)(lambda: None)
    assert problems(app) == []
    app.get("/private")(lambda: None)
    assert "keeps paths" in only(app).what


def test_a_public_route_that_azure_takes_for_a_private_one() -> None:
    app = App("shop")
    app.get("/items/{id}")(lambda id: id)
    app.get("/items/{name:path}", public=True)(lambda name: name)
    app.get("/things/{id:uuid}")(lambda id: id)
    app.get("/things/{name}", public=True)(lambda name: name)
    found = [problem for problem in problems(app) if "cannot tell it" in problem.what]
    assert [problem.where for problem in found] == ["main:GET /things/{name}"]


def test_addresses_of_several_functions_are_told() -> None:
    app = routed()
    app.function("hooks").get("/hooks")(lambda: None)
    found = only(app)
    assert (found.severity, "api, hooks" in found.what) == ("warning", True)


# ---- resources


def test_a_lock_is_shorter_than_what_the_queue_asks_for() -> None:
    app = App("shop")
    app.function("worker").consume(app.queue("jobs", visibility=600))(lambda message: None)
    found = only(app)
    assert (found.severity, found.where) == ("warning", "queue jobs")
    assert "300 s at most" in found.what


def test_a_secret_needs_a_reference_that_azure_can_follow() -> None:
    app = routed()
    key = app.secret("KEY")
    app.function("other", uses=[key])
    for reference in ({}, {"KEY": "aws-sm:x"}, {"KEY": "azure-kv:https://evil.example/secrets/x"}):
        found = next(problem for problem in problems(app, secrets=reference) if problem.severity == "error")
        assert "secret 'KEY'" in found.what
        assert "azure-kv:" in found.hint
    for right in ("env:KEY", "file:key", "azure-kv:https://team.vault.azure.net/secrets/key-1"):
        assert problems(app, secrets={"KEY": right}) == []


def test_resources_have_no_options() -> None:
    app = routed()
    app.table("items", key="id", azure={"x": 1})
    assert "no options" in only(app).what


# ---- tags


@pytest.mark.parametrize("name", ["", "a<b", "a/b", "a%b", "a" * 129, " a", "a\n"])
def test_names_of_tags_that_azure_does_not_take(name: str) -> None:
    assert "no name of a tag" in only(routed(azure={"tags": {name: "x"}})).what
    assert only(routed(), tags={name: "x"}).where == "azure.tags"


@pytest.mark.parametrize("name", ["azure-x", "Microsoft", "windows", "pys-multi-service", "pys-multi-own"])
def test_names_of_tags_that_are_taken(name: str) -> None:
    assert "own" in only(routed(azure={"tags": {name: "x"}})).what


def test_tags_have_limits() -> None:
    assert "256" in only(routed(azure={"tags": {"a": "x" * 257}})).what
    assert "more than Azure takes" in only(routed(), tags={f"t{number}": "x" for number in range(47)}).what
    assert "one tag" in only(routed(), tags={"Team": "x", "team": "y"}).what


# ---- the template


def test_a_template_has_800_resources() -> None:
    functions = tuple(m.Function(name=f"f{number}") for number in range(100))
    found = problems(m.Service(name="large", functions=functions))
    assert any("takes 800" in problem.what for problem in found)


def test_a_template_has_4_megabytes() -> None:
    text = '{"resources": [], "x": "' + "x" * (4 * 1024 * 1024) + '"}'
    (found,) = checks.fits(text)
    assert "bytes" in found.what
