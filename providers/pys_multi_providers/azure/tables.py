"""The verbs of tables on Table storage.

Table storage compares nothing but the version of an entity (its ETag). So a write with a condition, and an update, read
the item, make the new one here, and write it if it is still the version that was read; otherwise they begin again.
Every write of that kind carries a stamp of its own: where the answer is lost, the entity says whether it happened.

There is no reading backwards: in reverse, the items of the key are all read.
"""

from __future__ import annotations

from json import dumps, loads
from random import random
from time import sleep
from urllib.parse import quote
from uuid import uuid4

from pys_multi.errors import NotFound, ResourceError
from pys_multi.items import check, key_in, new_item, updated
from pys_multi.messages import current_context
from pys_multi.rest import Answer
from pys_multi_providers.azure.calls import Absent, ConditionRefused, Refused
from pys_multi_providers.azure.entities import END, STAMP, entity_of, item_of, key_of, prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from pys_multi.backend import Condition, Key
    from pys_multi.resources import Table

    Item = dict[str, Any]

#: Version of the protocol of the calls below, and of OData ("Versioning for the Azure Storage services").
_FIELDS = {
    "x-ms-version": "2020-12-06",
    "dataserviceversion": "3.0;NetFx",
    "accept": "application/json;odata=nometadata",
}
#: Tries of a write while others change the same item, and seconds of the longest pause between two.
_TRIES, _PAUSE = 40, 0.25
#: Entities of one answer, at most.
_PAGE = 1000


class TableVerbs:
    """The part of `AzureBackend` that is about tables.

    table: the name of a resource → its handle and the URL of the table. storage: a call of Storage: what for errors,
    method, URL, fields, body, and whether it must not happen twice.
    """

    def __init__(
        self,
        table: Callable[[str], tuple[Table, str]],
        storage: Callable[[str, str, str, Mapping[str, str], bytes, bool], Answer],
    ) -> None:
        self._table = table
        self._storage = storage

    def table_get(self, table: str, key: Key) -> Item | None:
        handle, url = self._table(table)
        found = self._read(handle, _entity_url(handle, url, key))
        return None if found is None else found[0]

    def table_put(self, table: str, item: Item, condition: Condition) -> None:
        handle, url = self._table(table)
        key = key_in(item, handle.key, handle.sort)
        if condition:
            self._change(handle, url, key, condition, lambda _: item)
        else:
            self._call(handle, "PUT", _entity_url(handle, url, key), _entity(handle, item, uuid4().hex))

    def table_delete(self, table: str, key: Key, condition: Condition) -> None:
        handle, url = self._table(table)
        if condition:
            self._change(handle, url, key, condition, lambda _: None)
            return
        try:
            self._call(handle, "DELETE", _entity_url(handle, url, key), version="*")
        except Absent as error:
            _check_table(handle, error)

    def table_update(
        self,
        table: str,
        key: Key,
        changes: Mapping[str, object],
        add: Mapping[str, float],
        remove: Iterable[str],
        condition: Condition,
    ) -> Item:
        handle, url = self._table(table)
        removed = tuple(remove)

        def changed(before: Item | None) -> Item:
            return updated(table, before or new_item(key, handle.key, handle.sort), changes, add, removed)

        item = self._change(handle, url, key, condition, changed)
        assert item is not None
        return item

    def table_query(
        self, table: str, partition: object, prefix: str | None, limit: int | None, reverse: bool
    ) -> Iterator[Item]:
        handle, url = self._table(table)
        wanted = []
        if partition is not None:
            wanted.append(f"PartitionKey eq {_text(key_of(partition))}")
        if prefix is not None:
            # What is empty begins every text, and no number: those are written with the lowest beginning there is.
            start = prefix_of(prefix) or ' "'
            wanted.append(f"RowKey ge {_text(start)} and RowKey lt {_text(prefix_of(prefix) + END)}")
        if not reverse:
            return self._pages(handle, url, " and ".join(wanted), limit)
        found = list(self._pages(handle, url, " and ".join(wanted), None))
        return iter(found[::-1][:limit])

    # ---- reading

    def _read(self, handle: Table, url: str) -> tuple[Item, str, str] | None:
        """The item, its version and the stamp of its last write; None where there is none."""
        try:
            answer = self._call(handle, "GET", url)
        except Absent as error:
            _check_table(handle, error)
            return None
        entity = loads(answer.body)
        return _item(handle, entity), answer.fields.get("etag", ""), str(entity.get(STAMP, ""))

    def _pages(self, handle: Table, url: str, wanted: str, limit: int | None) -> Iterator[Item]:
        after: dict[str, str] = {}
        while limit is None or limit > 0:
            query = {"$top": str(_PAGE if limit is None else min(limit, _PAGE)), **after}
            if wanted:
                query["$filter"] = wanted
            text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
            answer = self._call(handle, "GET", f"{url}()?{text}")
            for entity in loads(answer.body)["value"][:limit]:
                yield _item(handle, entity)
                limit = None if limit is None else limit - 1
            after = {
                name: answer.fields[f"x-ms-continuation-{name.lower()}"]
                for name in ("NextPartitionKey", "NextRowKey")
                if f"x-ms-continuation-{name.lower()}" in answer.fields
            }
            if not after:
                return

    # ---- writing

    def _change(
        self,
        handle: Table,
        url: str,
        key: Key,
        condition: Condition,
        change: Callable[[Item | None], Item | None],
    ) -> Item | None:
        """Writes what the change makes of the item, None for nothing, if it is as the condition requires."""
        entity_url = _entity_url(handle, url, key)
        # Most conditional writes are of items that are not there yet: the answer to the insert says whether.
        is_new = bool(condition) and all(_wants_absence(handle, *wanted) for wanted in condition.items())
        is_new = is_new and change(None) is not None
        for number in range(_TRIES):
            found = None if is_new else self._read(handle, entity_url)
            before = None if found is None else found[0]
            if not is_new:
                check(handle.name, key, before, condition)
            is_new = False
            item = change(before)
            if item is None and before is None:
                return None
            stamp = uuid4().hex
            try:
                self._write(handle, url, entity_url, item, found[1] if found is not None else "", stamp)
                return item
            except ConditionRefused:
                pass  # others have changed it meanwhile
            except Absent as error:
                _check_table(handle, error)
            except Refused as error:
                if not error.is_lost:
                    raise
                after = self._read(handle, entity_url)
                if (after is None and item is None) or (after is not None and after[2] == stamp):
                    return item
                if (after is None) != (found is None) or (
                    after is not None and found is not None and after[1] != found[1]
                ):
                    raise
            _wait(number)
        raise ResourceError(
            f"table {handle.name!r}: an item was changed by others at each of {_TRIES} tries to write it"
        )

    def _write(self, handle: Table, url: str, entity_url: str, item: Item | None, version: str, stamp: str) -> None:
        if item is None:
            self._call(handle, "DELETE", entity_url, version=version, once=True)
        elif version:
            self._call(handle, "PUT", entity_url, _entity(handle, item, stamp), version=version, once=True)
        else:
            self._call(handle, "POST", url, _entity(handle, item, stamp), once=True)

    def _call(
        self,
        handle: Table,
        method: str,
        url: str,
        entity: Mapping[str, str] | None = None,
        *,
        version: str = "",
        once: bool = False,
    ) -> Answer:
        fields = dict(_FIELDS)
        body = b""
        if entity is not None:
            body = dumps(entity).encode()
            fields["content-type"] = "application/json"
        if method == "POST":
            fields["prefer"] = "return-no-content"
        if version:
            fields["if-match"] = version
        return self._storage(f"table {handle.name!r}", method, url, fields, body, once)


