"""What a project of Google Cloud holds, in memory."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.gcp_control.schema import Refusal

Json = dict[str, Any]

PROJECT, NUMBER, REGION = "proj-test", "424242424242", "europe-west1"
AGENTS = ("gcp-sa-pubsub", "gs-project-accounts", "gcp-sa-cloudscheduler", "gcf-admin-robot", "serverless-robot-prod")


@dataclass
class Operation:
    """A long-running operation. polls: how often it is asked until it is done; work: what is done then."""

    name: str
    work: Callable[[], Json]
    polls: int
    error: Json | None = None
    response: Json | None = None
    done: bool = False

    def poll(self) -> Json:
        if not self.done:
            self.polls -= 1
            if self.polls <= 0:
                try:
                    self.response = self.work()
                except Refusal as refusal:
                    number = {"FAILED_PRECONDITION": 9, "INVALID_ARGUMENT": 3, "PERMISSION_DENIED": 7}
                    self.error = {"code": number.get(refusal.status, 13), "message": refusal.message}
                self.done = True
        return self.shown()

    def shown(self) -> Json:
        found: Json = {"name": self.name}
        if self.done:
            found["done"] = True
            found |= {"error": self.error} if self.error is not None else {}
        return found


@dataclass
class State:
    """Everything there is. things: by kind, by full name."""

    things: dict[str, dict[str, Json]] = field(default_factory=dict)
    policies: dict[str, Json] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    logs: list[Json] = field(default_factory=list)
    #: Messages that wait, by subscription.
    messages: dict[str, list[Json]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: How often an operation is asked until it is done, and how many entries a page has at most.
    polls: int = 1
    page: int = 100
    #: Names that were deleted and are not free yet, and until when.
    held: dict[str, float] = field(default_factory=dict)
    hold: float = 0.0
    #: How many policies and functions may not know of a new service account yet.
    unknown_accounts: int = 0
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def number(self) -> int:
        return next(self._numbers)

    def of(self, kind: str) -> dict[str, Json]:
        return self.things.setdefault(kind, {})

    def get(self, kind: str, name: str) -> Json:
        found = self.of(kind).get(name)
        if found is None:
            raise Refusal(404, "NOT_FOUND", f"Resource not found (resource={name}).")
        return found

    def add(self, kind: str, name: str, thing: Json) -> Json:
        if name in self.of(kind):
            raise Refusal(409, "ALREADY_EXISTS", f"Resource already exists in the project (resource={name}).")
        if self.held.get(name, 0) > time.monotonic():
            raise Refusal(409, "ALREADY_EXISTS", f"{name} was deleted a moment ago and is not available yet.")
        self.of(kind)[name] = thing
        return thing

    def remove(self, kind: str, name: str) -> Json:
        found = self.get(kind, name)
        del self.of(kind)[name]
        self.policies.pop(name, None)
        if self.hold:
            self.held[name] = time.monotonic() + self.hold
        return found

    def begin(self, prefix: str, work: Callable[[], Json]) -> Json:
        name = f"{prefix}/operations/operation-{self.number()}"
        self.operations[name] = Operation(name, work, self.polls)
        return self.operations[name].shown()

    def shown(self, entries: list[Json], parameters: dict[str, str], key: str, size: str = "pageSize") -> Json:
        """A page of entries."""
        first = int(parameters.get("pageToken") or 0)
        count = min(int(parameters.get(size) or 0) or self.page, self.page)
        found: Json = {key: entries[first : first + count]} if entries else {}
        if first + count < len(entries):
            found["nextPageToken"] = str(first + count)
        return found

    # ---- policies of IAM

    def policy(self, name: str, version: int) -> Json:
        found = self.policies.get(name) or {"version": 1, "etag": _etag(b"none"), "bindings": []}
        shown: Json = json.loads(json.dumps(found))
        if version < 3 and any("condition" in binding for binding in shown["bindings"]):
            for binding in shown["bindings"]:
                if binding.pop("condition", None):
                    binding["role"] += "_withcond_0123456789abcdef"
            shown["version"] = 1
        return shown

    def set_policy(self, name: str, policy: Json) -> Json:
        before = self.policy(name, 3)
        if policy.get("etag") and policy["etag"] != before["etag"]:
            text = "There were concurrent policy changes. Please retry the whole read-modify-write."
            raise Refusal(409, "ABORTED", text)
        bindings = [b for b in policy.get("bindings", []) if b.get("members")]
        conditional = any("condition" in b for b in bindings) or any("condition" in b for b in before["bindings"])
        if conditional and policy.get("version") != 3:
            raise Refusal(400, "INVALID_ARGUMENT", "Policies with conditions must have version 3.")
        had = {m for b in before["bindings"] for m in b["members"]}
        for member in {m for b in bindings for m in b["members"]} - had:
            self.check_member(member)
        policy = {"version": 3 if conditional else 1, "bindings": bindings}
        policy["etag"] = _etag(json.dumps([policy, self.number()]).encode())
        self.policies[name] = policy
        return self.policy(name, 3)

    def check_member(self, member: str) -> None:
        if member in ("allUsers", "allAuthenticatedUsers"):
            return
        kind, _, who = member.partition(":")
        if kind not in ("user", "group", "domain", "serviceAccount", "principal", "principalSet") or not who:
            raise Refusal(400, "INVALID_ARGUMENT", f"Invalid member {member}.")
        if kind == "serviceAccount":
            self.check_account(who)

    def check_account(self, email: str) -> None:
        if any(email == f"service-{NUMBER}@{agent}.iam.gserviceaccount.com" for agent in AGENTS):
            return
        if not email.endswith(f"@{PROJECT}.iam.gserviceaccount.com"):
            return
        known = f"projects/{PROJECT}/serviceAccounts/{email}" in self.of("accounts")
        if known and self.unknown_accounts > 0:
            self.unknown_accounts -= 1
            known = False
        if not known:
            raise Refusal(400, "INVALID_ARGUMENT", f"Service account {email} does not exist.")

    def forget_account(self, email: str, uid: str) -> None:
        """What IAM does to bindings of an account that is deleted."""
        old, new = f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={uid}"
        for policy in self.policies.values():
            for binding in policy["bindings"]:
                binding["members"] = [new if member == old else member for member in binding["members"]]

    def may(self, name: str, role: str, member: str) -> bool:
        bindings = self.policy(name, 3)["bindings"]
        return any(b["role"] == role and ({member, "allUsers"} & set(b["members"])) for b in bindings)


def _etag(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()[:8]).decode()


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1e6) % 1_000_000:06d}Z"
