"""The verbs of tables on the local provider's database: one row for an item, its attributes in JSON.

A condition is compared in the transaction that writes.
"""

from __future__ import annotations

from json import dumps, loads

from pys_multi.errors import ResourceError
from pys_multi.items import check, end_of_prefix, key_in, new_item, number_text, updated

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from pys_multi.backend import Condition, Key
    from pys_multi_providers.local.database import Database

    Item = dict[str, Any]

#: Rows read at once by what lists: no lock is held and no transaction open while the caller works on them.
PAGE = 500


class TableVerbs:
    """The part of `LocalBackend` that is about tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def table_get(self, table: str, key: Key) -> Item | None:
        with self._database.read() as db:
            _table(db, table)
            return _item(db, table, *_row_key(key))

    def table_put(self, table: str, item: Item, condition: Condition) -> None:
        with self._database.write() as db:
            name, sort = _table(db, table)
            key = key_in(item, name, sort)
            row_key = _row_key(key)
            check(table, key, _item(db, table, *row_key), condition)
            _write_item(db, table, row_key, item)

    def table_delete(self, table: str, key: Key, condition: Condition) -> None:
        row_key = _row_key(key)
        with self._database.write() as db:
            _table(db, table)
            check(table, key, _item(db, table, *row_key), condition)
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
        row_key = _row_key(key)
        with self._database.write() as db:
            name, sort = _table(db, table)
            former = _item(db, table, *row_key)
            check(table, key, former, condition)
            item = updated(table, former or new_item(key, name, sort), changes, add, remove)
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
            count = PAGE if limit is None else min(limit, PAGE)
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
            end = end_of_prefix(prefix)
            if end is not None:
                where, values = f"{where} AND sort_key < ?", [*values, end]
        order, beyond = ("DESC", "<") if reverse else ("ASC", ">")
        position: list[object] = []
        while limit is None or limit > 0:
            count = PAGE if limit is None else min(limit, PAGE)
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


def _table(db: sqlite3.Connection, table: str) -> tuple[str, str | None]:
    """(key, sort)"""
    row = db.execute("SELECT key, sort FROM tables WHERE name = ?", (table,)).fetchone()
    if row is None:
        raise ResourceError(f"there is no table {table!r} in this stage; deploy the service that defines it")
    return row[0], row[1]


def _row_key(key: Key) -> tuple[object, object]:
    for value in key:
        if isinstance(value, int):
            number_text(value)  # raises what every provider raises
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