def _entity_url(handle: Table, url: str, key: Key) -> str:
    """The URL of an entity. A table without a sort key has empty row keys."""
    partition, row = key_of(key[0]), key_of(key[1]) if handle.sort is not None else ""
    return f"{url}(PartitionKey={quote(_text(partition), safe='')},RowKey={quote(_text(row), safe='')})"


def _text(value: str) -> str:
    """A text in OData."""
    return "'" + value.replace("'", "''") + "'"


def _entity(handle: Table, item: Item, stamp: str) -> dict[str, str]:
    row = key_of(item[handle.sort]) if handle.sort is not None else ""
    return entity_of(key_of(item[handle.key]), row, item, stamp)


def _item(handle: Table, entity: Mapping[str, Any]) -> Item:
    try:
        return item_of(entity)
    except ValueError as error:
        raise ResourceError(f"table {handle.name!r}: {error}") from None


def _check_table(handle: Table, error: NotFound) -> None:
    """Raises ResourceError where it is the table that is absent."""
    if getattr(error, "code", "") == "TableNotFound":
        raise ResourceError(
            f"table {handle.name!r}: it is not there; deploy the service that defines it ({error})"
        ) from error


def _wait(number: int) -> None:
    context = current_context()
    if context is not None and context.remaining() <= 0:
        raise ResourceError("the function's time was up while others changed the same item of a table")
    sleep(random() * min(0.005 * 2**number, _PAUSE))  # noqa: S311  (no secret)


def _wants_absence(handle: Table, name: str, wanted: object) -> bool:
    operator, value = wanted if isinstance(wanted, tuple) else ("=", wanted)
    return name in (handle.key, handle.sort) and operator == "=" and value is None
