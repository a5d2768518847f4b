"""Who holds a lease, and when it may be taken over, on a Storage of a few lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pys_multi_providers.gcp import lease
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.lease import Lease
from pys_multi_tools.errors import DeployError


class Storage:
    """One object with a generation, as Cloud answers for it."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.generation = 0
        self.before_change: Callable[[], None] = lambda: None
        self.lose_answers = 0

    def call(self, kind: str, method: str, *, guarded: bool = True, **arguments: Any) -> dict[str, Any]:
        assert kind == "storage.v1.objects"
        if self.data is None:
            raise GcpError("NOT_FOUND", "no such object")
        if method == "delete":
            if arguments["ifGenerationMatch"] != str(self.generation):
                raise GcpError("CONDITION_NOT_MET", "another generation")
            self.data = None
        return {"generation": str(self.generation)}

    def download(self, bucket: str, name: str) -> bytes:
        if self.data is None:
            raise GcpError("NOT_FOUND", "no such object")
        return self.data

    def upload(self, bucket: str, name: str, data: bytes, *, generation: int, **_: Any) -> dict[str, Any]:
        if generation != (self.generation if self.data is not None else 0):
            raise GcpError("CONDITION_NOT_MET", "another generation")
        self.data, self.generation = data, self.generation + 1
        if self.lose_answers:
            self.lose_answers -= 1
            # What is sent again after a lost answer meets its own condition.
            raise GcpError("CONDITION_NOT_MET", "another generation")
        return {"generation": str(self.generation)}

    def hold(self, **holder: Any) -> None:
        self.data, self.generation = json.dumps(holder).encode(), self.generation + 1


def held(storage: Storage, said: list[str] | None = None) -> Lease:
    return Lease(storage, "b", "shop/dev/lease.json", (said if said is not None else []).append)  # type: ignore[arg-type]


def test_it_is_taken_guards_and_is_given_back() -> None:
    storage = Storage()
    with held(storage):
        assert json.loads(storage.data or b"")["process"] == os.getpid()
        storage.before_change()
    assert storage.data is None
    storage.before_change()


def test_an_answer_that_was_lost_is_looked_for() -> None:
    storage = Storage()
    storage.lose_answers = 1
    with held(storage):
        storage.before_change()
    assert storage.data is None


def test_a_process_of_this_machine_that_ended_holds_nothing() -> None:
    storage, said = Storage(), list[str]()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    storage.hold(who="a dead one", machine=lease._machine(), process=ended.pid, started="1", lasts=1000)
    with held(storage, said):
        assert said == ["a dead one is deploying this stage; waiting for it"]


def test_one_that_nobody_renews_ends_by_our_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage()
    storage.hold(who="somebody far away", machine="another", process=1, lasts=0.3)
    with held(storage):
        assert b"far away" not in (storage.data or b"")


def test_one_that_is_alive_is_waited_for_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_WAIT", 0.3)
    storage = Storage()
    storage.hold(who="ada on mill", machine="another", process=1, lasts=1000, since="2026-11-24 10:00:00 UTC")
    with pytest.raises(DeployError, match="ada on mill is deploying this stage since 2026-11-24"), held(storage):
        raise AssertionError("it was taken")


def test_nothing_is_changed_by_one_who_lost_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LASTS", 0.2)
    storage = Storage()

    def work() -> None:
        with held(storage) as mine:
            storage.hold(who="a thief")
            mine._renewer.join(5)
            storage.before_change()

    with pytest.raises(DeployError, match="the lease of this stage was lost"):
        work()
    assert b"a thief" in (storage.data or b"")
    with pytest.raises(DeployError):
        storage.before_change()  # what other threads still had in mind is not done either
