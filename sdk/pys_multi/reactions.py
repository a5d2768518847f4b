"""How the handler of a schedule, queue, topic or bucket is called, and what of a batch failed."""

from __future__ import annotations

from pys_multi.errors import DefinitionError
from pys_multi.messages import Context, Event, Message, current_context
from pys_multi.runtime import is_async, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pys_multi.app import Middleware, Reaction


class Failure:
    """A message that was not handled, and why; it is delivered again."""

    __slots__ = ("error", "id")

    def __init__(self, id: str, error: str) -> None:
        self.id = id
        self.error = error

    def __repr__(self) -> str:
        return f"Failure({self.id!r}, {self.error!r})"


class Runner:
    """Calls one reaction's handler with what it asks for."""

    def __init__(self, reaction: Reaction, middlewares: tuple[Middleware, ...]) -> None:
        self.reaction = reaction
        handler = reaction.handler
        self._call, self.takes_batch = _bind(reaction)
        self._chain, self._async = wrap(self._call, is_async(handler), middlewares)

    def messages(self, messages: list[Message]) -> list[Failure]:
        """Hands messages over, together or one by one as the handler takes them. Never raises for a handler."""
        if not self.takes_batch:
            for message in messages:
                self._one(message, message)
        else:
            error = self._run(messages)
            if error is not None:
                if len(messages) == 1:
                    messages[0].error = messages[0].error or error
                else:
                    # Nobody knows which message it was: each one is run alone, and only the guilty fail.
                    self._each_alone(messages, error)
        return [_failure(message) for message in messages if message.error is not None]

    def _each_alone(self, messages: list[Message], error: Exception) -> None:
        context = current_context()
        for message in messages:
            message.error = None
        for position, message in enumerate(messages):
            if context is not None and context.remaining() <= 0:
                for late in messages[position:]:
                    late.error = error
                return
            self._one(message, [message])

    def _one(self, message: Message, value: Message | list[Message]) -> None:
        error = self._run(value)
        if error is not None:
            message.error = error

    def _run(self, value: Any) -> Exception | None:
        try:
            self._invoke(value)
        except Exception as error:
            import logging

            logging.getLogger("pys_multi").exception("%s failed", self.reaction.id)
            return error
        return None

    def event(self, event: Event) -> None:
        """Hands an event over. Raises what the handler raised."""
        self._invoke(event)

    def _invoke(self, value: Any) -> None:
        result = self._chain(value)
        if self._async or hasattr(result, "__await__"):
            from pys_multi.loop import run

            run(result)


def _failure(message: Message) -> Failure:
    error = message.error
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
    return Failure(message.id, text[:1000])


def _bind(reaction: Reaction) -> tuple[Callable[[Any], Any], bool]:
    """A function of the message, batch or event that calls the handler; and whether it takes a batch.

    Parameters are told apart by annotation: Message, list[Message], Event, Context; anything else is the body
    of the message, validated. Without an annotation: the name `batch` or `messages` is the batch, `context`
    the context, any other name the message or event.
    """
    from pys_multi.app import place_of
    from pys_multi.parameters import annotations_of

    handler = reaction.handler
    annotations = annotations_of(handler)
    where = f"{place_of(handler)}: {getattr(handler, '__name__', handler)}"
    several = reaction.settings.get("batch", 1) > 1
    fill: dict[str, Callable[[Any], Any]] = {}
    batch = False
    for name in _parameters(handler):
        annotation = annotations.get(name)
        if annotation is Context or (annotation is None and name == "context"):
            fill[name] = _context
        elif reaction.kind not in ("consume", "subscribe"):
            if annotation not in (None, Event, object):
                raise DefinitionError(
                    f"{where}: parameter {name!r} of a {reaction.kind} handler is an Event or a Context"
                )
            fill[name] = _itself
        elif annotation is None:
            batch = batch or name in ("batch", "messages") or (several and name != "message")
            fill[name] = _itself
        elif annotation is Message or _is_message_list(annotation):
            batch = batch or annotation is not Message
            fill[name] = _itself
        else:
            fill[name] = _payload(annotation, handler)
    if batch and any(function is not _itself and function is not _context for function in fill.values()):
        raise DefinitionError(f"{where} takes a batch and the body of one message: take one or the other")
    if not fill:
        return (lambda _: handler()), False
    if list(fill.values()) == [_itself]:
        return handler, batch
    return (lambda value: handler(**{name: function(value) for name, function in fill.items()})), batch


def _itself(value: Any) -> Any:
    return value


def _context(_: Any) -> Context | None:
    return current_context()


def _is_message_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is list and annotation.__args__ == (Message,)


def _payload(annotation: Any, handler: Any) -> Callable[[Message], Any]:
    from pys_multi.encoding import parse_json
    from pys_multi.validation import decoder

    decode = decoder(annotation, getattr(handler, "__globals__", {}))
    return lambda message: decode(parse_json(message.body))


def _parameters(handler: Any) -> tuple[str, ...]:
    code = getattr(handler, "__code__", None)
    if code is None:
        handler = handler.__call__
        code = handler.__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names[1:] if names and hasattr(handler, "__self__") else names
