"""The values that go between the pipeline and a provider: frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pys_multi.model import Service

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pys_multi_tools.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one function may ask for. memory in MB, times in seconds, payloads in bytes; None is "no limit"."""

    memory: tuple[int, int] | None = None
    #: The only sizes there are, where a provider has fixed ones.
    memory_sizes: tuple[int, ...] = ()
    timeout: float | None = None
    #: Of a function with routes, where a gateway waits less long than the function may run.
    http_timeout: float | None = None
    concurrency: int | None = None
    #: Smallest step of a schedule.
    schedule: float = 60.0
    batch: int | None = None
    batch_window: float | None = None
    visibility: float | None = None
    #: Versions of Python, as "3.13".
    python: tuple[str, ...] = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do, said positively; the core compares and never asks which cloud it is.

    triggers and resources: kinds of the model (`http`, `mount`, `schedule`, `consume`, `subscribe`, `object`;
    `queue`, `topic`, `bucket`, `table`, `secret`). features: `ordered-queue`, `private-route`, `streaming`,
    `rollback`, `canary`, `topic-and-queue`, … instead: feature that there is not → what to do in its place.
    """

    triggers: frozenset[str]
    resources: frozenset[str]
    features: frozenset[str] = frozenset()
    limits: Limits = Limits()
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A service at a stage of a project on one provider: what every method of a provider is about.

    app: "module:attribute" of the App. settings: the provider's own, validated by its settings_model.
    """

    service: Service
    stage: str
    project: Project
    app: str
    settings: BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that keeps a service from running: where, what, and what to do."""

    where: str
    what: str
    hint: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what}\n  → {self.hint}"


Action = Literal["create", "update", "replace", "delete", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of a plan. properties: what differs, as (property, before, after). public: it is or becomes
    reachable without credentials. data: it holds data that the action would lose."""

    action: Action
    kind: str
    name: str
    reason: str = ""
    properties: tuple[tuple[str, Any, Any], ...] = ()
    public: bool = False
    data: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How calls come to a new build. steps: shares of the calls (0 to 1) that it gets first, each for ``bake``
    seconds, and all of them after the last one; without steps all at once."""

    steps: tuple[float, ...] = ()
    bake: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a deploy would change. config: the native configuration, as render writes it."""

    deployment: Deployment
    changes: tuple[Change, ...]
    config: Mapping[str, str]
    rollout: Rollout = Rollout()

    @property
    def pending(self) -> tuple[Change, ...]:
        """The changes that change something."""
        return tuple(change for change in self.changes if change.action != "unchanged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of something long: its name, what is happening, and how far it is (0 to 1, None when unknown)."""

    step: str
    text: str = ""
    fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What there is after a deploy. build_ids: by function. values: anything else worth knowing, as text."""

    provider: str
    service: str
    stage: str
    url: str = ""
    build_ids: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """A running copy of a function. uptime in seconds."""

    id: str
    state: str
    restarts: int = 0
    uptime: float = 0.0
    memory_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStatus:
    """A function: `serving`, `starting`, `failing` or `absent`, and why."""

    name: str
    state: str
    build_id: str = ""
    reason: str = ""
    instances: tuple[InstanceStatus, ...] = ()
    restarts: int = 0
    requests: int = 0
    errors: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """A queue or subscription: messages waiting, being handled and dead; age of the oldest in seconds."""

    name: str
    waiting: int
    in_flight: int = 0
    dead: int = 0
    oldest_age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that failed all its deliveries. sent_at and died_at: seconds since the epoch."""

    queue: str
    id: str
    reason: str
    body: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0
    sent_at: float = 0.0
    died_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A service at a stage: `serving`, `degraded`, `stopped` or `absent`."""

    provider: str
    service: str
    stage: str
    state: str
    url: str = ""
    functions: tuple[FunctionStatus, ...] = ()
    queues: tuple[QueueStatus, ...] = ()
    builds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One line of a function's log. time: seconds since the epoch. fields: what else the record carried."""

    time: float
    level: str
    function: str
    message: str
    request_id: str = ""
    instance: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionMetrics:
    """Counts and milliseconds of one function since the time asked for."""

    name: str
    invocations: int
    errors: int
    throttles: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics of a service since a time (seconds since the epoch)."""

    since: float
    functions: tuple[FunctionMetrics, ...]
    queues: tuple[QueueStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """An HTTP call (method and path) or an event for one trigger (its id and a payload)."""

    function: str | None = None
    trigger: str | None = None
    method: str = "GET"
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationResult:
    """What came back. status: the HTTP status, 200 for an event that was handled, 500 for one that failed."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    request_id: str = ""
    duration_ms: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of doctor: what was looked at, whether it is right, and what to do when it is not."""

    subject: str
    ok: bool
    text: str
    hint: str = ""
