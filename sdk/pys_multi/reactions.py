"""How the handler of a schedule, queue, topic or bucket is called, and what of a batch failed."""

from __future__ import annotations

from _contextvars import copy_context
from os import urandom

from pys_multi.errors import DefinitionError, FieldError, HTTPError, InvalidInput, is_failure
from pys_multi.messages import Context, Event, Message, _current, current_context
from pys_multi.triggers import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pys_multi.app import App, Function, Reaction
    from pys_multi.triggers import Middleware

    Fill = Callable[[Any], Any]


class Failure:
    """A message that was not handled, and why; it is delivered again."""

    __slots__ = ("error", "id")

    def __init__(self, id: str, error: str) -> None:
        self.id = id
        self.error = error

    def __repr__(self) -> str:
        return f"Failure({self.id!r}, {self.error!r})"


def _silent(text: str, error: BaseException | None = None) -> None:
    """Where nobody reads a log."""


class Runner:
    """Calls one reaction's handler with what it asks for; log is told why a message failed.

    Raises DefinitionError for a handler that asks for what there is not.
    """

    def __init__(
        self,
        reaction: Reaction,
        middlewares: tuple[Middleware, ...],
        log: Callable[[str, BaseException | None], None] = _silent,
    ) -> None:
        self.reaction = reaction
        self._log = log
        call, self.takes_batch = _bind(reaction)
        self._step, self._must_await = call, is_async(reaction.handler)
        if middlewares:
            from pys_multi.middleware import wrap

            self._step, self._must_await = wrap(call, self._must_await, middlewares)

    def messages(self, messages: list[Message]) -> list[Failure]:
        """Hands messages over, together or one by one as the handler takes them. Never raises an Exception."""
        if not self.takes_batch:
            self._in_turn(messages, batch=False)
        else:
            error = self._run(messages)
            if error is not None:
                self._each_alone(messages, error)
        return [self._failure(message) for message in messages if message.error is not None]

    def _each_alone(self, messages: list[Message], error: BaseException) -> None:
        """Nobody knows which message it was: each is run alone, except for those that are known to have failed."""
        rest = [message for message in messages if message.error is None]
        if len(messages) == 1:
            for message in rest:
                message.error = error
            return
        self._log(f"{self.reaction.id} failed with a batch; its messages are run one by one", error)
        self._in_turn(rest, batch=True)

    def _in_turn(self, messages: list[Message], *, batch: bool) -> None:
        context = current_context()
        for message in messages:
            if context is not None and context.remaining() <= 0:
                message.fail("the deadline left no time for it")
                continue
            error = self._run([message] if batch else message)
            if error is not None:
                message.error = error

    def _run(self, value: Any) -> BaseException | None:
        try:
            self.event(value)
        except BaseException as error:
            if not is_failure(error):
                raise
            return error
        return None

    def event(self, value: Any) -> None:
        """Hands an event, or whatever the handler takes, over. Raises what the handler raised."""
        result = copy_context().run(self._step, value)  # no message sees the context variables of the one before
        if self._must_await or hasattr(result, "__await__"):
            from pys_multi.loop import run

            run(result)

    def _failure(self, message: Message) -> Failure:
        error = message.error
        cause = error if isinstance(error, BaseException) else None
        text = f"{type(error).__name__}: {error}" if cause is not None else str(error)
        self._log(f"{self.reaction.id} failed with message {message.id} at attempt {message.attempt}: {text}", cause)
        return Failure(message.id, text[:1000])


class Reactions:
    """The triggers of events in these functions of an app: message or event → runner, in a context of its own."""

    def __init__(
        self,
        app: App,
        functions: Iterable[Function],
        log: Callable[[str, BaseException | None], None],
        *,
        stage: str,
        build_id: str,
    ) -> None:
        self._app = app
        self._log = log
        self._stage = stage
        self._build_id = build_id
        self._here = {reaction.id: reaction for owner in functions for reaction in owner.reactions}
        self._runners: dict[str, Runner] = {}

    def messages(self, trigger: str, messages: list[Message], context: Context | None) -> list[Failure]:
        """See :meth:`pys_multi.runtime.Runtime.messages`, and so on."""
        runner = self.runner(trigger, ("consume", "subscribe"))
        token = _current.set(self._context(runner, context))
        try:
            return runner.messages(messages)
        finally:
            _current.reset(token)

    def event(self, trigger: str, event: Event, context: Context | None) -> None:
        runner = self.runner(trigger, ("schedule", "object"))
        token = _current.set(self._context(runner, context))
        try:
            runner.event(event)
        except BaseException as error:
            if not is_failure(error):
                raise
            self._log(f"{trigger} failed", error)
            if isinstance(error, Exception):
                raise
            raise RuntimeError(f"the handler raised {error!r}") from error
        finally:
            _current.reset(token)

    def object_event(self, event: Event, context: Context | None) -> None:
        failed: Exception | None = None
        for reaction in self._here.values():
            wanted = reaction.settings
            if (
                reaction.kind == "object"
                and (wanted["bucket"], wanted["event"]) == (event.bucket, event.kind)
                and event.key.startswith(wanted["prefix"])
                and event.key.endswith(wanted["suffix"])
            ):
                try:
                    self.event(reaction.id, event, context)
                except Exception as error:
                    failed = failed or error
        if failed is not None:
            raise failed

    def runner(self, trigger: str, kinds: tuple[str, ...] = ()) -> Runner:
        """The runner of a trigger, of one of these kinds. Raises LookupError."""
        runner = self._runners.get(trigger)
        if runner is None:
            reaction = self._here.get(trigger)
            if reaction is None:
                raise LookupError(f"no trigger {trigger!r} is here; there is {', '.join(self._here) or 'none'}")
            middlewares = (*self._app.middlewares, *reaction.function.middlewares)
            runner = self._runners[trigger] = Runner(reaction, middlewares, self._log)
        kind = runner.reaction.kind
        if kinds and kind not in kinds:
            raise LookupError(f"trigger {trigger!r} is of kind {kind}, not {' or '.join(kinds)}")
        return runner

    def _context(self, runner: Runner, context: Context | None) -> Context:
        context = context or Context(urandom(16).hex())
        context.service = self._app.name
        context.stage = self._stage
        context.build_id = self._build_id
        context.function = runner.reaction.function.name
        context.trigger = runner.reaction.id
        return context


