"""Messages that failed all their deliveries: looked at, and put back into their queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pys_multi.events import seconds
from pys_multi_providers.gcp.client import Cloud
from pys_multi_providers.gcp.engine import Engine
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.events import Push
from pys_multi_providers.gcp.kinds import SUBSCRIPTIONS, TOPICS
from pys_multi_providers.gcp.observe import queue_names
from pys_multi_tools.deployment import DeadLetter
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.suggest import did_you_mean

Json = dict[str, Any]

_PAGE = 100
#: What Pub/Sub says of a letter ("Handle message failures"), and what the runtime says of one that it moved itself.
_ATTEMPTS = "CloudPubSubDeadLetterSourceDeliveryCount"
_GOOGLES = "CloudPubSubDeadLetterSource"
_OWN = "pys-multi-"
_REASON = "pys-multi-reason"


def dead_letters(engine: Engine, queue: str, limit: int) -> list[DeadLetter]:
    """The oldest dead letters; they stay where they are."""
    _, dead = _places(engine, queue)
    found: list[Json] = []
    try:
        found.extend(_received(engine.cloud, dead, limit))
    finally:
        _show_again(engine.cloud, dead, found)
    return sorted((_letter(queue, received) for received in found), key=lambda letter: letter.sent_at)


def redrive(engine: Engine, queue: str, ids: Sequence[str] | None) -> int:
    """Puts dead letters back into their queue: published first and acknowledged then, so that none is lost."""
    topic, dead = _places(engine, queue)
    count = 0
    others: list[Json] = []
    try:
        for received in _received(engine.cloud, dead, None):
            message = received["message"]
            if ids is not None and _id(message) not in ids:
                others.append(received)
                continue
            engine.cloud.call(TOPICS, "publish", topic=topic, body={"messages": [_again(message)]})
            engine.cloud.call(SUBSCRIPTIONS, "acknowledge", subscription=dead, body={"ackIds": [received["ackId"]]})
            count += 1
    finally:
        _show_again(engine.cloud, dead, others)
    return count


def _received(cloud: Cloud, subscription: str, limit: int | None) -> Iterator[Json]:
    """The messages of a subscription, each once."""
    seen: set[str] = set()
    empty = 0
    while (limit is None or len(seen) < limit) and empty < 2:  # Pub/Sub may have some, and answer with none at first
        most = _PAGE if limit is None else min(_PAGE, limit - len(seen))
        body = {"maxMessages": most, "returnImmediately": True}
        answer = cloud.call(SUBSCRIPTIONS, "pull", subscription=subscription, body=body)
        fresh = [r for r in answer.get("receivedMessages") or () if r["message"]["messageId"] not in seen]
        empty = 0 if fresh else empty + 1
        for received in fresh:
            seen.add(received["message"]["messageId"])
            yield received


def _show_again(cloud: Cloud, subscription: str, received: Sequence[Json]) -> None:
    ids = [entry["ackId"] for entry in received]
    for first in range(0, len(ids), _PAGE):
        body = {"ackIds": ids[first : first + _PAGE], "ackDeadlineSeconds": 0}
        cloud.call(SUBSCRIPTIONS, "modifyAckDeadline", subscription=subscription, body=body)


def _push(message: Mapping[str, Any]) -> Push:
    return Push({"message": dict(message)})


def _id(message: Mapping[str, Any]) -> str:
    return str(_push(message).message().id)


def _letter(queue: str, received: Json) -> DeadLetter:
    raw = received["message"]
    own = raw.get("attributes") or {}
    message = _push(raw).message()
    attributes = {n: v for n, v in message.attributes.items() if not n.startswith((_GOOGLES, _OWN))}
    return DeadLetter(
        queue=queue,
        id=message.id,
        reason=own.get(_REASON) or "failed all of its deliveries; pys-multi logs has the errors",
        body=message.body,
        attributes=attributes,
        attempts=int(own.get(_ATTEMPTS) or own.get("pys-multi-attempts") or 0),
        sent_at=message.sent_at,
        died_at=seconds(str(raw.get("publishTime", ""))),
    )


def _again(message: Mapping[str, Any]) -> Json:
    """The message as it was before it died."""
    entry: Json = _push(message).again()
    gone = (_GOOGLES, _REASON, "pys-multi-attempts")
    entry["attributes"] = {n: v for n, v in entry["attributes"].items() if not n.startswith(gone)}
    return entry


def _places(engine: Engine, queue: str) -> tuple[str, str]:
    """The topic of a queue, and the subscription of its dead letters. Raises ProviderError for one that is none."""
    known = {name: (live, dead) for name, live, dead in queue_names(engine)}
    if queue not in known:
        where = f"{engine.names.service}, stage {engine.names.stage}"
        raise ProviderError(
            f"there is no queue '{queue}'", where=where, hint=did_you_mean(queue, list(known)) or "it has none"
        )
    name, dead = known[queue]
    project = f"projects/{engine.cloud.project}"
    subscription, letters = f"{project}/subscriptions/{name}", f"{project}/subscriptions/{dead}"
    found = _found(engine, subscription)
    if found is None:
        raise ProviderError("it is not there", where=f"queue {queue}", hint="deploy first")
    if _found(engine, letters) is None:
        hint = "pys-multi status counts what waits in it; a handler with @function.consume(…) takes that"
        raise ProviderError("nothing takes from it, so nothing dies", where=f"queue {queue}", hint=hint)
    return str(found["topic"]), letters


def _found(engine: Engine, subscription: str) -> Json | None:
    try:
        return engine.cloud.call(SUBSCRIPTIONS, "get", subscription=subscription)
    except GcpError as error:
        if error.is_gone:
            return None
        raise
