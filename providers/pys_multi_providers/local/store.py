"""What a stage of the local provider keeps: messages of queues, topics, bucket events and schedules.

Everything that waits to be handled is a message in a queue; topics, buckets and schedules put theirs into
queues of their own, one for each trigger. So there is one way to deliver, retry and dead-letter::

    send ──► waiting ──receive──► in flight ──settle(done)──► gone
                ▲                     │
                └── settle(failed) or visibility over ── after the last retry ──► dead letter ──redrive──► waiting

Each arrow is one transaction. Times are seconds since the epoch.
"""

from __future__ import annotations

import os
from json import dumps, loads
from time import time

from pys_multi.errors import ResourceError
from pys_multi.messages import Message
from pys_multi_providers.local.database import Database
from pys_multi_providers.local.definitions import add, define, schedule_queue
from pys_multi_providers.local.doorbell import ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pys_multi.model import Service
    from pys_multi.resources import Outgoing


class Delivery(Message):
    """A message in the hands of a receiver, who settles it by its receipt."""

    __slots__ = ("receipt",)

    def __init__(self, body: bytes, *, receipt: str, **fields: object) -> None:
        super().__init__(body, **fields)  # type: ignore[arg-type]
        self.receipt = receipt


class DeadLetter(Message):
    """A message that failed at its last retry. error: of the last attempt. died_at: when."""

    __slots__ = ("died_at", "reason")

    def __init__(self, body: bytes, *, reason: str, died_at: float, **fields: object) -> None:
        super().__init__(body, **fields)  # type: ignore[arg-type]
        self.reason = reason
        self.died_at = died_at


class Stats:
    """How full a queue is. waiting: also what is delayed or behind others. oldest_age: seconds, of what waits."""

    __slots__ = ("dead", "in_flight", "oldest_age", "waiting")

    def __init__(self, waiting: int, in_flight: int, dead: int, oldest_age: float | None) -> None:
        self.waiting = waiting
        self.in_flight = in_flight
        self.dead = dead
        self.oldest_age = oldest_age


