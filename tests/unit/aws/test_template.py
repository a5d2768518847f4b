"""The template: what a service becomes on AWS, and that nothing a user writes leaves its place."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.aws_service import deployment, template
from tests.support.cloudformation import Template

from pys_multi import CORS, JWT, App
from pys_multi import model as m
from pys_multi_providers.aws import provider
from pys_multi_providers.aws.provider import TEMPLATE, AwsProvider
from pys_multi_providers.aws.view import view
from pys_multi_tools import load, place, render

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = ("shop", "fastapi-notes")
ISSUER = "https://login.example"


def full() -> App:
    """A service with one of everything."""
    app = App("full", cors=CORS(origins=["https://full.example"]))
    jobs, steps, news = app.queue("jobs", visibility=90), app.queue("steps", ordered=True), app.topic("news")
    files, items = app.bucket("files"), app.table("items", key="id", sort="at")
    own, named, parameter = app.secret("OWN"), app.secret("NAMED"), app.secret("PARAMETER")
    tokens = JWT(issuer=ISSUER, audience="full", jwks_url=f"{ISSUER}/.well-known/jwks.json")
    api = app.function(
        "api", uses=[jobs.send, items.read, files.read, own, named, parameter], aws={"reserved_concurrency": 5}
    )
    api.get("/open/{name}", public=True)(lambda name: name)
    api.get("/tokens", auth=tokens)(lambda: None)
    api.get("/private")(lambda: None)
    options: dict[str, Any] = {
        "ephemeral_storage": 2048,
        "vpc": {"subnets": ["subnet-0123456789abcdef0"], "security_groups": ["sg-0123456789abcdef0"]},
        "layers": ["arn:aws:lambda:eu-central-1:123456789012:layer:tools:3"],
        "tags": {"team": "orders"},
        "log_retention_days": 90,
    }
    worker = app.function("worker", timeout=20, memory=1024, uses=[news.publish, items.write, files.write], aws=options)
    worker.consume(jobs, batch=50, window=0.5)(lambda message: None)
    worker.consume(steps, batch=5)(lambda message: None)
    worker.subscribe(news, retries=7)(lambda message: None)
    worker.created(files, prefix="in/", suffix=".csv", retries=1)(lambda event: None)
    worker.deleted(files)(lambda event: None)
    worker.every("15 minutes")(lambda: None)
    worker.schedule("0 0 13 * FRI", timezone="Europe/Berlin")(lambda: None)
    return app


SECRETS = {"OWN": "env:OWN", "NAMED": "aws-sm:team/named", "PARAMETER": "aws-ssm:/team/parameter"}
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
DOMAIN = {
    "name": "api.full.example",
    "certificate_arn": "arn:aws:acm:eu-central-1:123456789012:certificate/0123abcd-0000-0000-0000-000000000000",
    "hosted_zone_id": "Z0123456789ABC",
}


@pytest.fixture(scope="module")
def everything() -> Template:
    return template(
        deployment(full(), secrets=SECRETS, environment={"LOG_LEVEL": "info"}, domain=DOMAIN, native_jwt=True)
    )


def example(name: str) -> str:
    (placement,) = place(load(ROOT / "examples" / name, env={"PYS_MULTI_PYTHON": "3.13"}), ["aws"])
    return render(placement)[TEMPLATE]


# ---- the examples, and the tools that look at templates


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_rendered_as_it_was(name: str) -> None:
    """After a change that is meant: python tests/unit/aws/test_template.py"""
    assert example(name) == (GOLDEN / f"{name}.json").read_text()


def lint(*texts: str, folder: Path) -> str:
    """What cfn-lint finds, with its hints."""
    files = []
    for number, text in enumerate(texts):
        files.append(folder / f"{number}.json")
        files[-1].write_text(text)
    command = [sys.executable, "-m", "cfnlint", "--include-checks", "I", "--", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    url = render_text(deployment(full(), secrets=SECRETS, http="function-url"))
    mapped = render_text(deployment(full(), secrets=SECRETS, domain={"name": "api.full.example"}, base_path="/full"))
    encrypted = render_text(deployment(full(), secrets=SECRETS, kms_key=KEY))
    whole = render_text(deployment(full(), secrets=SECRETS, domain=DOMAIN, native_jwt=True))
    hostile = render_text(deployment(hostile_service(SYNTAX * 2), environment={"PLAIN": SYNTAX[0]}, native_jwt=True))
    assert lint(*map(example, EXAMPLES), whole, url, mapped, encrypted, hostile, folder=tmp_path) == ""


def render_text(placed: Any) -> str:
    return AwsProvider().render(placed)[TEMPLATE]


# ---- what a service becomes


def test_everything_that_is_referred_to_is_there(everything: Template) -> None:
    known = {*everything.resources, *everything.document["Parameters"]}
    assert {name for name in everything.references() if not name.startswith("AWS::")} <= known
    for entry in everything.resources.values():
        needed = entry.get("DependsOn", [])
        assert {needed} if isinstance(needed, str) else set(needed) <= known


def test_a_function_runs_the_build_of_its_parameter_and_its_alias_the_version() -> None:
    placed = deployment(full(), secrets=SECRETS)
    text = render_text(placed)
    parameters = {"ArtefactBucket": "bundles", "WorkerBuild": "0123456789abcdef", "WorkerVersion": "7"}
    found = Template(text, parameters)
    assert found.properties("WorkerFunction")["Code"] == {
        "S3Bucket": "bundles",
        "S3Key": "full/dev/0123456789abcdef.zip",
    }
    assert found.properties("WorkerAlias")["FunctionVersion"] == "7"
    assert found.properties("ApiAlias")["FunctionVersion"] == "$LATEST"


def test_options_of_a_function_are_there(everything: Template) -> None:
    worker, api = everything.properties("WorkerFunction"), everything.properties("ApiFunction")
    assert (worker["MemorySize"], worker["Timeout"], worker["EphemeralStorage"]) == (1024, 20, {"Size": 2048})
    assert worker["VpcConfig"]["SubnetIds"] == ["subnet-0123456789abcdef0"]
    assert worker["Layers"] == ["arn:aws:lambda:eu-central-1:123456789012:layer:tools:3"]
    assert worker["Tags"] == [{"Key": "team", "Value": "orders"}]
    assert everything.properties("WorkerLogs")["RetentionInDays"] == 90
    assert everything.properties("ApiLogs")["RetentionInDays"] == 30
    assert (api["ReservedConcurrentExecutions"], api["Architectures"]) == (5, ["arm64"])
    assert "VpcConfig" not in api
    assert "ReservedConcurrentExecutions" not in worker


def test_a_time_of_part_of_a_second_is_rounded_up() -> None:
    app = App("shop", public=True)
    app.function("api", timeout=0.5).get("/")(lambda: None)
    assert template(deployment(app)).properties("ApiFunction")["Timeout"] == 1


def test_a_function_is_told_what_it_was_granted_and_nothing_else(everything: Template) -> None:
    api = everything.properties("ApiFunction")["Environment"]["Variables"]
    assert json.loads(api["PYS_MULTI_RESOURCES"]) == {
        "NAMED": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:team/named",
        "OWN": f"<{everything_id(everything, 'AWS::SecretsManager::Secret')}.Id>",
        "PARAMETER": "/team/parameter",
        "files": "<FilesBucket>",
        "items": "<ItemsTable>",
        "jobs": "<JobsQueue>",
    }
    assert (api["PYS_MULTI_FUNCTION"], api["PYS_MULTI_STAGE"], api["LOG_LEVEL"]) == ("api", "dev", "info")
    worker = everything.properties("WorkerFunction")["Environment"]["Variables"]
    assert set(json.loads(worker["PYS_MULTI_RESOURCES"])) == {"files", "items", "news"}
    queues = json.loads(worker["PYS_MULTI_QUEUES"])
    assert queues["full_dev_jobs"].startswith("worker:")
    assert "full_dev_steps.fifo" in queues
    assert len(queues) == 5
    (bucket,) = everything.of_type("AWS::S3::Bucket").values()
    assert json.loads(worker["PYS_MULTI_BUCKETS"]) == {bucket["BucketName"]: "files"}


def everything_id(found: Template, kind: str) -> str:
    (id,) = found.of_type(kind)
    return id


def allowed(found: Template, role: str) -> dict[str, set[str]]:
    """Resource → actions that a role allows."""
    policy = found.properties(role)["Policies"][0]["PolicyDocument"]
    result: dict[str, set[str]] = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        result.setdefault(statement["Resource"], set()).update(statement["Action"])
    return result


def test_a_role_allows_what_was_granted_and_nothing_else(everything: Template) -> None:
    assert allowed(everything, "ApiRole") == {
        "<ApiLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "<JobsQueue.Arn>": {"sqs:SendMessage"},
        "<ItemsTable.Arn>": {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"},
        "<FilesBucket.Arn>": {"s3:ListBucket"},
        "<FilesBucket.Arn>/*": {"s3:GetObject"},
        f"<{everything_id(everything, 'AWS::SecretsManager::Secret')}.Id>": {"secretsmanager:GetSecretValue"},
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:team/named-??????": {"secretsmanager:GetSecretValue"},
        "arn:aws:ssm:eu-central-1:123456789012:parameter/team/parameter": {"ssm:GetParameter"},
    }
    worker = allowed(everything, "WorkerRole")
    take = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"}
    queues = [id for id, actions in worker.items() if actions == take]
    assert len(queues) == 5
    assert {id: actions for id, actions in worker.items() if id not in queues} == {
        "<WorkerLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "<Missed.Arn>": {"sqs:SendMessage"},
        "<NewsTopic>": {"sns:Publish"},
        "<ItemsTable.Arn>": {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"},
        "<FilesBucket.Arn>/*": {"s3:PutObject", "s3:DeleteObject"},
    }


@pytest.mark.parametrize("verb", ["get", "exists"])
def test_who_may_read_an_object_is_told_when_there_is_none(verb: str) -> None:
    """S3 says 404 only to those who may list the bucket, and 403 to others, which would be no NotFound."""
    app = App("files")
    files = app.bucket("files")
    app.function("api", uses=[getattr(files, verb)]).get("/", public=True)(lambda: None)
    found = allowed(template(deployment(app)), "ApiRole")
    assert found["<FilesBucket.Arn>"] == {"s3:ListBucket"}
    assert found["<FilesBucket.Arn>/*"] == {"s3:GetObject"}


def test_no_policy_has_a_wildcard_for_an_action_or_for_every_resource(everything: Template) -> None:
    for role in everything.of_type("AWS::IAM::Role"):
        for statement in everything.properties(role)["Policies"][0]["PolicyDocument"]["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not any("*" in action for action in actions)
            # The objects of one bucket are the only many that have no names yet.
            assert statement["Resource"].removesuffix("<FilesBucket.Arn>/*").count("*") == 0


def test_a_key_of_ones_own_encrypts_all_that_is_kept() -> None:
    found = template(deployment(full(), secrets=SECRETS, kms_key=KEY))
    for kind, name in {
        "AWS::SQS::Queue": "KmsMasterKeyId",
        "AWS::SNS::Topic": "KmsMasterKeyId",
        "AWS::SecretsManager::Secret": "KmsKeyId",
        "AWS::Logs::LogGroup": "KmsKeyId",
        "AWS::Lambda::Function": "KmsKeyArn",
    }.items():
        things = found.of_type(kind).values()
        assert things
        assert {thing[name] for thing in things} == {KEY}, kind
    assert not any("SqsManagedSseEnabled" in queue for queue in found.of_type("AWS::SQS::Queue").values())
    [table] = found.of_type("AWS::DynamoDB::Table").values()
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    [bucket] = found.of_type("AWS::S3::Bucket").values()
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    for role in ("ApiRole", "WorkerRole"):
        assert allowed(found, role)[KEY] == {"kms:Decrypt", "kms:GenerateDataKey"}
    [run] = found.properties("Scheduler")["Policies"]
    assert KEY in [statement["Resource"] for statement in run["PolicyDocument"]["Statement"]]


def test_queues_keep_what_cannot_be_delivered(everything: Template) -> None:
    jobs = everything.properties("JobsQueue")
    assert jobs["VisibilityTimeout"] == 90
    assert jobs["RedrivePolicy"] == {"deadLetterTargetArn": "<JobsDead.Arn>", "maxReceiveCount": 4}
    assert everything.properties("JobsDead")["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": ["arn:aws:sqs:eu-central-1:123456789012:full_dev_jobs"],
    }
    steps = everything.properties("StepsQueue")
    assert (steps["QueueName"], steps["FifoQueue"], steps["VisibilityTimeout"]) == ("full_dev_steps.fifo", True, 120)
    assert everything.properties("StepsDead")["FifoQueue"] is True
    for properties in everything.of_type("AWS::SQS::Queue").values():
        assert properties["SqsManagedSseEnabled"] is True
        assert properties["MessageRetentionPeriod"] == 1_209_600


def test_a_batch_above_ten_has_the_window_that_aws_wants(everything: Template) -> None:
    sources = {
        source["EventSourceArn"]: source for source in everything.of_type("AWS::Lambda::EventSourceMapping").values()
    }
    jobs, steps = sources["<JobsQueue.Arn>"], sources["<StepsQueue.Arn>"]
    assert (jobs["BatchSize"], jobs["MaximumBatchingWindowInSeconds"]) == (50, 1)
    assert steps["BatchSize"] == 5
    assert "MaximumBatchingWindowInSeconds" not in steps
    assert all(source["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for source in sources.values())
    assert all(source["FunctionName"] == "<WorkerAlias>" for source in sources.values())


def test_topics_and_buckets_tell_a_queue_that_counts_the_attempts(everything: Template) -> None:
    (subscription,) = everything.of_type("AWS::SNS::Subscription").values()
    assert (subscription["Protocol"], subscription["RawMessageDelivery"]) == ("sqs", True)
    inboxes = {queue["QueueName"]: queue for queue in everything.of_type("AWS::SQS::Queue").values()}
    retries = sorted(
        queue["RedrivePolicy"]["maxReceiveCount"]
        for name, queue in inboxes.items()
        if name.startswith("full_dev__for_")
    )
    assert retries == [2, 4, 8]
    id = everything_id(everything, "AWS::S3::Bucket")
    notices = everything.properties(id)["NotificationConfiguration"]["QueueConfigurations"]
    assert [notice["Event"] for notice in notices] == ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    assert notices[0]["Filter"]["S3Key"]["Rules"] == [
        {"Name": "prefix", "Value": "in/"},
        {"Name": "suffix", "Value": ".csv"},
    ]
    assert "Filter" not in notices[1]


def test_a_bucket_waits_for_what_lets_it_tell_and_that_does_not_wait_for_the_bucket(everything: Template) -> None:
    id = everything_id(everything, "AWS::S3::Bucket")
    needed = everything.resources[id]["DependsOn"]
    assert len(needed) == 2
    for policy in needed:
        assert everything.resources[policy]["Type"] == "AWS::SQS::QueuePolicy"
        assert id not in json.dumps(everything.resources[policy])
        (statement,) = everything.properties(policy)["PolicyDocument"]["Statement"]
        name = everything.properties(id)["BucketName"]
        assert statement["Condition"]["ArnEquals"] == {"aws:SourceArn": f"arn:aws:s3:::{name}"}


def test_what_holds_data_stays(everything: Template) -> None:
    for entry in everything.resources.values():
        holds = entry["Type"] in ("AWS::S3::Bucket", "AWS::DynamoDB::Table")
        name = entry["Properties"].get("QueueName", "")
        if holds or name in (
            "full_dev_jobs",
            "full_dev__dead_jobs",
            "full_dev_steps.fifo",
            "full_dev__dead_steps.fifo",
        ):
            assert entry["DeletionPolicy"] == "RetainExceptOnCreate"
            assert entry["UpdateReplacePolicy"] == "Retain"


def test_buckets_and_tables_are_closed_and_encrypted(everything: Template) -> None:
    (bucket,) = everything.of_type("AWS::S3::Bucket").values()
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (table,) = everything.of_type("AWS::DynamoDB::Table").values()
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["KeySchema"] == [
        {"AttributeName": "id", "KeyType": "HASH"},
        {"AttributeName": "at", "KeyType": "RANGE"},
    ]


def test_schedules_call_the_alias_in_their_time_zone(everything: Template) -> None:
    schedules = {s["Name"]: s for s in everything.of_type("AWS::Scheduler::Schedule").values()}
    assert len(schedules) == 3
    assert {s["ScheduleExpressionTimezone"] for s in schedules.values()} == {"UTC", "Europe/Berlin"}
    for schedule in schedules.values():
        target = schedule["Target"]
        assert (target["Arn"], target["DeadLetterConfig"]) == ("<WorkerAlias>", {"Arn": "<Missed.Arn>"})
        envelope = json.loads(target["Input"])["pys_multi"]
        assert envelope["trigger"].startswith("worker:")
        assert envelope["event"]["time"] == "<aws.scheduler.scheduled-time>"
    second = next(s for s in schedules.values() if s["ScheduleExpression"] == "cron(0 0 ? * 6 *)")
    assert json.loads(second["Target"]["Input"])["pys_multi"]["unless"] == {
        "expression": "0 0 13 * *",
        "timezone": "Europe/Berlin",
    }
    assert allowed_by_scheduler(everything) == {"<WorkerAlias>", "<Missed.Arn>"}
    (invoke,) = everything.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert invoke["DestinationConfig"] == {"OnFailure": {"Destination": "<Missed.Arn>"}}


def allowed_by_scheduler(found: Template) -> set[str]:
    statements = found.properties("Scheduler")["Policies"][0]["PolicyDocument"]["Statement"]
    return {statement["Resource"] for statement in statements}


def test_routes_have_the_access_that_the_service_says(everything: Template) -> None:
    routes = {route["RouteKey"]: route for route in everything.of_type("AWS::ApiGatewayV2::Route").values()}
    assert {key: route["AuthorizationType"] for key, route in routes.items()} == {
        "GET /open/{name}": "NONE",
        "GET /tokens": "JWT",
        "GET /private": "AWS_IAM",
        "HEAD /private": "AWS_IAM",
        "$default": "NONE",
    }
    (authorizer,) = everything.of_type("AWS::ApiGatewayV2::Authorizer").values()
    assert authorizer["JwtConfiguration"] == {"Issuer": ISSUER, "Audience": ["full"]}
    assert routes["GET /tokens"]["AuthorizerId"] == f"<{everything_id(everything, 'AWS::ApiGatewayV2::Authorizer')}>"
    (stage,) = everything.of_type("AWS::ApiGatewayV2::Stage").values()
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    # Each line of the log is JSON once API Gateway has put its values in.
    assert set(json.loads(stage["AccessLogSettings"]["Format"])) >= {"requestId", "route", "status"}


def test_preflights_reach_the_function(everything: Template) -> None:
    assert "CorsConfiguration" not in everything.properties("Api")
    assert "$default" in {route["RouteKey"] for route in everything.of_type("AWS::ApiGatewayV2::Route").values()}


def test_a_domain_of_ones_own_is_mapped(everything: Template) -> None:
    assert everything.properties("Domain")["DomainName"] == "api.full.example"
    assert everything.properties("Mapping") == {"ApiId": "<Api>", "DomainName": "<Domain>", "Stage": "$default"}
    assert everything.properties("Record")["HostedZoneId"] == "Z0123456789ABC"
    assert everything.value(everything.document["Outputs"]["DomainUrl"]["Value"]) == "https://api.full.example"


def test_a_domain_that_is_there_is_mapped_below_a_path() -> None:
    placed = deployment(full(), secrets=SECRETS, domain={"name": "api.full.example"}, base_path="/full/v1")
    found = template(placed)
    assert found.properties("Mapping")["DomainName"] == "api.full.example"
    assert found.properties("Mapping")["ApiMappingKey"] == "full/v1"
    assert not found.of_type("AWS::ApiGatewayV2::DomainName")
    assert set(found.document["Outputs"]) == {"Region", "Url", "DomainUrl"}
    assert found.value(found.document["Outputs"]["DomainUrl"]["Value"]) == "https://api.full.example/full/v1"
    assert json.loads(AwsProvider().target(placed).files["pys_multi_aws.json"])["base_path"] == "/full/v1"


@pytest.mark.parametrize("front", ["rest-api", "alb"])
def test_a_front_of_ones_own_is_told_what_to_call(front: str) -> None:
    placed = deployment(full(), secrets=SECRETS, http=front)
    found = template(placed)
    assert not found.of_type("AWS::ApiGatewayV2::Api")
    assert not found.of_type("AWS::Lambda::Url")
    assert found.value(found.document["Outputs"]["ApiAlias"]["Value"]) == "<ApiAlias>"
    assert json.loads(AwsProvider().target(placed).files["pys_multi_aws.json"])["http"] == front


def test_a_function_url_needs_both_permissions_where_it_is_open() -> None:
    found = template(deployment(full(), secrets=SECRETS, http="function-url"))
    (url,) = found.of_type("AWS::Lambda::Url").values()
    assert (url["AuthType"], url["Qualifier"], url["InvokeMode"]) == ("NONE", "live", "BUFFERED")
    permissions = found.of_type("AWS::Lambda::Permission").values()
    assert [(p["Action"], p.get("FunctionUrlAuthType"), p.get("InvokedViaFunctionUrl")) for p in permissions] == [
        ("lambda:InvokeFunctionUrl", "NONE", None),
        ("lambda:InvokeFunction", None, True),
    ]
    assert not found.of_type("AWS::ApiGatewayV2::Api")
    assert "ApiUrl" in found.document["Outputs"]


def test_a_function_url_of_private_routes_asks_for_a_signature() -> None:
    app = App("inner")
    app.get("/")(lambda: None)
    found = template(deployment(app, http="function-url"))
    assert found.properties("MainUrl")["AuthType"] == "AWS_IAM"
    assert not found.of_type("AWS::Lambda::Permission")


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize(("architecture", "machine"), [("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_template_and_bundle_are_for_the_same_runtime(python: str, architecture: str, machine: str) -> None:
    placed = deployment(full(), secrets=SECRETS, python=python, architecture=architecture)
    function = template(placed).properties("ApiFunction")
    assert (function["Runtime"], function["Architectures"]) == (f"python{python}", [architecture])
    target = AwsProvider().target(placed)
    assert (target.python, target.architecture, target.system) == (python, machine, "linux")
    assert target.glibc == ((2, 26) if python == "3.11" else (2, 34))
    assert json.loads(target.files["pys_multi_aws.json"]) == {"http": "http-api", "base_path": ""}


# ---- stability and size


def test_rendering_again_gives_the_same_bytes() -> None:
    placed = deployment(full(), secrets=SECRETS)
    assert render_text(placed) == render_text(deployment(full(), secrets=SECRETS))


def test_a_new_thing_changes_nothing_that_is_there_already() -> None:
    before = template(deployment(full(), secrets=SECRETS)).resources
    app = full()
    app.table("more", key="id")
    app.function("another", public=True).get("/another")(lambda: None)
    after = template(deployment(app, secrets=SECRETS)).resources
    assert {id: entry for id, entry in after.items() if id in before} == before


def test_a_change_of_code_changes_nothing_in_the_template() -> None:
    """Which build runs is a parameter: nothing of the service's own code is in here."""
    placed = deployment(full(), secrets=SECRETS)
    functions = tuple(
        replace(f, triggers=tuple(replace(t, handler="elsewhere:other") for t in f.triggers))
        for f in placed.service.functions
    )
    assert render_text(replace(placed, service=replace(placed.service, functions=functions))) == render_text(placed)


