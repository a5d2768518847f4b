"""`kill -9` at any moment loses nothing that the local provider acknowledged, and leaves nothing half done.

Once at every step: a process that uses the store kills itself before its n-th SQL statement or file operation,
for every n. And at random moments, from outside, with several processes at work.

This file is also the program of those processes: ``python test_local_crash.py ROLE DIRECTORY LOG ARGUMENT``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pys_multi.errors import ResourceError
from pys_multi.model import Bucket, Function, ObjectEvent, Queue, Schedule, Service, Subscribe, Table, Topic
from pys_multi.resources import Outgoing
from pys_multi_providers.local.database import Database
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.store import Delivery, Store

SERVICE = Service(
    name="shop",
    resources=(
        Queue(name="orders", retries=0),
        Queue(name="work", retries=1_000_000),
        Queue(name="moves", ordered=True),
        Topic(name="events"),
        Bucket(name="files"),
        Table(name="stock", key="sku"),
    ),
    functions=(
        Function(
            name="worker",
            triggers=(
                Subscribe(id="worker:one", topic="events", handler="one"),
                Subscribe(id="worker:two", topic="events", handler="two"),
                ObjectEvent(id="worker:made", bucket="files", event="created", handler="made"),
                ObjectEvent(id="worker:gone", bucket="files", event="deleted", handler="gone"),
                Schedule(id="worker:report", expression="every 5 minutes", handler="report"),
            ),
        ),
    ),
)
NOW = 1_000_000.0
DEADLINE = 60.0


def outgoing(*bodies: bytes, group: str = "") -> list[Outgoing]:
    return [Outgoing(body, {}, 0.0, group) for body in bodies]


# ---- at every step


def scenario(directory: Path) -> tuple[Store, list[Callable[[], object]]]:
    """One of everything that writes, each to be acknowledged on its own."""
    store = Store(directory, clock=lambda: NOW)
    backend = LocalBackend(store, buckets=directory / "buckets")

    held: list[Delivery] = []

    def receive(queue: str) -> None:
        held[:] = store.receive(queue, 2, 60)

    return store, [
        lambda: store.apply(SERVICE),
        lambda: store.send("orders", outgoing(b"1", b"2", b"3")),
        lambda: store.send("moves", outgoing(b"a1", b"a2", group="a")),
        lambda: store.publish("events", Outgoing(b"news", {})),
        lambda: backend.bucket_put("files", "a", b"first" * 10_000, "", {}),
        lambda: backend.bucket_put("files", "a", b"second" * 10_000, "", {}),
        lambda: backend.bucket_put("files", "b", b"third", "", {}),
        lambda: backend.bucket_delete("files", "b"),
        lambda: backend.table_put("stock", {"sku": "a", "n": 1}, {"sku": None}),
        lambda: backend.table_update("stock", ("a",), {"x": 1}, {"n": 1}, (), {"n": 1}),
        lambda: receive("orders"),
        lambda: store.settle([held[0].receipt], [(held[1].receipt, "broken", 0)]),
        lambda: receive("moves"),
        lambda: store.ack([held[0].receipt]),
        lambda: store.redrive("orders"),
        lambda: store.tick("worker:report", NOW + 300),
        lambda: store.release(),
        lambda: backend.table_delete("stock", ("a",), {}),
        lambda: store.purge("orders"),
    ]


def snapshot(directory: Path) -> dict[str, Any]:
    """All that a user can see of a store, without ids, for they are random."""
    store = Store(directory, clock=lambda: NOW)
    backend = LocalBackend(store, buckets=directory / "buckets")
    with store.database.read() as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        messages = db.execute(
            "SELECT queue, blocked, attempt, receipt IS NULL, body FROM messages ORDER BY seq"
        ).fetchall()
    seen: dict[str, Any] = {"messages": messages}
    for queue in store.queues():
        stats = store.stats(queue)
        dead = [(letter.body, letter.reason) for letter in store.dead(queue)]
        seen[queue] = (stats.waiting, stats.in_flight, dead)
    try:
        seen["files"] = {info.key: backend.bucket_get("files", info.key) for info in backend.bucket_list("files", "")}
        seen["stock"] = list(backend.table_query("stock", None, None, None, False))
        seen["tick"] = store.last_tick("worker:report")
    except ResourceError:
        pass  # The service was not applied yet.
    store.close()
    return seen


def run_until(directory: Path, log: Path, kill_at: int) -> None:
    """The scenario in this process, which kills itself before its n-th step."""
    steps = 0

    def step(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        # The state directory's files alone, so that the count is the same in every run.
        if event in ("open", "os.mkdir", "os.remove") and str(directory) in str(arguments[0]):
            step()

    connect = Database._open

    def traced(database: Database) -> Any:
        connection = connect(database)
        connection.set_trace_callback(step)
        return connection

    Database._open = traced  # type: ignore[method-assign]
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sys.addaudithook(hook)
    for operation in scenario(directory)[1]:
        operation()
        os.write(descriptor, b"done\n")


def run_every(directory: Path, log: Path, _: str) -> None:
    """Forks a process for each step there is to be killed at: n is the name of its directory."""
    kill_at = 0
    while True:
        kill_at += 1
        child = os.fork()
        if child == 0:
            run_until(directory / str(kill_at), log / str(kill_at), kill_at)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return
        if code != -signal.SIGKILL:
            sys.exit(f"step {kill_at}: the process ended with {code}")


def test_a_kill_at_every_step_leaves_exactly_what_was_acknowledged(tmp_path: Path) -> None:
    # What there is after each operation, from a run that nobody kills.
    states = [snapshot(tmp_path / "unbegun")]
    whole, operations = scenario(tmp_path / "whole")
    for operation in operations:
        operation()
        states.append(snapshot(tmp_path / "whole"))
    whole.close()

    logs, runs = tmp_path / "logs", tmp_path / "runs"
    logs.mkdir()
    subprocess.run([sys.executable, __file__, "every", str(runs), str(logs), ""], check=True, timeout=DEADLINE)
    kills = len(list(logs.iterdir())) - 1  # the last one ran to its end
    assert kills > 100
    between = 0
    for kill_at in range(1, kills + 1):
        log = logs / str(kill_at)
        done = log.read_text().count("done")
        found = snapshot(runs / str(kill_at))
        assert found in states[done : done + 2], f"killed before step {kill_at}, with {done} operations acknowledged"
        between += found != states[done]
    assert between  # some were committed and not yet acknowledged: the kills do hit that gap
    assert (logs / str(kills + 1)).read_text().count("done") == len(operations)


# ---- at random moments


def write_log(log: Path) -> Callable[..., None]:
    # Straight to the kernel: what is written stays when the process is killed.
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    return lambda *entry: (os.write(descriptor, json.dumps(entry).encode() + b"\n"), None)[1]


def read_log(log: Path) -> list[list[Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def run_sender(directory: Path, log: Path, name: str) -> None:
    store, tell = Store(directory), write_log(log)
    for batch in range(1_000_000):
        bodies = [f"{name}.{batch}.{i}" for i in range(3)]
        tell("try", bodies)
        store.send("work", outgoing(*(body.encode() for body in bodies)))
        tell("done", bodies)


def run_receiver(directory: Path, log: Path, _: str) -> None:
    store, tell = Store(directory), write_log(log)
    while True:
        deliveries = store.receive("work", 2, 3600)
        bodies = [delivery.body.decode() for delivery in deliveries]
        tell("received", bodies)
        store.ack([delivery.receipt for delivery in deliveries])
        tell("done", bodies)


def run_writer(directory: Path, log: Path, name: str) -> None:
    store, tell = Store(directory), write_log(log)
    backend = LocalBackend(store, buckets=directory / "buckets")
    for number in range(1_000_000):
        key, object_name = f"key{number % 3}", f"{name}.{number}"
        tell("try", key, object_name)
        backend.bucket_put("files", key, content_of(object_name).encode(), "", {"name": object_name})
        backend.table_update("stock", ("count",), {}, {"n": 1}, (), {})
        tell("done", key, object_name)


def content_of(name: str) -> str:
    return f"{name} " * 5_000


ROLES: dict[str, Callable[[Path, Path, str], None]] = {
    "every": run_every,
    "sender": run_sender,
    "receiver": run_receiver,
    "writer": run_writer,
}
ROUNDS = 15


def test_kills_at_random_moments_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    state, logs = tmp_path / "state", tmp_path / "logs"
    logs.mkdir()
    store = Store(state)
    store.apply(SERVICE)
    roles = ("sender", "sender", "receiver", "writer")
    for number in range(ROUNDS):
        started = []
        for index, role in enumerate(roles):
            log = logs / f"{number:02}.{index}.{role}"
            command = [sys.executable, __file__, role, str(state), str(log), f"{number}-{index}"]
            started.append((subprocess.Popen(command, stderr=subprocess.PIPE), log))
        until = time.monotonic() + DEADLINE
        while not all(log.exists() and log.stat().st_size for _, log in started):
            assert time.monotonic() < until, [process.poll() for process, _ in started]
            time.sleep(0.001)
        random.shuffle(started)
        for process, _ in started:
            time.sleep(random.random() * 0.1)  # the moment of the kill, and no synchronisation
            process.kill()
            _, error = process.communicate()
            assert (process.returncode, error) == (-signal.SIGKILL, b"")
        # A supervisor that starts again does this.
        store.release()

    check_messages(store, logs)
    check_objects(store, state, logs)
    with store.database.read() as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()


def check_messages(store: Store, logs: Path) -> None:
    tried: list[list[str]] = []
    sent: set[str] = set()
    for log in logs.glob("*.sender"):
        for kind, bodies in read_log(log):
            if kind == "try":
                tried.append(bodies)
            else:
                sent.update(bodies)
    received: set[str] = set()
    handled: set[str] = set()
    for log in sorted(logs.glob("*.receiver")):
        for kind, bodies in read_log(log):
            if kind == "received":
                assert not handled & set(bodies), "delivered after its acknowledgement was acknowledged"
                received.update(bodies)
            else:
                handled.update(bodies)
    left = []
    while deliveries := store.receive("work", 1000, 3600):
        left += [delivery.body.decode() for delivery in deliveries]
    assert sent
    assert handled
    assert len(left) == len(set(left))
    assert not handled & set(left), "acknowledged, and there again"
    there = received | set(left)
    assert sent <= there, "acknowledged, and lost"
    for bodies in tried:
        assert len(there.intersection(bodies)) in (0, len(bodies)), "half of one send"
    assert store.stats("work").dead == 0


def check_objects(store: Store, state: Path, logs: Path) -> None:
    backend = LocalBackend(store, buckets=state / "buckets")
    # There is one writer at a time, so that all that was put under a key has an order.
    tried: dict[str, list[str]] = {}
    last_done: dict[str, int] = {}
    acknowledged = 0
    for log in sorted(logs.glob("*.writer")):
        for kind, key, name in read_log(log):
            if kind == "try":
                tried.setdefault(key, []).append(name)
            else:
                last_done[key] = len(tried[key]) - 1
                acknowledged += 1
    attempts = sum(len(names) for names in tried.values())
    assert acknowledged

    told: list[str] = []
    while deliveries := store.receive("bucket/files/worker:made", 1000, 3600):
        told += [json.loads(delivery.body)["etag"] for delivery in deliveries]
    assert acknowledged <= len(told) <= attempts
    assert len(told) == len(set(told)), "an object was told twice"

    objects = {info.key: info for info in backend.bucket_list("files", "")}
    for key, done in last_done.items():
        content = backend.bucket_get("files", key).decode()
        name = content.partition(" ")[0]
        assert name in tried[key][done:], "acknowledged, and lost"
        assert content == content_of(name), "half an object"
        assert backend.bucket_metadata("files", key) == {"name": name}
        assert objects[key].etag in told, "an object that nobody was told of"
    item = backend.table_get("stock", ("count",))
    assert item is not None
    assert acknowledged <= item["n"] <= attempts


if __name__ == "__main__":
    ROLES[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
