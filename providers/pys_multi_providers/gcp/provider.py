"""The Google Cloud provider: one document of REST resources, Cloud Run functions, and what stands around them.

render → resources.json;  deploy → create or patch what differs, in order (engine.py);  see docs/providers/gcp.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from pys_multi_providers.gcp import checks, permissions, prices
from pys_multi_providers.gcp.settings import GcpOptions, GcpSettings
from pys_multi_providers.gcp.view import main_of, view
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
from pys_multi_tools.render import render
from pys_multi_tools.target import Target

if TYPE_CHECKING:
    from pys_multi_providers.gcp.client import Cloud
    from pys_multi_providers.gcp.engine import Engine
    from pys_multi_tools.bundle import Bundle
    from pys_multi_tools.provider import Purpose

DOCUMENT = "resources.json"
OnProgress = Callable[[Progress], None]

#: "Cloud Run functions quotas" and "Configure memory limits" of Cloud Run: 128 MiB to 32 GiB, an hour for HTTP (what
#: events may take is in checks.py); "Maximum concurrent requests per instance" of Cloud Run: 1,000 (2026-11).
_LIMITS = Limits(memory=(128, 32_768), timeout=3600, concurrency=1000, batch=1000, batch_window=300, visibility=600)
#: Modules of this package that go into a bundle.
_SHIPPED = (
    *("runtime", "callers", "turns", "logs"),
    *("deliveries", "events", "batches"),
    *("resources", "tables", "calls", "tokens"),
)
#: What functions-framework imports, and takes the function ``handler`` from.
_MAIN = b'from pys_multi_providers.gcp.runtime import handler\n\n__all__ = ["handler"]\n'


class GcpProvider:
    """Keeps the contract of :class:`pys_multi_tools.provider.Provider`."""

    name: ClassVar[str] = "gcp"
    capabilities: ClassVar[Capabilities] = Capabilities(
        triggers=frozenset({"http", "mount", "schedule", "consume", "subscribe", "object"}),
        resources=frozenset({"queue", "topic", "bucket", "table", "secret"}),
        features=frozenset({"ordered-queue", "private-route", "streaming", "rollback", "canary", "topic-and-queue"}),
        limits=_LIMITS,
    )
    settings_model: ClassVar[type[BaseModel]] = GcpSettings
    options_model: ClassVar[type[BaseModel]] = GcpOptions
    #: The project that was asked last, with its connections: signing in anew takes longer than most calls do.
    _connected: tuple[BaseModel, Cloud] | None = None

    def check(self, deployment: Deployment) -> list[Problem]:
        """What Google Cloud would refuse or do otherwise."""
        found = list(checks.problems(deployment))
        if not checks.can_render(deployment) or any(problem.severity == "error" for problem in found):
            return found  # the document would be of something else, or there is none
        return [*found, *checks.environment_problems(deployment), *checks.fits(self.render(deployment)[DOCUMENT])]

    def target(self, deployment: Deployment) -> Target:
        """Google's Python on Ubuntu 22.04; from 3.14 on, on 24.04 ("Runtime support", 2026-11)."""
        return Target(
            provider=self.name,
            python=deployment.project.settings.python,
            system="linux",
            architecture="x86_64",
            glibc=(2, 35),
            runtime_modules=tuple(f"pys_multi_providers.gcp.{module}" for module in _SHIPPED),
            files={main_of(deployment): _MAIN},
        )

    def render(self, deployment: Deployment) -> dict[str, str]:
        """The document: everything but which build the functions run."""
        return {DOCUMENT: render("pys_multi_templates", "gcp/resources.json.j2", view(deployment))}

    def permissions(
        self,
        deployment: Deployment,
        *,
        account: str | None,
        repository: str | None,
        environment: str | None,
        purpose: Purpose = "deploy",
    ) -> dict[str, Any]:
        """The deployer's role and bindings; for a GitHub repository the federation of its workflows, too."""
        found: dict[str, Any] = {"policy": permissions.deployer_policy(deployment, purpose=purpose)}
        if repository is not None:
            found["trust_policy"] = permissions.github_trust(
                deployment, repository, environment or deployment.stage, number=account, purpose=purpose
            )
        return found

    def prices(self, deployment: Deployment) -> PriceList:
        """What functions on Cloud Run cost."""
        return prices.price_list(deployment)

    def plan(self, deployment: Deployment) -> Plan:
        """The difference of what is live, field by field."""
        config = self.render(deployment)
        return self._engine(deployment).plan(config, config[DOCUMENT])

    def drift(self, deployment: Deployment) -> tuple[Change, ...]:
        """What somebody changed by other means since the last deploy."""
        return self._engine(deployment).drift(self.render(deployment)[DOCUMENT])

    def deploy(self, plan: Plan, bundle: Bundle, progress: OnProgress) -> Outputs:
        """The story of :mod:`pys_multi_providers.gcp.engine`; nothing is changed where everything is live."""
        return self._engine(plan.deployment, progress).deploy(plan, plan.config[DOCUMENT], bundle)

    def rollback(self, deployment: Deployment, build_id: str | None, progress: OnProgress) -> Outputs:
        """A former release: its revisions at once, then its document."""
        return self._engine(deployment, progress).rollback(build_id)

    def destroy(self, deployment: Deployment, *, delete_data: bool, progress: OnProgress) -> None:
        """All that is ours in the project; queues, buckets and tables with ``delete_data``."""
        self._engine(deployment, progress).destroy(self.render(deployment)[DOCUMENT], delete_data=delete_data)

    def status(self, deployment: Deployment) -> Status:
        """What the services of the functions serve, and what waits."""
        from pys_multi_providers.gcp import observe

        return observe.status(self._engine(deployment))

    def logs(
        self, deployment: Deployment, *, function: str | None, since: float | None, follow: bool
    ) -> Iterator[LogRecord]:
        """What Cloud Logging has, of all functions in one stream."""
        from pys_multi_providers.gcp import journal

        return journal.read(self._engine(deployment), function=function, since=since, follow=follow)

    def metrics(self, deployment: Deployment, *, since: float | None) -> Metrics:
        """What Cloud Monitoring has, of the last day or since a time."""
        from pys_multi_providers.gcp import observe

        return observe.metrics(self._engine(deployment), since)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> InvocationResult:
        """An HTTP call with an identity token; or an event straight to its trigger."""
        from pys_multi_providers.gcp import invoking

        return invoking.invoke(self._engine(deployment), invocation)

    def dead_letters(self, deployment: Deployment, queue: str, *, limit: int) -> list[DeadLetter]:
        """The oldest dead letters of a queue or subscription."""
        from pys_multi_providers.gcp import dead_letters

        return dead_letters.dead_letters(self._engine(deployment), queue, limit)

    def redrive(self, deployment: Deployment, queue: str, ids: Sequence[str] | None) -> int:
        """Puts dead letters back into their queue."""
        from pys_multi_providers.gcp import dead_letters

        return dead_letters.redrive(self._engine(deployment), queue, ids)

    def doctor(self, deployment: Deployment | None) -> list[Finding]:
        """The libraries, project and region, credentials, enabled APIs, and the state of what is deployed."""
        from pys_multi_providers.gcp import doctor

        return list(doctor.findings(deployment))

    def _engine(self, deployment: Deployment, progress: OnProgress = lambda _: None) -> Engine:
        # Here, because checking and rendering need none of Google's libraries.
        from pys_multi_providers.gcp.engine import Engine

        known, cloud = self._connected or (None, None)
        engine = Engine(deployment, progress, cloud if known is deployment.settings else None)
        self._connected = (deployment.settings, engine.cloud)
        return engine
