"""From a service to the rows that say which queues, subscriptions, schedules, tables and buckets there are.

Data outlives its definition. A new subscription gets what is published from then on. One that is gone gets
nothing more; what it holds is kept for the case that it returns, as in a rollback, and it is forgotten once
it is empty. Queues, topics, tables and buckets that are gone stay, for instances of the former build still
use them while they finish.
"""

from __future__ import annotations

from pys_multi.errors import ResourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

    from pys_multi.model import Resource, Service, Table, Trigger

#: Deliveries of a schedule's run after the first one: as many as AWS Lambda makes for an event.
SCHEDULE_RETRIES = 2


def queue_of(trigger: Trigger) -> str | None:
    """The name of the queue a trigger takes from, its own but for a consumer; None for HTTP."""
    from pys_multi.model import Consume, ObjectEvent, Schedule, Subscribe

    if isinstance(trigger, Consume):
        return trigger.queue
    if isinstance(trigger, Subscribe):
        return f"topic/{trigger.topic}/{trigger.id}"
    if isinstance(trigger, ObjectEvent):
        return f"bucket/{trigger.bucket}/{trigger.id}"
    if isinstance(trigger, Schedule):
        return schedule_queue(trigger.id)
    return None


def schedule_queue(trigger_id: str) -> str:
    """The queue that holds the run of a schedule."""
    return f"schedule/{trigger_id}"


def add(db: sqlite3.Connection, service: Service) -> None:
    """Within a transaction: adds the resources that are not there yet, and nothing else."""
    from pys_multi.model import Bucket, Queue, Table, Topic

    for resource in service.resources:
        if isinstance(resource, Queue):
            row = (resource.name, resource.retries, int(resource.ordered))
            db.execute("INSERT OR IGNORE INTO queues VALUES (?, 'queue', ?, ?, 1)", row)
        elif isinstance(resource, Topic):
            db.execute("INSERT OR IGNORE INTO topics VALUES (?)", (resource.name,))
        elif isinstance(resource, Bucket):
            db.execute("INSERT OR IGNORE INTO buckets VALUES (?)", (resource.name,))
        elif isinstance(resource, Table):
            _check_table(db, resource)
            db.execute("INSERT OR IGNORE INTO tables VALUES (?, ?, ?)", (resource.name, resource.key, resource.sort))


def define(db: sqlite3.Connection, service: Service, now: float) -> None:
    """Within a transaction: makes the definitions those of the service."""
    add(db, service)
    db.execute("UPDATE queues SET active = 0")
    db.execute("DELETE FROM subscriptions")
    for resource in service.resources:
        _define_resource(db, resource)
    for function in service.functions:
        for trigger in function.triggers:
            _define_trigger(db, trigger, now)
    # A run that waits for a schedule that is gone is nobody's data.
    db.execute("DELETE FROM messages WHERE queue IN (SELECT name FROM queues WHERE active = 0 AND kind = 'schedule')")
    db.execute(
        "DELETE FROM schedules WHERE queue NOT IN (SELECT name FROM queues WHERE active = 1 AND kind = 'schedule')"
    )
    db.execute(
        "DELETE FROM queues WHERE active = 0 AND kind <> 'queue'"
        " AND NOT EXISTS (SELECT 1 FROM messages WHERE queue = queues.name)"
        " AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE queue = queues.name)"
    )


def _define_resource(db: sqlite3.Connection, resource: Resource) -> None:
    from pys_multi.model import Queue, Table

    if isinstance(resource, Queue):
        _define_queue(db, resource.name, "queue", resource.retries, resource.ordered)
        # Where the queue was ordered and no longer is, or the other way round, what waits follows.
        db.execute(
            "UPDATE messages SET blocked = ? AND seq > (SELECT min(seq) FROM messages AS other"
            " WHERE other.queue = messages.queue AND other.group_id = messages.group_id AND other.group_id <> '')"
            " WHERE queue = ? AND group_id <> ''",
            (int(resource.ordered), resource.name),
        )
    elif isinstance(resource, Table):
        db.execute("INSERT OR REPLACE INTO tables VALUES (?, ?, ?)", (resource.name, resource.key, resource.sort))


def _define_trigger(db: sqlite3.Connection, trigger: Trigger, now: float) -> None:
    from pys_multi.model import ObjectEvent, Schedule, Subscribe

    queue = queue_of(trigger)
    if isinstance(trigger, Subscribe):
        _define_queue(db, queue, "topic", trigger.retries)
        row = (queue, "published", trigger.topic, "", "")
        db.execute("INSERT INTO subscriptions VALUES (?, ?, ?, ?, ?)", row)
    elif isinstance(trigger, ObjectEvent):
        _define_queue(db, queue, "bucket", trigger.retries)
        row = (queue, trigger.event, trigger.bucket, trigger.prefix, trigger.suffix)
        db.execute("INSERT INTO subscriptions VALUES (?, ?, ?, ?, ?)", row)
    elif isinstance(trigger, Schedule):
        _define_queue(db, queue, "schedule", SCHEDULE_RETRIES)
        expression = f"{trigger.expression} {trigger.timezone}"
        found = db.execute("SELECT expression FROM schedules WHERE queue = ?", (queue,)).fetchone()
        if found != (expression,):
            # Ticks of the past belong to no schedule that has just been defined.
            db.execute("INSERT OR REPLACE INTO schedules VALUES (?, ?, ?)", (queue, expression, now))


def _define_queue(db: sqlite3.Connection, name: str | None, kind: str, retries: int, ordered: bool = False) -> None:
    db.execute(
        "INSERT INTO queues VALUES (?, ?, ?, ?, 1) ON CONFLICT (name) DO UPDATE"
        " SET kind = excluded.kind, retries = excluded.retries, ordered = excluded.ordered, active = 1",
        (name, kind, retries, int(ordered)),
    )


def _check_table(db: sqlite3.Connection, table: Table) -> None:
    found = db.execute("SELECT key, sort FROM tables WHERE name = ?", (table.name,)).fetchone()
    if found in (None, (table.key, table.sort)):
        return
    if db.execute("SELECT 1 FROM items WHERE table_name = ? LIMIT 1", (table.name,)).fetchone():
        raise ResourceError(
            f"table {table.name!r} holds items under {_keys(*found)} and cannot change to "
            f"{_keys(table.key, table.sort)}: give the new table another name, or delete the items first"
        )


def _keys(key: str, sort: str | None) -> str:
    return f"key {key!r}" if sort is None else f"key {key!r} and sort key {sort!r}"
