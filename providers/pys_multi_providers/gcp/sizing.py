"""How large an instance is, how many requests it takes at once, and how long Google waits for each; pure."""

from __future__ import annotations

from math import ceil

from pys_multi.model import Consume, Function, Queue
from pys_multi_providers.gcp.settings import options_of

#: Seconds that a request may take which is an event, so that Pub/Sub still waits for its answer.
MAX_TIME = 540
#: Seconds that Pub/Sub waits for the answer to a push, least and most ("Subscription", ackDeadlineSeconds).
MIN_ACK, MAX_ACK = 10, 600
#: Room beside the function's timeout in which an instance starts.
START = 60
#: Deliveries that a dead-letter policy can allow at most ("DeadLetterPolicy", maxDeliveryAttempts). The runtime itself
#: buries a message after as many as its queue has; where nothing answers, Pub/Sub does after these.
MAX_ATTEMPTS = 100
#: Seconds that Scheduler waits for an answer, least and most ("Job", attemptDeadline).
MIN_RUN, MAX_RUN = 15, 1800
#: Processors of an instance by its memory in MiB: Google's own steps ("Memory limits" of Cloud Run functions), each
#: within what Cloud Run allows ("Configure CPU limits", 2026-11).
_CPU = ((128, 0.083), (256, 0.167), (512, 0.333), (1024, 0.583), (2048, 1), (8192, 2), (16_384, 4), (32_768, 8))


def concurrency_of(function: Function) -> int:
    """Requests that an instance takes at once: as many as it handles, and all of those that make a batch."""
    batches = [t.batch for t in function.triggers if isinstance(t, Consume) and t.batch > 1]
    return max(function.concurrency, sum(batches) + (len(batches) < len(function.triggers)) if batches else 1)


def time_of(function: Function) -> int:
    """Seconds that a request may take: what a handler may, after it waited for a batch to fill and for its turn, where
    an instance takes more requests at once than it handles."""
    window = max((t.window for t in function.triggers if isinstance(t, Consume) and t.batch > 1), default=0.0)
    turns = ceil(concurrency_of(function) / function.concurrency)
    wanted = ceil(function.timeout * turns + window)
    return max(1, ceil(function.timeout), min(MAX_TIME, wanted))


def cpu_of(function: Function) -> float:
    """Processors of an instance; one that takes several requests at once has one at least."""
    given = options_of(function).cpu
    if given is not None:
        return given
    found = next((cpu for memory, cpu in _CPU if function.memory <= memory), 8)
    return max(found, 1) if concurrency_of(function) > 1 else found


def ack_deadline(function: Function, queue: Queue | None) -> int:
    """Seconds until a delivery that was not answered is made again."""
    wanted = time_of(function) + START
    if queue is not None and queue.visibility is not None:
        wanted = ceil(queue.visibility)
    return max(MIN_ACK, min(MAX_ACK, wanted))


def run_deadline(function: Function) -> int:
    """Seconds that Scheduler waits for the answer to a run."""
    return max(MIN_RUN, min(MAX_RUN, time_of(function) + START))
