"""What the functions of ``function_app.py`` call: the worker's values in, the same to the user's code as everywhere.

Ships with the user's code, standard library only, beside azure-functions and azurefunctions-extensions-base, which are
part of every worker. HTTP is in ``streaming.py`` and ``objects.py``, everything else in ``events.py`` and
``batches.py``. Which queue, topic or timer means which trigger is in the app's settings, written by the template.
"""

from __future__ import annotations

import sys
from atexit import register
from os import environ
from time import time

from pys_multi.encoding import parse_json
from pys_multi.errors import HTTPError
from pys_multi.http import Request, Response
from pys_multi.messages import Context, Message, is_trace
from pys_multi.runtime import load
from pys_multi_providers.azure.deadlines import Deadlines, TimeIsUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import ThreadPoolExecutor
    from typing import Any

    from pys_multi.app import App, Reaction
    from pys_multi.backend import Backend
    from pys_multi.runtime import Runtime
    from pys_multi_providers.azure.batches import Inbox

    Json = dict[str, Any]

#: App setting: {id of a trigger: {"queue": …} | {"topic": …, "subscription": …} | {"schedule": NCRONTAB}, with
#: "attempts", how often a message is delivered at most}.
EVENTS = "PYS_MULTI_EVENTS"
#: Below it is the trigger that an event by hand is for.
_BY_HAND = "/.pys-multi/events/"
#: What is known of who has a key of the app.
_KEY_HOLDER = {"by": "function key"}


class NotHandled(Exception):
    """A message or event failed; why is in the log. Azure delivers it again."""


