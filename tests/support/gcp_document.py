"""What the driver needs to know of a rendered document of the gcp provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.gcp_emulators import PROJECT


@dataclass(frozen=True, slots=True)
class DeployedFunction:
    """environment: plain variables. secrets: variable → name of the secret in the service. invokers: IAM members."""

    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    timeout: int
    invokers: frozenset[str]


@dataclass(frozen=True, slots=True)
class PushSubscription:
    name: str
    topic: str
    function: str
    path: str
    caller: str
    audience: str = ""
    filter: str = ""
    backoff: tuple[float, float] = (10, 600)
    dead_topic: str = ""
    attempts: int = 5
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Notification:
    bucket: str
    topic: str
    events: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """kept: pull subscription → topic. dead: trigger → the pull subscription of its dead letters."""

    functions: Mapping[str, DeployedFunction]
    topics: tuple[str, ...]
    buckets: tuple[str, ...]
    subscriptions: tuple[PushSubscription, ...]
    notifications: tuple[Notification, ...]
    kept: Mapping[str, str] = field(default_factory=dict)
    dead: Mapping[str, str] = field(default_factory=dict)
    events_account: str = ""

    @classmethod
    def stand_in(cls, service: Any, stage: str, env: Any) -> Document:
        from urllib.parse import quote

        caller = f"probe-events@{PROJECT}.iam.gserviceaccount.com"
        P = f"projects/{PROJECT}"
        topics, subs, notes, kept, dead, functions = [], [], [], {}, {}, {}
        physical = {}
        for r in service.resources:
            if r.kind in ("queue", "topic"):
                physical[r.name] = f"{P}/topics/p-{r.name}"
                topics.append(physical[r.name])
            elif r.kind == "bucket":
                physical[r.name] = f"probe-{r.name}"
            elif r.kind == "table":
                physical[r.name] = f"{P}/databases/probe/documents/{r.name}"
        secrets = [r.name for r in service.resources if r.kind == "secret"]
        for f in service.functions:
            events: dict[str, Any] = {
                "caller": caller,
                "audience": "probe-events",
                "dead": {},
                "attempts": {},
                "batches": {},
                "topics": {},
            }
            opened = False
            for t in f.triggers:
                if t.kind in ("http", "mount"):
                    opened = opened or t.public or bool(t.auth)
                    continue
                if t.kind == "schedule":
                    continue
                safe = t.id.replace(":", ".")
                backoff = (1.0, 600.0)
                ordered = False
                if t.kind == "consume":
                    q = service.resource(t.queue)
                    topic, retries, ordered = physical[t.queue], q.retries, q.ordered
                    backoff = (q.visibility or 1.0, 600.0)
                    events["topics"][t.id] = topic
                    if t.batch > 1:
                        events["batches"][t.id] = [t.batch, t.window]
                elif t.kind == "subscribe":
                    topic, retries = physical[t.topic], t.retries
                else:
                    topic, retries = f"{P}/topics/p.{safe}", t.retries
                    topics.append(topic)
                    kinds = ("OBJECT_FINALIZE",) if t.event == "created" else ("OBJECT_DELETE", "OBJECT_ARCHIVE")
                    notes.append(Notification(physical[t.bucket], topic, kinds, t.prefix))
                dt = f"{P}/topics/p.{safe}.dead"
                topics.append(dt)
                kept[f"{P}/subscriptions/p.{safe}.dead"] = dt
                dead[t.id] = f"{P}/subscriptions/p.{safe}.dead"
                events["dead"][t.id] = dt
                events["attempts"][t.id] = 1 + retries
                subs.append(
                    PushSubscription(
                        f"{P}/subscriptions/p.{safe}",
                        topic,
                        f.name,
                        f"/.pys-multi/events/{quote(t.id, safe='')}",
                        caller,
                        "probe-events" if any(x.kind in ("http", "mount") for x in f.triggers) else "",
                        "",
                        backoff,
                        dt,
                        max(5, 1 + retries),
                        ordered,
                    )
                )
            granted = {g.resource for g in f.grants}
            mine = {n: p for n, p in physical.items() if n in granted}
            secret_vars = {f"PYS_MULTI_SECRET_{i}": n for i, n in enumerate(secrets) if n in granted}
            mine |= {n: v for v, n in secret_vars.items()}
            threads = max([f.concurrency, *(b for b, _ in events["batches"].values())])
            functions[f.name] = DeployedFunction(
                {
                    **env,
                    **f.environment,
                    "PYS_MULTI_FUNCTION": f.name,
                    "PYS_MULTI_STAGE": stage,
                    "PYS_MULTI_RESOURCES": json.dumps(mine),
                    "PYS_MULTI_EVENTS": json.dumps(events),
                    "PYS_MULTI_INVOKERS": json.dumps(["deployer@example.com"]),
                    "THREADS": str(threads),
                },
                secret_vars,
                int(f.timeout),
                frozenset({"allUsers"} if opened else {f"serviceAccount:{caller}", "user:deployer@example.com"}),
            )
        buckets = tuple(p for n, p in physical.items() if service.resource(n).kind == "bucket")
        return cls(functions, tuple(topics), buckets, tuple(subs), tuple(notes), kept, dead, caller)
