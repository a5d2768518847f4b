"""The dispatch path of events: messages one by one and in batches, schedules, objects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import App, Context, DefinitionError, Event, Message, current_context
from pys_multi.runtime import Runtime


@dataclass
class Order:
    sku: str
    amount: int = 1


def consume(handler: Callable[..., Any], *, batch: int = 1) -> Callable[..., list[str]]:
    """A function that gives message bodies to the handler and returns the ids of those that failed."""
    app = App("shop")
    app.function("worker").consume(app.queue("orders"), batch=batch)(handler)
    runtime = Runtime(app, logs=False)
    trigger = app.service().functions[0].triggers[0].id

    def send(*bodies: bytes, deadline: float | None = None) -> list[str]:
        messages = [Message(body, id=str(index)) for index, body in enumerate(bodies)]
        failures = runtime.messages(trigger, messages, Context("1", deadline=deadline))
        return [failure.id for failure in failures]

    return send


# ---- one message at a time


def test_a_message_that_fails_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    def handle(message: Message) -> None:
        if message.body == b"bad":
            raise ValueError("no such sku")

    assert consume(handle)(b"a", b"bad", b"c", b"bad") == ["1", "3"]
    assert "worker:handle failed with message 1 at attempt 1: ValueError: no such sku" in caplog.text
    assert caplog.records[0].exc_info is not None


def test_a_message_can_be_failed_without_an_exception() -> None:
    def handle(message: Message) -> None:
        if message.body == b"bad":
            message.fail("not yet")

    assert consume(handle)(b"a", b"bad") == ["1"]


def test_async_handlers_and_wrapped_ones() -> None:
    async def handle(message: Message) -> None:
        await asyncio.sleep(0)
        message.json()

    @wraps(handle)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return handle(*args, **kwargs)

    class Handler:
        def __call__(self, message: Message) -> None:
            message.json()

    for handler in (handle, wrapped, Handler(), Handler().__call__):
        assert consume(handler)(b"1", b"x", b"2") == ["1"]


# ---- what a handler may ask for


def test_parameters_are_told_apart_by_annotation() -> None:
    seen: list[Any] = []

    def everything(order: Order, message: Message, context: Context, *, raw: Message, times: int = 3) -> None:
        seen.append((order, message.id, context.trigger, raw is message, times))

    assert consume(everything)(b'{"sku":"a"}') == []
    assert seen == [(Order("a"), "0", "worker:everything", True, 3)]


@pytest.mark.parametrize(
    ("annotation", "body", "value"),
    [
        (Order, b'{"sku":"a","amount":2}', Order("a", 2)),
        (dict, b'{"sku":"a"}', {"sku": "a"}),
        (list[int], b"[1,2]", [1, 2]),
        (str, b"hello", "hello"),  # queue.send("hello") puts the text on the wire as it is
        (bytes, b"\xff", b"\xff"),
        (int, b"5", 5),
    ],
)
def test_the_body_is_what_the_handler_asks_for(annotation: Any, body: bytes, value: Any) -> None:
    seen: list[Any] = []

    def handle(payload: Any) -> None:
        seen.append(payload)

    handle.__annotations__ = {"payload": annotation}
    assert consume(handle)(body) == []
    assert seen == [value]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "body: the body is not valid JSON"),
        (b'{"amount":"x"}', "sku"),
        (b'{"sku":"a","amount":"x"}', "body amount: must be an integer"),
    ],
)
def test_a_body_that_does_not_fit_fails_its_message_alone(
    body: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(order: Order) -> None: ...

    assert consume(handle)(b'{"sku":"a"}', body) == ["1"]
    assert why.replace(" :", ":") in caplog.text.replace(" :", ":")


@pytest.mark.parametrize(
    ("batch", "name", "is_batch"),
    [
        (1, "message", False),
        (1, "anything", False),
        (1, "batch", True),
        (1, "messages", True),
        (10, "message", False),
        (10, "anything", True),
    ],
)
def test_without_annotations_the_name_and_the_trigger_say_what_is_meant(batch: int, name: str, is_batch: bool) -> None:
    seen: list[Any] = []
    namespace: dict[str, Any] = {"seen": seen}
    exec(f"def handle({name}, context, retries=3): seen.append(({name}, retries))", namespace)
    assert consume(namespace["handle"], batch=batch)(b"a", b"b") == []
    assert len(seen) == (1 if is_batch else 2)
    assert all(isinstance(value, list if is_batch else Message) and retries == 3 for value, retries in seen)


def two_bodies(a: Order, b: Order) -> None: ...
def batch_and_body(batch: list[Message], order: Order) -> None: ...
def batch_and_message(batch: list[Message], message: Message) -> None: ...
def arguments(*args: Any) -> None: ...
def impossible(order: Callable[[], None]) -> None: ...
def schedule_of_a_message(message: Message) -> None: ...


@pytest.mark.parametrize("handler", [two_bodies, batch_and_body, batch_and_message, arguments, impossible])
def test_a_handler_that_asks_for_the_impossible_is_told_where_and_what(handler: Callable[..., Any]) -> None:
    with pytest.raises(DefinitionError, match=rf"test_reactions\.py:\d+: {handler.__name__}\(\)"):
        consume(handler)(b"{}")


def test_a_schedule_has_no_message() -> None:
    app = App("shop")
    app.every("1 hour")(schedule_of_a_message)
    with pytest.raises(DefinitionError, match="an Event or a Context"):
        Runtime(app, logs=False).event("main:schedule_of_a_message", Event("schedule"))


# ---- batches


def test_with_attributes_an_exception_to_its_message() -> None:
    handled: list[bytes] = []

    def handle(batch: list[Message]) -> None:
        for message in batch:
            with message:
                if message.body == b"bad":
                    raise ValueError
                handled.append(message.body)

    assert consume(handle, batch=10)(b"a", b"bad", b"c") == ["1"]
    assert handled == [b"a", b"c"]


def test_with_lets_what_is_no_exception_of_the_handler_through() -> None:
    def handle(batch: list[Message]) -> None:
        for message in batch:
            with message:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume(handle, batch=10)(b"a")


def test_an_exception_of_the_batch_finds_the_guilty_by_running_each_alone(caplog: pytest.LogCaptureFixture) -> None:
    sizes: list[int] = []

    def handle(batch: list[Message]) -> None:
        sizes.append(len(batch))
        for message in batch:
            if message.body == b"bad":
                raise ValueError("bad")

    assert consume(handle, batch=10)(b"a", b"bad", b"c") == ["1"]
    assert sizes == [3, 1, 1, 1]
    assert "run one by one" in caplog.text


def test_a_batch_of_one_is_not_run_twice() -> None:
    sizes: list[int] = []

    def handle(batch: list[Message]) -> None:
        sizes.append(len(batch))
        raise ValueError

    assert consume(handle, batch=10)(b"a") == ["0"]
    assert sizes == [1]


def test_messages_that_are_known_to_have_failed_are_not_run_again() -> None:
    runs: list[list[str]] = []

    def handle(batch: list[Message]) -> None:
        runs.append([message.id for message in batch])
        if len(batch) > 1:
            batch[0].fail("known")
            raise ValueError

    assert consume(handle, batch=10)(b"a", b"b", b"c") == ["0"]
    assert runs == [["0", "1", "2"], ["1"], ["2"]]


def test_what_the_deadline_leaves_no_time_for_is_delivered_again() -> None:
    runs: list[int] = []

    def handle(batch: list[Message]) -> None:
        runs.append(len(batch))
        raise ValueError

    assert consume(handle, batch=10)(b"a", b"b", deadline=time.time() - 1) == ["0", "1"]
    assert runs == [2]

    def handle_one(message: Message) -> None:
        runs.append(0)

    assert consume(handle_one)(b"a", b"b", deadline=time.time() - 1) == ["0", "1"]
    assert runs == [2]


@given(
    st.lists(st.sampled_from(["ok", "fail", "mark", "with"]), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_exactly_the_guilty_fail(plan: list[str], asynchronous: bool, middleware: bool) -> None:
    """Whatever way a message fails, and wherever in the batch: nothing that succeeded fails, nothing is lost."""
    succeeded: set[str] = set()

    def work(batch: list[Message]) -> None:
        for message in batch:
            kind = plan[int(message.id)]
            if kind == "fail":
                raise ValueError
            if kind == "mark":
                message.fail()
                continue
            with message:
                if kind == "with":
                    raise ValueError
                succeeded.add(message.id)

    async def work_async(batch: list[Message]) -> None:
        work(batch)

    app = App("shop")
    app.consume(app.queue("orders"), batch=10)(work_async if asynchronous else work)
    if middleware:
        app.middleware(lambda value, call_next: call_next(value))
    runtime = Runtime(app, logs=False)
    messages = [Message(b"", id=str(index)) for index in range(len(plan))]
    failures = {failure.id for failure in runtime.messages(app.functions["main"].reactions[0].id, messages)}
    guilty = {str(index) for index, kind in enumerate(plan) if kind != "ok"}
    assert failures == guilty
    assert succeeded == {str(index) for index in range(len(plan))} - guilty


# ---- events


def test_events_of_schedules_and_buckets() -> None:
    app = App("shop")
    files = app.bucket("files")
    seen: list[Any] = []
    worker = app.function("worker")

    @worker.every("1 hour")
    def nothing() -> None:
        seen.append(current_context())

    @worker.schedule("0 6 * * *")
    async def when(event: Event, context: Context) -> None:
        seen.append((event.time, context.trigger))

    @worker.created(files, prefix="in/", suffix=".pdf")
    def index(event: Any) -> None:
        seen.append(event.key)

    @worker.deleted(files)
    def forget(whatever: Event) -> None:
        raise ValueError("no")

    runtime = Runtime(app, "worker", stage="dev", logs=False)
    runtime.event("worker:nothing", Event("schedule"))
    runtime.event("worker:when", Event("schedule", time=5.0))
    runtime.event("worker:index", Event("created", bucket="files", key="a"))
    assert seen[0].stage == "dev"
    assert seen[0].function == "worker"
    assert seen[1:] == [(5.0, "worker:when"), "a"]
    with pytest.raises(ValueError, match="no"):
        runtime.event("worker:forget", Event("deleted"))
    assert current_context() is None
    runtime.stop()


def test_an_object_event_goes_to_every_trigger_that_it_fits() -> None:
    app = App("shop")
    files, others = app.bucket("files"), app.bucket("others")
    seen: list[str] = []

    def note(name: str) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            seen.append(name)
            if event.key.endswith("bad.pdf"):
                raise ValueError(name)

        return handle

    app.created(files, prefix="in/", suffix=".pdf")(note("pdf"))
    app.created(files)(note("all"))
    app.deleted(files)(note("deleted"))
    app.created(others)(note("others"))
    runtime = Runtime(app, logs=False)
    runtime.object_event(Event("created", bucket="files", key="in/a.pdf"))
    runtime.object_event(Event("created", bucket="files", key="out/a.pdf"))
    assert seen == ["pdf", "all", "all"]
    with pytest.raises(ValueError, match="pdf"):
        runtime.object_event(Event("created", bucket="files", key="in/bad.pdf"))
    assert seen[3:] == ["pdf", "all"]


def test_middleware_stands_around_events_as_well() -> None:
    app = App("shop")
    steps: list[Any] = []

    @app.middleware
    async def outer(value: Any, call_next: Callable[[Any], Any]) -> None:
        context = current_context()
        steps.append((type(value), context.trigger if context else None))
        await call_next(value)

    @app.middleware
    def inner(value: Any, call_next: Callable[[Any], Any]) -> None:
        try:
            call_next(value)
        except ZeroDivisionError:
            steps.append("rescued")

    @app.consume(app.queue("orders"))
    def ship(message: Message) -> None:
        raise ZeroDivisionError

    @app.every("1 hour")
    async def tick() -> None:
        raise ZeroDivisionError

    runtime = Runtime(app, logs=False)
    assert runtime.messages("main:ship", [Message(b"", id="1")]) == []
    runtime.event("main:tick", Event("schedule"))
    assert steps == [(Message, "main:ship"), "rescued", (Event, "main:tick"), "rescued"]
    runtime.stop()


def test_a_trigger_that_is_not_here_is_told() -> None:
    app = App("shop")
    app.function("one").every("1 hour")(lambda: None)
    app.function("two").consume(app.queue("q"))(lambda message: None)
    runtime = Runtime(app, "one", logs=False)
    with pytest.raises(LookupError, match="no trigger 'two:consume' is here; there is one:schedule"):
        runtime.messages("two:consume", [])
    with pytest.raises(LookupError, match="of kind schedule, not consume or subscribe"):
        runtime.messages("one:schedule", [])
    assert runtime.kind_of("one:schedule") == "schedule"


def test_no_message_sees_the_context_variables_of_the_one_before() -> None:
    app = App("shop")
    orders = app.queue("orders")
    worker = app.function("worker")
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen = []

    @worker.consume(orders)
    def ship(message: Message) -> None:
        seen.append(user.get())
        user.set(message.text)

    @worker.every("1 hour")
    def report() -> None:
        seen.append(user.get())

    runtime = Runtime(app, logs=False)
    assert runtime.messages("worker:ship", [Message.of("ann"), Message.of("bob")]) == []
    runtime.event("worker:report", Event("schedule"))
    assert seen == ["nobody"] * 3