class Entry:
    """One app's functions. streamed: the class of requests that come through the worker's own server, None without."""

    def __init__(self, runtime: Runtime, events: dict[str, Json], streamed: type | None = None) -> None:
        self.function = runtime.function
        self._runtime = runtime
        self._events = events
        self._streamed = streamed
        self._deadlines = Deadlines()
        owner = runtime.app.functions[runtime.function]
        self._timeout = owner.timeout
        self._concurrency = owner.concurrency
        self._reactions = {reaction.id: reaction for reaction in owner.reactions}
        self._inboxes: dict[str, Inbox] = {}
        self._threads: ThreadPoolExecutor | None = None

    def knows(self, trigger: str) -> bool:
        """Whether the app's settings have a trigger: a deploy that takes one away changes them before the code."""
        return trigger in self._events

    def setting(self, trigger: str, name: str) -> str:
        """What the app's settings say of a trigger. Raises LookupError."""
        value = self._events.get(trigger, {}).get(name)
        if not isinstance(value, str):
            raise LookupError(f"{EVENTS} of this app has no {name!r} for trigger {trigger!r}: deploy the service again")
        return value

    # ---- HTTP

    def from_anyone(self, given: Any, context: Any) -> Any:
        """A request through a route that needs no key."""
        return self._http(given, context, self._runtime.http, None)

    def from_known(self, given: Any, context: Any) -> Any:
        """A request whose caller had a key of the app."""
        return self._http(given, context, self._runtime.http, _KEY_HOLDER)

    def by_hand(self, given: Any, context: Any) -> Any:
        """An event that whoever has a key of the app makes: messages, an object's event, a schedule's tick."""
        return self._http(given, context, self._own, _KEY_HOLDER)

    def _http(self, given: Any, context: Any, answer: Callable[[Request], Response], principal: object) -> Any:
        is_streamed = type(given) is self._streamed
        if is_streamed:
            request, fields = given.request, given.headers
            deadline = self._told(request, fields, context, principal)
            return self._streamed_answer(request, answer, deadline, given.error)
        from pys_multi_providers.azure.objects import request_of, respond

        request, fields = request_of(given)
        deadline = self._told(request, fields, context, principal)
        try:
            return self._deadlines.run(lambda request: respond(answer(request), request.method), request, deadline)
        except (Exception, TimeIsUp) as failure:  # a stream that broke off
            return respond(self._refuse(request, failure), request.method)

    def _told(self, request: Request, fields: Mapping[str, str], context: Any, principal: object) -> float:
        """Tells a request what is known of its invocation. fields: by their names in lower case. The deadline."""
        deadline = time() + self._timeout
        request.context = about = Context(context.invocation_id, deadline=deadline)
        trace = fields.get("traceparent")
        about.trace_parent = trace if trace is not None and is_trace(trace) else _trace_of(context)
        request.principal = principal
        return deadline

    def _streamed_answer(
        self, request: Request, answer: Callable[[Request], Response], deadline: float, error: HTTPError | None
    ) -> Any:
        from pys_multi_providers.azure.streaming import Outgoing

        try:
            response = self._deadlines.run(answer, request, deadline) if error is None else self._refuse(request, error)
        except (Exception, TimeIsUp) as failure:
            response = self._refuse(request, failure)
        return Outgoing(
            response,
            lambda chunks: self._deadlines.run(_next, chunks, deadline),
            lambda failure: self._refuse(request, failure),
            lambda failure: self._runtime.broke_off(request, failure),
        )

    def _refuse(self, request: Request, error: BaseException) -> Response:
        if isinstance(error, TimeIsUp):
            refusal = HTTPError(504, "the request took longer than its function may take")
            return self._runtime.refuse(request, refusal, cause=error)
        if isinstance(error, HTTPError):
            return self._runtime.refuse(request, error)
        assert isinstance(error, Exception)
        return self._runtime.refuse(request, error)

    # ---- messages, blobs and timers

    async def message(self, trigger: str, given: Any, context: Any) -> None:
        """A message of Service Bus. Raises NotHandled where it failed."""
        from pys_multi_providers.azure.events import message_of

        about = Context(context.invocation_id, trace_parent=_trace_of(context))
        failure = await self._inbox(trigger).handle(message_of(given), about)
        if failure:
            raise NotHandled(failure)

    def _inbox(self, trigger: str) -> Inbox:
        inbox = self._inboxes.get(trigger)
        if inbox is None:
            from concurrent.futures import ThreadPoolExecutor

            from pys_multi_providers.azure.batches import Inbox

            reaction = self._reactions[trigger]
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._concurrency, "pys-multi-message")
            inbox = self._inboxes[trigger] = Inbox(
                lambda messages, about: self._handle(reaction, messages, about),
                self._threads,
                batch=reaction.settings.get("batch", 1),
                window=reaction.settings.get("window", 0.0),
                visibility=_visibility(self._runtime.app, reaction),
                attempts=int(self._events.get(trigger, {}).get("attempts", 1)),
            )
        return inbox

    def _handle(self, reaction: Reaction, messages: list[Message], about: Context) -> dict[str, str]:
        """What of a batch failed, id → why."""
        from pys_multi.logs import masked

        about.deadline = deadline = time() + self._timeout
        try:
            if reaction.kind == "object":
                return self._deadlines.run(lambda found: self._blobs(reaction, found, about), messages, deadline)
            failures = self._deadlines.run(
                lambda found: self._runtime.messages(reaction.id, found, about), messages, deadline
            )
            return {failure.id: masked(failure.error) for failure in failures}
        except (Exception, TimeIsUp) as error:
            why = "its function's time was up" if isinstance(error, TimeIsUp) else f"{type(error).__name__}: {error}"
            return {message.id: masked(why) for message in messages}

    def _blobs(self, reaction: Reaction, messages: list[Message], about: Context) -> dict[str, str]:
        from pys_multi_providers.azure.events import events_of_blobs

        for message in messages:
            bucket = reaction.settings["bucket"]
            for event in events_of_blobs(message.body, bucket, message.attempt, message.sent_at):
                self._runtime.event(reaction.id, event, about)
        return {}

    def timer(self, trigger: str, given: Any, context: Any) -> None:
        """A run of a timer, which is one of its schedule unless that has no tick then. Raises what the handler did."""
        from pys_multi.events import without_secrets
        from pys_multi.messages import Event
        from pys_multi.schedules import parse
        from pys_multi_providers.azure.events import due_at

        settings = self._reactions[trigger].settings
        due = due_at(given, parse(settings["expression"], settings["timezone"]))
        if due is None:
            return
        deadline = time() + self._timeout
        about = Context(context.invocation_id, trace_parent=_trace_of(context), deadline=deadline)
        event = Event("schedule", id=f"{trigger}/{due:.0f}", time=due)
        try:
            self._deadlines.run(lambda found: self._runtime.event(trigger, found, about), event, deadline)
        except TimeIsUp:
            raise NotHandled(f"{trigger}: its function's time was up") from None
        except Exception as error:
            raise without_secrets(error) from None

    # ---- by hand

    def _own(self, request: Request) -> Response:
        """The answer to an envelope: {"messages": […]} or {"event": {…}}, or {"health": true}."""
        from pys_multi.events import answer_of

        envelope = request.json()
        if not isinstance(envelope, dict):
            raise HTTPError(400, "an envelope is a JSON object")
        if envelope.get("health"):
            return Response.json(self._runtime.health())
        assert request.context is not None
        trigger = request.path.partition(_BY_HAND)[2]
        reaction = self._reactions.get(trigger)
        if reaction is None:
            raise HTTPError(404, f"no trigger {trigger!r} is here; there is {', '.join(self._reactions) or 'none'}")
        return Response.json(answer_of(self._by_hand(reaction, envelope, request.context)))

    def _by_hand(self, reaction: Reaction, envelope: Json, about: Context) -> dict[str, str]:
        from pys_multi.events import event_of, messages_of

        if reaction.kind in ("consume", "subscribe"):
            messages = messages_of(envelope.get("messages", []), about.request_id)
            failures = self._runtime.messages(reaction.id, messages, about)
            return {failure.id: failure.error for failure in failures}
        event = event_of(envelope.get("event", {}))
        try:
            self._runtime.event(reaction.id, event, about)
        except Exception as error:
            return {event.id or reaction.id: f"{type(error).__name__}: {error}"}
        return {}


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _visibility(app: App, reaction: Reaction) -> float | None:
    queue: Any = app.resources.get(reaction.settings.get("queue", ""))
    return None if queue is None or queue.visibility is None else float(queue.visibility)


