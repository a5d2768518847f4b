"""Event Grid, from a storage account to queues of Service Bus: what its access log says, as CloudEvents.

After "Azure Blob Storage as an Event Grid source" (2026-11), for events of the blobs API and subscriptions that filter
by type, beginning and end of the subject.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from urllib.parse import quote, unquote

from tests.support.azurite import ACCOUNT, Azurite
from tests.support.service_bus import Namespace

CREATED, DELETED = "Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted"
_LINE = re.compile(rf'"(PUT|DELETE) /{ACCOUNT}/([^/?" ]+)/([^?" ]+)(\?\S*)? HTTP/1.1" (201|202) ')


@dataclass(frozen=True, slots=True)
class Subscription:
    """An event subscription: event types, how the subject begins and ends, and the queue."""

    types: tuple[str, ...]
    begins: str
    ends: str
    queue: str

    def wants(self, kind: str, subject: str) -> bool:
        return kind in self.types and subject.startswith(self.begins) and subject.endswith(self.ends)


class EventGrid:
    """A system topic of an account. `on_line` is told of each line of the account's access log."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def on_line(self, line: str) -> None:
        self._lines.put(line)

    def start(self, azurite: Azurite, namespace: Namespace, subscriptions: Sequence[Subscription]) -> None:
        self._thread = threading.Thread(target=self._run, args=(azurite, namespace, subscriptions), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._lines.put(None)
        if self._thread is not None:
            self._thread.join(10)

    def _run(self, azurite: Azurite, namespace: Namespace, subscriptions: Sequence[Subscription]) -> None:
        while (line := self._lines.get()) is not None:
            match = _LINE.search(line)
            if match is None or (match[4] or "").startswith(("?comp=", "?restype=")):
                continue
            container, key = match[2], unquote(match[3])
            kind = CREATED if match[1] == "PUT" else DELETED
            subject = f"/blobServices/default/containers/{container}/blobs/{key}"
            queues = [s.queue for s in subscriptions if s.wants(kind, subject)]
            if queues:
                body = json.dumps(_event(azurite, kind, subject, container, key)).encode()
                for queue in queues:
                    namespace.send(queue, [namespace.make(body, content_type="application/cloudevents+json")])


def _event(azurite: Azurite, kind: str, subject: str, container: str, key: str) -> dict[str, object]:
    url = f"{azurite.blob}/{container}/{quote(key)}"
    data: dict[str, object] = {
        "api": "PutBlob" if kind == CREATED else "DeleteBlob",
        "requestId": str(uuid.uuid4()),
        "eTag": "",
        "contentType": "text/plain",
        "contentLength": 0,
        "blobType": "BlockBlob",
        "url": url,
        "sequencer": f"{time.time_ns():032x}",
    }
    if kind == CREATED:
        with suppress(AssertionError):  # it is gone again
            found = azurite.call("HEAD", url)
            data["eTag"] = (found.getheader("etag") or "").strip('"')
            data["contentLength"] = int(found.getheader("content-length") or 0)
    return {
        "specversion": "1.0",
        "source": "/subscriptions/0/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/s",
        "subject": subject,
        "type": kind,
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "id": str(uuid.uuid4()),
        "data": data,
    }
