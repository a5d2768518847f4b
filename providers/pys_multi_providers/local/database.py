"""The one SQLite file of a stage, used by many processes and threads at once.

A commit is on the disk when it returns (WAL with synchronous=FULL): what was acknowledged survives
`kill -9` and loss of power. SQLite has one writer at a time; the others wait for it here.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from threading import Condition, Lock, RLock
from weakref import WeakSet

from pys_multi.errors import ResourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Goes up with the schema; a file of a higher version is refused, one of a lower version migrated.
VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,        -- queue, topic, bucket or schedule: what puts messages into it
    retries INTEGER NOT NULL,
    ordered INTEGER NOT NULL,
    active INTEGER NOT NULL    -- 0: the service no longer has it, and it still holds messages
) WITHOUT ROWID;
CREATE TABLE topics (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE subscriptions (
    queue TEXT PRIMARY KEY,
    event TEXT NOT NULL,       -- published, created or deleted
    source TEXT NOT NULL,      -- the topic or bucket
    prefix TEXT NOT NULL,
    suffix TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX subscriptions_source ON subscriptions (source, event);
CREATE TABLE schedules (
    queue TEXT PRIMARY KEY,
    expression TEXT NOT NULL,
    last_tick REAL NOT NULL
) WITHOUT ROWID;

-- Bodies come last, so that counting does not read them.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    blocked INTEGER NOT NULL,  -- 1: behind another message of its group
    visible_at REAL NOT NULL,
    receipt TEXT,              -- of the last delivery, while it may still be settled
    attempt INTEGER NOT NULL,
    sent_at REAL NOT NULL,
    group_id TEXT NOT NULL,
    id TEXT NOT NULL,
    error TEXT NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX messages_due ON messages (queue, blocked, visible_at);
CREATE INDEX messages_group ON messages (queue, group_id, seq) WHERE group_id <> '';
CREATE TABLE dead_letters (
    seq INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    died_at REAL NOT NULL,
    attempt INTEGER NOT NULL,
    sent_at REAL NOT NULL,
    group_id TEXT NOT NULL,
    id TEXT NOT NULL,
    error TEXT NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX dead_letters_queue ON dead_letters (queue, seq);

CREATE TABLE tables (name TEXT PRIMARY KEY, key TEXT NOT NULL, sort TEXT) WITHOUT ROWID;
-- Keys have no declared type: a number stays a number and sorts as one, a text as its UTF-8 bytes.
CREATE TABLE items (
    table_name TEXT NOT NULL,
    partition_key NOT NULL,
    sort_key NOT NULL,
    item TEXT NOT NULL,
    PRIMARY KEY (table_name, partition_key, sort_key)
);

CREATE TABLE buckets (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE objects (
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    file TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified REAL NOT NULL,
    content_type TEXT NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
);
"""

#: Seconds to wait for other writers before giving up.
_BUSY_SECONDS = 30.0
_MAX_IDLE = 8


class Database:
    """Connections to ``state.db`` in a directory, which is made where there is none (0700).

    Raises ResourceError, here and from every use, for whatever SQLite or the file system refuses.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "state.db"
        self._idle: list[sqlite3.Connection] = []
        self._used = 0
        self._changed = Condition(RLock())
        # Threads of one process queue up here; at SQLite's own lock they would sleep and try again.
        self._writer = Lock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(f"{directory}: the state directory cannot be made: {error.strerror}") from error
        self._prepare()
        _databases.add(self)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for statements that only read; each sees the last commit."""
        with self._connection() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk when the block is left, or, after an exception, none."""
        # In this order: a fork waits until no connection is used, and then nobody has the lock either.
        with self._connection() as connection, self._writer:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back already; a rollback then has nothing to do.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closes what is idle; a later use opens again."""
        with self._changed:
            while self._idle:
                self._idle.pop().close()

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._changed:
            connection = self._idle.pop() if self._idle else None
            self._used += 1
        try:
            try:
                if connection is None:
                    connection = self._open()
                yield connection
            except sqlite3.Error as error:
                if connection is not None:
                    connection.close()
                    connection = None
                raise self._translated(error) from error
        finally:
            with self._changed:
                self._used -= 1
                if connection is not None:
                    if connection.in_transaction or len(self._idle) >= _MAX_IDLE:
                        connection.close()
                    else:
                        self._idle.append(connection)
                self._changed.notify_all()

    def _open(self) -> sqlite3.Connection:
        # Threads take turns with a connection, one at a time: Python's own check would refuse that.
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        """Makes or migrates the schema; only one process at a time, for a new file has no WAL to wait in."""
        import fcntl

        lock = os.open(self.directory / "state.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self._connection() as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > VERSION:
                    raise ResourceError(
                        f"{self.path} has schema version {version} and this pys-multi knows versions up to {VERSION}: "
                        "use the newer pys-multi that wrote it"
                    )
                if version == 0:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.executescript(f"BEGIN;{_SCHEMA};PRAGMA user_version={VERSION};COMMIT")
        finally:
            os.close(lock)

    def _translated(self, error: sqlite3.Error) -> ResourceError:
        text = str(error)
        if "locked" in text or "busy" in text:
            hint = f"other processes kept it locked for {_BUSY_SECONDS:.0f} seconds; try again"
        elif "full" in text:
            hint = "make room on the disk; nothing was changed"
        elif "malformed" in text or "not a database" in text:
            hint = "the file is damaged: put it back from a copy, or destroy the stage with its data"
        elif "readonly" in text or "unable to open" in text:
            hint = "this user must be able to write the file and its directory"
        else:
            hint = "nothing was changed"
        return ResourceError(f"{self.path}: {text}; {hint}")

    # ---- fork

    def suspend(self) -> None:
        """Waits until no connection is used, closes them all, and lets none be opened until `resume`."""
        self._changed.acquire()
        while self._used:
            self._changed.wait()
        self.close()

    def resume(self) -> None:
        self._changed.release()


# SQLite keeps its file locks in the memory of the process, and a forked child would believe that it holds
# those of its parent (https://www.sqlite.org/howtocorrupt.html, section 2.6). So nothing is open at a fork.
_databases: WeakSet[Database] = WeakSet()
_suspended: list[Database] = []
_forking = RLock()


def _before_fork() -> None:
    _forking.acquire()
    for database in list(_databases):
        database.suspend()
        _suspended.append(database)


def _after_fork() -> None:
    while _suspended:
        _suspended.pop().resume()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
