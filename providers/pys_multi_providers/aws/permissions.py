"""What the deployer of one service at one stage must be allowed to do, and who may become the deployer.

For every preview of the service it is the same with patterns for the stages ``pr-…``. For a plan it is what of it
reads, without anybody's secrets, messages and objects; to compare, CloudFormation makes a change set, which this role
may propose and take back, and never execute.

The policy is for the things of that stage and nothing else, of the kinds that the service has; a further function
or queue needs no new policy. Where AWS knows no narrower resource than "*" for an
action ("Service Authorization Reference", 2026-11), it stands in a statement with only such actions. CloudFormation
acts with the deployer's rights, so they are what the commands call and what CloudFormation calls for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pys_multi.model import Consume, Mount, ObjectEvent, Queue, Route, Schedule, Subscribe
from pys_multi_providers.aws import view
from pys_multi_providers.aws.names import Names, PreviewNames, artefact_bucket
from pys_multi_providers.aws.secrets import sources
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.provider import Purpose
from pys_multi_tools.trust import github_subject

Json = dict[str, Any]

_ISSUER = "token.actions.githubusercontent.com"

_STACK = """
    CancelUpdateStack ContinueUpdateRollback CreateChangeSet DeleteChangeSet DeleteStack DescribeChangeSet
    DescribeEvents DescribeStackEvents DescribeStackResourceDrifts DescribeStackResources DescribeStacks
    DetectStackDrift DetectStackResourceDrift ExecuteChangeSet GetTemplate ListChangeSets ListStackResources
    RollbackStack TagResource UntagResource UpdateStack
"""
_FUNCTION = """
    AddPermission CreateAlias CreateFunction CreateFunctionUrlConfig DeleteAlias DeleteFunction
    DeleteFunctionConcurrency DeleteFunctionEventInvokeConfig DeleteFunctionUrlConfig GetAlias GetFunction
    GetFunctionConcurrency GetFunctionConfiguration GetFunctionEventInvokeConfig GetFunctionUrlConfig GetPolicy
    InvokeFunction ListAliases ListTags ListVersionsByFunction PublishVersion PutFunctionConcurrency
    PutFunctionEventInvokeConfig RemovePermission TagResource UntagResource UpdateAlias UpdateFunctionCode
    UpdateFunctionConfiguration UpdateFunctionEventInvokeConfig UpdateFunctionUrlConfig
"""
_ROLE = """
    CreateRole DeleteRole DeleteRolePolicy GetRole GetRolePolicy ListAttachedRolePolicies ListRolePolicies ListRoleTags
    PutRolePolicy TagRole UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription
"""
_LOGS = """
    CreateLogGroup DeleteLogGroup DeleteRetentionPolicy FilterLogEvents ListTagsForResource PutRetentionPolicy
    StartLiveTail TagResource UntagResource
"""
#: An access log is set up by API Gateway in the name of whoever makes the stage.
_LOG_DELIVERY = """
    CreateLogDelivery DeleteLogDelivery DescribeResourcePolicies GetLogDelivery ListLogDeliveries PutResourcePolicy
    UpdateLogDelivery
"""
_QUEUE = """
    CreateQueue DeleteQueue GetQueueAttributes GetQueueUrl ListQueueTags SetQueueAttributes TagQueue UntagQueue
"""
_DEAD_LETTERS = "ChangeMessageVisibility DeleteMessage ReceiveMessage SendMessage"
_TOPIC = """
    CreateTopic DeleteTopic GetSubscriptionAttributes GetTopicAttributes ListSubscriptionsByTopic ListTagsForResource
    SetSubscriptionAttributes SetTopicAttributes Subscribe TagResource Unsubscribe UntagResource
"""
_TABLE = """
    CreateTable DeleteTable DescribeContinuousBackups DescribeContributorInsights DescribeKinesisStreamingDestination
    DescribeTable DescribeTimeToLive GetResourcePolicy ListTagsOfResource TagResource UntagResource
    UpdateContinuousBackups UpdateTable
