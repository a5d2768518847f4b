"""The verbs of tables on Firestore, and its values ↔ JSON values.

A table is a collection, an item a document of three fields: `key` (text that sorts as keys do), `item` (the
attributes) and `write` (a token of the last write). Reads are consistent: what was written is read. A condition is
compared here with what was read, and the document is written only if it is still the same.

`key` alone has to be indexed, as every field is by itself, so that no query needs an index made for it.
"""

from __future__ import annotations

from os import urandom
from time import sleep

from pys_multi.encoding import to_json_bytes
from pys_multi.errors import ResourceError
from pys_multi.items import check, end_of_prefix, key_in, new_item, number_text, updated
from pys_multi_providers.gcp.calls import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from pys_multi.backend import Condition, Key
    from pys_multi.resources import Table
    from pys_multi_providers.gcp.calls import Google

    Item = dict[str, Any]
    #: A value as Firestore's REST API writes it, such as {"stringValue": "text"}.
    Written = dict[str, Any]

#: Between the parts of a key; and in front of each part, so that numbers sort before text.
_BETWEEN, _NUMBER, _TEXT = ":", "#", "="
#: Bytes of a key that are indexed, and of a document's id ("Quotas and limits" of Firestore, 2026-11).
_MAX_KEY = 1_500
#: Levels of lists and maps in a document, of which `item` is one (same place), and bytes of the name of a field.
_MAX_DEPTH, _MAX_NAME = 20, 1_500
#: Documents of one answer.
_PAGE = 100
#: Tries to write a document that others write at the same time; the pauses between them grow.
_TRIES = 40


class TableVerbs:
    """The part of `GcpBackend` that is about tables.

    table: the name of a resource → its handle and the path of its collection.
    """

    def __init__(self, table: Callable[[str], tuple[Table, str]], google: Google) -> None:
        self._table = table
        self._google = google

    def table_get(self, table: str, key: Key) -> Item | None:
        _, collection = self._table(table)
        found = self._read(table, f"{collection}/{_id_of(_key_text(key))}")
        return None if found is None else _item(found)

    def table_put(self, table: str, item: Item, condition: Condition) -> None:
        handle, _ = self._table(table)
        key = key_in(item, handle.key, handle.sort)
        self._change(table, key, condition, lambda _: item)

    def table_delete(self, table: str, key: Key, condition: Condition) -> None:
        self._change(table, key, condition, lambda _: None)

    def table_update(
        self,
        table: str,
        key: Key,
        changes: Mapping[str, object],
        add: Mapping[str, float],
        remove: Iterable[str],
        condition: Condition,
    ) -> Item:
        handle, _ = self._table(table)
        removed = tuple(remove)

        def changed(item: Item | None) -> Item:
            return updated(table, item or new_item(key, handle.key, handle.sort), changes, add, removed)

        item = self._change(table, key, condition, changed, always_reads=True)
        assert item is not None  # an update deletes nothing
        return item

    def table_query(
        self, table: str, partition: object, prefix: str | None, limit: int | None, reverse: bool
    ) -> Iterator[Item]:
        _, collection = self._table(table)
        start, end = "", None
        if partition is not None:
            start = _part(partition, escaped=True) + _BETWEEN
            end = end_of_prefix(start)
            if prefix is not None:
                start += _TEXT + prefix
                end = end_of_prefix(start)
        return self._pages(table, collection, start, end, limit, reverse)

    # ---- Firestore

    def _pages(
        self, table: str, collection: str, start: str, end: str | None, limit: int | None, reverse: bool
    ) -> Iterator[Item]:
        parent, _, name = collection.rpartition("/")
        lower, upper = ("GREATER_THAN_OR_EQUAL", start), ("LESS_THAN", end)
        while limit is None or limit > 0:
            count = _PAGE if limit is None else min(limit, _PAGE)
            bounds = [_compared(*bound) for bound in (lower, upper) if bound[1]]
            query: dict[str, Any] = {
                "from": [{"collectionId": name}],
                "orderBy": [{"field": {"fieldPath": "key"}, "direction": "DESCENDING" if reverse else "ASCENDING"}],
                "limit": count,
            }
            if bounds:
                query["where"] = {"compositeFilter": {"op": "AND", "filters": bounds}}
            answer = self._google.call(
                "firestore",
                "POST",
                f"/v1/{parent}:runQuery",
                what=f"table {table!r}",
                permission="datastore.entities.list",
                body={"structuredQuery": query},
            ).json()
            found = [entry["document"] for entry in answer if "document" in entry]
            for document in found:
                yield _item(document)
            if len(found) < count:
                return
            limit = None if limit is None else limit - count
            last = found[-1]["fields"]["key"]["stringValue"]
            if reverse:
                upper = ("LESS_THAN", last)
            else:
                lower = ("GREATER_THAN", last)

    def _read(self, table: str, path: str) -> Any:
        """The document, or None."""
        from urllib.parse import quote

        try:
            return self._google.call(
                "firestore",
                "GET",
                f"/v1/{quote(path)}",
                what=f"table {table!r}",
                permission="datastore.entities.get",
            ).json()
        except Refused as error:
            # So is a missing database, which says so.
            if error.status == 404 and "does not exist for project" not in str(error):
                return None
            raise

    def _change(
        self,
        table: str,
        key: Key,
        condition: Condition,
        changed: Callable[[Item | None], Item | None],
        *,
        always_reads: bool = False,
    ) -> Item | None:
        """Writes what `changed` makes of the item, or deletes it for None, if it is as the condition requires."""
        text = _key_text(key)
        _, collection = self._table(table)
        path = f"{collection}/{_id_of(text)}"
        if not condition and not always_reads:
            item = changed(None)
            self._commit(table, _write(path, text, item, ""), once=False)
            return item
        for attempt in range(_TRIES):
            document = self._read(table, path)
            former = None if document is None else _item(document)
            check(table, key, former, condition)
            item = changed(former)
            if item is None and document is None:
                return None
            token = urandom(12).hex()
            write = _write(path, text, item, token)
            write["currentDocument"] = {"exists": False} if document is None else {"updateTime": document["updateTime"]}
            if self._commits(table, path, write, token):
                return item
            _pause(attempt)
        raise ResourceError(f"table {table!r}: an item was changed by others at each of {_TRIES} tries to write it")

    def _commits(self, table: str, path: str, write: Any, token: str) -> bool:
        """Whether the document was still as it was read, and so is written now."""
        try:
            self._commit(table, write, once=True)
            return True
        except Refused as error:
            if error.code in ("FAILED_PRECONDITION", "ALREADY_EXISTS", "ABORTED", "NOT_FOUND"):
                return False
            if 0 < error.status < 500:
                raise
            # It may have happened: then the document has the token of this write, or is gone as it should be.
            found = self._read(table, path)
            if "delete" in write:
                return found is None
            return found is not None and found["fields"].get("write") == {"stringValue": token}

    def _commit(self, table: str, write: Any, *, once: bool) -> None:
        _, collection = self._table(table)
        self._google.call(
            "firestore",
            "POST",
            f"/v1/{collection.rpartition('/')[0]}:commit",
            what=f"table {table!r}",
            permission="datastore.entities.update",
            body={"writes": [write]},
            once=once,
        )


