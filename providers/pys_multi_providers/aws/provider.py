"""The AWS provider: one CloudFormation template, Lambda, and what stands around it.

render → template.json;  see docs/providers/aws.md.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import BaseModel

from pys_multi_providers.aws import checks, permissions
from pys_multi_providers.aws.runtime import FRONT_FILE
from pys_multi_providers.aws.settings import AwsOptions, AwsSettings
from pys_multi_providers.aws.view import settings_of, view
from pys_multi_tools.deployment import Capabilities, Deployment, Limits, Problem
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.render import render
from pys_multi_tools.target import Target

TEMPLATE = "template.json"

#: "Lambda quotas", "Amazon SQS event source", "SQS quotas" (2026-11).
_LIMITS = Limits(memory=(128, 10_240), timeout=900, batch=10_000, batch_window=300, visibility=43_200)
#: Unzipped, with layers ("Lambda quotas", deployment package).
_MAX_UNZIPPED = 250 * 1024 * 1024
#: Modules of this package that go into a bundle.
_SHIPPED = ("runtime", "events", "resources", "tables", "calls")


class AwsProvider:
    """Keeps the contract of :class:`pys_multi_tools.provider.Provider`."""

    name: ClassVar[str] = "aws"
    capabilities: ClassVar[Capabilities] = Capabilities(
        triggers=frozenset({"http", "mount", "schedule", "consume", "subscribe", "object"}),
        resources=frozenset({"queue", "topic", "bucket", "table", "secret"}),
        features=frozenset({"ordered-queue", "private-route", "rollback", "canary", "topic-and-queue"}),
        limits=_LIMITS,
    )
    settings_model: ClassVar[type[BaseModel]] = AwsSettings
    options_model: ClassVar[type[BaseModel]] = AwsOptions

    def check(self, deployment: Deployment) -> list[Problem]:
        """What AWS would refuse or do otherwise."""
        found = list(checks.problems(deployment))
        if not deployment.service.functions or any(problem.severity == "error" for problem in found):
            return found  # the template would be of something else, or there is none
        return [*found, *checks.environment_problems(deployment), *checks.fits(self.render(deployment)[TEMPLATE])]

    def target(self, deployment: Deployment) -> Target:
        """Lambda's managed Python. Its boto3 is of no fixed version, so a service that needs one brings it."""
        settings = settings_of(deployment)
        python = deployment.project.settings.python
        package = "pys_multi_providers.aws"
        return Target(
            provider=self.name,
            python=python,
            system="linux",
            architecture="aarch64" if settings.architecture == "arm64" else "x86_64",
            # Amazon Linux 2 up to Python 3.11, Amazon Linux 2023 from 3.12 on ("Lambda runtimes").
            glibc=(2, 26) if python == "3.11" else (2, 34),
            max_unzipped_bytes=_MAX_UNZIPPED,
            runtime_modules=tuple(f"{package}.{module}" for module in _SHIPPED),
            files={FRONT_FILE: json.dumps({"http": settings.http}).encode()},
        )

    def render(self, deployment: Deployment) -> dict[str, str]:
        """The template: everything but which build the functions run, which its parameters say."""
        return {TEMPLATE: render("pys_multi_templates", "aws/template.json.j2", view(deployment))}

    def permissions(
        self, deployment: Deployment, *, account: str | None, repository: str | None, environment: str | None
    ) -> dict[str, Any]:
        """The deployer's IAM policy; for a GitHub repository the trust policy of a role of its workflows, too."""
        found: dict[str, Any] = {"policy": permissions.deployer_policy(deployment, account=account or "*")}
        if repository is not None:
            if account is None:
                hint = "add --account, with the twelve digits that `aws sts get-caller-identity` prints"
                raise ProviderError("a trust policy names the account", where="permissions", hint=hint)
            found["trust_policy"] = permissions.github_trust(
                repository, environment or deployment.stage, account=account
            )
        return found