# ---- what users write


SYNTAX = (
    "${AWS::Region}",
    "${ApiFunction.Arn}",
    "$${x}",
    "${",
    "$",
    "}${!x}",
    "{{ name }} {% if %}",
    "\"quote\" 'quote' \\ \\n",
    "line\nline\r\n\ttab",
    "!Ref x: - no",
    "no",
    "1.10",
    "null",
    "<aws.scheduler.scheduled-time>",
    "🎉 ünïcode \u2028 \x7f",
    "a" * 200,
    "",
)
WRITTEN = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TEXTS = st.one_of(st.text(WRITTEN, max_size=20), st.sampled_from(SYNTAX)).filter(lambda text: "{{resolve:" not in text)


def hostile_service(texts: tuple[str, ...] | list[str]) -> m.Service:
    """A service with user's text wherever there can be some."""
    pick = iter([*texts, *(f"more {number}" for number in range(40))])
    environment = {f"V{number}": text for number, text in enumerate(texts)}
    tags = {f"k{number}{text}": text for number, text in enumerate(texts[:5])}
    key, sort = f"k{next(pick)}", f"s{next(pick)}"
    triggers: list[m.Trigger] = [
        m.ObjectEvent(id="api:on", bucket="files", event="created", handler="h", prefix=next(pick), suffix=next(pick)),
        m.Schedule(id="api:daily", expression="0 6 * * *", handler="h", timezone="Europe/Berlin"),
    ]
    for number in range(3):
        issuer = f"https://{number}{next(pick)}"
        auth = {
            "kind": "jwt",
            "header": "authorization",
            "issuer": [issuer],
            "audience": [next(pick) or "any"],
            "algorithms": ["RS256"],
            "jwks_url": f"{issuer.rstrip(chr(47))}/.well-known/keys",
        }
        triggers.append(m.Route(id=f"api:{number}", method="GET", path=f"/r{number}", handler="h", auth=auth))
    function = m.Function(
        name="api",
        environment=environment,
        triggers=tuple(triggers),
        grants=(m.Grant(resource="files", verbs=("get",)),),
        options={"aws": {"tags": tags}},
    )
    resources = (m.Bucket(name="files"), m.Table(name="items", key=key, sort=sort))
    return m.Service(name="hostile", functions=(function,), resources=resources)


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(TEXTS, min_size=25, max_size=40), value=TEXTS)
def test_what_a_user_writes_arrives_as_it_was(texts: list[str], value: str) -> None:
    """More than ten thousand texts; every one comes out of CloudFormation's functions as it went in."""
    service = hostile_service(texts)
    found = template(deployment(service, environment={"PLAIN": value}, native_jwt=True))
    function, table = service.functions[0], service.resource("items")
    properties = found.properties("ApiFunction")
    variables = properties["Environment"]["Variables"]
    assert {name: variables[name] for name in function.environment} == function.environment
    assert variables["PLAIN"] == value
    assert {tag["Key"]: tag["Value"] for tag in properties["Tags"]} == function.options["aws"]["tags"]
    assert isinstance(table, m.Table)
    assert [entry["AttributeName"] for entry in found.properties("ItemsTable")["KeySchema"]] == [table.key, table.sort]
    trigger = function.triggers[0]
    assert isinstance(trigger, m.ObjectEvent)
    (notice,) = found.properties("FilesBucket")["NotificationConfiguration"]["QueueConfigurations"]
    rules = {rule["Name"]: rule["Value"] for rule in notice.get("Filter", {}).get("S3Key", {}).get("Rules", [])}
    assert (rules.get("prefix", ""), rules.get("suffix", "")) == (trigger.prefix, trigger.suffix)
    configured = [a["JwtConfiguration"] for a in found.of_type("AWS::ApiGatewayV2::Authorizer").values()]
    wanted = [
        {"Issuer": t.auth["issuer"][0], "Audience": t.auth["audience"]}
        for t in function.triggers
        if isinstance(t, m.Route)
    ]
    assert configured == wanted
    # Nothing else came of it: the same resources as with harmless text.
    assert found.resources.keys() - {id for id in found.resources if "Authorizer" in id} == _PLAIN_IDS


