"""What a provider's ``resources.py`` implements: the verbs of the resources. For type checkers alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from pys_multi.resources import ObjectInfo, Outgoing

#: Key values of an item: the key, and the sort key where the table has one.
Key = tuple[object, ...]
#: Attribute → the value it must have, None for "must be absent", or (operator, value).
Condition = Mapping[str, object]


class Backend(Protocol):
    """What a provider implements. Names are those of the service; errors are those of pys_multi.errors."""

    def queue_send(self, queue: str, messages: list[Outgoing]) -> list[str]: ...

    def topic_publish(self, topic: str, message: Outgoing) -> str: ...

    def bucket_get(self, bucket: str, key: str) -> bytes: ...

    def bucket_put(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str: ...

    def bucket_delete(self, bucket: str, key: str) -> None: ...

    def bucket_list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]: ...

    def bucket_head(self, bucket: str, key: str) -> ObjectInfo | None: ...

    def bucket_presign(self, bucket: str, key: str, method: str, expires: int) -> str: ...

    def table_get(self, table: str, key: Key) -> dict[str, Any] | None: ...

    def table_put(self, table: str, item: dict[str, Any], condition: Condition) -> None: ...

    def table_delete(self, table: str, key: Key, condition: Condition) -> None: ...

    def table_update(
        self,
        table: str,
        key: Key,
        changes: Mapping[str, object],
        add: Mapping[str, float],
        remove: Iterable[str],
        condition: Condition,
    ) -> dict[str, Any]: ...

    def table_query(
        self, table: str, partition: object, prefix: str | None, limit: int | None, reverse: bool
    ) -> Iterator[dict[str, Any]]: ...

    def secret_value(self, secret: str) -> str: ...
