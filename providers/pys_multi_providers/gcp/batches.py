"""Messages that arrive one by one, in requests at the same time, handed over together.

Pub/Sub pushes one message a request. The first request of a batch waits until it is full or its window is over, and
handles all of it; the others wait for the end and learn what became of their own message, so that each is answered
for itself: that is what partial failure is, here.
"""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pys_multi.messages import Message
    from pys_multi.reactions import Failure

#: Seconds to wait for others, where the service does not say how long: requests of one publish come within it.
LEAST_WINDOW = 0.02


class Gatherer:
    """The batches of one trigger; thread-safe.

    size: messages of one batch. window: seconds that the first of them waits for others.
    """

    __slots__ = ("_lock", "_open", "_size", "_window")

    def __init__(self, size: int, window: float) -> None:
        self._size = size
        self._window = max(window, LEAST_WINDOW)
        self._lock = allocate_lock()
        self._open: _Batch | None = None

    def handle(self, message: Message, run: Callable[[list[Message]], list[Failure]]) -> str | None:
        """Why the message failed, or None. run: handles a batch; called for the first of it, and so in its context.

        What it raises is raised for every message of the batch.
        """
        batch, leads = self._join(message)
        if not leads:
            with batch.done:
                pass
            if batch.failures is None:
                raise RuntimeError("the batch was not handled to its end; the log has the reason")
            return batch.failures.get(message.id)
        try:
            batch.full.acquire(timeout=self._window)
            self._close(batch)
            batch.failures = failures = {failure.id: failure.error for failure in run(batch.messages)}
        finally:
            # Whatever ends this request, its time for one, no other waits for it forever or joins it still.
            self._close(batch)
            batch.done.release()
        return failures.get(message.id)

    def _close(self, batch: _Batch) -> None:
        with self._lock:
            if self._open is batch:
                self._open = None

    def _join(self, message: Message) -> tuple[_Batch, bool]:
        """The batch that a message is in now, and whether it is the first there."""
        with self._lock:
            batch = self._open
            if batch is None or any(other.id == message.id for other in batch.messages):
                # A second delivery of one that is there is no part of that batch: failures are told by id.
                batch = _Batch(message)
                if self._open is None and self._size > 1:
                    self._open = batch
                else:
                    batch.full.release()
                return batch, True
            batch.messages.append(message)
            if len(batch.messages) == self._size:
                self._open = None
                batch.full.release()
            return batch, False


class _Batch:
    """Messages together. full and done: locks, held until it is so."""

    __slots__ = ("done", "failures", "full", "messages")

    def __init__(self, message: Message) -> None:
        self.messages = [message]
        self.failures: dict[str, str] | None = None
        self.full = allocate_lock()
        self.done = allocate_lock()
        self.full.acquire()
        self.done.acquire()