"""
_BUCKET = """
    CreateBucket DeleteBucket GetBucketLocation GetBucketNotification GetBucketOwnershipControls
    GetBucketPublicAccessBlock GetBucketTagging GetBucketVersioning GetEncryptionConfiguration
    GetLifecycleConfiguration ListBucket ListBucketVersions ListTagsForResource PutBucketNotification
    PutBucketOwnershipControls PutBucketPublicAccessBlock PutBucketTagging PutBucketVersioning
    PutEncryptionConfiguration PutLifecycleConfiguration TagResource UntagResource
"""
_OBJECTS = "DeleteObject DeleteObjectVersion"
#: Other services may use it as well; only an empty bucket can be deleted.
_BUNDLE_BUCKET = """
    CreateBucket DeleteBucket GetBucketPolicy GetBucketPublicAccessBlock GetBucketVersioning GetEncryptionConfiguration
    GetLifecycleConfiguration ListBucket ListBucketVersions PutBucketPolicy PutBucketPublicAccessBlock
    PutBucketVersioning PutEncryptionConfiguration PutLifecycleConfiguration
"""
_SECRETS = (
    "CreateSecret DeleteSecret DescribeSecret GetSecretValue PutSecretValue TagResource UntagResource UpdateSecret"
)
_SCHEDULE = """
    CreateSchedule CreateScheduleGroup DeleteSchedule DeleteScheduleGroup GetSchedule GetScheduleGroup
    ListTagsForResource TagResource UntagResource UpdateSchedule
