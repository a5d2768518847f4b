"""The verbs of queues, topics, buckets, tables and secrets on the local provider's store.

An object's content is a file of its own, written under a new name and on the disk before the transaction that
makes it the object and tells the subscribers. A crash before leaves a file that nobody refers to; `sweep`
removes it. So there is no moment at which a reader finds half an object, or an event without its object.
"""

from __future__ import annotations

import os
from hashlib import sha256
from json import dumps, loads

from pys_multi.errors import ConditionFailed, NotFound, ResourceError
from pys_multi.resources import ObjectInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from pys_multi.resources import Condition, Key, Outgoing
    from pys_multi_providers.local.store import Store

    Item = dict[str, Any]

#: Rows read at once by what lists: no lock is held and no transaction open while the caller works on them.
_PAGE = 500
#: Seconds that a file nobody refers to is left alone: its writer may be about to commit.
_SWEEP_AGE = 3600.0


class LocalBackend:
    """`pys_multi.resources.Backend` on a store.

    buckets: the folder of the objects' files. base_url: where the front serves presigned URLs, without a trailing
    slash. secrets: values by name, or a function from a name to a value, None for a secret that is not there.
    """

    def __init__(
        self,
        store: Store,
        *,
        buckets: Path,
        base_url: str = "",
        secrets: Mapping[str, str] | Callable[[str], str | None] | None = None,
    ) -> None:
        self.store = store
        self._database = store.database
        self._buckets = buckets
        self._base_url = base_url
        self._secret: Callable[[str], str | None] = secrets if callable(secrets) else (secrets or {}).get
        self._presign_key = b""

    # ---- queues, topics, secrets

    def queue_send(self, queue: str, messages: list[Outgoing]) -> list[str]:
        return self.store.send(queue, messages)

    def topic_publish(self, topic: str, message: Outgoing) -> str:
        return self.store.publish(topic, message)

    def secret_value(self, secret: str) -> str:
        value = self._secret(secret)
        if value is None:
            raise NotFound(
                f"secret {secret!r} has no value here; say where it comes from under [tool.pys-multi] secrets, "
                f'for example {secret} = "env:{secret}"'
            )
        return value

    # ---- buckets

    def bucket_put(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        with self._database.read() as db:
            _require_bucket(db, bucket)
        etag = sha256(data).hexdigest()[:32]
        path = self._write_file(bucket, key, data)
        # Should the commit fail, the file stays for `sweep`: after a failed fsync nobody knows what a restart finds.
        with self._database.write() as db:
            former = _object(db, bucket, key)
            db.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (bucket, key, path.name, len(data), etag, self.store.clock(), content_type, dumps(dict(metadata))),
            )
            told = self.store.notify(db, "created", bucket, key, {"size": len(data), "etag": etag})
        if former is not None:
            self._path(bucket, former[0]).unlink(missing_ok=True)
        if told:
            self.store.ring()
        return etag

    def bucket_delete(self, bucket: str, key: str) -> None:
        with self._database.write() as db:
            _require_bucket(db, bucket)
            former = _object(db, bucket, key)
            if former is None:
                return
            file, size, etag, _, _ = former
            db.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key))
            told = self.store.notify(db, "deleted", bucket, key, {"size": size, "etag": etag})
        self._path(bucket, file).unlink(missing_ok=True)
        if told:
            self.store.ring()

    def bucket_get(self, bucket: str, key: str) -> bytes:
        former = ""
        while True:
            with self._database.read() as db:
                _require_bucket(db, bucket)
                found = _object(db, bucket, key)
            if found is None:
                raise NotFound(f"bucket {bucket!r} has no object {key!r}")
            try:
                return self._path(bucket, found[0]).read_bytes()
            except FileNotFoundError:
                # Replaced between the two steps: look again. The same name twice is another matter.
                if found[0] == former:
                    raise ResourceError(
                        f"object {key!r} of bucket {bucket!r} has lost its file {found[0]!r} in {self._buckets}; "
                        "somebody else deleted it: put the object again"
                    ) from None
                former = found[0]
            except OSError as error:
                raise ResourceError(f"object {key!r} of bucket {bucket!r} cannot be read: {error}") from error

    def bucket_head(self, bucket: str, key: str) -> ObjectInfo | None:
        with self._database.read() as db:
            _require_bucket(db, bucket)
            found = _object(db, bucket, key)
        return None if found is None else _info(key, *found[1:])

    def bucket_metadata(self, bucket: str, key: str) -> dict[str, str]:
        """What was given as metadata when the object was put. Raises NotFound."""
        with self._database.read() as db:
            row = db.execute("SELECT metadata FROM objects WHERE bucket = ? AND key = ?", (bucket, key)).fetchone()
        if row is None:
            raise NotFound(f"bucket {bucket!r} has no object {key!r}")
        metadata: dict[str, str] = loads(row[0])
        return metadata

    def bucket_list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        with self._database.read() as db:
            _require_bucket(db, bucket)
        return self._objects(bucket, prefix)

    def _objects(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        end, after, comparison = _end_of_prefix(prefix), prefix, ">="
        where = "bucket = ? AND key {} ?" + ("" if end is None else " AND key < ?")
        while True:
            with self._database.read() as db:
                rows = db.execute(
                    "SELECT key, size, etag, modified, content_type FROM objects"  # noqa: S608  from constants
                    f" WHERE {where.format(comparison)} ORDER BY key LIMIT {_PAGE}",
                    (bucket, after) if end is None else (bucket, after, end),
                ).fetchall()
            for row in rows:
                yield _info(*row)
            if len(rows) < _PAGE:
                return
            after, comparison = rows[-1][0], ">"

    def bucket_presign(self, bucket: str, key: str, method: str, expires: int) -> str:
        from urllib.parse import quote

        until = int(self.store.clock()) + expires
        signature = self._signature(method, bucket, key, until)
        path = f"/.pys-multi/buckets/{quote(bucket, safe='')}/{quote(key, safe='/')}"
        return f"{self._base_url}{path}?method={method}&expires={until}&signature={signature}"

    def verify_presigned(self, method: str, bucket: str, key: str, expires: str, signature: str) -> bool:
        """Whether a URL that `bucket_presign` made lets a request in: its method (HEAD counts as GET), the decoded
        bucket and key of its path, and ``expires`` and ``signature`` of its query."""
        from hmac import compare_digest

        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12 and signature.isascii()):
            return False
        until = int(expires)
        wanted = self._signature("GET" if method == "HEAD" else method, bucket, key, until)
        # The comparison comes first, in constant time, so that an old URL is no help in guessing.
        return compare_digest(wanted, signature) and self.store.clock() < until

    def _signature(self, method: str, bucket: str, key: str, until: int) -> str:
        import hmac

        if not self._presign_key:
            with self._database.write() as db:
                db.execute("INSERT OR IGNORE INTO meta VALUES ('presign_key', ?)", (os.urandom(32),))
                (self._presign_key,) = db.execute("SELECT value FROM meta WHERE name = 'presign_key'").fetchone()
        # A list in JSON has one reading; joined texts could be cut at another place.
        text = dumps([method, bucket, key, until]).encode()
        return hmac.new(self._presign_key, text, "sha256").hexdigest()

    def sweep(self) -> int:
        """Removes files without an object that crashed writers left, an hour old or more. Returns how many."""
        from time import time

        oldest = time() - _SWEEP_AGE
        files = [file for file in self._buckets.glob("*/*") if file.stat().st_mtime < oldest]
        # Asked after the files were seen: what refers to one of them was committed long before.
        with self._database.read() as db:
            known = {file for (file,) in db.execute("SELECT file FROM objects").fetchall()}
        left = [file for file in files if file.name not in known]
        for file in left:
            file.unlink(missing_ok=True)
        return len(left)

    def _path(self, bucket: str, file: str) -> Path:
        return self._buckets / bucket / file

    def _write_file(self, bucket: str, key: str, data: bytes) -> Path:
        """Content under a name that was never used, on the disk when this returns."""
        path = self._path(bucket, _file_name(key))
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_directory(self._buckets)
                _sync_directory(self._buckets.parent)
            with open(path, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _sync_directory(path.parent)
        except OSError as error:
            raise ResourceError(f"object {key!r} of bucket {bucket!r} cannot be written: {error}") from error
        return path

    # ---- tables

    def table_get(self, table: str, key: Key) -> Item | None:
        with self._database.read() as db:
            _table(db, table)
            return _item(db, table, *_row_key(key))

    def table_put(self, table: str, item: Item, condition: Condition) -> None:
        with self._database.write() as db:
            name, sort = _table(db, table)
            row_key = _row_key((item[name],) if sort is None else (item[name], item[sort]))
            _check(db, table, row_key, condition)
            _write_item(db, table, row_key, item)

    def table_delete(self, table: str, key: Key, condition: Condition) -> None:
        row_key = _row_key(key)
        with self._database.write() as db:
            _table(db, table)
            _check(db, table, row_key, condition)
            db.execute(
                "DELETE FROM items WHERE table_name = ? AND partition_key = ? AND sort_key = ?", (table, *row_key)
            )

    def table_update(
        self,
        table: str,
        key: Key,
        changes: Mapping[str, object],
        add: Mapping[str, float],
        remove: Iterable[str],
        condition: Condition,
    ) -> Item:
        removed = tuple(remove)
        names = (*changes, *add, *removed)
        if len(set(names)) < len(names):
            raise ValueError("an attribute is in more than one of set, add and remove")
        row_key = _row_key(key)
        with self._database.write() as db:
            name, sort = _table(db, table)
            item = _check(db, table, row_key, condition)
            if item is None:
                item = {name: key[0]} if sort is None else {name: key[0], sort: key[1]}
            item.update(changes)
            for attribute, amount in add.items():
                item[attribute] = _sum(table, attribute, item.get(attribute), amount)
            for attribute in removed:
                item.pop(attribute, None)
            _write_item(db, table, row_key, item)
        return item

    def table_query(
        self, table: str, partition: object, prefix: str | None, limit: int | None, reverse: bool
    ) -> Iterator[Item]:
        if limit is not None and limit < 0:
            raise ValueError(f"limit is how many items at most, not {limit}")
        with self._database.read() as db:
            _table(db, table)
        if partition is None:
            return self._scan(table, limit)
        return self._partition(table, _row_key((partition,))[0], prefix, limit, reverse)

    def _scan(self, table: str, limit: int | None) -> Iterator[Item]:
        where, position = "table_name = ?", ()
        while limit is None or limit > 0:
            count = _PAGE if limit is None else min(limit, _PAGE)
            with self._database.read() as db:
                rows = db.execute(
                    f"SELECT item, partition_key, sort_key FROM items WHERE {where}"  # noqa: S608  from constants
                    " ORDER BY partition_key, sort_key LIMIT ?",
                    (table, *position, count),
                ).fetchall()
            for row in rows:
                yield loads(row[0])
            if len(rows) < count:
                return
            limit = None if limit is None else limit - count
            where, position = "table_name = ? AND (partition_key, sort_key) > (?, ?)", rows[-1][1:]

    def _partition(
        self, table: str, partition: object, prefix: str | None, limit: int | None, reverse: bool
    ) -> Iterator[Item]:
        where, values = "table_name = ? AND partition_key = ?", [table, partition]
        if prefix is not None:
            # Any text is greater than any number to SQLite, so this also leaves sort keys out that are numbers.
            where, values = f"{where} AND sort_key >= ?", [*values, prefix]
            end = _end_of_prefix(prefix)
            if end is not None:
                where, values = f"{where} AND sort_key < ?", [*values, end]
        order, beyond = ("DESC", "<") if reverse else ("ASC", ">")
        position: list[object] = []
        while limit is None or limit > 0:
            count = _PAGE if limit is None else min(limit, _PAGE)
            with self._database.read() as db:
                rows = db.execute(
                    f"SELECT item, sort_key FROM items WHERE {where}"  # noqa: S608  from constants
                    + (f" AND sort_key {beyond} ?" if position else "")
                    + f" ORDER BY sort_key {order} LIMIT ?",
                    (*values, *position, count),
                ).fetchall()
            for row in rows:
                yield loads(row[0])
            if len(rows) < count:
                return
            limit = None if limit is None else limit - count
            position = [rows[-1][1]]


# ---- objects


def _require_bucket(db: sqlite3.Connection, bucket: str) -> None:
    if db.execute("SELECT 1 FROM buckets WHERE name = ?", (bucket,)).fetchone() is None:
        raise ResourceError(f"there is no bucket {bucket!r} in this stage; deploy the service that defines it")


def _object(db: sqlite3.Connection, bucket: str, key: str) -> tuple[str, int, str, float, str] | None:
    """(file, size, etag, modified, content type)"""
    row: tuple[str, int, str, float, str] | None = db.execute(
        "SELECT file, size, etag, modified, content_type FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
    ).fetchone()
    return row


def _info(key: str, size: int, etag: str, modified: float, content_type: str) -> ObjectInfo:
    return ObjectInfo(key, size, etag=etag, modified=modified, content_type=content_type)


def _file_name(key: str) -> str:
    """A new name that shows people what is in the file: 16 random digits and the last part of the key."""
    shown = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in key.rpartition("/")[2][-80:])
    return f"{os.urandom(8).hex()}-{shown}"


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_prefix(prefix: str) -> str | None:
    """The first text after all that begin with the prefix, in order of code points, which is that of UTF-8 bytes;
    None where there is no such text."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if code <= 0x10FFFF:
            # Half of a surrogate pair is no text.
            return prefix[:-1] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
        prefix = prefix[:-1]
    return None


# ---- items


def _table(db: sqlite3.Connection, table: str) -> tuple[str, str | None]:
    """(key, sort)"""
    row = db.execute("SELECT key, sort FROM tables WHERE name = ?", (table,)).fetchone()
    if row is None:
        raise ResourceError(f"there is no table {table!r} in this stage; deploy the service that defines it")
    return row[0], row[1]


def _row_key(key: Key) -> tuple[object, object]:
    for value in key:
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"a number in a key has 64 bits; {value} has more")
    # No key is an empty text, so it stands for the sort key of a table that has none.
    return key[0], key[1] if len(key) > 1 else ""


def _item(db: sqlite3.Connection, table: str, partition: object, sort: object) -> Item | None:
    row = db.execute(
        "SELECT item FROM items WHERE table_name = ? AND partition_key = ? AND sort_key = ?", (table, partition, sort)
    ).fetchone()
    return None if row is None else loads(row[0])


def _write_item(db: sqlite3.Connection, table: str, row_key: tuple[object, object], item: Item) -> None:
    text = dumps(item, ensure_ascii=False, allow_nan=False)
    db.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", (table, *row_key, text))


def _check(db: sqlite3.Connection, table: str, row_key: tuple[object, object], condition: Condition) -> Item | None:
    """The item as it is. Raises ConditionFailed where it is not as the condition requires."""
    item = _item(db, table, *row_key)
    for attribute, wanted in condition.items():
        operator, value = wanted if isinstance(wanted, tuple) else ("=", wanted)
        if not _holds((item or {}).get(attribute), operator, value):
            shown = " ".join(str(part) for part in row_key if part != "")
            state = "there is no such item" if item is None else f"{attribute!r} is not {operator} what was required"
            raise ConditionFailed(f"item {shown} of table {table!r}: {state}")
    return item


def _holds(actual: object, operator: str, wanted: object) -> bool:
    """None is "absent" on both sides: a null in an item counts as absent."""
    from pys_multi.encoding import to_json_value

    wanted = to_json_value(wanted)
    if operator == "=":
        return _equal(actual, wanted)
    if operator == "!=":
        return not _equal(actual, wanted)
    numbers = _is_number(actual) and _is_number(wanted)
    if not numbers and not (isinstance(actual, str) and isinstance(wanted, str)):
        return False
    left: Any = actual
    right: Any = wanted
    if operator == "<":
        return bool(left < right)
    if operator == "<=":
        return bool(left <= right)
    return bool(left > right) if operator == ">" else bool(left >= right)


def _equal(left: object, right: object) -> bool:
    """Equality of JSON values: 1 is 1.0, and true is neither."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sum(table: str, attribute: str, value: object, amount: float) -> float:
    value = 0 if value is None else value
    if not _is_number(value) or not _is_number(amount):
        raise ValueError(f"attribute {attribute!r} of an item of table {table!r} is not a number, nothing adds to it")
    total: float = value + amount  # type: ignore[operator]
    return total
