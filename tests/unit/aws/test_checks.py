"""What AWS would refuse is said before anything is uploaded, with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.aws_service import deployment

from pys_multi import CORS, App
from pys_multi import model as m
from pys_multi_providers.aws import checks
from pys_multi_providers.aws.provider import AwsProvider
from pys_multi_tools.check import check_capabilities, check_options, check_streaming
from pys_multi_tools.deployment import Problem


def problems(app: App | m.Service, **options: Any) -> list[Problem]:
    found = AwsProvider().check(deployment(app, **options))
    assert all(problem.where and problem.what and problem.hint for problem in found)
    return found


def only(app: App | m.Service, **options: Any) -> Problem:
    (found,) = problems(app, **options)
    return found


def routed(**options: Any) -> App:
    app = App("shop", public=True)
    app.function("api", **options).get("/")(lambda: None)
    return app


def test_a_service_that_aws_takes_has_no_problem() -> None:
    app = routed(environment={"LOG_LEVEL": "info"}, aws={"tags": {"team": "größe: 1/2"}})
    assert problems(app, tags={"cost-centre": "42"}) == []


# ---- functions


def test_an_http_api_does_not_wait_as_long_as_a_function_url() -> None:
    found = only(routed(timeout=60))
    assert found.where == "function api"
    assert "waits 30 s" in found.what
    assert "function-url" in found.hint
    assert problems(routed(timeout=60), http="function-url") == []


def test_a_function_without_routes_may_take_its_time() -> None:
    app = App("shop")
    app.function("worker", timeout=900).every("1 hour")(lambda: None)
    assert problems(app) == []


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_SESSION_TOKEN", "LAMBDA_TASK_ROOT", "AWS_LAMBDA_FUNCTION_NAME"])
def test_lambdas_own_variables_cannot_be_set(name: str) -> None:
    assert "Lambda's own" in only(routed(environment={name: "x"})).what


@pytest.mark.parametrize("name", ["A", "_PRIVATE", "1ST", "WITH-DASH", "spaced out", "é"])
def test_names_that_lambda_does_not_take_are_refused(name: str) -> None:
    assert repr(name) in only(routed(environment={name: "x"})).what


def test_an_environment_has_4_kilobytes_with_what_pys_multi_adds() -> None:
    own = len("PYS_MULTI_FUNCTION" + "api" + "PYS_MULTI_STAGE" + "dev")
    assert problems(routed(environment={"LARGE": "x" * (4096 - own - len("LARGE"))})) == []
    found = only(routed(environment={"LARGE": "x" * (4097 - own - len("LARGE"))}))
    assert "4,097 bytes" in found.what
    assert "4,096" in found.what


def test_the_environment_counts_bytes_and_settings_too() -> None:
    assert "bytes" in only(routed(environment={"LARGE": "é" * 1500}), environment={"OTHER": "x" * 1100}).what


def test_a_function_with_too_many_resources_is_told_what_takes_the_room() -> None:
    app = App("shop", public=True)
    tables = [app.table(f"table-with-a-rather-long-name-{number}", key="id") for number in range(50)]
    app.function("api", uses=tables).get("/")(lambda: None)
    found = only(app)
    assert "of them say where its resources are" in found.what


def test_reserved_concurrency_and_the_like_are_validated_by_the_model() -> None:
    app = routed(aws={"reserved_concurrency": -1, "ephemeral_storage": 100, "memory": 5})
    provider = AwsProvider()
    found = list(check_options(app.service(), provider, ["aws"]))
    assert len(found) == 3
    assert any("'memory'" in problem.what for problem in found)


def test_limits_are_compared() -> None:
    app = App("shop", public=True)
    app.function("api", memory=64, timeout=1000).get("/")(lambda: None)
    found = list(check_capabilities(app.service(), "aws", AwsProvider.capabilities))
    assert [problem.hint for problem in found] == ["write memory=128", "write 900 or less"]


def test_a_stream_is_said_to_be_joined() -> None:
    app = App("shop", public=True)

    @app.get("/rows")
    def rows() -> Any:
        yield "a"

    @app.get("/late")
    async def late() -> Any:
        yield "a"

    @app.get("/plain")
    def plain() -> str:
        return "a"

    found = list(check_streaming(app, "aws", AwsProvider.capabilities))
    assert [problem.where for problem in found] == ["main:GET /rows", "main:GET /late"]
    assert {problem.severity for problem in found} == {"warning"}
    assert "presigned" in found[0].hint


# ---- tags and texts


@pytest.mark.parametrize(
    ("tags", "part"),
    [
        ({"": "x"}, "no name of a tag"),
        ({"k" * 129: "x"}, "no name of a tag"),
        ({"aws:mine": "x"}, "no name of a tag"),
        ({"party": "🎉"}, "value of 'party'"),
        ({"team": "a;b"}, "value of 'team'"),
        ({"team": "x" * 257}, "value of 'team'"),
        ({f"k{number}": "x" for number in range(46)}, "46 tags"),
    ],
)
def test_tags_that_aws_does_not_take_are_refused(tags: dict[str, str], part: str) -> None:
    assert part in only(routed(aws={"tags": tags})).what
    assert part in only(routed(), tags=tags).what


REFERENCE = "a {{resolve:secretsmanager:team/secret}} b"


def test_a_dynamic_reference_is_refused_wherever_it_stands() -> None:
    assert only(routed(environment={"KEY": REFERENCE})).where == "function api"
    assert only(routed(), environment={"KEY": REFERENCE}).where == "environment.KEY"
    app = routed()
    app.table("items", key=REFERENCE)
    assert only(app).where == "table items"
    app = routed()
    app.created(app.bucket("files"), prefix=REFERENCE)(lambda event: None)
    assert "main:" in only(app).where


# ---- schedules


def test_a_run_that_clocks_jump_over_is_pointed_out() -> None:
    app = App("shop")
    app.schedule("30 2 * * *", timezone="Europe/Berlin")(lambda: None)
    found = only(app)
    assert found.severity == "warning"
    assert "jump over" in found.what


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    app = App("shop")
    app.schedule("30 12 * * *", timezone="Europe/Berlln")(lambda: None)
    assert "Europe/Berlin" in only(app).what


# ---- queues and buckets


def test_ordered_queues_give_ten_messages_at_once_and_do_not_wait() -> None:
    app = App("shop")
    app.consume(app.queue("steps", ordered=True), batch=11, window=1)(lambda batch: None)
    assert [problem.hint for problem in problems(app)] == ["write batch=10", "leave window out"]


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ({}, {}, True),
        ({"prefix": "in/"}, {"prefix": "in/new/"}, True),
        ({"prefix": "in/"}, {"suffix": ".csv"}, True),
        ({"prefix": "in/"}, {"prefix": "out/"}, False),
        ({"suffix": ".csv"}, {"suffix": ".json"}, False),
        ({"prefix": "in/", "suffix": ".csv"}, {"prefix": "in/", "suffix": ".json"}, False),
    ],
)
def test_s3_tells_one_handler_about_an_object(one: dict[str, str], other: dict[str, str], clash: bool) -> None:
    app = App("shop")
    files = app.bucket("files")
    app.created(files, **one)(lambda event: None)  # type: ignore[arg-type]
    app.function("other").created(files, **other)(lambda event: None)  # type: ignore[arg-type]
    app.deleted(files)(lambda event: None)
    found = problems(app)
    assert bool(found) is clash
    assert all("S3 tells only one" in problem.what for problem in found)


def test_resources_have_no_options() -> None:
    app = routed()
    app.queue("jobs", aws={"tags": {}, "layers": []})
    app.topic("news", aws={})
    assert [problem.where for problem in problems(app)] == ["queue jobs"]


# ---- secrets


@pytest.mark.parametrize(
    ("references", "part"),
    [
        ({}, "nothing says where it is"),
        ({"KEY": "vault:team/key"}, "scheme 'vault'"),
        ({"KEY": "aws-sm:with space"}, "neither the name nor the ARN"),
        ({"KEY": "aws-sm:arn:aws:sqs:eu-central-1:123456789012:x"}, "neither the name nor the ARN"),
        ({"KEY": "aws-ssm:a//b"}, "not the name of a parameter"),
        ({"KEY": "aws-ssm:${AWS::Region}"}, "not the name of a parameter"),
    ],
)
def test_a_secret_that_aws_cannot_find_is_refused(references: dict[str, str], part: str) -> None:
    app = App("shop", public=True)
    app.function("api", uses=[app.secret("KEY")]).get("/")(lambda: None)
    found = only(app, secrets=references)
    assert part in found.what
    assert "secrets.KEY" in found.where
    assert "aws-sm:NAME" in found.hint


@pytest.mark.parametrize(
    "reference",
    [
        "env:KEY",
        "file:secrets/key",
        "aws-sm:team/key",
        "aws-sm:arn:aws:secretsmanager:eu-central-1:123456789012:secret:team/key-AbCdEf",
        "aws-ssm:/team/key",
        "aws-ssm:key",
    ],
)
def test_a_secret_that_aws_finds_is_well(reference: str) -> None:
    app = App("shop", public=True)
    app.function("api", uses=[app.secret("KEY")]).get("/")(lambda: None)
    assert problems(app, secrets={"KEY": reference}) == []


def test_a_secret_that_nobody_was_granted_needs_no_value() -> None:
    app = routed()
    app.secret("UNUSED")
    assert problems(app) == []


# ---- HTTP


def test_routes_that_api_gateway_cannot_tell_apart_are_refused() -> None:
    app = App("shop", public=True)
    app.get("/orders/{id:int}")(lambda: None)
    app.function("other").get("/orders/{name}")(lambda: None)
    found = only(app)
    assert found.where == "other:GET /orders/{name}"
    assert "main:GET /orders/{id:int}" in found.what
    assert problems(app, http="function-url") == []


def test_more_routes_than_an_account_has_are_pointed_out() -> None:
    app = App("shop", public=True)
    for number in range(300):
        app.get(f"/r{number}")(lambda: None)
    found = only(app)
    assert (found.severity, "301 routes" in found.what) == ("warning", True)


def test_one_path_of_two_functions_with_different_cors_is_pointed_out() -> None:
    app = App("shop", public=True)
    app.function("a", cors=CORS(origins=["https://a.example"])).get("/x")(lambda: None)
    app.function("b", cors=CORS(origins=["https://b.example"])).post("/x")(lambda: None)
    found = only(app)
    assert found.severity == "warning"
    assert "OPTIONS" in found.what


def test_an_open_function_url_never_tells_who_calls_a_private_route() -> None:
    app = App("shop")
    app.get("/open", public=True)(lambda: None)
    app.get("/private")(lambda: None)
    assert problems(app) == []
    assert only(app, http="function-url").where == "main:GET /private"
    app = App("shop")
    app.get("/private")(lambda: None)
    assert problems(app, http="function-url") == []


def test_a_domain_without_an_api_is_refused() -> None:
    domain = {
        "name": "api.shop.example",
        "certificate_arn": "arn:aws:acm:eu-central-1:123456789012:certificate/0123abcd",
    }
    assert only(routed(), domain=domain, http="function-url").where == "aws.domain"
    assert problems(routed(), domain=domain) == []


def test_a_base_path_and_a_record_need_what_they_are_of() -> None:
    assert only(routed(), base_path="/shop").where == "aws.base_path"
    shared = {"name": "api.shop.example"}
    assert problems(routed(), base_path="/shop", domain=shared) == []
    found = only(routed(), domain={**shared, "hosted_zone_id": "Z0123456789ABC"})
    assert found.where == "aws.domain.hosted_zone_id"
    assert "certificate" in found.hint


def test_behind_a_load_balancer_nobody_is_known() -> None:
    app = App("shop")
    app.get("/private")(lambda: None)
    found = only(app, http="alb")
    assert found.where == "main:GET /private"
    assert "never says who is calling" in found.what
    assert problems(app, http="rest-api") == []


# ---- the template as a whole


def test_more_resources_than_cloudformation_takes_are_refused_with_a_way_out() -> None:
    app = App("shop")
    for number in range(72):
        app.function(f"f{number}").consume(app.queue(f"q{number}"))(lambda message: None)
    found = only(app)
    assert "504 resources" in found.what
    assert "split the service" in found.hint


def test_more_functions_than_parameters_and_a_large_template_are_refused() -> None:
    resources = ",".join(f'"r{number}": {{}}' for number in range(501))
    parameters = ",".join(f'"p{number}": {{}}' for number in range(201))
    text = f'{{"Resources": {{{resources}}}, "Parameters": {{{parameters}}}}}' + " " * 1_000_000
    whats = [problem.what for problem in checks.fits(text)]
    assert len(whats) == 3
    assert whats[1].startswith("100 functions")


def test_two_things_of_one_logical_id_are_refused() -> None:
    (found,) = checks.fits('{"Parameters": {}, "Resources": {"A": {}, "A": {}}}')
    assert "'A'" in found.what
