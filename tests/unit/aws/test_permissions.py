"""The deployer's rights: what the template needs, on the things of that stage alone; and who may have them."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.support.aws_service import deployment, template

from pys_multi import App
from pys_multi_providers.aws.permissions import deployer_policy, github_trust
from pys_multi_providers.aws.provider import AwsProvider
from pys_multi_providers.aws.view import names_of
from pys_multi_tools.cli import main
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.provider import Purpose

ROOT = Path(__file__).parents[3]
SHIPPED = {module.rpartition(".")[2] for module in AwsProvider().target(deployment(App("any"))).runtime_modules}
ACCOUNT, REGION = "123456789012", "eu-central-1"
#: Actions for which AWS knows no narrower resource, or none before the thing exists.
ANYWHERE = {
    "AnyStack",
    "Network",
    "Sources",
    "SeeSources",
    "SeeLogs",
    "LogDelivery",
    "Metrics",
    "Tagged",
}


def service(kinds: str = "http queue topic bucket table secret schedule vpc") -> App:
    app = App("shop", public=True)
    options: dict[str, Any] = {}
    if "vpc" in kinds:
        options = {"vpc": {"subnets": ["subnet-01234567"], "security_groups": ["sg-01234567"]}}
        options["layers"] = ["arn:aws:lambda:eu-central-1:123456789012:layer:tools:3"]
    main = app.function("main", aws=options)
    if "http" in kinds:
        main.get("/")(lambda: None)
    if "queue" in kinds:
        main.consume(app.queue("jobs"))(lambda message: None)
    if "topic" in kinds:
        main.subscribe(app.topic("news"))(lambda message: None)
    if "bucket" in kinds:
        main.created(app.bucket("files"))(lambda event: None)
    if "table" in kinds:
        app.table("items", key="id")
    if "secret" in kinds:
        app.function("other", uses=[app.secret("KEY")])
    if "schedule" in kinds:
        main.every("1 hour")(lambda: None)
    return app


def policy(kinds: str | None = None, purpose: Purpose = "deploy", **options: Any) -> list[dict[str, Any]]:
    app = service(kinds) if kinds is not None else service()
    placed = deployment(app, secrets={"KEY": "env:KEY"}, region=REGION, **options)
    document = deployer_policy(placed, account=ACCOUNT, purpose=purpose)
    assert document["Version"] == "2012-10-17"
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


def allows(statements: list[dict[str, Any]], action: str, resource: str) -> bool:
    """Whether a policy allows an action, conditions aside, as IAM reads it."""
    return any(
        action in statement["Action"] and any(fnmatch.fnmatchcase(resource, known) for known in statement["Resource"])
        for statement in statements
    )


#: What CloudFormation must be able to do to the resources of each type, at the least.
MAKES = {
    "AWS::Lambda::Function": (
        "lambda:CreateFunction",
        "lambda:DeleteFunction",
        "FunctionName",
        "lambda",
        "function:{}",
    ),
    "AWS::SQS::Queue": ("sqs:CreateQueue", "sqs:DeleteQueue", "QueueName", "sqs", "{}"),
    "AWS::SNS::Topic": ("sns:CreateTopic", "sns:DeleteTopic", "TopicName", "sns", "{}"),
    "AWS::DynamoDB::Table": ("dynamodb:CreateTable", "dynamodb:DeleteTable", "TableName", "dynamodb", "table/{}"),
    "AWS::Logs::LogGroup": ("logs:CreateLogGroup", "logs:DeleteLogGroup", "LogGroupName", "logs", "log-group:{}"),
    "AWS::Scheduler::ScheduleGroup": (
        "scheduler:CreateScheduleGroup",
        "scheduler:DeleteScheduleGroup",
        "Name",
        "scheduler",
        "schedule-group/{}",
    ),
}


@pytest.mark.parametrize(("purpose", "stage"), [("deploy", "dev"), ("preview", "pr-7"), ("preview", "pr-1234567890")])
def test_everything_in_the_template_can_be_made_and_removed(purpose: Purpose, stage: str) -> None:
    statements = policy(purpose=purpose)
    placed = deployment(service(), secrets={"KEY": "env:KEY"}, region=REGION, stage=stage)
    found, names = template(placed), names_of(placed)
    for kind, (make, remove, name, of, form) in MAKES.items():
        things = found.of_type(kind).values()
        assert things, kind
        for properties in things:
            arn = f"arn:aws:{of}:{REGION}:{ACCOUNT}:{form.format(properties[name])}"
            assert allows(statements, make, arn), arn
            assert allows(statements, remove, arn), arn
    for properties in found.of_type("AWS::IAM::Role").values():
        arn = f"arn:aws:iam::{ACCOUNT}:role/{properties['RoleName']}"
        assert allows(statements, "iam:CreateRole", arn)
        assert allows(statements, "iam:PassRole", arn)
    for properties in found.of_type("AWS::S3::Bucket").values():
        bucket = properties["BucketName"]
        assert allows(statements, "s3:CreateBucket", f"arn:aws:s3:::{bucket}")
        assert allows(statements, "s3:DeleteObjectVersion", f"arn:aws:s3:::{bucket}/a/b")
    for properties in found.of_type("AWS::SecretsManager::Secret").values():
        arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{properties['Name']}-AbCdEf"
        assert allows(statements, "secretsmanager:PutSecretValue", arn)
    bundle = f"arn:aws:s3:::pys-multi-{ACCOUNT}-{REGION}/shop/{stage}/0123456789abcdef.zip"
    assert allows(statements, "s3:PutObject", bundle)
    assert allows(
        statements, "lambda:UpdateAlias", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:shop_{stage}_main:live"
    )
    assert allows(
        statements,
        "cloudformation:ExecuteChangeSet",
        f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{names.stack}/0f",
    )


def test_other_services_and_stages_are_out_of_reach() -> None:
    statements = policy()
    for action, resource in [
        ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:shop_prod_main"),
        ("sqs:DeleteQueue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:other_dev_jobs"),
        ("dynamodb:DeleteTable", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/shop_dev-2_items"),
        ("sqs:PurgeQueue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:shop_dev_jobs"),
        ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/admin"),
        ("s3:PutObject", f"arn:aws:s3:::pys-multi-{ACCOUNT}-{REGION}/shop/prod/0123456789abcdef.zip"),
        ("cloudformation:DeleteStack", f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/shop-prod/0f"),
    ]:
        assert not allows(statements, action, resource), (action, resource)


def test_previews_have_no_rights_on_the_stages_that_stay() -> None:
    statements = policy(purpose="preview")
    anything = {action for statement in statements for action in statement["Action"]}
    for stage in ("dev", "prod", "pr", "preview"):
        placed = deployment(service(), secrets={"KEY": "env:KEY"}, region=REGION, stage=stage)
        found = template(placed)
        arns = [f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{names_of(placed).stack}/0f"]
        arns.append(f"arn:aws:s3:::pys-multi-{ACCOUNT}-{REGION}/shop/{stage}/0123456789abcdef.zip")
        for kind, (_, _, name, of, form) in MAKES.items():
            arns += [
                f"arn:aws:{of}:{REGION}:{ACCOUNT}:{form.format(properties[name])}"
                for properties in found.of_type(kind).values()
            ]
        arns += [
            f"arn:aws:iam::{ACCOUNT}:role/{properties['RoleName']}"
            for properties in found.of_type("AWS::IAM::Role").values()
        ]
        for arn in arns:
            narrow = [s for s in statements if s["Resource"] != ["*"]]
            assert not any(allows(narrow, action, arn) for action in anything), arn
    assert sum(s["Resource"] == ["*"] for s in statements) == sum(s["Resource"] == ["*"] for s in policy())


#: Beginnings of actions that change something or act, beside those of API Gateway, which are HTTP's methods.
CHANGES = [
    "Add",
    "Attach",
    "Cancel",
    "Change",
    "Continue",
    "Create",
    "Delete",
    "Detach",
    "Execute",
    "Invoke",
    "Pass",
    "Publish",
    "Put",
    "Receive",
    "Remove",
    "Rollback",
    "Send",
    "Set",
    "Start",
    "Subscribe",
    "Tag",
    "Unsubscribe",
    "Untag",
    "Update",
    "DELETE",
    "PATCH",
    "POST",
    "PUT",
]


@pytest.mark.parametrize("kinds", [None, "http", "queue secret", "bucket table topic"])
def test_a_plan_reads_and_no_more(kinds: str | None) -> None:
    reads, deploys = policy(kinds, purpose="plan"), policy(kinds)
    actions = {action for statement in reads for action in statement["Action"]}
    changing = {action for action in actions if action.partition(":")[2].startswith(tuple(CHANGES))}
    assert changing == {"cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet"}, "to be shown, not executed"
    # What the project keeps for itself is not for a pull request's job to see.
    assert not actions & {"secretsmanager:GetSecretValue", "s3:GetObject", "sqs:ReceiveMessage", "logs:FilterLogEvents"}
    assert {"cloudformation:GetTemplate", "lambda:GetAlias", "cloudformation:DetectStackDrift"} <= actions
    for statement in reads:
        [same] = [other for other in deploys if other["Sid"] == statement["Sid"]]
        assert (same["Resource"], same.get("Condition")) == (statement["Resource"], statement.get("Condition"))
        assert set(statement["Action"]) <= set(same["Action"]), "a plan may nothing that a deploy may not"


def test_only_what_has_no_narrower_name_is_allowed_anywhere() -> None:
    statements = policy()
    for statement in statements:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"])
        if statement["Resource"] == ["*"]:
            assert statement["Sid"] in ANYWHERE
    sids = [statement["Sid"] for statement in statements]
    assert len(set(sids)) == len(sids)


def test_a_role_is_passed_to_its_service_alone() -> None:
    (passing,) = (s for s in policy() if "iam:PassRole" in s["Action"])
    assert passing["Condition"] == {
        "StringEquals": {"iam:PassedToService": ["lambda.amazonaws.com", "scheduler.amazonaws.com"]}
    }
    (passing,) = (s for s in policy("http") if "iam:PassRole" in s["Action"])
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": ["lambda.amazonaws.com"]}}
    (attach,) = (s for s in policy() if "iam:AttachRolePolicy" in s["Action"])
    assert attach["Condition"]["ArnEquals"]["iam:PolicyARN"].endswith("AWSLambdaVPCAccessExecutionRole")


def test_a_small_service_needs_less() -> None:
    services = {action.partition(":")[0] for statement in policy("http") for action in statement["Action"]}
    assert services == {"apigateway", "cloudformation", "cloudwatch", "iam", "lambda", "logs", "s3", "tag"}
    assert not any(s["Sid"] in ("Queues", "Sources", "Network", "SchedulerRole") for s in policy("http"))
    assert not any("apigateway" in action for s in policy("http", http="function-url") for action in s["Action"])


def test_private_routes_may_be_called() -> None:
    app = App("shop")
    app.get("/private")(lambda: None)
    for http, action in (("http-api", "execute-api:Invoke"), ("function-url", "lambda:InvokeFunctionUrl")):
        document = deployer_policy(deployment(app, region=REGION, http=http), account=ACCOUNT)
        assert any(action in statement["Action"] for statement in document["Statement"])
    assert not any("execute-api:Invoke" in statement["Action"] for statement in policy())


def test_a_bucket_of_ones_own_for_bundles_is_not_made() -> None:
    (statement,) = (s for s in policy(artefact_bucket="team-bundles") if s["Sid"] == "BundleBucket")
    assert statement["Resource"] == ["arn:aws:s3:::team-bundles"]
    assert "s3:CreateBucket" not in statement["Action"]


def test_a_key_of_ones_own_may_be_used_and_no_other() -> None:
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    statements = policy(kms_key=key)
    assert allows(statements, "kms:CreateGrant", key)
    assert not allows(statements, "kms:CreateGrant", key[:-1] + "c")
    assert not any("kms:" in action for statement in policy() for action in statement["Action"])


def test_a_domain_adds_its_certificate_and_record() -> None:
    domain = {
        "name": "api.shop.example",
        "certificate_arn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0123abcd",
        "hosted_zone_id": "Z0123456789ABC",
    }
    statements = policy(domain=domain)
    assert allows(statements, "acm:DescribeCertificate", domain["certificate_arn"])
    assert allows(statements, "route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z0123456789ABC")


#: Calls of the provider's own modules whose permission is called otherwise; None needs none.
OTHERWISE = {
    ("s3", "list_objects_v2"): "s3:ListBucket",
    ("s3", "list_object_versions"): "s3:ListBucketVersions",
    ("s3", "delete_objects"): "s3:DeleteObject",
    ("s3", "head_bucket"): "s3:ListBucket",
    ("s3", "head_object"): "s3:GetObject",
    ("s3", "get_bucket_encryption"): "s3:GetEncryptionConfiguration",
    ("s3", "put_bucket_encryption"): "s3:PutEncryptionConfiguration",
    ("s3", "get_bucket_lifecycle_configuration"): "s3:GetLifecycleConfiguration",
    ("s3", "put_bucket_lifecycle_configuration"): "s3:PutLifecycleConfiguration",
    ("s3", "get_public_access_block"): "s3:GetBucketPublicAccessBlock",
    ("s3", "put_public_access_block"): "s3:PutBucketPublicAccessBlock",
    ("lambda", "invoke"): "lambda:InvokeFunction",
    ("resourcegroupstaggingapi", "get_resources"): "tag:GetResources",
    ("sts", "get_caller_identity"): None,
}


def test_every_call_of_the_provider_is_allowed() -> None:
    """The calls are those that stand in its modules, as (service, operation) in this order."""
    known = {action for statement in policy() for action in statement["Action"]}
    services = set(NAMED_AFTER_OPERATIONS) | {"logs", "sts", "resourcegroupstaggingapi", "s3"}
    found = 0
    for file in (ROOT / "providers/pys_multi_providers/aws").glob("*.py"):
        if file.stem in SHIPPED:  # with the rights of the function that it runs in
            continue
        text = file.read_text()
        calls = re.findall(r'"([a-z0-9]+)",\s*"([a-z]+(?:_[a-z0-9]+)+|invoke)"', text)
        if file.stem == "rollout":  # about functions alone
            calls += [("lambda", operation) for operation in re.findall(r'_call\(\s*"([a-z_]+)"', text)]
        for service, operation in calls:
            if service in services:
                name = "".join(word.capitalize() for word in operation.split("_"))
                action = OTHERWISE.get((service, operation), f"{service}:{name}")
                assert action is None or action in known, f"{file.name}: {service}.{operation}"
                found += 1
    assert found > 20


#: The service of an action → that of AWS's library; those whose actions are not named after operations are left out.
NAMED_AFTER_OPERATIONS = {
    "cloudformation": "cloudformation",
    "dynamodb": "dynamodb",
    "lambda": "lambda",
    "scheduler": "scheduler",
    "secretsmanager": "secretsmanager",
    "sns": "sns",
    "sqs": "sqs",
    "iam": "iam",
    "cloudwatch": "cloudwatch",
    "ec2": "ec2",
    "acm": "acm",
    "route53": "route53",
}
#: Actions that stand for a permission rather than a call, or are called otherwise than the operation.
NO_OPERATIONS = {
    "iam:PassRole",
    "lambda:InvokeFunction",
    "cloudformation:TagResource",
    "cloudformation:UntagResource",
}


def test_every_action_is_one_that_aws_knows() -> None:
    for name, library in NAMED_AFTER_OPERATIONS.items():
        known = set(boto3.client(library, region_name=REGION).meta.service_model.operation_names)
        actions = {a for s in policy() for a in s["Action"] if a.startswith(f"{name}:") and a not in NO_OPERATIONS}
        assert {action for action in actions if action.partition(":")[2] not in known} == set()


@pytest.mark.parametrize("purpose", ["deploy", "preview", "plan"])
def test_a_policy_is_small_enough_to_be_one_policy(purpose: Purpose) -> None:
    """The inline policies of a role have 10,240 characters without white space ("IAM and AWS STS quotas")."""
    assert len(json.dumps(policy(purpose=purpose), separators=(",", ":"))) < 10_240


@pytest.mark.parametrize(
    ("repository", "subject"),
    [
        ("acme/shop", "repo:acme/shop:environment:prod"),
        ("acme@12/shop.js@34", "repo:acme@12/shop.js@34:environment:prod"),
    ],
)
def test_workflows_of_one_environment_are_trusted_in_both_forms_of_the_subject(repository: str, subject: str) -> None:
    document = github_trust(repository, "prod", account=ACCOUNT)
    (statement,) = document["Statement"]
    assert statement["Principal"] == {
        "Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
    }
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": subject,
        }
    }


def test_an_environment_cannot_pretend_to_be_another_part_of_the_subject() -> None:
    (statement,) = github_trust("acme/shop", "a:ref:refs/heads/main", account=ACCOUNT)["Statement"]
    (subject,) = [v for k, v in statement["Condition"]["StringEquals"].items() if k.endswith(":sub")]
    assert subject == "repo:acme/shop:environment:a%3Aref%3Arefs/heads/main"


@pytest.mark.parametrize("repository", ["shop", "acme/*", "acme/shop:ref", "acme@1/shop", "acme/shop@2", "*/*", ""])
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(ProviderError, match="no GitHub repository"):
        github_trust(repository, "prod", account=ACCOUNT)


def test_the_provider_gives_both_documents() -> None:
    placed = deployment(service("http"), stage="prod")
    provider = AwsProvider()
    assert set(provider.permissions(placed, account=None, repository=None, environment=None)) == {"policy"}
    found = provider.permissions(placed, account=ACCOUNT, repository="acme/shop", environment=None)
    assert "environment:prod" in json.dumps(found["trust_policy"])
    with pytest.raises(ProviderError, match="names the account"):
        provider.permissions(placed, account=None, repository="acme/shop", environment=None)


SHOP = ROOT / "examples" / "shop"


def test_the_command_prints_both_documents(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["permissions", "-C", str(SHOP), "--cloud", "aws", "--stage", "prod", "--account", ACCOUNT]
    assert main([*command, "--github", "acme@12/shop@34"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    assert "shop_prod_*" in json.dumps(found["policy"])
    assert "repo:acme@12/shop@34:environment:prod" in json.dumps(found["trust_policy"])


@pytest.mark.parametrize(
    ("purpose", "environment", "name"),
    [("deploy", "prod", "shop_prod_*"), ("preview", "preview", "shop_pr-*_*"), ("plan", "plan", "shop_prod_*")],
)
def test_each_purpose_has_an_environment_of_its_own(
    capsys: pytest.CaptureFixture[str], purpose: str, environment: str, name: str
) -> None:
    command = ["permissions", "-C", str(SHOP), "--cloud", "aws", "--stage", "prod", "--account", ACCOUNT]
    assert main([*command, "--github", "acme/shop", "--for", purpose]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"repo:acme/shop:environment:{environment}" in json.dumps(found["trust_policy"])
    assert f"function:{name}" in json.dumps(found["policy"])
    assert main([*command, "--for", "everything"]) == 2


def test_a_provider_that_needs_no_rights_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["permissions", "-C", str(SHOP), "--cloud", "local"]) == 1
    assert "needs no permissions" in capsys.readouterr().err
