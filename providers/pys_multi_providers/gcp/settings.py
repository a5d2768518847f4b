"""``[tool.pys-multi.gcp]`` and ``app.function(gcp={…})``."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import Field

from pys_multi.model import Function
from pys_multi_tools.settings import Pattern, SettingsTable

#: "Creating and managing projects" (2026-11); old projects of a domain have it before a colon.
ProjectId = Annotated[
    str,
    Pattern(
        r"([a-z0-9][a-z0-9.-]*[a-z0-9]:)?[a-z]([a-z0-9-]{0,28}[a-z0-9])?",
        "the id of a project, as `gcloud config get project` prints it; no name and no number",
    ),
]
RegionName = Annotated[str, Pattern(r"[a-z]+-[a-z]+[0-9]+", 'the name of a region, like "europe-west1"')]
Email = Annotated[str, Pattern(r"[^@\s:]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", "an e-mail address")]
Invoker = Annotated[
    str,
    Pattern(
        r"(user|serviceAccount|group|domain):[^\s:,]+(\.[^\s:,]+)+",
        'one that IAM knows, such as "serviceAccount:caller@project.iam.gserviceaccount.com"',
    ),
]
BucketName = Annotated[str, Pattern(r"[a-z0-9][a-z0-9_.-]{1,61}[a-z0-9]", "the name of a bucket")]
Address = Annotated[
    str,
    Pattern(
        r"(https?://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]+)?(/[^\s?#@]*)?",
        'an address such as "https://pubsub.example"',
    ),
]
LabelKey = Annotated[str, Pattern(r"[a-z][a-z0-9_-]{0,62}", "up to 63 lower-case letters, digits, _ and -")]
LabelValue = Annotated[str, Pattern(r"[a-z0-9_-]{0,63}", "up to 63 lower-case letters, digits, _ and -")]
Connector = Annotated[
    str,
    Pattern(
        r"projects/[^/\s]+/locations/[^/\s]+/connectors/[^/\s]+",
        "the name of a Serverless VPC Access connector, projects/…/locations/…/connectors/…",
    ),
]
Account = Annotated[str, Pattern(r"[^@\s/]+@[^@\s/]+\.gserviceaccount\.com", "the e-mail of a service account")]
#: The APIs that have an address of their own here; the names of gcloud's variables for them.
Api = Literal[
    "cloudfunctions",
    "run",
    "pubsub",
    "cloudscheduler",
    "storage",
    "iam",
    "secretmanager",
    "firestore",
    "cloudresourcemanager",
    "logging",
    "monitoring",
    "iamcredentials",
    "serviceusage",
]


def _from_environment(*variables: str) -> Any:
    """A setting whose default is the first of Google's own variables that says something."""
    return Field(
        default_factory=lambda: next((os.environ[name] for name in variables if os.environ.get(name)), None),
        validate_default=True,
    )


class GcpSettings(SettingsTable):
    """Where and how the service runs on Google Cloud."""

    project: ProjectId | None = _from_environment("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
    """Id of the project. Default: GOOGLE_CLOUD_PROJECT, or CLOUDSDK_CORE_PROJECT."""
    region: RegionName | None = _from_environment(
        "GOOGLE_CLOUD_REGION", "CLOUDSDK_FUNCTIONS_REGION", "CLOUDSDK_RUN_REGION"
    )
    """Region. Default: GOOGLE_CLOUD_REGION, CLOUDSDK_FUNCTIONS_REGION, or CLOUDSDK_RUN_REGION."""
    impersonate: Account | None = _from_environment("CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT")
    """Service account to act as. Default: CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT, else whoever you are."""
    endpoints: dict[Api, Address] = Field(default={})
    """Addresses in place of Google's own, by API, such as { pubsub = "https://pubsub.example" }."""
    invokers: tuple[Invoker, ...] = ()
    """Who may call private routes, beside whoever may invoke every function of the project."""
    artefact_bucket: BucketName | None = None
    """Bucket for the bundles. Default: one that deploy makes for the project and region."""
    build_service_account: Account | None = None
    """Service account that Cloud Build builds with. Default: Google's choice for the project."""
    database_location: str | None = Field(default=None, pattern=r"^[a-z]+[0-9]?(-[a-z]+[0-9]+)?$")
    """Location of the Firestore database, such as "eur3". Default: the region."""
    log_retention_days: int | None = Field(default=None, ge=1, le=3650)
    """Days that the functions' logs are kept, in a log bucket of the stage. Default: in the project's alone."""
    labels: dict[LabelKey, LabelValue] = Field(default={})
    """Labels of everything that can have some."""


class GcpOptions(SettingsTable):
    """Options of one function on this provider; resources have none."""

    cpu: float | None = Field(default=None, ge=0.08, le=8)
    """Processors of an instance. Default: Google's for the memory, and 1 where an instance takes calls at once."""
    min_instances: int = Field(default=0, ge=0, le=1000)
    """Instances that are kept while nobody calls."""
    max_instances: int = Field(default=100, ge=1, le=1000)
    """Instances that there are at most."""
    ingress: Literal["all", "internal", "internal-and-gclb"] = "all"
    """Where calls may come from; events come with all three."""
    vpc_connector: Connector | None = None
    """The network it is connected to. Default: none of yours."""
    vpc_egress: Literal["private-ranges-only", "all-traffic"] = "private-ranges-only"
    """Which of its calls go through the connector."""
    labels: dict[LabelKey, LabelValue] = Field(default={})
    """Labels of this function alone."""


def options_of(function: Function) -> GcpOptions:
    """The provider's own options of a function."""
    return GcpOptions.model_validate(dict(function.options.get("gcp", {})))
