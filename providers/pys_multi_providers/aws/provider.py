"""The AWS provider: one CloudFormation template, Lambda, and what stands around it.

render → template.json;  deploy → change sets, versions, an alias (engine.py);  see docs/providers/aws.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from pys_multi_providers.aws import checks, dead_letters, doctor, invoking, journal, observe, permissions, prices
from pys_multi_providers.aws.client import Cloud
from pys_multi_providers.aws.engine import Engine
from pys_multi_providers.aws.runtime import FRONT_FILE
from pys_multi_providers.aws.settings import AwsOptions, AwsSettings
from pys_multi_providers.aws.view import settings_of, view
from pys_multi_tools.cost import PriceList
from pys_multi_tools.deployment import (
    Capabilities,
    Change,
    DeadLetter,
    Deployment,
    Finding,
    Invocation,
    InvocationResult,
    Limits,
    LogRecord,
    Metrics,
    Outputs,
    Plan,
    Problem,
    Progress,
    Status,
)
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.provider import Purpose
from pys_multi_tools.render import render
from pys_multi_tools.target import Target

if TYPE_CHECKING:
    from pys_multi_tools.bundle import Bundle

TEMPLATE = "template.json"
OnProgress = Callable[[Progress], None]

#: "Lambda quotas", "Amazon SQS event source", "SQS quotas" (2026-11).
_LIMITS = Limits(memory=(128, 10_240), timeout=900, batch=10_000, batch_window=300, visibility=43_200)
#: Unzipped, with layers ("Lambda quotas", deployment package).
_MAX_UNZIPPED = 250 * 1024 * 1024
#: Modules of this package that go into a bundle.
_SHIPPED = ("runtime", "fronts", "events", "retries", "resources", "tables", "calls")


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

    def __init__(self) -> None:
        self._rendered: tuple[Deployment, str] | None = None
        self._cloud: tuple[Deployment, Cloud] | None = None

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
            files={FRONT_FILE: json.dumps({"http": settings.http, "base_path": settings.base_path or ""}).encode()},
        )

    def render(self, deployment: Deployment) -> dict[str, str]:
        """The template: everything but which build the functions run, which its parameters say."""
        # Check, plan and deploy ask for the same one in turn, and of a large service it takes its time.
        kept = self._rendered
        if kept is None or kept[0] is not deployment:
            text = render("pys_multi_templates", "aws/template.json.j2", view(deployment))
            kept = self._rendered = deployment, text
        return {TEMPLATE: kept[1]}

    def permissions(
        self,
        deployment: Deployment,
        *,
        account: str | None,
        repository: str | None,
        environment: str | None,
        purpose: Purpose = "deploy",
    ) -> dict[str, Any]:
        """The deployer's IAM policy; for a GitHub repository the trust policy of a role of its workflows, too."""
        policy = permissions.deployer_policy(deployment, account=account or "*", purpose=purpose)
        found: dict[str, Any] = {"policy": policy}
        if repository is not None:
            if account is None:
                hint = "add --account, with the twelve digits that `aws sts get-caller-identity` prints"
                raise ProviderError("a trust policy names the account", where="permissions", hint=hint)
            found["trust_policy"] = permissions.github_trust(
                repository, environment or deployment.stage, account=account
            )
        return found

    def prices(self, deployment: Deployment) -> PriceList:
        """What Lambda costs."""
        return prices.price_list(deployment)

    def plan(self, deployment: Deployment) -> Plan:
        """The change set that a deploy would execute; the plan's own is deleted again."""
        config = self.render(deployment)
        return self._engine(deployment).plan(config, config[TEMPLATE])

    def drift(self, deployment: Deployment) -> tuple[Change, ...]:
        """What somebody changed by other means since the last deploy."""
        return self._engine(deployment).drift(self.render(deployment)[TEMPLATE])

    def deploy(self, plan: Plan, bundle: Bundle, progress: OnProgress) -> Outputs:
        """The story of :mod:`pys_multi_providers.aws.engine`; nothing is changed where everything is live."""
        return self._engine(plan.deployment, progress).deploy(plan, plan.config[TEMPLATE], bundle)

    def rollback(self, deployment: Deployment, build_id: str | None, progress: OnProgress) -> Outputs:
        """A former release: its code at once, then its template."""
        return self._engine(deployment, progress).rollback(build_id)

    def destroy(self, deployment: Deployment, *, delete_data: bool, progress: OnProgress) -> None:
        """The stack and the bundles; queues, buckets and tables with ``delete_data``."""
        self._engine(deployment, progress).destroy(self.render(deployment)[TEMPLATE], delete_data=delete_data)

    def status(self, deployment: Deployment) -> Status:
        """What the aliases point to, and what waits."""
        return observe.status(self._engine(deployment))

    def logs(
        self, deployment: Deployment, *, function: str | None, since: float | None, follow: bool
    ) -> Iterator[LogRecord]:
        """What CloudWatch has, of all functions in one stream."""
        engine = self._engine(deployment)
        names = [f.name for f in deployment.service.functions if function in (None, f.name)]
        groups = {name: engine.names.log_group(name) for name in names}
        return journal.read(engine.cloud, groups, since=since, follow=follow)

    def metrics(self, deployment: Deployment, *, since: float | None) -> Metrics:
        """What CloudWatch has, of the last day or since a time."""
        return observe.metrics(self._engine(deployment), since)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> InvocationResult:
        """An HTTP call, signed as private routes ask for; or an event straight to its trigger."""
        return invoking.invoke(self._engine(deployment), invocation)

    def dead_letters(self, deployment: Deployment, queue: str, *, limit: int) -> list[DeadLetter]:
        """The oldest dead letters of a queue or subscription."""
        return dead_letters.dead_letters(self._engine(deployment), queue, limit)

    def redrive(self, deployment: Deployment, queue: str, ids: Sequence[str] | None) -> int:
        """Puts dead letters back into their queue."""
        return dead_letters.redrive(self._engine(deployment), queue, ids)

    def doctor(self, deployment: Deployment | None) -> list[Finding]:
        """boto3, region, credentials, and the state of bucket and stack."""
        return list(doctor.findings(deployment))

    def _engine(self, deployment: Deployment, progress: OnProgress = lambda _: None) -> Engine:
        # What boto3 makes of a service's description takes longer than a call, so steps in turn share the clients.
        kept = self._cloud
        if kept is None or kept[0] is not deployment:
            kept = self._cloud = deployment, Cloud(settings_of(deployment))
        return Engine(deployment, progress, kept[1])
