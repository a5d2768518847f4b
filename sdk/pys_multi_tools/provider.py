"""The contract that a provider keeps, and how one is found.

A provider is a class under the entry-point group ``pys_multi.providers``; the ones that come with
pys-multi use the same door. Nothing else of the tools knows which clouds there are.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from pys_multi_tools.errors import ProviderError
from pys_multi_tools.suggest import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path
    from socket import socket

    from pydantic import BaseModel

    from pys_multi.app import App
    from pys_multi_tools.bundle import Bundle
    from pys_multi_tools.cost import PriceList
    from pys_multi_tools.deployment import (
        Capabilities,
        Change,
        DeadLetter,
        Deployment,
        Finding,
        Invocation,
        InvocationResult,
        LogRecord,
        Metrics,
        Outputs,
        Plan,
        Problem,
        Progress,
        Status,
    )
    from pys_multi_tools.project import Project
    from pys_multi_tools.target import Target

GROUP = "pys_multi.providers"
#: Settings that have a flag of their own: ``gcp.region = "pys_multi_providers.gcp.settings:GcpSettings"``.
FLAGS = "pys_multi.flags"

#: What somebody has rights for.
Purpose = Literal["deploy", "preview", "plan"]


class Provider(Protocol):
    """What a provider does. Every method raises ToolError and nothing else on purpose; none of them prints.

    settings_model validates ``[tool.pys-multi.<name>]``; options_model validates ``app.function(<name>={...})``.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    settings_model: ClassVar[type[BaseModel]]
    options_model: ClassVar[type[BaseModel]]

    def check(self, deployment: Deployment) -> list[Problem]:
        """What this provider alone knows to be wrong; capabilities and limits are compared before."""

    def target(self, deployment: Deployment) -> Target:
        """What the artefact must run on."""

    def render(self, deployment: Deployment) -> dict[str, str]:
        """The native configuration, path → text; byte for byte what deploy submits."""

    def plan(self, deployment: Deployment) -> Plan:
        """What a deploy would change, compared with what is live."""

    def deploy(self, plan: Plan, bundle: Bundle, progress: Callable[[Progress], None]) -> Outputs:
        """Makes it so and returns once the new build serves; safe to repeat after any interruption."""

    def rollback(self, deployment: Deployment, build_id: str | None, progress: Callable[[Progress], None]) -> Outputs:
        """Returns to a former build, the one before the present one when none is named."""

    def destroy(self, deployment: Deployment, *, delete_data: bool, progress: Callable[[Progress], None]) -> None:
        """Removes all that deploy made; what holds data only with ``delete_data``."""

    def status(self, deployment: Deployment) -> Status: ...

    def logs(
        self, deployment: Deployment, *, function: str | None, since: float | None, follow: bool
    ) -> Iterator[LogRecord]:
        """Records of all functions in order of time; ``since`` in seconds since the epoch."""

    def metrics(self, deployment: Deployment, *, since: float | None) -> Metrics: ...

    def invoke(self, deployment: Deployment, invocation: Invocation) -> InvocationResult: ...

    def doctor(self, deployment: Deployment | None) -> list[Finding]:
        """Whether credentials, versions and endpoints are as they must be."""


@runtime_checkable
class Drift(Protocol):
    """What a provider adds when it can tell what somebody changed by other means since the last deploy."""

    def drift(self, deployment: Deployment) -> tuple[Change, ...]:
        """Changes from what is there to what was deployed; a deploy alone does not make them."""


@runtime_checkable
class Prices(Protocol):
    """What a provider adds when it bills a service by its use."""

    def prices(self, deployment: Deployment) -> PriceList:
        """Published prices, with their date, and how much of each a call and a billed second of a function is."""


@runtime_checkable
class DeadLetters(Protocol):
    """What a provider adds when it lets a person look at dead letters and have them delivered again."""

    def dead_letters(self, deployment: Deployment, queue: str, *, limit: int) -> list[DeadLetter]:
        """The oldest dead letters of a queue, as `status` names it."""

    def redrive(self, deployment: Deployment, queue: str, ids: Sequence[str] | None) -> int:
        """Puts dead letters back into their queue, all or those of these ids; returns how many."""


@runtime_checkable
class Permissions(Protocol):
    """What a provider adds when whoever deploys needs rights on its cloud."""

    def permissions(
        self,
        deployment: Deployment,
        *,
        account: str | None,
        repository: str | None,
        environment: str | None,
        purpose: Purpose = "deploy",
    ) -> dict[str, Any]:
        """The least rights that deploying this service to this stage needs, as the cloud's own document, ``policy``.

        purpose: "deploy"; "preview", for every stage that begins with ``pr-``; or "plan", for looking at what is live
        without changing anything or reading a secret. account: at the cloud, where it is known. repository: on GitHub,
        whose workflows may have these rights in one of its environments; then the document that lets them,
        ``trust_policy``, is there as well.
        """


@runtime_checkable
class Embedded(Protocol):
    """What a provider adds when it can run a service inside the calling process, for `pys-multi dev`."""

    def warm(self) -> None:
        """Imports what `serve` needs; `dev` then forks the process that serves."""

    def serve(
        self,
        app: App,
        project: Project,
        listener: socket,
        *,
        state: Path,
        on_call: Callable[[str, str, int, float], None],
        on_ready: Callable[[], None],
    ) -> None:
        """Serves HTTP on the listener and every trigger, until SIGTERM; state is kept in a folder.

        on_call is told of every finished call: function, what was called, status, seconds.
        """


def installed() -> dict[str, EntryPoint]:
    """The providers that are installed, by name; none is imported."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def flags() -> dict[str, tuple[str, ...]]:
    """Settings of installed providers that have a flag of their own: setting → providers; none is imported."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in sorted(entry_points(group=FLAGS), key=lambda entry: entry.name):
        provider, _, setting = entry.name.partition(".")
        found[setting] = (*found.get(setting, ()), provider)
    return found


def load(name: str) -> Provider:
    """The provider of that name.

    Raises ProviderError: "not installed" (with what is) is told apart from "its own import failed" (with
    the traceback).
    """
    found = installed()
    if name not in found:
        extra = _with_extra("pys-multi", name)
        install = f"; install it: pip install '{extra}'" if extra else ""
        hint = f"{did_you_mean(name, found)}{install}".removeprefix("; ")
        raise ProviderError(f"no provider {name!r} is installed", hint=hint or "install the distribution that has it")
    try:
        kind = found[name].load()
        provider: Provider = kind()
    except Exception as error:
        distribution = found[name].dist
        owner = distribution.name if distribution is not None else ""
        raise ProviderError(
            f"provider {name!r} is installed and its own code failed: {type(error).__name__}: {error}",
            where=found[name].value,
            hint=f"install what it needs: pip install '{_with_extra(owner, name) or owner or name}'",
            detail=traceback.format_exc(),
        ) from error
    return provider


def require(name: str, *modules: str) -> None:
    """Say what to install where a library that a provider calls its cloud with is not there.

    Raises ProviderError. For the first call of a provider that checks and renders without that library.
    """
    for module in modules:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # of a package around it
            found = None
        if found is None:
            hint = f"pip install '{_with_extra('pys-multi', name) or module}'"
            raise ProviderError(f"{module} is not installed", where=name, hint=hint)


def _with_extra(distribution: str, extra: str) -> str:
    """``distribution[extra]`` where the distribution has such an extra, else nothing."""
    try:
        extras = metadata(distribution).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return ""
    return f"{distribution}[{extra}]" if extra in extras else ""