def _write(path: str, key: str, item: Item | None, token: str) -> dict[str, Any]:
    if item is None:
        return {"delete": path}
    fields: dict[str, Written] = {"key": {"stringValue": key}, "item": write(item)}
    if token:
        fields["write"] = {"stringValue": token}
    return {"update": {"name": path, "fields": fields}}


def _compared(operator: str, text: str | None) -> dict[str, Any]:
    return {"fieldFilter": {"field": {"fieldPath": "key"}, "op": operator, "value": {"stringValue": text}}}


def _pause(attempt: int) -> None:
    from random import random

    sleep(min(0.01 * 2**attempt, 0.5) * random())  # noqa: S311  (no secret: it spreads those who try again)


# ---- keys


def _key_text(key: Key) -> str:
    """The key as one text that sorts as the table does. Raises ValueError for one that is too long."""
    text = _part(key[0], escaped=True) + _BETWEEN
    if len(key) > 1:
        text += _part(key[1], escaped=False)
    if len(text.encode()) > _MAX_KEY:
        raise ValueError(f"a key and its sort key have less than {_MAX_KEY:,} bytes on Firestore")
    return text


def _part(value: object, *, escaped: bool) -> str:
    """One part of a key; what is between parts is escaped in the first, so that nobody's key begins as another's."""
    if isinstance(value, int):
        return _NUMBER + number_text(value)
    text = str(value)
    return _TEXT + (text.replace("%", "%25").replace(_BETWEEN, "%3A") if escaped else text)


def _id_of(key: str) -> str:
    """The id of a document: the key without what an id cannot have in it, a hash where that is too long."""
    from urllib.parse import quote

    # Not with "%": an id is part of a URL, and who decodes that twice would ask for another document.
    found = quote(key, safe=_BETWEEN + _NUMBER + _TEXT).replace("%", "!")
    if len(found) <= _MAX_KEY:
        return found
    from hashlib import sha256

    return f"~{sha256(key.encode()).hexdigest()}"


# ---- values


def write(value: Any, depth: int = 0) -> Written:
    """A JSON value as Firestore writes it.

    What it has no form for (whole numbers of more than 64 bits, a list in a list, names of fields that are empty or
    its own, more than 20 levels) is bytes, which no JSON value is: its JSON text.
    """
    if value is None:
        return {"nullValue": None}
    if isinstance(value, bool):
        return {"booleanValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"integerValue": str(value)} if -(2**63) <= value < 2**63 else _as_text(value)
    if isinstance(value, float):
        return {"doubleValue": value}
    if depth == _MAX_DEPTH:
        return _as_text(value)
    if isinstance(value, dict):
        if not all(map(_is_name, value)):
            return _as_text(value)
        return {"mapValue": {"fields": {name: write(item, depth + 1) for name, item in value.items()}}}
    return {
        "arrayValue": {
            "values": [_as_text(item) if isinstance(item, list) else write(item, depth + 1) for item in value]
        }
    }


def _is_name(name: str) -> bool:
    """Whether it can be the name of a field ("Quotas and limits", constraints on field names)."""
    return bool(name) and len(name.encode()) <= _MAX_NAME and not (name.startswith("__") and name.endswith("__"))


def _as_text(value: Any) -> Written:
    from binascii import b2a_base64

    return {"bytesValue": b2a_base64(to_json_bytes(value), newline=False).decode()}


def read(written: Written) -> Any:
    """The JSON value of what Firestore wrote; what only others write (times, references, places) is text or a map."""
    [(kind, value)] = written.items()
    if kind == "mapValue":
        return {name: read(item) for name, item in value.get("fields", {}).items()}
    if kind == "arrayValue":
        return [read(item) for item in value.get("values", ())]
    if kind == "integerValue":
        return int(value)
    if kind == "doubleValue":
        return float(value)
    if kind == "bytesValue":
        from binascii import a2b_base64
        from json import loads

        return loads(a2b_base64(value))
    return value


def _item(document: Any) -> Item:
    found: Item = read(document["fields"]["item"])
    return found