def _bind(reaction: Reaction) -> tuple[Fill, bool]:
    """A function of the message, batch or event that calls the handler; and whether it takes a batch.

    Parameters are told apart by annotation: Message, list[Message], Event, Context; anything else is the body
    of the message: bytes and str as it came, other types from JSON, validated. Without an annotation the name
    `context` is the context, `batch` and `messages` are the batch, any other name is the message or event (the
    batch where the trigger has one, unless it is named `message`). A parameter with a default that is not
    annotated so keeps it.
    """
    from pys_multi.parameters import REQUIRED, annotations_of, signature_of
    from pys_multi.triggers import place_of

    handler = reaction.handler
    where = f"{place_of(handler)}: {getattr(handler, '__name__', handler)}()"
    try:
        annotations, signature = annotations_of(handler), signature_of(handler)
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error}") from None
    positional: list[Fill] = []
    named: dict[str, Fill] = {}
    kinds = []
    for name, default, keyword in signature:
        annotation = annotations.get(name)
        if getattr(annotation, "__module__", "") == "typing" and getattr(annotation, "__name__", "") == "Any":
            annotation = None  # says as much
        kind = _kind_of(name, annotation, reaction, f"{where}: parameter {name!r}")
        if default is not REQUIRED and (annotation is None or kind == "body"):
            continue
        kinds.append(kind)
        fill = _context if kind == "context" else _payload(annotation, handler, where) if kind == "body" else _itself
        if keyword:
            named[name] = fill
        else:
            positional.append(fill)
    if ("batch" in kinds and {"message", "body"}.intersection(kinds)) or kinds.count("body") > 1:
        raise DefinitionError(f"{where} takes one of: a batch, or a message and its body")
    if positional == [_itself] and not named:
        return handler, "batch" in kinds
    if not positional and not named:
        return (lambda _: handler()), False

    def call(value: Any) -> Any:
        return handler(*[fill(value) for fill in positional], **{name: fill(value) for name, fill in named.items()})

    return call, "batch" in kinds


def _kind_of(name: str, annotation: Any, reaction: Reaction, where: str) -> str:
    if annotation is Context or (annotation is None and name == "context"):
        return "context"
    if reaction.kind not in ("consume", "subscribe"):
        if annotation in (None, Event, object):
            return "event"
        raise DefinitionError(f"{where} is an Event or a Context: a trigger of kind {reaction.kind} has nothing else")
    if annotation is None:
        several = name in ("batch", "messages") or (reaction.settings.get("batch", 1) > 1 and name != "message")
        return "batch" if several else "message"
    if annotation is Message:
        return "message"
    return "batch" if _is_message_list(annotation) else "body"


def _itself(value: Any) -> Any:
    return value


def _context(_: Any) -> Context | None:
    return current_context()


def _is_message_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is list and annotation.__args__ == (Message,)


def _payload(annotation: Any, handler: Any, where: str) -> Fill:
    # What send() and publish() put on the wire as it is comes back as it was.
    if annotation is bytes:
        return lambda message: message.body
    if annotation is str:
        return lambda message: message.text
    from pys_multi.encoding import parse_json
    from pys_multi.scalars import Invalid, field_path
    from pys_multi.validation import decoder

    try:
        decode = decoder(annotation, getattr(handler, "__globals__", {}))
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error}") from None

    def read(message: Message) -> Any:
        try:
            return decode(parse_json(message.body))
        except HTTPError as error:  # how the body of a request that is not JSON is answered
            problems = [FieldError("body", "", error.detail)]
        except Invalid as error:
            problems = [FieldError("body", field_path(path), why) for path, why in error.problems]
        raise InvalidInput(problems)

    return read
