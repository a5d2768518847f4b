"""``[tool.pys-multi.aws]`` and ``app.function(aws={…})``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pys_multi_tools.settings import Pattern, SettingsTable

RegionName = Annotated[str, Pattern(r"[a-z]{2}(-[a-z]+)+-[0-9]+", 'the name of a region, like "eu-central-1"')]
DomainName = Annotated[
    str, Pattern(r"(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", 'a domain name, like "api.example.com"')
]
CertificateArn = Annotated[
    str, Pattern(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[\w-]+", "the ARN of an ACM certificate")
]
#: "ApiMappingKey": letters, digits and these signs, in one or more segments.
BasePath = Annotated[str, Pattern(r"(/[A-Za-z0-9$_.+!*'(),-]+)+", 'a path, like "/shop"')]
LayerArn = Annotated[
    str, Pattern(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:layer:[\w-]+:[0-9]+", "the ARN of a layer's version")
]
KeyArn = Annotated[str, Pattern(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[\w-]+", "the ARN of a KMS key")]
ZoneId = Annotated[str, Pattern(r"Z[A-Z0-9]{4,31}", "the id of a Route 53 hosted zone")]
BucketName = Annotated[str, Pattern(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket")]
SubnetId = Annotated[str, Pattern(r"subnet-[0-9a-f]{8,17}", "the id of a subnet")]
SecurityGroupId = Annotated[str, Pattern(r"sg-[0-9a-f]{8,17}", "the id of a security group")]
#: What CloudWatch Logs takes ("PutRetentionPolicy", retentionInDays; 2026-11).
RetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
]


class DomainSettings(SettingsTable):
    """A domain of one's own for the HTTP API."""

    name: DomainName
    """The domain, such as "api.example.com"."""
    certificate_arn: CertificateArn | None = None
    """Certificate for it, in the region of the API. Without it, the domain is in API Gateway already."""
    hosted_zone_id: ZoneId | None = None
    """Route 53 zone in which a record is made. Without it, point the domain at the output DomainTarget."""


class AwsSettings(SettingsTable):
    """Where and how the service runs on AWS."""

    region: RegionName | None = None
    """Region. Default: AWS_REGION, AWS_DEFAULT_REGION, or the profile's."""
    profile: str | None = Field(default=None, min_length=1)
    """Profile of the AWS configuration files. Default: AWS_PROFILE."""
    architecture: Literal["arm64", "x86_64"] = "arm64"
    """Processor of the functions."""
    http: Literal["http-api", "function-url", "rest-api", "alb"] = "http-api"
    """What takes the calls: one HTTP API for the service, one URL for each function, or a REST API or load balancer of
    your own, which calls the aliases of the functions."""
    base_path: BasePath | None = None
    """Path that callers write before every route: of the domain, or of what you put in front."""
    native_jwt: bool = False
    """Whether the HTTP API checks JSON Web Tokens before the function does, where it can: what it refuses costs
    nothing, and its answer is API Gateway's own."""
    domain: DomainSettings | None = None
    """A domain of one's own for the HTTP API."""
    log_retention_days: RetentionDays = 30
    """Days that log records are kept."""
    kms_key: KeyArn | None = None
    """Key of your own that encrypts queues, topics, buckets, tables, secrets, environments and logs. Default: AWS's."""
    artefact_bucket: BucketName | None = None
    """Bucket for the bundles. Default: one that deploy makes for the account and region."""
    tags: dict[str, str] = Field(default={})
    """Tags of everything in the stack."""


class VpcOptions(SettingsTable):
    """The network that a function is connected to."""

    subnets: tuple[SubnetId, ...] = Field(min_length=1, max_length=16)
    """Subnets, best in several zones."""
    security_groups: tuple[SecurityGroupId, ...] = Field(min_length=1, max_length=5)
    """Security groups."""


class AwsOptions(SettingsTable):
    """Options of one function on this provider; resources have none."""

    reserved_concurrency: int | None = Field(default=None, ge=0)
    """Calls that run at once at most; that many of the account's are set aside for it. 0 stops it."""
    ephemeral_storage: int = Field(default=512, ge=512, le=10_240)
    """Size of /tmp in megabytes (2^20 bytes)."""
    vpc: VpcOptions | None = None
    """The network it is connected to. Default: none of yours."""
    layers: tuple[LayerArn, ...] = Field(default=(), max_length=5)
    """Versions of layers, in order."""
    log_retention_days: RetentionDays | None = None
    """Days that its log records are kept. Default: the setting."""
    tags: dict[str, str] = Field(default={})
    """Tags of this function alone."""
