"""What failed is delivered again after 1, 2, 4, … 60 seconds, as on every provider: SQS alone waits out its visibility.

Ships with the user's code; imported when something failed.
"""

from __future__ import annotations

from pys_multi.errors import PysMultiError
from pys_multi.resources import Queue
from pys_multi_providers.aws.calls import Clients, call
from pys_multi_providers.aws.resources import AwsBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pys_multi.app import App
    from pys_multi.messages import Context

    Json = dict[str, Any]

#: Seconds between two attempts: doubles from the first to the second.
_FIRST, _LAST = 1, 60
#: Entries of one ChangeMessageVisibilityBatch.
_BATCH = 10
#: Seconds of the function's time that are left for its answer, without which all of the batch would come again.
_FOR_THE_ANSWER = 0.5


def backoff(attempt: int, visibility: float) -> int:
    """Seconds until what failed at an attempt, counted from 1, comes again; never more than its visibility."""
    return int(min(_FIRST * 2 ** min(attempt - 1, 16), _LAST, visibility))


def come_back(app: App, trigger: str, records: Sequence[Json], about: Context) -> None:
    """Has SQS show records of one queue again when it is their time.

    Where that fails they come after the visibility of their queue; it is logged and no failure of anything else.
    """
    _, _, _, _, account, name = records[0]["eventSourceARN"].split(":")
    most = _visibility(app, trigger)
    entries = [
        {
            "Id": str(number),
            "ReceiptHandle": record["receiptHandle"],
            "VisibilityTimeout": backoff(int(record["attributes"].get("ApproximateReceiveCount", 1)), most),
        }
        for number, record in enumerate(records)
    ]
    try:
        client = _clients(app).get("sqs", once=True)  # there is no time for a second try
        change, url = client.change_message_visibility_batch, f"{client.meta.endpoint_url}/{account}/{name}"
        for start in range(0, len(entries), _BATCH):
            if about.remaining() < _FOR_THE_ANSWER:
                return
            batch = entries[start : start + _BATCH]
            call(change, f"queue {name!r}", "sqs:ChangeMessageVisibility", QueueUrl=url, Entries=batch)
    except PysMultiError as error:
        from logging import getLogger

        getLogger("pys_multi").warning("what failed comes again only after its queue's visibility: %s", error)


def _visibility(app: App, trigger: str) -> float:
    """Seconds that a delivered message stays hidden: what its queue says, else six times its function's timeout."""
    [reaction] = [r for function in app.functions.values() for r in function.reactions if r.id == trigger]
    queue = app.resources.get(reaction.settings.get("queue", ""))
    if isinstance(queue, Queue) and queue.visibility is not None:
        return queue.visibility
    return 6 * reaction.function.timeout


def _clients(app: App) -> Clients:
    """Those of the resources, which make some at their first use otherwise."""
    backend = app.backend
    if backend is None and app.connect is not None:
        backend = app.backend = app.connect()
    return backend.clients if isinstance(backend, AwsBackend) else Clients()