def known_to_azure(request: Request) -> object:
    """The authenticator of private routes: they answer who came through a route that asks for a key."""
    if request.principal is None:
        raise HTTPError(403, "this route is private: send a key of the function app in x-functions-key")
    return request.principal


def _trace_of(context: Any) -> str:
    """The trace that the host has continued or begun for an invocation."""
    found = getattr(context.trace_context, "trace_parent", None)
    return found if isinstance(found, str) and is_trace(found) else ""


# ---- start


def connect(app: App) -> Backend:
    """The resources of the service on Azure."""
    from pys_multi_providers.azure.resources import AzureBackend

    return AzureBackend(app)


def start(directory: str) -> Entry:
    """The functions of the bundle in a directory."""
    if not environ.get("PYS_MULTI_FUNCTION"):
        raise LookupError("the app's settings have no PYS_MULTI_FUNCTION: deploy the service again")
    from pys_multi_providers.azure.logs import take_over

    take_over()
    runtime = load(directory, connect=connect, private=known_to_azure)
    runtime.start()
    register(runtime.stop)
    return Entry(runtime, parse_json(environ.get(EVENTS, "{}")), _streamed())


def _streamed() -> type | None:
    """The class of requests that the worker's own server makes, None where the worker has none."""
    try:
        from pys_multi_providers.azure.streaming import Incoming
    except ImportError as error:
        if error.name is None or not error.name.startswith("azurefunctions"):
            raise
        sys.modules.pop("pys_multi_providers.azure.streaming", None)
        return None
    return Incoming