"""


#: Actions that change nothing, beside those whose names say so; and those that read what a plan must not see.
_READS = re.compile(r"\w[\w-]*:(?:Get|List|Describe|Detect)\w*|apigateway:GET|cloudformation:ValidateTemplate")
_PROPOSES = ("cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet")
_TELLS = ("secretsmanager:GetSecretValue", "s3:GetObject")


def deployer_policy(
    deployment: Deployment, *, account: str = "*", partition: str = "aws", purpose: Purpose = "deploy"
) -> Json:
    """The least IAM policy that deploying needs, or another purpose. account: its number, where it is known.

    Raises ProviderError for a secret whose reference AWS has no place for.
    """
    names = PreviewNames(deployment.service.name) if purpose == "preview" else view.names_of(deployment)
    try:
        statements = list(_Statements(deployment, names, partition, account).all())
    except ValueError as error:
        raise ProviderError(f"a secret {error}", where="secrets", hint="pys-multi check says which, and why") from error
    if purpose == "plan":
        statements = [kept for statement in statements if (kept := _reading(statement))["Action"]]
    return {"Version": "2012-10-17", "Statement": statements}


def _reading(statement: Json) -> Json:
    def is_kept(action: str) -> bool:
        return action in _PROPOSES or (bool(_READS.fullmatch(action)) and action not in _TELLS)

    return {**statement, "Action": [action for action in statement["Action"] if is_kept(action)]}


def github_trust(repository: str, environment: str, *, account: str, partition: str = "aws") -> Json:
    """The trust policy of a role that workflows of one GitHub repository take on in one environment.

    repository: "OWNER/NAME", or "OWNER@ID/NAME@ID" for one whose subjects carry ids.
    Raises ProviderError for what is no repository.
    """
    subject = github_subject(repository, environment)
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:{partition}:iam::{account}:oidc-provider/{_ISSUER}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{_ISSUER}:aud": "sts.amazonaws.com", f"{_ISSUER}:sub": subject}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


class _Statements:
    """The statements for one deployment; kinds of things that it does not have are left out."""

    def __init__(self, deployment: Deployment, names: Names, partition: str, account: str) -> None:
        self.service, self.names = deployment.service, names
        self.settings = view.settings_of(deployment)
        self.secrets = any(source.kept_in == "own" for source in sources(deployment).values())
        self.partition, self.region, self.account = partition, self.settings.region or "*", account
        self.triggers = [trigger for function in self.service.functions for trigger in function.triggers]
        self.with_network = any(view.options_of(f).vpc for f in self.service.functions)

    def all(self) -> Iterator[Json]:
        yield _allow("Stack", "cloudformation", _STACK, [self.arn("cloudformation", f"stack/{self.names.stack}/*")])
        yield _allow("AnyStack", "cloudformation", "DescribeStackDriftDetectionStatus ValidateTemplate", ["*"])
        if self.settings.kms_key is not None:
            # Who makes something that the key encrypts hands its use on to the service that keeps it.
            actions = "CreateGrant Decrypt DescribeKey Encrypt GenerateDataKey"
            yield _allow("Key", "kms", actions, [self.settings.kms_key])
        yield from self.bundles()
        yield from self.functions()
        yield from self.roles()
        yield from self.logs()
        yield from self.http()
        if self.has(Schedule):
            group = self.names.api
            arns = [self.arn("scheduler", f"schedule-group/{group}"), self.arn("scheduler", f"schedule/{group}/*")]
            yield _allow("Schedules", "scheduler", _SCHEDULE, arns)
        yield from self.queues()
        yield from self.data()
        yield _allow("Metrics", "cloudwatch", "GetMetricData", ["*"])
        # What is left of former deploys is found by its tags.
        yield _allow("Tagged", "tag", "GetResources", ["*"])

    def has(self, *kinds: type) -> bool:
        return any(isinstance(trigger, kinds) for trigger in self.triggers)

    def arn(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"

    def bundles(self) -> Iterator[Json]:
        name = self.settings.artefact_bucket or artefact_bucket(self.account, self.region)
        bucket = f"arn:{self.partition}:s3:::{name}"
        own = "ListBucket ListBucketVersions" if self.settings.artefact_bucket else _BUNDLE_BUCKET
        yield _allow("BundleBucket", "s3", own, [bucket])
        key = self.names.artefact("*").removesuffix(".zip")
        yield _allow("Bundles", "s3", f"{_OBJECTS} GetObject PutObject", [f"{bucket}/{key}"])

    def functions(self) -> Iterator[Json]:
        # With their versions and aliases.
        functions = self.arn("lambda", f"function:{self.names.all(64)}")
        yield _allow("Functions", "lambda", _FUNCTION, [functions])
        layers = {layer for f in self.service.functions for layer in view.options_of(f).layers}
        if layers:
            yield _allow("Layers", "lambda", "GetLayerVersion", sorted(layers))
        if self.with_network:
            yield _allow("Network", "ec2", "DescribeSecurityGroups DescribeSubnets DescribeVpcs", ["*"])
        if self.has(Consume, Subscribe, ObjectEvent):
            change = _allow(
                "Sources",
                "lambda",
                "CreateEventSourceMapping DeleteEventSourceMapping UpdateEventSourceMapping",
                ["*"],
            )
            yield {**change, "Condition": {"ArnLike": {"lambda:FunctionArn": functions}}}
            yield _allow("SeeSources", "lambda", "GetEventSourceMapping ListEventSourceMappings ListTags", ["*"])

    def roles(self) -> Iterator[Json]:
        arns = [f"arn:{self.partition}:iam::{self.account}:role/{self.names.roles}-{self.region}"]
        yield _allow("Roles", "iam", _ROLE, arns)
        services = ["lambda.amazonaws.com", *(["scheduler.amazonaws.com"] if self.has(Schedule) else [])]
        passed = {"StringEquals": {"iam:PassedToService": services}}
        yield {**_allow("PassRoles", "iam", "PassRole", arns), "Condition": passed}
        if self.with_network:
            policy = f"arn:{self.partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
            attach = _allow("NetworkOfRoles", "iam", "AttachRolePolicy DetachRolePolicy", arns)
            yield {**attach, "Condition": {"ArnEquals": {"iam:PolicyARN": policy}}}

    def logs(self) -> Iterator[Json]:
        groups = [f"/aws/lambda/{self.names.all(64)}"]
        if self.has(Route, Mount):
            groups.append(self.names.api_log_group)
        yield _allow("Logs", "logs", _LOGS, [self.arn("logs", f"log-group:{group}") for group in groups])
        yield _allow("SeeLogs", "logs", "DescribeLogGroups", ["*"])

    def http(self) -> Iterator[Json]:
        private = any(isinstance(t, Route | Mount) and not t.public and not t.auth for t in self.triggers)
        if not self.has(Route, Mount):
            return
        if self.settings.http != "http-api":
            if private and self.settings.http == "function-url":
                function = self.arn("lambda", f"function:{self.names.all(64)}")
                yield _allow("Call", "lambda", "InvokeFunctionUrl", [function])
            return
        if private:
            # Of any API of the account, for the id of this one is known only once it is made.
            yield _allow("Call", "execute-api", "Invoke", [self.arn("execute-api", "*/$default/*")])
        yield _allow("LogDelivery", "logs", _LOG_DELIVERY, ["*"])
        # The id of an API is known only once it is made, and its actions are named after HTTP's methods.
        paths = ["/apis", "/apis/*", "/tags/*"]
        domain = self.settings.domain
        if domain is not None:
            paths += ["/domainnames", f"/domainnames/{domain.name}", f"/domainnames/{domain.name}/*"]
            if domain.certificate_arn is not None:
                yield _allow("Certificate", "acm", "DescribeCertificate", [domain.certificate_arn])
        arns = [f"arn:{self.partition}:apigateway:{self.region}::{path}" for path in paths]
        yield _allow("Api", "apigateway", "DELETE GET PATCH POST PUT TagResource UntagResource", arns)
        if domain is not None and domain.hosted_zone_id is not None:
            zone = f"arn:{self.partition}:route53:::hostedzone/{domain.hosted_zone_id}"
            records = "ChangeResourceRecordSets GetHostedZone ListResourceRecordSets"
            yield _allow("Record", "route53", records, [zone])
            yield _allow("RecordChange", "route53", "GetChange", [f"arn:{self.partition}:route53:::change/*"])

    def queues(self) -> Iterator[Json]:
        queued = any(isinstance(resource, Queue) for resource in self.service.resources)
        if queued or self.has(Subscribe, ObjectEvent, Schedule):
            yield _allow("Queues", "sqs", f"{_QUEUE} {_DEAD_LETTERS}", [self.arn("sqs", self.names.all(80 - 5))])

    def data(self) -> Iterator[Json]:
        named: dict[str, list[str]] = {}
        for resource in self.service.resources:
            named.setdefault(resource.kind, []).append(resource.name)
        if "topic" in named:
            # A subscription is a thing of its own, whose name begins with its topic's.
            yield _allow("Topics", "sns", _TOPIC, [self.arn("sns", self.names.all(256))])
        if "table" in named:
            yield _allow("Tables", "dynamodb", _TABLE, [self.arn("dynamodb", f"table/{self.names.all(255)}")])
        if buckets := named.get("bucket"):
            arns = sorted({f"arn:{self.partition}:s3:::{self.bucket(name)}" for name in buckets})
            yield _allow("Buckets", "s3", _BUCKET, arns)
            yield _allow("Objects", "s3", _OBJECTS, [f"{arn}/*" for arn in arns])
        if self.secrets:
            arn = self.arn("secretsmanager", f"secret:{self.names.secret('*')}")
            yield _allow("Secrets", "secretsmanager", _SECRETS, [arn])

    def bucket(self, name: str) -> str:
        text = self.names.bucket(name)
        return text.replace("${AWS::AccountId}", self.account).replace("${AWS::Region}", self.region)


def _allow(sid: str, service: str, actions: str, resources: list[str]) -> Json:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": sorted(f"{service}:{action}" for action in actions.split()),
        "Resource": resources,
    }
