"""What is no user's request: `POST /.pys-multi/events/<trigger>` → the handler of that trigger, and back.

Pub/Sub, Scheduler and the tools call it; which trigger it is for is in the path. A status of success says that the
message is done with, anything else that it comes again, after the back-off of its subscription. Imported at the first.
"""

from __future__ import annotations

from time import sleep, time

from pys_multi.errors import HTTPError
from pys_multi.events import answer_of, event_of, is_due, messages_of
from pys_multi.http import Response
from pys_multi_providers.gcp.events import (
    DUE,
    Push,
    event_of_notification,
    message_of_cloud_event,
    object_event_of_cloud_event,
    push_of_cloud_event,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pys_multi.cloudevents import CloudEvent
    from pys_multi.http import Request
    from pys_multi.messages import Context, Event, Message
    from pys_multi.reactions import Failure
    from pys_multi.runtime import Runtime
    from pys_multi_providers.gcp.batches import Gatherer
    from pys_multi_providers.gcp.calls import Google
    from pys_multi_providers.gcp.turns import Turns

    Json = dict[str, Any]

#: Deliveries after which Pub/Sub itself takes a message for dead: the most that a subscription's policy can say.
_MAX_ATTEMPTS = 100
#: Deliveries beyond those of its queue that a message gets while none of them is answered: the platform may have had no
#: instance to take it, or each instance ended with it.
_UNANSWERED = 5
#: Seconds that a request waits for a delayed message to be due, rather than to be delivered once more.
_HOLD = 1.0


class Deliveries:
    """Hands events over to the runtime.

    about: {"dead": {trigger: topic of its dead letters}, "attempts": {trigger: deliveries in all}, "batches":
    {trigger: [size, window in seconds]}, "topics": {trigger: topic that its queue is}}, from the environment.
    """

    def __init__(self, runtime: Runtime, about: Json, google: Google, turns: Turns) -> None:
        self._runtime = runtime
        self._turns = turns
        self._google = google
        self._dead: dict[str, str] = about.get("dead", {})
        self._attempts: dict[str, int] = about.get("attempts", {})
        self._topics: dict[str, str] = about.get("topics", {})
        self._gatherers: dict[str, Gatherer] = {}
        for trigger, (size, window) in about.get("batches", {}).items():
            if size > 1:
                from pys_multi_providers.gcp.batches import Gatherer

                self._gatherers[trigger] = Gatherer(size, window)

    def handle(self, request: Request, trigger: str) -> Response:
        """The answer to a delivery; what failed is in the log. Raises HTTPError for one that cannot be understood."""
        try:
            kind = self._runtime.kind_of(trigger)
        except LookupError as error:
            raise HTTPError(404, str(error)) from None
        try:
            return self._handle(request, trigger, kind)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HTTPError(400, f"this is no event that a trigger of kind {kind} has: {error!r}") from error

    def _handle(self, request: Request, trigger: str, kind: str) -> Response:
        headers = request.headers
        if "ce-specversion" in headers or (headers.get("content-type") or "").startswith("application/cloudevents"):
            from pys_multi.cloudevents import from_http

            answers = [self._cloud_event(event, trigger, kind, request) for event in from_http(headers, request.body)]
            return next((answer for answer in answers if answer.status >= 300), _DONE)
        found = request.json()
        if "message" in found:
            return self._push(Push(found), trigger, kind, request)
        if "messages" in found or "event" in found:
            return self._own(found, trigger, kind, request)
        raise ValueError("it has neither message, messages nor event")

    # ---- Pub/Sub

    def _push(self, push: Push, trigger: str, kind: str, request: Request) -> Response:
        limit = self._attempts.get(trigger, 0)
        if DUE in push.attributes:
            return self._delayed(push, trigger, kind, request)
        if limit and push.attempt > limit + _UNANSWERED and trigger in self._dead:
            return self._bury(
                push, trigger, "its last deliveries were not answered: its function may have ended with it"
            )
        error = self._run(push, trigger, kind, request)
        if error is None:
            return _DONE
        if limit and push.attempt >= limit and trigger in self._dead:
            return self._bury(push, trigger, error)
        return Response(status=500)

    def _run(self, push: Push, trigger: str, kind: str, request: Request) -> str | None:
        """Why a message failed, or None."""
        if kind in ("consume", "subscribe"):
            message = push.message()
            gatherer = self._gatherers.get(trigger)
            if gatherer is not None:
                return gatherer.handle(message, lambda batch: self._messages(trigger, batch, request))
            failures = self._messages(trigger, [message], request)
            return failures[0].error if failures else None
        if kind == "schedule":
            return self._event(event_of({"id": push.id, "time": push.published}), trigger, request)
        from json import loads

        found = loads(push.message().body or b"{}")
        bucket = self._runtime.settings_of(trigger)["bucket"]
        event = event_of_notification(push.attributes, found, bucket, push.attempt)
        return self._event(self._fitting(event, trigger), trigger, request)

    def _messages(self, trigger: str, messages: list[Message], request: Request) -> list[Failure]:
        context = _context_of(request)
        return self._turns.run(context, lambda batch: self._runtime.messages(trigger, batch, context), messages)

    def _event(self, event: Event | None, trigger: str, request: Request) -> str | None:
        """Why an event failed, or None."""
        if event is None:
            return None
        context = _context_of(request)
        try:
            self._turns.run(context, lambda found: self._runtime.event(trigger, found, context), event)
        except Exception as error:  # it is in the log
            return f"{type(error).__name__}: {error}"
        return None

    def _fitting(self, event: Event | None, trigger: str) -> Event | None:
        """The event, if the trigger is for it: notifications know a prefix of keys and no suffix."""
        wanted = self._runtime.settings_of(trigger)
        if (
            event is not None
            and event.kind == wanted["event"]
            and event.key.startswith(wanted["prefix"])
            and event.key.endswith(wanted["suffix"])
        ):
            return event
        return None

    def _bury(self, push: Push, trigger: str, why: str) -> Response:
        """Moves a message to the topic of dead letters, as Pub/Sub does after more deliveries than there are here."""
        from pys_multi.logs import masked

        # projects/PROJECT/subscriptions/NAME
        path, _, subscription = push.subscription.rpartition("/")
        project = path.removeprefix("projects/").partition("/")[0]
        letter = push.again(
            **{
                "CloudPubSubDeadLetterSourceDeliveryCount": str(push.attempt),
                "CloudPubSubDeadLetterSourceSubscription": subscription,
                "CloudPubSubDeadLetterSourceSubscriptionProject": project,
                "CloudPubSubDeadLetterSourceTopicPublishTime": push.published,
                "pys-multi-reason": masked(why).encode()[:1000].decode(errors="ignore"),
            }
        )
        return self._publish(self._dead[trigger], letter, f"the dead letters of {trigger!r}")

    def _delayed(self, push: Push, trigger: str, kind: str, request: Request) -> Response:
        """A message with a delay: handed back until it is due, then sent anew, so that its attempts begin at 1."""
        topic = self._topics.get(trigger)
        left = push.due - time()
        if 0 < left <= _HOLD:
            sleep(left)
            left = 0
        if topic is None:
            return _EARLY if left > 0 else self._answer(self._run(push, trigger, kind, request))
        if left <= 0:
            return self._publish(topic, push.again(), f"the queue of {trigger!r}")
        if push.attempt < _MAX_ATTEMPTS - 1:
            return _EARLY
        # Once more, and the subscription would take it for dead.
        return self._publish(topic, push.again(**{DUE: push.attributes[DUE]}), f"the queue of {trigger!r}")

    def _publish(self, topic: str, entry: Json, what: str) -> Response:
        """Publishes a message that takes the place of this one; where that fails, this one comes again."""
        from pys_multi.errors import ResourceError
        from pys_multi_providers.gcp.resources import publish

        try:
            publish(self._google, topic, [entry], what=what)
        except ResourceError as error:
            import logging

            logging.getLogger("pys_multi").error("%s", error)
            return Response(status=500)
        return _DONE

    # ---- CloudEvents

    def _cloud_event(self, event: CloudEvent, trigger: str, kind: str, request: Request) -> Response:
        push = push_of_cloud_event(event)
        if push is not None:
            return self._push(push, trigger, kind, request)
        if kind in ("consume", "subscribe"):
            failures = self._messages(trigger, [message_of_cloud_event(event)], request)
            return self._answer(failures[0].error if failures else None)
        if kind == "schedule":
            return self._answer(self._event(event_of({"id": event.id, "time": event.time}), trigger, request))
        bucket = self._runtime.settings_of(trigger)["bucket"]
        created = object_event_of_cloud_event(event, bucket)
        return self._answer(self._event(self._fitting(created, trigger), trigger, request))

    def _answer(self, error: str | None) -> Response:
        return _DONE if error is None else Response(status=500)

    # ---- pys-multi's own

    def _own(self, found: Json, trigger: str, kind: str, request: Request) -> Response:
        """The envelope of schedules and of `invoke`: an answer says what failed, as {"failures": {id: why}}."""
        if kind in ("consume", "subscribe"):
            messages = messages_of(found["messages"], request.request_id)
            failed = self._messages(trigger, messages, request)
            failures = {failure.id: failure.error for failure in failed}
        else:
            # A job's body cannot hold when it was due: Scheduler says it beside it.
            due = request.headers.get("x-cloudscheduler-scheduletime")
            event = event_of({"id": due, **found["event"], "time": due} if due else found["event"])
            if not is_due(found, event.time):
                return Response.json(answer_of({}))
            error = self._event(event, trigger, request)
            failures = {} if error is None else {event.id: error}
        return Response.json(answer_of(failures), status=500 if failures else 200)


def _context_of(request: Request) -> Context:
    assert request.context is not None  # the adapter has made it
    return request.context


_DONE = Response(status=204)
#: Not a failure of the handler, and still to be delivered again.
_EARLY = Response(status=503)