class Store:
    """The queues of a stage, for any number of processes and threads at once.

    clock: the time for everything that is due. Every method raises ResourceError where the disk or SQLite
    fails, and for a queue or topic that no deployed service had.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time) -> None:
        self.directory = directory
        self.database = Database(directory)
        self.clock = clock
        self.bell = directory / "bell"
        self._bell = str(self.bell)

    def close(self) -> None:
        """Closes the idle connections; the store stays usable."""
        self.database.close()

    def ring(self) -> None:
        """Wakes the pump, after a commit."""
        ring(self._bell)

    # ---- definitions

    def prepare(self, service: Service) -> None:
        """Adds what the handlers of a service use, and changes and removes nothing: for a build that is about to
        start while the former one serves. `apply` follows when it takes over.

        Raises ResourceError, and changes nothing, for another key of a table that has items.
        """
        with self.database.write() as db:
            add(db, service)

    def apply(self, service: Service) -> None:
        """Makes queues, subscriptions, schedules, tables and buckets as the service defines them; data stays.

        Raises ResourceError, and changes nothing, for another key of a table that has items.
        """
        with self.database.write() as db:
            define(db, service, self.clock())

    def queues(self) -> list[str]:
        """Every queue, also the triggers' own, and those the service no longer has that still hold messages."""
        with self.database.read() as db:
            return [name for (name,) in db.execute("SELECT name FROM queues ORDER BY name").fetchall()]

    # ---- sending

    def send(self, queue: str, messages: Iterable[Outgoing]) -> list[str]:
        """Puts messages into a queue and returns their ids, in order; all of them or none."""
        now = self.clock()
        rows = [(_new_id(), dumps(dict(m.attributes)), m.body, now + m.delay, m.group) for m in messages]
        with self.database.write() as db:
            ordered = _queue(db, queue)[1]
            _insert(db, queue, ordered, now, rows)
        self.ring()
        return [row[0] for row in rows]

    def publish(self, topic: str, message: Outgoing) -> str:
        """Gives a message to every subscription there is now and returns its id, the same for all of them."""
        now = self.clock()
        row = (_new_id(), dumps(dict(message.attributes)), message.body, now, "")
        with self.database.write() as db:
            if db.execute("SELECT 1 FROM topics WHERE name = ?", (topic,)).fetchone() is None:
                raise ResourceError(f"there is no topic {topic!r} in this stage; deploy the service that defines it")
            for (queue,) in db.execute(
                "SELECT queue FROM subscriptions WHERE source = ? AND event = 'published'", (topic,)
            ).fetchall():
                _insert(db, queue, 0, now, [row])
        self.ring()
        return row[0]

    def notify(self, db: sqlite3.Connection, event: str, bucket: str, key: str, fields: Mapping[str, object]) -> bool:
        """Within a transaction: tells the subscriptions of a bucket that match; says whether there were any."""
        now = self.clock()
        body = dumps({"kind": event, "time": now, "bucket": bucket, "key": key, **fields}).encode()
        told = False
        for queue, prefix, suffix in db.execute(
            "SELECT queue, prefix, suffix FROM subscriptions WHERE source = ? AND event = ?", (bucket, event)
        ).fetchall():
            if key.startswith(prefix) and key.endswith(suffix):
                _insert(db, queue, 0, now, [(_new_id(), "{}", body, now, "")])
                told = True
        return told

    # ---- schedules

    def last_tick(self, trigger_id: str) -> float | None:
        """When the schedule last ran, or since when it is defined; None where the service no longer has it."""
        with self.database.read() as db:
            row = db.execute(
                "SELECT last_tick FROM schedules WHERE queue = ?", (schedule_queue(trigger_id),)
            ).fetchone()
        return None if row is None else float(row[0])

    def tick(self, trigger_id: str, due: float) -> bool | None:
        """Records that a schedule is due and queues its run, in one step.

        False where the former run is not over: this one is left out. None where the tick was recorded before.
        """
        queue = schedule_queue(trigger_id)
        with self.database.write() as db:
            changed = db.execute(
                "UPDATE schedules SET last_tick = ? WHERE queue = ? AND last_tick < ?", (due, queue, due)
            ).rowcount
            if not changed:
                return None
            if db.execute("SELECT 1 FROM messages WHERE queue = ?", (queue,)).fetchone():
                return False
            now = self.clock()
            body = dumps({"kind": "schedule", "time": due}).encode()
            _insert(db, queue, 0, now, [(_new_id(), "{}", body, now, "")])
        self.ring()
        return True

    # ---- receiving

    def due(self) -> dict[str, float]:
        """For each queue that holds messages: when its next one is, or was, to be delivered."""
        with self.database.read() as db:
            # Jumps from queue to queue in the index, so that a deep queue costs no more than a short one.
            rows = db.execute(
                "WITH RECURSIVE names (name) AS (SELECT min(queue) FROM messages UNION ALL"
                " SELECT (SELECT min(queue) FROM messages WHERE queue > name) FROM names WHERE name IS NOT NULL)"
                " SELECT name, (SELECT min(visible_at) FROM messages WHERE queue = name AND blocked = 0)"
                " FROM names WHERE name IS NOT NULL"
            ).fetchall()
        return {name: at for name, at in rows if at is not None}

    def ready(self, queue: str, limit: int) -> tuple[int, float]:
        """How many messages could be received now, counted up to a limit, and since when the first one could."""
        with self.database.read() as db:
            count, since = db.execute(
                "SELECT count(*), min(visible_at) FROM (SELECT visible_at FROM messages"
                " WHERE queue = ? AND blocked = 0 AND visible_at <= ? ORDER BY visible_at LIMIT ?)",
                (queue, self.clock(), limit),
            ).fetchone()
        return count, since or 0.0

    def receive(self, queue: str, limit: int, visibility: float) -> list[Delivery]:
        """Takes up to ``limit`` messages and hides them for ``visibility`` seconds, each with a new receipt.

        A message that was delivered before comes alone: the one that crashes its handler must not take those
        that came with it along to the dead letters. One whose time was over at its last retry becomes a dead letter
        instead. Of an ordered queue there is at most one message of each group in anybody's hands.
        """
        if visibility <= 0:
            raise ValueError(f"visibility is more than 0 seconds, not {visibility}")
        now = self.clock()
        deliveries: list[Delivery] = []
        with self.database.write() as db:
            retries = _queue(db, queue)[0]
            alone = False
            while len(deliveries) < limit and not alone:
                rows = db.execute(
                    "SELECT seq, id, attempt, sent_at, group_id, error, attributes, body FROM messages"
                    " WHERE queue = ? AND blocked = 0 AND visible_at <= ? ORDER BY visible_at, seq LIMIT ?",
                    (queue, now, limit - len(deliveries)),
                ).fetchall()
                if not rows:
                    break
                taken = []
                for seq, id, attempt, sent_at, group, error, attributes, body in rows:
                    if attempt > retries:
                        _bury(db, seq, now, error or "the visibility time of its last delivery ran out")
                        continue
                    alone = attempt > 0
                    if alone and deliveries:
                        break
                    receipt = f"{seq}.{os.urandom(8).hex()}"
                    taken.append((receipt, now + visibility, seq))
                    deliveries.append(
                        Delivery(
                            body,
                            receipt=receipt,
                            id=id,
                            attributes=loads(attributes),
                            attempt=attempt + 1,
                            sent_at=sent_at,
                            group=group,
                        )
                    )
                    if alone:
                        break
                # The error is that of the attempt before: should this one leave none, none is reported.
                db.executemany(
                    "UPDATE messages SET receipt = ?, visible_at = ?, attempt = attempt + 1, error = '' WHERE seq = ?",
                    taken,
                )
        return deliveries

    def settle(self, done: Iterable[str] = (), failed: Iterable[tuple[str, str, float]] = ()) -> list[str]:
        """Ends deliveries, in one step: the handled by receipt, the failed by (receipt, error, delay in seconds).

        What failed is delivered again after the delay, or becomes a dead letter after its last retry. A receipt
        counts as long as nobody else received the message since, and is ignored after that. Returns the ids of
        the new dead letters.
        """
        now = self.clock()
        dead: list[str] = []
        with self.database.write() as db:
            for receipt in done:
                row = _held(db, receipt)
                if row is not None:
                    _delete(db, row[0])
            for receipt, error, delay in failed:
                row = _held(db, receipt)
                if row is None:
                    continue
                seq, id, attempt, retries = row
                if attempt > retries:
                    _bury(db, seq, now, error)
                    dead.append(id)
                else:
                    db.execute(
                        "UPDATE messages SET receipt = NULL, visible_at = ?, error = ? WHERE seq = ?",
                        (now + delay, error, seq),
                    )
        self.ring()
        return dead

    def ack(self, receipts: Iterable[str]) -> None:
        """Settles what was handled."""
        self.settle(receipts)

    def retry(self, receipt: str, error: str, delay: float = 0.0) -> bool:
        """Settles what failed. True where it became a dead letter."""
        return bool(self.settle((), [(receipt, error, delay)]))

    def release(self) -> int:
        """Makes everything in flight due at once: for a supervisor that has just started, whose predecessor's
        instances are gone. The interrupted attempt counts. Returns how many messages."""
        with self.database.write() as db:
            count = db.execute(
                "UPDATE messages SET receipt = NULL, visible_at = ?, error = 'interrupted: the supervisor ended'"
                " WHERE receipt IS NOT NULL",
                (self.clock(),),
            ).rowcount
        self.ring()
        return count

    # ---- looking and mending

    def stats(self, queue: str) -> Stats:
        """How full a queue is."""
        now = self.clock()
        with self.database.read() as db:
            _queue(db, queue)
            waiting, in_flight, oldest = db.execute(
                "SELECT count(*) - count(CASE WHEN held THEN 1 END), count(CASE WHEN held THEN 1 END),"
                " min(CASE WHEN NOT held THEN sent_at END)"
                " FROM (SELECT receipt IS NOT NULL AND visible_at > ? AS held, sent_at FROM messages WHERE queue = ?)",
                (now, queue),
            ).fetchone()
            (dead,) = db.execute("SELECT count(*) FROM dead_letters WHERE queue = ?", (queue,)).fetchone()
        return Stats(waiting, in_flight, dead, None if oldest is None else max(0.0, now - oldest))

    def dead(self, queue: str, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of a queue."""
        with self.database.read() as db:
            _queue(db, queue)
            rows = db.execute(
                "SELECT id, attempt, sent_at, group_id, died_at, error, attributes, body FROM dead_letters"
                " WHERE queue = ? ORDER BY seq LIMIT ?",
                (queue, limit),
            ).fetchall()
        return [
            DeadLetter(
                body,
                reason=error,
                died_at=died_at,
                id=id,
                attributes=loads(attributes),
                attempt=attempt,
                sent_at=sent_at,
                group=group,
            )
            for id, attempt, sent_at, group, died_at, error, attributes, body in rows
        ]

    def redrive(self, queue: str, ids: Sequence[str] | None = None) -> int:
        """Puts dead letters, all or those of these ids, behind what waits, with all their retries. Returns how many."""
        now = self.clock()
        with self.database.write() as db:
            ordered = _queue(db, queue)[1]
            found = db.execute("SELECT seq, id FROM dead_letters WHERE queue = ? ORDER BY seq", (queue,)).fetchall()
            chosen = None if ids is None else set(ids)
            wanted = [seq for seq, id in found if chosen is None or id in chosen]
            for seq in wanted:
                id, attributes, body, group, sent_at = db.execute(
                    "SELECT id, attributes, body, group_id, sent_at FROM dead_letters WHERE seq = ?", (seq,)
                ).fetchone()
                _insert(db, queue, ordered, sent_at, [(id, attributes, body, now, group)])
                db.execute("DELETE FROM dead_letters WHERE seq = ?", (seq,))
        self.ring()
        return len(wanted)

    def purge(self, queue: str, *, dead: bool = False) -> int:
        """Deletes what waits and is in flight, or the dead letters instead. Returns how many."""
        table = "dead_letters" if dead else "messages"
        with self.database.write() as db:
            _queue(db, queue)
            return db.execute(f"DELETE FROM {table} WHERE queue = ?", (queue,)).rowcount  # noqa: S608  one of two names


def _new_id() -> str:
    return os.urandom(16).hex()


def _queue(db: sqlite3.Connection, queue: str) -> tuple[int, int]:
    """(retries, ordered)"""
    row = db.execute("SELECT retries, ordered FROM queues WHERE name = ?", (queue,)).fetchone()
    if row is None:
        raise ResourceError(f"there is no queue {queue!r} in this stage; deploy the service that defines it")
    return row[0], row[1]


def _insert(
    db: sqlite3.Connection, queue: str, ordered: int, sent_at: float, rows: Iterable[tuple[object, ...]]
) -> None:
    """rows: (id, attributes, body, visible_at, group)"""
    db.executemany(
        "INSERT INTO messages (queue, blocked, attempt, sent_at, error, id, attributes, body, visible_at, group_id)"
        " VALUES (?, ? AND EXISTS (SELECT 1 FROM messages WHERE queue = ? AND group_id = ? AND group_id <> ''),"
        " 0, ?, '', ?, ?, ?, ?, ?)",
        ((queue, ordered, queue, row[-1], sent_at, *row) for row in rows),
    )


def _held(db: sqlite3.Connection, receipt: str) -> tuple[int, str, int, int] | None:
    """(seq, id, attempt, retries) of the message that a receipt still holds."""
    seq, _, _ = receipt.partition(".")
    row: tuple[int, str, int, int] | None = db.execute(
        "SELECT seq, id, attempt, retries FROM messages JOIN queues ON queues.name = queue"
        " WHERE seq = ? AND receipt = ?",
        (seq, receipt),
    ).fetchone()
    return row


def _bury(db: sqlite3.Connection, seq: int, now: float, error: str) -> None:
    # A run of a schedule is no data: the next tick comes by itself, and nobody redrives the former one.
    db.execute(
        "INSERT INTO dead_letters (queue, died_at, attempt, sent_at, group_id, id, error, attributes, body)"
        " SELECT queue, ?, attempt, sent_at, group_id, id, ?, attributes, body FROM messages"
        " WHERE seq = ? AND queue NOT IN (SELECT name FROM queues WHERE kind = 'schedule')",
        (now, error, seq),
    )
    _delete(db, seq)


def _delete(db: sqlite3.Connection, seq: int) -> None:
    """Deletes a message and lets the next of its group go."""
    queue, group = db.execute("SELECT queue, group_id FROM messages WHERE seq = ?", (seq,)).fetchone()
    db.execute("DELETE FROM messages WHERE seq = ?", (seq,))
    if group:
        db.execute(
            "UPDATE messages SET blocked = 0 WHERE seq ="
            " (SELECT min(seq) FROM messages WHERE queue = ? AND group_id = ? AND group_id <> '')",
            (queue, group),
        )
