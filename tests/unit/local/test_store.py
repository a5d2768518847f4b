"""The store of the local provider: sending, receiving, retrying, dead letters, schedules, and what a redeploy does."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from pys_multi.errors import ResourceError
from pys_multi.model import Function, ObjectEvent, Queue, Schedule, Service, Subscribe, Table, Topic
from pys_multi.resources import Outgoing
from pys_multi_providers.local.database import VERSION
from pys_multi_providers.local.doorbell import listen
from pys_multi_providers.local.store import Store

SUBSCRIPTION = "topic/events/worker:audit"
SCHEDULE = "schedule/worker:report"
AUDIT = Subscribe(id="worker:audit", topic="events", handler="audit", retries=1)
REPORT = Schedule(id="worker:report", expression="every 5 minutes", handler="report")
SERVICE = Service(
    name="shop",
    resources=(
        Queue(name="orders", retries=2),
        Queue(name="moves", retries=1, ordered=True),
        Topic(name="events"),
        Table(name="stock", key="sku"),
    ),
    functions=(Function(name="worker", triggers=(AUDIT, REPORT)),),
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "state", clock=clock)
    store.apply(SERVICE)
    yield store
    store.close()


def outgoing(*bodies: bytes, group: str = "", delay: float = 0.0) -> list[Outgoing]:
    return [Outgoing(body, {}, delay, group) for body in bodies]


def bodies(store: Store, queue: str = "orders", limit: int = 10, visibility: float = 60.0) -> list[bytes]:
    return [delivery.body for delivery in store.receive(queue, limit, visibility)]


# ---- a queue


def test_a_message_arrives_as_it_was_sent(store: Store, clock: Clock) -> None:
    [id] = store.send("orders", [Outgoing(b"\x00\xff", {"trace": "ä"})])
    clock.now += 3
    [delivery] = store.receive("orders", 10, 60)
    assert (delivery.id, delivery.body, delivery.attributes) == (id, b"\x00\xff", {"trace": "ä"})
    assert (delivery.attempt, delivery.sent_at, delivery.group) == (1, clock.now - 3, "")


def test_messages_come_in_the_order_they_were_sent(store: Store) -> None:
    ids = store.send("orders", outgoing(b"1", b"2", b"3"))
    store.send("orders", outgoing(b"4"))
    assert len(set(ids)) == 3
    assert bodies(store, limit=3) == [b"1", b"2", b"3"]
    assert bodies(store) == [b"4"]


def test_a_message_in_flight_is_nobody_elses_until_its_visibility_is_over(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"1"))
    assert bodies(store, visibility=30) == [b"1"]
    clock.now += 29
    assert bodies(store) == []
    clock.now += 1
    [again] = store.receive("orders", 10, 30)
    assert again.attempt == 2


def test_what_was_acknowledged_is_gone(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"1", b"2"))
    first, _ = store.receive("orders", 10, 30)
    store.ack([first.receipt])
    clock.now += 30
    assert bodies(store) == [b"2"]


def test_a_late_receipt_still_counts_while_nobody_else_has_the_message(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"1"))
    [delivery] = store.receive("orders", 10, 30)
    clock.now += 31
    store.ack([delivery.receipt])
    assert bodies(store) == []


def test_a_stale_receipt_does_not_touch_a_message_in_other_hands(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"1"))
    [stale] = store.receive("orders", 10, 30)
    clock.now += 31
    [current] = store.receive("orders", 10, 30)
    store.ack([stale.receipt])
    assert store.retry(stale.receipt, "late") is False
    assert store.stats("orders").in_flight == 1
    store.retry(current.receipt, "again")
    store.ack([stale.receipt, current.receipt])  # nobody has it now
    assert bodies(store) == [b"1"]


@pytest.mark.parametrize("receipt", ["", "x", "1", "1.", "1.zz", "99999999999999999999.ab", "\x00"])
def test_a_receipt_nobody_gave_out_is_ignored(store: Store, receipt: str) -> None:
    store.send("orders", outgoing(b"1"))
    store.receive("orders", 1, 30)
    store.ack([receipt])
    assert store.stats("orders").in_flight == 1


def test_a_failed_message_comes_back_after_its_delay(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"1"))
    [delivery] = store.receive("orders", 10, 30)
    store.retry(delivery.receipt, "broken", delay=5)
    assert bodies(store) == []
    clock.now += 5
    assert bodies(store) == [b"1"]


def test_a_message_dies_after_its_retries_with_its_last_error(store: Store, clock: Clock) -> None:
    [id] = store.send("orders", [Outgoing(b"1", {"a": "b"})])
    for attempt in (1, 2):
        [delivery] = store.receive("orders", 10, 30)
        assert store.retry(delivery.receipt, f"error {attempt}") is False
    [delivery] = store.receive("orders", 10, 30)
    clock.now += 7
    assert store.settle((), [(delivery.receipt, "error 3", 0)]) == [id]
    assert bodies(store) == []
    [dead] = store.dead("orders")
    assert (dead.id, dead.body, dead.attributes, dead.attempt) == (id, b"1", {"a": "b"}, 3)
    assert (dead.reason, dead.died_at) == ("error 3", clock.now)


def test_a_message_whose_receiver_vanishes_every_time_dies_too(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"1"))
    for _ in range(3):
        assert bodies(store, visibility=30) == [b"1"]
        clock.now += 30
    store.send("orders", outgoing(b"2"))
    assert bodies(store, limit=1) == [b"2"]
    assert "visibility" in store.dead("orders")[0].reason


def test_a_message_that_was_delivered_before_comes_alone(store: Store) -> None:
    store.send("orders", outgoing(b"1", b"2"))
    for delivery in store.receive("orders", 10, 30):
        store.retry(delivery.receipt, "the instance crashed")
    store.send("orders", outgoing(b"3", b"4"))
    assert [bodies(store) for _ in range(3)] == [[b"1"], [b"2"], [b"3", b"4"]]


def test_a_redriven_message_has_all_its_retries_again(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"1", b"2"))
    for _ in range(3):
        while deliveries := store.receive("orders", 10, 30):
            for delivery in deliveries:
                store.retry(delivery.receipt, "broken", delay=1)
        clock.now += 1
    first, second = store.dead("orders")
    store.send("orders", outgoing(b"3"))
    assert store.redrive("orders", [second.id, "unknown"]) == 1
    assert [dead.id for dead in store.dead("orders")] == [first.id]
    deliveries = store.receive("orders", 10, 30)
    assert [(d.body, d.attempt) for d in deliveries] == [(b"3", 1), (b"2", 1)]
    assert deliveries[1].id == second.id
    assert store.redrive("orders") == 1
    assert store.dead("orders") == []


def test_a_delayed_message_waits(store: Store, clock: Clock) -> None:
    store.send("orders", outgoing(b"late", delay=60))
    store.send("orders", outgoing(b"now"))
    assert bodies(store) == [b"now"]
    assert store.due()["orders"] == clock.now + 60
    clock.now += 60
    assert b"late" in bodies(store)


def test_sending_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match=r"surrogate|utf-8"):
        store.send("orders", [*outgoing(b"1"), Outgoing(b"2", {}, 0.0, "\ud800")])
    assert store.stats("orders").waiting == 0


def test_what_was_never_deployed_is_named(store: Store) -> None:
    for call in (
        lambda: store.send("nope", outgoing(b"1")),
        lambda: store.receive("nope", 1, 1),
        lambda: store.stats("nope"),
        lambda: store.publish("nope", Outgoing(b"1", {})),
    ):
        with pytest.raises(ResourceError, match="'nope'"):
            call()
    with pytest.raises(ValueError, match="visibility"):
        store.receive("orders", 1, 0)


def test_stats_tell_waiting_flight_death_and_age(store: Store, clock: Clock) -> None:
    assert store.stats("orders").oldest_age is None
    store.send("orders", outgoing(b"1"))
    clock.now += 10
    store.send("orders", outgoing(b"2"))
    store.send("orders", outgoing(b"3", delay=100))
    clock.now += 5
    store.receive("orders", 1, 30)
    stats = store.stats("orders")
    assert (stats.waiting, stats.in_flight, stats.dead, stats.oldest_age) == (2, 1, 0, 5.0)
    clock.now += 30  # the receiver's time is over: the message waits again
    stats = store.stats("orders")
    assert (stats.waiting, stats.in_flight, stats.oldest_age) == (3, 0, 45.0)


def test_purging_leaves_the_dead_unless_they_are_meant(store: Store) -> None:
    store.send("orders", outgoing(b"1"))
    for _ in range(3):
        [delivery] = store.receive("orders", 10, 30)
        store.retry(delivery.receipt, "broken")
    store.send("orders", outgoing(b"2", b"3"))
    store.receive("orders", 1, 30)
    assert store.purge("orders") == 2
    assert (store.stats("orders").waiting, store.stats("orders").dead) == (0, 1)
    assert store.purge("orders", dead=True) == 1
    assert store.dead("orders") == []


def test_ready_says_how_many_and_since_when(store: Store, clock: Clock) -> None:
    assert store.ready("orders", 10)[0] == 0
    store.send("orders", outgoing(b"1"))
    clock.now += 2
    store.send("orders", outgoing(b"2", b"3"))
    assert store.ready("orders", 10) == (3, clock.now - 2)
    assert store.ready("orders", 2) == (2, clock.now - 2)


def test_a_new_supervisor_gets_at_once_what_its_predecessor_held(store: Store) -> None:
    store.send("orders", outgoing(b"1", b"2"))
    store.receive("orders", 1, 3600)
    assert store.release() == 1
    assert [(d.body, d.attempt) for _ in range(2) for d in store.receive("orders", 10, 30)] == [(b"1", 2), (b"2", 1)]


# ---- an ordered queue


def test_a_group_has_one_message_in_flight_and_keeps_its_order(store: Store) -> None:
    store.send("moves", outgoing(b"a1", b"a2", group="a"))
    store.send("moves", outgoing(b"b1", b"b2", group="b"))
    first = store.receive("moves", 10, 30)
    assert [d.body for d in first] == [b"a1", b"b1"]
    assert bodies(store, "moves") == []
    store.ack([first[1].receipt])
    assert bodies(store, "moves") == [b"b2"]
    store.ack([first[0].receipt])
    assert bodies(store, "moves") == [b"a2"]


def test_a_failing_head_blocks_its_group_only_until_it_dies(store: Store, clock: Clock) -> None:
    store.send("moves", outgoing(b"a1", b"a2", group="a"))
    store.send("moves", outgoing(b"b1", group="b"))
    head, other = store.receive("moves", 10, 30)
    store.retry(head.receipt, "broken", delay=10)
    store.ack([other.receipt])
    assert bodies(store, "moves") == []
    clock.now += 10
    [head] = store.receive("moves", 10, 30)
    assert (head.body, head.attempt) == (b"a1", 2)
    assert store.retry(head.receipt, "broken") is True
    assert bodies(store, "moves") == [b"a2"]


def test_a_head_whose_time_ran_out_lets_the_next_go_in_the_same_receive(store: Store, clock: Clock) -> None:
    store.send("moves", outgoing(b"a1", b"a2", group="a"))
    for _ in range(2):
        assert bodies(store, "moves", visibility=30) == [b"a1"]
        clock.now += 30
    assert bodies(store, "moves") == [b"a2"]


def test_a_redriven_message_of_a_group_goes_behind_it(store: Store) -> None:
    store.send("moves", outgoing(b"a1", b"a2", group="a"))
    for _ in range(2):
        [delivery] = store.receive("moves", 10, 30)
        store.retry(delivery.receipt, "broken")
    store.redrive("moves")
    [second] = store.receive("moves", 10, 30)
    store.ack([second.receipt])
    assert (second.body, bodies(store, "moves")) == (b"a2", [b"a1"])


def test_a_queue_may_become_ordered_and_unordered_again(store: Store) -> None:
    store.send("moves", outgoing(b"a1", b"a2", group="a"))
    loose = replace(SERVICE, resources=(Queue(name="moves", ordered=False), *SERVICE.resources[2:]))
    store.apply(loose)
    [first] = store.receive("moves", 1, 30)
    assert store.ready("moves", 10)[0] == 1
    store.apply(SERVICE)
    assert store.ready("moves", 10)[0] == 0
    store.ack([first.receipt])
    assert bodies(store, "moves") == [b"a2"]


# ---- topics and redeploys


def test_every_subscription_gets_every_message(store: Store) -> None:
    second = Subscribe(id="worker:second", topic="events", handler="second")
    store.apply(replace(SERVICE, functions=(Function(name="worker", triggers=(AUDIT, second)),)))
    id = store.publish("events", Outgoing(b"1", {"a": "b"}))
    for queue in (SUBSCRIPTION, "topic/events/worker:second"):
        [delivery] = store.receive(queue, 10, 30)
        assert (delivery.id, delivery.body, delivery.attributes) == (id, b"1", {"a": "b"})


def test_a_new_subscription_gets_what_is_published_from_then_on(store: Store) -> None:
    without = replace(SERVICE, functions=())
    store.apply(without)
    store.publish("events", Outgoing(b"nobody listens", {}))
    store.apply(SERVICE)
    store.publish("events", Outgoing(b"1", {}))
    assert bodies(store, SUBSCRIPTION) == [b"1"]


def test_a_removed_subscription_gets_nothing_more_and_keeps_what_it_holds_until_it_returns(store: Store) -> None:
    store.publish("events", Outgoing(b"1", {}))
    store.apply(replace(SERVICE, functions=()))
    store.publish("events", Outgoing(b"2", {}))
    assert SUBSCRIPTION in store.queues()
    store.apply(SERVICE)
    [delivery] = store.receive(SUBSCRIPTION, 10, 30)
    assert delivery.body == b"1"
    store.ack([delivery.receipt])
    store.apply(replace(SERVICE, functions=()))
    assert SUBSCRIPTION not in store.queues()


def test_preparing_adds_what_a_build_uses_and_changes_nothing(store: Store) -> None:
    store.send("moves", outgoing(b"a1", b"a2", group="a"))
    following = Service(
        name="shop",
        resources=(Queue(name="orders", retries=0), Queue(name="new"), Topic(name="news"), Queue(name="moves")),
    )
    store.prepare(following)
    store.send("new", outgoing(b"1"))
    store.publish("news", Outgoing(b"1", {}))
    store.publish("events", Outgoing(b"the former build still gets it", {}))
    assert bodies(store, SUBSCRIPTION) == [b"the former build still gets it"]
    assert bodies(store, "moves") == [b"a1"]
    assert store.last_tick("worker:report") is not None
    store.send("orders", outgoing(b"1"))
    [delivery] = store.receive("orders", 10, 30)
    assert store.retry(delivery.receipt, "broken") is False


def test_retries_follow_the_definition(store: Store) -> None:
    store.send("orders", outgoing(b"1"))
    store.apply(replace(SERVICE, resources=(Queue(name="orders", retries=0), *SERVICE.resources[1:])))
    [delivery] = store.receive("orders", 10, 30)
    assert store.retry(delivery.receipt, "broken") is True


def test_messages_survive_a_redeploy_and_another_process(tmp_path: Path, store: Store) -> None:
    store.send("orders", outgoing(b"1"))
    store.apply(replace(SERVICE, resources=()))
    store.close()
    again = Store(tmp_path / "state", clock=store.clock)
    again.apply(SERVICE)
    assert bodies(again) == [b"1"]


def test_object_events_reach_the_triggers_that_match(store: Store) -> None:
    pdf = ObjectEvent(id="w:pdf", bucket="files", event="created", handler="pdf", prefix="in/", suffix=".pdf")
    gone = ObjectEvent(id="w:gone", bucket="files", event="deleted", handler="gone")
    store.apply(replace(SERVICE, functions=(Function(name="w", triggers=(pdf, gone)),)))
    with store.database.write() as db:
        assert store.notify(db, "created", "files", "in/a.pdf", {"size": 1, "etag": "e"}) is True
        assert store.notify(db, "created", "files", "a.pdf", {}) is False
        assert store.notify(db, "created", "files", "in/a.txt", {}) is False
        assert store.notify(db, "created", "other", "in/a.pdf", {}) is False
    assert list(store.due()) == ["bucket/files/w:pdf"]


# ---- schedules


def test_a_tick_is_queued_once(store: Store, clock: Clock) -> None:
    due = clock.now + 300
    clock.now = due + 1
    assert store.tick("worker:report", due) is True
    assert store.last_tick("worker:report") == due
    [run] = store.receive(SCHEDULE, 10, 30)
    store.ack([run.receipt])
    assert store.tick("worker:report", due) is None
    assert store.due() == {}


def test_a_tick_is_left_out_while_the_former_run_is_not_over(store: Store, clock: Clock) -> None:
    store.tick("worker:report", clock.now + 300)
    [run] = store.receive(SCHEDULE, 10, 30)
    assert store.tick("worker:report", clock.now + 600) is False
    assert store.last_tick("worker:report") == clock.now + 600
    store.ack([run.receipt])
    assert store.tick("worker:report", clock.now + 900) is True


def test_a_run_that_fails_at_its_last_retry_is_no_dead_letter(store: Store, clock: Clock) -> None:
    store.tick("worker:report", clock.now + 300)
    for dead in (False, False, True):
        [run] = store.receive(SCHEDULE, 10, 30)
        assert store.retry(run.receipt, "broken") is dead
    assert (store.stats(SCHEDULE).waiting, store.stats(SCHEDULE).dead) == (0, 0)


def test_another_expression_begins_anew_and_a_removed_schedule_is_forgotten(store: Store, clock: Clock) -> None:
    started = clock.now
    clock.now += 50
    store.apply(SERVICE)
    assert store.last_tick("worker:report") == started
    hourly = replace(REPORT, expression="every 1 hour")
    store.apply(replace(SERVICE, functions=(Function(name="worker", triggers=(hourly,)),)))
    assert store.last_tick("worker:report") == clock.now
    store.tick("worker:report", clock.now + 1)
    store.apply(replace(SERVICE, functions=()))
    assert SCHEDULE not in store.queues()
    assert store.last_tick("worker:report") is None


# ---- tables


def test_a_table_with_items_keeps_its_key(store: Store) -> None:
    other = replace(SERVICE, resources=(Table(name="stock", key="id", sort="at"), Queue(name="new")))
    store.apply(other)
    store.apply(SERVICE)
    with store.database.write() as db:
        db.execute("INSERT INTO items VALUES ('stock', 'a', '', '{}')")
    with pytest.raises(ResourceError, match=r"'sku' and cannot change to key 'id' and sort key 'at'"):
        store.apply(replace(other, resources=(Queue(name="newer"), *other.resources)))
    with pytest.raises(ResourceError, match="'stock'"):
        store.prepare(replace(other, resources=(Queue(name="newer"), *other.resources)))
    assert "newer" not in store.queues()


# ---- the file


def test_the_state_directory_is_its_owners_alone(tmp_path: Path, store: Store) -> None:
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path, store: Store) -> None:
    with store.database.write() as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    with pytest.raises(ResourceError, match="newer pys-multi"):
        Store(tmp_path / "state")


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, " * 1000)
    with pytest.raises(ResourceError, match="damaged"):
        Store(tmp_path)


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="state directory"):
        Store(tmp_path / "file" / "state")


def test_a_failed_transaction_leaves_nothing_and_the_store_usable(store: Store) -> None:
    def fail() -> None:
        with store.database.write() as db:
            db.execute("DELETE FROM queues")
            db.execute("DELETE FROM missing")

    def interrupt() -> None:
        with store.database.write() as db:
            db.execute("DELETE FROM queues")
            raise KeyboardInterrupt

    with pytest.raises(ResourceError, match="no such table"):
        fail()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    store.send("orders", outgoing(b"1"))


def test_every_commit_is_on_the_disk(store: Store) -> None:
    with store.database.read() as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_many_threads_and_processes_lose_and_double_nothing(tmp_path: Path, store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    senders = [context.Process(target=_send_many, args=(tmp_path / "state", n)) for n in range(3)]
    received: list[bytes] = []

    def receive() -> None:
        while len(received) < 3 * 50 + 50:
            deliveries = store.receive("orders", 7, 3600)
            store.ack([delivery.receipt for delivery in deliveries])
            received.extend(delivery.body for delivery in deliveries)

    receivers = [threading.Thread(target=receive, daemon=True) for _ in range(3)]
    for worker in (*senders, *receivers):
        worker.start()
    _send_many(tmp_path / "state", 3)
    for worker in (*senders, *receivers):
        worker.join(60)
    assert sorted(received) == sorted(b"%d.%d" % (n, i) for n in range(4) for i in range(50))


def _send_many(directory: Path, sender: int) -> None:
    store = Store(directory)
    # The clock of the other side stands in the past, so that nothing is sent from its future.
    store.clock = lambda: 0.0
    for i in range(50):
        store.send("orders", outgoing(b"%d.%d" % (sender, i)))
    store.close()


def test_a_forked_child_uses_the_store_safely(store: Store) -> None:
    store.send("orders", outgoing(b"parent"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the test runner may have threads of its own
        child = os.fork()
    if child == 0:
        status = 1
        try:
            store.send("orders", outgoing(b"child"))
            status = 0
        finally:
            os._exit(status)
    store.send("orders", outgoing(b"parent too"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(bodies(store)) == [b"child", b"parent", b"parent too"]
    with store.database.read() as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_sender_rings_after_its_commit(store: Store) -> None:
    bell = listen(store.bell)
    try:
        store.send("orders", outgoing(b"1"))
        assert os.read(bell, 100) == b"!"
        for _ in range(70_000):
            store.ring()  # a full bell is no error
        assert len(os.read(bell, 1_000_000)) > 1000
    finally:
        os.close(bell)
    store.send("orders", outgoing(b"2"))  # nor is one that nobody hears


def test_a_bell_that_is_something_else_is_replaced(store: Store) -> None:
    store.bell.write_text("left behind")
    os.close(listen(store.bell))
    assert store.bell.is_fifo()


def test_sqlite_serves_threads() -> None:
    assert sqlite3.threadsafety == 3  # connections go from thread to thread


# ---- a model of a queue, against the store


class ModelMessage:
    def __init__(self, body: bytes, group: str, visible_at: float) -> None:
        self.body = body
        self.group = group
        self.visible_at = visible_at
        self.attempt = 0
        self.holder = ""


class QueueMachine(RuleBasedStateMachine):
    """What the documentation says about queues, in plain lists."""

    receipts = Bundle("receipts")
    retries = 2

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.clock = Clock()
        self.store = Store(Path(self.directory.name), clock=self.clock)
        self.names = {"plain": False, "grouped": True}
        resources = tuple(Queue(name=n, retries=self.retries, ordered=o) for n, o in self.names.items())
        self.store.apply(Service(name="s", resources=resources))
        self.waiting: dict[str, list[ModelMessage]] = {"plain": [], "grouped": []}
        self.dead: dict[str, list[bytes]] = {"plain": [], "grouped": []}
        self.count = 0

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()

    queues = st.sampled_from(["plain", "grouped"])

    @rule(queue=queues, groups=st.lists(st.sampled_from("ab"), min_size=1, max_size=4), delay=st.sampled_from([0, 5]))
    def send(self, queue: str, groups: list[str], delay: int) -> None:
        batch = []
        for group in groups:
            self.count += 1
            body = b"%d" % self.count
            group = group if self.names[queue] else ""
            batch.append(Outgoing(body, {}, delay, group))
            self.waiting[queue].append(ModelMessage(body, group, self.clock.now + delay))
        self.store.send(queue, batch)

    def _available(self, queue: str) -> list[ModelMessage]:
        heads: dict[str, ModelMessage] = {}
        found = []
        for message in self.waiting[queue]:
            if message.group and heads.setdefault(message.group, message) is not message:
                continue
            if message.visible_at <= self.clock.now:
                found.append(message)
        return found

    @rule(target=receipts, queue=queues, limit=st.integers(1, 4))
    def receive(self, queue: str, limit: int) -> object:
        deliveries = self.store.receive(queue, limit, 10)
        known = {message.body: message for message in self.waiting[queue]}
        taken = [known[delivery.body] for delivery in deliveries]
        # The exhausted ones before what was taken are dead; whether also later ones are is up to the store.
        dead = {letter.body for letter in self.store.dead(queue, 1000)}
        for message in list(self.waiting[queue]):
            if message.body in dead:
                assert message.attempt > self.retries
                assert message.visible_at <= self.clock.now
                self.waiting[queue].remove(message)
                self.dead[queue].append(message.body)
        available = self._available(queue)
        assert bool(taken) == any(m.attempt <= self.retries for m in available)
        if any(message.attempt for message in taken):
            assert len(taken) == 1
        elif all(message.attempt == 0 for message in available):
            assert len(taken) == min(limit, len(available))
        for delivery, message in zip(deliveries, taken, strict=True):
            assert message in available
            assert message.attempt <= self.retries
            message.attempt += 1
            assert delivery.attempt == message.attempt
            assert delivery.group == message.group
            message.holder = delivery.receipt
        for message in taken:
            message.visible_at = self.clock.now + 10
        return multiple(*((queue, delivery.receipt) for delivery in deliveries))

    def _holder(self, queue: str, receipt: str) -> ModelMessage | None:
        return next((m for m in self.waiting[queue] if m.holder == receipt), None)

    @rule(receipt=receipts)
    def ack(self, receipt: tuple[str, str]) -> None:
        queue, text = receipt
        self.store.ack([text])
        message = self._holder(queue, text)
        if message is not None:
            self.waiting[queue].remove(message)

    @rule(receipt=receipts, delay=st.sampled_from([0, 3]))
    def retry(self, receipt: tuple[str, str], delay: int) -> None:
        queue, text = receipt
        died = self.store.retry(text, "failed", delay)
        message = self._holder(queue, text)
        assert died == (message is not None and message.attempt > self.retries)
        if message is None:
            return
        message.holder = ""
        if died:
            self.waiting[queue].remove(message)
            self.dead[queue].append(message.body)
        else:
            message.visible_at = self.clock.now + delay

    @rule(seconds=st.sampled_from([1, 5, 11]))
    def pass_time(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(queue=queues)
    def redrive(self, queue: str) -> None:
        groups = {letter.body: letter.group for letter in self.store.dead(queue, 1000)}
        assert self.store.redrive(queue) == len(self.dead[queue])
        for body in groups:
            self.waiting[queue].append(ModelMessage(body, groups[body], self.clock.now))
        self.dead[queue].clear()

    @invariant()
    def the_store_agrees(self) -> None:
        for queue, messages in self.waiting.items():
            stats = self.store.stats(queue)
            held = [m for m in messages if m.holder and m.visible_at > self.clock.now]
            assert (stats.in_flight, stats.waiting) == (len(held), len(messages) - len(held))
            assert sorted(letter.body for letter in self.store.dead(queue, 1000)) == sorted(self.dead[queue])
            assert self.store.ready(queue, 1000)[0] == len(self._available(queue))
            for group in "ab":
                in_flight = [m for m in held if m.group == group]
                assert len(in_flight) <= 1


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
