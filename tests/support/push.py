"""Push delivery as Pub/Sub does it, from Pub/Sub's own emulator, whose push leaves most of it out.

Seen with the emulator of SDK 528 (0.8.20): its push sends neither the attempt nor the ordering key nor a token, knows
no back-off, and drops a message after five attempts. So what is published goes through the emulator (which checks
it and fans it out to subscriptions), is pulled here, and pushed by the rules of "Push subscriptions", "Handle
message failures" and "Order messages" (2026-11): wrapped messages with OIDC tokens; 102, 200, 201, 202 and 204
acknowledge; anything else comes again after an exponential back-off within the bounds of the retry policy; after the
attempts of the dead-letter policy the message goes to its topic; of an ordering key one message at a time, in order.
"""

from __future__ import annotations

import heapq
import http.client
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.gcp_emulators import Rest, RestError

Fields = Sequence[tuple[str, str]]

_ACKNOWLEDGED = (102, 200, 201, 202, 204)
#: Pushes at the same time of one subscription; Pub/Sub begins with a few and goes up with success.
_WINDOW = 30


@dataclass(frozen=True, slots=True)
class Subscription:
    """A push subscription, as its resource says. deliver: posts a body with header fields to its endpoint, and returns
    the status. backoff: seconds, the least and the most."""

    name: str
    topic: str
    deliver: Callable[[bytes, Fields], int]
    backoff: tuple[float, float] = (10, 600)
    dead_topic: str = ""
    attempts: int = 5
    ordered: bool = False


@dataclass(order=True, slots=True)
class _Waiting:
    due: float
    number: int
    message: Any = field(compare=False)
    ack_id: str = field(compare=False)
    attempt: int = field(compare=False)


class Pusher:
    """Delivers one subscription until it is stopped."""

    def __init__(self, pubsub: Rest, subscription: Subscription) -> None:
        self._pubsub = pubsub
        self._subscription = subscription
        self._stopped = False
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        #: Ordering key → what comes after the message that is under way.
        self._behind: dict[str, deque[_Waiting]] = {}
        self._busy = 0
        body: dict[str, Any] = {"topic": subscription.topic, "ackDeadlineSeconds": 600}
        if subscription.ordered:
            body["enableMessageOrdering"] = True
        pubsub.call("PUT", f"/v1/{subscription.name}", body)
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._pull, self._dispatch)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _pull(self) -> None:
        path = f"/v1/{self._subscription.name}:pull"
        while not self._stopped:
            try:
                found = self._pubsub.call("POST", path, {"maxMessages": 100}, timeout=90)
            except (OSError, http.client.HTTPException, RestError):
                if not self._stopped:
                    time.sleep(0.2)
                continue
            with self._changed:
                for received in found.get("receivedMessages", ()):
                    self._add(_Waiting(0, next(self._numbers), received["message"], received["ackId"], 1))
                self._changed.notify_all()

    def _add(self, waiting: _Waiting) -> None:
        key = waiting.message.get("orderingKey", "") if self._subscription.ordered else ""
        if not key:
            heapq.heappush(self._waiting, waiting)
        elif key in self._behind:
            self._behind[key].append(waiting)
        else:
            self._behind[key] = deque()
            heapq.heappush(self._waiting, waiting)

    def _dispatch(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (self._busy >= _WINDOW or not self._is_due()):
                    self._changed.wait(self._waiting[0].due - time.monotonic() if self._waiting else None)
                if self._stopped:
                    return
                waiting = heapq.heappop(self._waiting)
                self._busy += 1
            threading.Thread(target=self._deliver, args=(waiting,), daemon=True).start()

    def _is_due(self) -> bool:
        return bool(self._waiting) and self._waiting[0].due <= time.monotonic()

    def _deliver(self, waiting: _Waiting) -> None:
        try:
            done = self._push(waiting)
            policy = self._subscription
            if not done and policy.dead_topic and waiting.attempt >= policy.attempts:
                self._pubsub.call("POST", f"/v1/{policy.dead_topic}:publish", {"messages": [self._letter(waiting)]})
                done = True
            if done:
                acknowledged = {"ackIds": [waiting.ack_id]}
                self._pubsub.call("POST", f"/v1/{policy.name}:acknowledge", acknowledged)
        except (OSError, http.client.HTTPException, RestError):
            done = False
        with self._changed:
            self._busy -= 1
            if done:
                self._next_of_key(waiting.message.get("orderingKey", ""))
            else:
                least, most = policy.backoff
                pause = min(least * 2 ** (waiting.attempt - 1), most)
                again = _Waiting(
                    time.monotonic() + pause, next(self._numbers), waiting.message, waiting.ack_id, waiting.attempt + 1
                )
                heapq.heappush(self._waiting, again)
            self._changed.notify_all()

    def _next_of_key(self, key: str) -> None:
        if key in self._behind:
            if self._behind[key]:
                heapq.heappush(self._waiting, self._behind[key].popleft())
            else:
                del self._behind[key]

    def _push(self, waiting: _Waiting) -> bool:
        policy = self._subscription
        message = dict(waiting.message)
        # Both spellings, as the documentation's example has them.
        message["message_id"], message["publish_time"] = message["messageId"], message["publishTime"]
        envelope: dict[str, Any] = {"message": message, "subscription": policy.name}
        if policy.dead_topic:
            envelope["deliveryAttempt"] = waiting.attempt
        fields = [
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("from", "noreply@google.com"),
            ("user-agent", "CloudPubSub-Google"),
        ]
        try:
            return policy.deliver(json.dumps(envelope).encode(), fields) in _ACKNOWLEDGED
        except (OSError, http.client.HTTPException):
            return False

    def _letter(self, waiting: _Waiting) -> dict[str, Any]:
        """The message as a dead letter ("Forwarding dead-lettered messages", added attributes)."""
        _, project, _, name = self._subscription.name.split("/")
        added = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(waiting.attempt),
            "CloudPubSubDeadLetterSourceSubscription": name,
            "CloudPubSubDeadLetterSourceSubscriptionProject": project,
            "CloudPubSubDeadLetterSourceTopicPublishTime": waiting.message["publishTime"],
        }
        found = {name: waiting.message[name] for name in ("data", "orderingKey") if name in waiting.message}
        return {**found, "attributes": {**waiting.message.get("attributes", {}), **added}}
