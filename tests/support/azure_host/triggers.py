"""What invokes the functions of apps beside HTTP: messages of Service Bus, and timers by hand.

After the Service Bus extension: one message at a time and function, up to ``maxConcurrentCalls`` (sessions:
``maxConcurrentSessions``) at once, completed where the invocation succeeded, abandoned where it did not.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from tests.support.azure_host.app import FunctionApp, Indexed, Result
from tests.support.service_bus import Namespace, Queue, Stored

_HOST = "AzureFunctionsJobHost__extensions__serviceBus__"


def entity_of(trigger: Mapping[str, Any]) -> str:
    """The queue or subscription of a trigger. Asserts what the runtime counts on."""
    assert trigger["type"] == "serviceBusTrigger", trigger
    assert str(trigger["cardinality"]).lower() == "one", trigger
    assert str(trigger["dataType"]).lower() == "binary", trigger
    assert trigger["connection"] == "SERVICE_BUS", trigger
    if "topicName" in trigger:
        return f"{trigger['topicName']}/subscriptions/{trigger['subscriptionName']}"
    return str(trigger["queueName"])


class Listeners:
    """The listeners of all apps of a service. sources: (app, entity) that it listens to; which function it is, is
    asked once there is a message, so that no app starts before."""

    def __init__(self, namespace: Namespace, sources: Sequence[tuple[FunctionApp, str]]) -> None:
        self._namespace = namespace
        self._sources = [_Source(app, namespace.queues[entity]) for app, entity in sources]
        self._pool = ThreadPoolExecutor(128)
        self._stopped = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._namespace.changed:
            self._stopped = True
            self._namespace.changed.notify_all()
        self._thread.join(10)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _listen(self) -> None:
        while True:
            with self._namespace.changed:
                if self._stopped:
                    return
                taken = [(source, message) for source in self._sources for message in source.take()]
                if not taken:
                    # What is scheduled comes by its time, and so does a lock that ran out.
                    self._namespace.changed.wait(self._next())
                    continue
            for source, message in taken:
                self._pool.submit(self._deliver, source, message)

    def _next(self) -> float:
        now = time.time()
        times = [
            max(message.visible, message.locked_until) for source in self._sources for message in source.queue.messages
        ]
        return min([max(found - now, 0.005) for found in times if found > now], default=1.0)

    def _deliver(self, source: _Source, message: Stored) -> None:
        try:
            failed = bool(source.deliver(message).error)
        except Exception:
            failed = True
            raise
        finally:
            with self._namespace.changed:
                source.busy -= 1
                (source.queue.abandon if failed else source.queue.complete)(message.lock)
                self._namespace.changed.notify_all()


class _Source:
    """One function's queue or subscription."""

    def __init__(self, app: FunctionApp, queue: Queue) -> None:
        self.app, self.queue = app, queue
        kind = "maxConcurrentSessions" if queue.sessions else "maxConcurrentCalls"
        self._most = int(app.settings[f"{_HOST}{kind}"])
        self.busy = 0

    def take(self) -> list[Stored]:
        found: list[Stored] = []
        while self.busy < self._most and (message := self.queue.take()) is not None:
            # The host renews the lock for as long as the function runs.
            message.locked_until = time.time() + 3600
            self.busy += 1
            found.append(message)
        return found

    def deliver(self, message: Stored) -> Result:
        [function] = [
            found
            for found in self.app.functions()
            if found.kind == "serviceBusTrigger" and entity_of(found.trigger) == self.queue.name
        ]
        assert bool(function.trigger.get("isSessionsEnabled")) is self.queue.sessions, function
        body = {"bytes": base64.b64encode(message.body).decode()}
        return self.app.invoke(function, body, _metadata(message))


def _metadata(message: Stored) -> dict[str, Any]:
    """What the extension says of a message ("Message metadata" of the Service Bus trigger)."""
    properties = {"json": json.dumps(message.properties)}
    return {
        "ApplicationProperties": properties,
        "UserProperties": properties,
        "DeliveryCount": {"json": str(message.deliveries)},
        "EnqueuedTimeUtc": {"string": _moment(message.enqueued)},
        "ExpiresAtUtc": {"string": _moment(message.enqueued + 14 * 86_400)},
        "LockToken": {"string": message.lock},
        "MessageId": {"string": message.id},
        "SequenceNumber": {"json": str(message.sequence)},
        # What is null comes as data without a value, which is as good as none.
        **({"SessionId": {"string": message.session}} if message.session else {}),
    }


def _moment(when: float) -> str:
    """A time as .NET writes it, with seven digits."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def run_timer(app: FunctionApp, function: Indexed, due: float, *, past_due: bool = False) -> Result:
    """One run of a timer that was due at a time."""
    moment = datetime.fromtimestamp(due, UTC).isoformat()
    timer = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": {"Last": "0001-01-01T00:00:00", "Next": moment, "LastUpdated": "0001-01-01T00:00:00"},
        "IsPastDue": past_due,
    }
    return app.invoke(function, {"json": json.dumps(timer)})
