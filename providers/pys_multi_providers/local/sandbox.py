"""The resources of a service for tests in one process: the local store in a folder, and deliveries one at a time.

Where the pump of a deployed stage hands over what is due by itself, a test takes and settles it, on its own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json import loads
from pathlib import Path

from pys_multi.messages import Event, Message
from pys_multi.model import Consume, Schedule, Service, Trigger
from pys_multi_providers.local.definitions import queue_of
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.store import Delivery, Store

#: Seconds until a failed message is due again. The test's clock jumps there.
_RETRY_DELAY = 1.0
#: Seconds that a delivery may be held: a test that stands in a debugger keeps it.
_VISIBILITY = 43_200.0


class Sandbox:
    """What `pys_multi_tools.testing.Client` stands on; see `Sandbox` there."""

    def __init__(
        self, service: Service, directory: Path, *, secrets: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self._store = Store(directory, clock=clock)
        self._store.apply(service)
        self.backend = LocalBackend(
            self._store, buckets=directory / "buckets", base_url="http://testserver", secrets=secrets
        )
        triggers = [trigger for function in service.functions for trigger in function.triggers]
        self._queues = {queue_of(trigger) for trigger in triggers if not isinstance(trigger, Schedule)}

    def next_due(self) -> float | None:
        """When the next delivery is, or was, due; None when nothing waits for a handler."""
        return min((at for queue, at in self._store.due().items() if queue in self._queues), default=None)

    def take(self, trigger: Trigger) -> list[Delivery]:
        """The deliveries of a trigger that are due now, at most its batch."""
        limit = trigger.batch if isinstance(trigger, Consume) else 1
        return self._store.receive(_queue(trigger), limit, _VISIBILITY)

    def event(self, delivery: Message) -> Event:
        """What a delivery to a trigger of bucket events carries."""
        return Event(**loads(delivery.body), id=delivery.id, attempt=delivery.attempt)

    def settle(self, deliveries: Sequence[Delivery], failed: Mapping[str, str]) -> list[str]:
        """Ends deliveries; failed: message id → error. Returns the ids that became dead letters."""
        return self._store.settle(
            [delivery.receipt for delivery in deliveries if delivery.id not in failed],
            [(d.receipt, failed[d.id], _RETRY_DELAY) for d in deliveries if d.id in failed],
        )

    def dead_letters(self, trigger: Trigger) -> Sequence[Message]:
        """What a trigger gave up, oldest first."""
        return self._store.dead(_queue(trigger))

    def close(self) -> None:
        """Lets go of the folder."""
        self._store.close()


def _queue(trigger: Trigger) -> str:
    queue = queue_of(trigger)
    if queue is None:
        raise ValueError(f"{trigger.id} takes nothing from a queue")
    return queue
