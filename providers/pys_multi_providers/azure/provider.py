"""The Azure provider: one ARM template, Functions on Flex Consumption, and what stands around them.

render → template.json;  deploy → an ARM deployment, then packages (engine.py);  see docs/providers/azure.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from pys_multi_providers.azure import checks, entry, permissions, prices
from pys_multi_providers.azure.settings import AzureOptions, AzureSettings
from pys_multi_providers.azure.view import settings_of, view
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
from pys_multi_tools.provider import Purpose
from pys_multi_tools.render import render
from pys_multi_tools.target import Target

if TYPE_CHECKING:
    from pys_multi_providers.azure.engine import Engine
    from pys_multi_tools.bundle import Bundle

TEMPLATE = "template.json"
OnProgress = Callable[[Progress], None]

#: "Azure Functions scale and hosting" (Flex Consumption has no longest run; a synchronous answer takes 230 s at most),
#: "Service Bus quotas" and "host.json settings of the Service Bus extension" (2026-11).
_LIMITS = Limits(
    memory=(1, 4096),
    http_timeout=230,
    concurrency=1000,
    batch=1000,
    batch_window=300,
    python=("3.11", "3.12", "3.13", "3.14"),
)
#: "Flex Consumption plan", considerations: it has no deployment slots.
_NO_CANARY = (
    "Flex Consumption has no slots: deploy the new build to a stage of its own (--stage) and let Front Door share the "
    "calls, or deploy without --canary and go back with `pys-multi rollback`"
)


class AzureProvider:
    """Keeps the contract of :class:`pys_multi_tools.provider.Provider`."""

    name: ClassVar[str] = "azure"
    capabilities: ClassVar[Capabilities] = Capabilities(
        triggers=frozenset({"http", "mount", "schedule", "consume", "subscribe", "object"}),
        resources=frozenset({"queue", "topic", "bucket", "table", "secret"}),
        features=frozenset({"ordered-queue", "private-route", "rollback", "streaming", "topic-and-queue"}),
        limits=_LIMITS,
        instead={"canary": _NO_CANARY},
    )
    settings_model: ClassVar[type[BaseModel]] = AzureSettings
    options_model: ClassVar[type[BaseModel]] = AzureOptions

    def __init__(self) -> None:
        self._rendered: tuple[Deployment, str] | None = None

    def check(self, deployment: Deployment) -> list[Problem]:
        """What Azure would refuse or do otherwise."""
        if not checks.has_valid_options(deployment.service):
            return []  # the tools say what is wrong with them
        found = list(checks.problems(deployment))
        if not deployment.service.functions or any(problem.severity == "error" for problem in found):
            return found  # the template would be of something else, or there is none
        return [*found, *checks.fits(self.render(deployment)[TEMPLATE])]

    def target(self, deployment: Deployment) -> Target:
        """Flex Consumption's Python, on its own image of Debian; azure-functions is in it."""
        return Target(
            provider=self.name,
            python=deployment.project.settings.python,
            system="linux",
            architecture="x86_64",
            glibc=(2, 31),
            runtime_modules=entry.RUNTIME_MODULES,
            files=entry.files(deployment),
        )

    def render(self, deployment: Deployment) -> dict[str, str]:
        """The template: everything but the end of names, which its parameter says, and the packages."""
        # Check, plan and deploy ask for the same one in turn.
        if self._rendered is None or self._rendered[0] is not deployment:
            text = render("pys_multi_templates", "azure/template.json.j2", view(deployment))
            self._rendered = deployment, text
        return {TEMPLATE: self._rendered[1]}

    def permissions(
        self,
        deployment: Deployment,
        *,
        account: str | None,
        repository: str | None,
        environment: str | None,
        purpose: Purpose = "deploy",
    ) -> dict[str, Any]:
        """The deployer's role; for a GitHub repository the federated credential of its workflows, too.

        account: the id of the subscription.
        """
        found: dict[str, Any] = {
            "policy": permissions.deployer_roles(deployment, subscription=account, purpose=purpose)
        }
        if repository is not None:
            cloud = settings_of(deployment).cloud
            found["trust_policy"] = permissions.github_trust(repository, environment or deployment.stage, cloud=cloud)
        return found

    def prices(self, deployment: Deployment) -> PriceList:
        """What Flex Consumption costs."""
        return prices.price_list(deployment)

    def plan(self, deployment: Deployment) -> Plan:
        """What ARM's what-if says a deploy would change."""
        config = self.render(deployment)
        return self._engine(deployment).plan(config, config[TEMPLATE])

    def drift(self, deployment: Deployment) -> tuple[Change, ...]:
        """What somebody changed by other means since the last deploy."""
        return self._engine(deployment).drift()

    def deploy(self, plan: Plan, bundle: Bundle, progress: OnProgress) -> Outputs:
        """The story of :mod:`pys_multi_providers.azure.engine`; nothing is changed where everything is live."""
        return self._engine(plan.deployment, progress).deploy(plan, plan.config[TEMPLATE], bundle)

    def rollback(self, deployment: Deployment, build_id: str | None, progress: OnProgress) -> Outputs:
        """A former release: its template, then its packages."""
        return self._engine(deployment, progress).rollback(build_id)

    def destroy(self, deployment: Deployment, *, delete_data: bool, progress: OnProgress) -> None:
        """All that is ours in the group; queues, buckets and tables with ``delete_data``."""
        self._engine(deployment, progress).destroy(delete_data=delete_data)

    def status(self, deployment: Deployment) -> Status:
        """What the function apps serve, and what waits."""
        from pys_multi_providers.azure import observe

        return observe.status(self._engine(deployment))

    def logs(
        self, deployment: Deployment, *, function: str | None, since: float | None, follow: bool
    ) -> Iterator[LogRecord]:
        """What Application Insights has, of all functions in one stream."""
        from pys_multi_providers.azure import journal

        return journal.read(self._engine(deployment), function=function, since=since, follow=follow)

    def metrics(self, deployment: Deployment, *, since: float | None) -> Metrics:
        """What Application Insights has, of the last day or since a time."""
        from pys_multi_providers.azure import observe

        return observe.metrics(self._engine(deployment), since)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> InvocationResult:
        """An HTTP call, with a key where a route is private; or an event straight to its trigger."""
        from pys_multi_providers.azure import invoking

        return invoking.invoke(self._engine(deployment), invocation)

    def dead_letters(self, deployment: Deployment, queue: str, *, limit: int) -> list[DeadLetter]:
        """The oldest dead letters of a queue or subscription."""
        from pys_multi_providers.azure import dead_letters

        return dead_letters.dead_letters(self._engine(deployment), queue, limit)

    def redrive(self, deployment: Deployment, queue: str, ids: Sequence[str] | None) -> int:
        """Puts dead letters back into their queue."""
        from pys_multi_providers.azure import dead_letters

        return dead_letters.redrive(self._engine(deployment), queue, ids)

    def doctor(self, deployment: Deployment | None) -> list[Finding]:
        """The libraries, the subscription and the group, credentials, and the state of what is deployed."""
        from pys_multi_providers.azure import doctor

        return list(doctor.findings(deployment))

    def _engine(self, deployment: Deployment, progress: OnProgress = lambda _: None) -> Engine:
        # Here, because checking and rendering need none of Azure's libraries.
        from pys_multi_providers.azure.engine import Engine

        return Engine(deployment, progress)