_PLAIN_IDS = {
    id
    for id in template(deployment(hostile_service(["x"] * 40), environment={"PLAIN": "x"}, native_jwt=True)).resources
    if "Authorizer" not in id
}


def test_no_value_of_a_secret_is_in_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN", "canary-5d2a")
    assert "canary-5d2a" not in render_text(deployment(full(), secrets=SECRETS))


# ---- size


def large(count: int) -> m.Service:
    """Functions with three triggers each."""
    functions = tuple(
        m.Function(
            name=f"f{number}",
            triggers=(
                m.Route(id=f"f{number}:GET", method="GET", path=f"/f{number}/{{id}}", handler="h", public=True),
                m.Consume(id=f"f{number}:take", queue=f"q{number}", handler="h"),
                m.Schedule(id=f"f{number}:run", expression="0 6 * * *", handler="h"),
            ),
            grants=(m.Grant(resource=f"q{number}", verbs=("send",)),),
        )
        for number in range(count)
    )
    return m.Service(
        name="large", functions=functions, resources=tuple(m.Queue(name=f"q{number}") for number in range(count))
    )


def test_a_template_is_rendered_once_for_check_and_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    views = []
    monkeypatch.setattr(provider, "view", lambda deployment: views.append(deployment) or view(deployment))
    found, one, other = AwsProvider(), deployment(full(), secrets=SECRETS), deployment(App("other"))
    found.check(one)
    text = found.render(one)
    assert views == [one]
    assert found.render(other) != text
    assert found.render(one) == text


def test_a_large_service_is_rendered_whole() -> None:
    found = template(deployment(large(1000)))
    assert len(found.of_type("AWS::Lambda::Function")) == 1000
    assert len(found.of_type("AWS::Scheduler::Schedule")) == 1000


if __name__ == "__main__":
    for name in EXAMPLES:
        (GOLDEN / f"{name}.json").write_text(example(name))
    began = time.perf_counter()
    render_text(deployment(large(1000)))
    print(f"1,000 functions: {time.perf_counter() - began:.2f} s")
