"""Once per key, against the tables of the local provider, through the runtime."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pys_multi import App, Message, Request, Response, idempotency_key, idempotent
from pys_multi.errors import ConditionFailed, DefinitionError, HTTPError, ResourceError
from pys_multi.idempotency import InProgress, KeyReused, attempt
from pys_multi.messages import Context, _current
from pys_multi.parameters import bind
from pys_multi_tools.testing import Client


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pys_multi.idempotency.time", made)
    return made


@dataclass
class Order:
    id: str
    total: int = 1


class Shop:
    """An app with a store, and what happened in it."""

    def __init__(self) -> None:
        self.app = App("shop")
        self.store = self.app.table("seen", key="id")
        self.events: list[Any] = []

    def handler(self, **options: Any) -> Any:
        def ship(order: Order) -> dict[str, Any]:
            self.events.append((order.id, attempt(), idempotency_key()))
            if order.id == "fails" and attempt() < 3:
                raise LookupError("not in stock")
            return {"shipped": order.id, "run": len(self.events)}

        return idempotent(**{"key": lambda order: order.id, "store": self.store, **options})(ship)


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    with Client(made.app):
        yield made


def test_the_second_delivery_gets_the_result_of_the_first(shop: Shop) -> None:
    ship = shop.handler()
    assert ship(Order("a")) == {"shipped": "a", "run": 1}
    assert ship(Order("a")) == {"shipped": "a", "run": 1}
    assert ship(Order("b")) == {"shipped": "b", "run": 2}
    assert [event[0] for event in shop.events] == ["a", "b"]


def test_while_it_runs_a_second_one_is_told_to_come_back(shop: Shop, clock: Clock) -> None:
    inside, leave = threading.Event(), threading.Event()

    @idempotent(key=lambda order: order.id, store=shop.store, lease=60)
    def ship(order: Order) -> str:
        inside.set()
        assert leave.wait(20)
        return "shipped"

    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(ship(Order("a"))))
    thread.start()
    assert inside.wait(20)
    with pytest.raises(InProgress) as caught:
        ship(Order("a"))
    assert caught.value.status == 409
    assert 60 <= int(caught.value.headers["retry-after"]) <= 62
    leave.set()
    thread.join()
    assert results == ["shipped"]
    assert ship(Order("a")) == "shipped"


def test_of_many_at_once_one_runs(shop: Shop) -> None:
    ship = shop.handler()
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def deliver() -> None:
        start.wait()
        try:
            ship(Order("a"))
            outcomes.append("result")
        except InProgress:
            outcomes.append("in progress")

    threads = [threading.Thread(target=deliver) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert len(shop.events) == 1


class Crash(BaseException):
    """The process ends here: nothing after it runs."""


@pytest.mark.parametrize("where", ["before the effect", "after the effect"])
def test_after_a_crash_it_runs_again_with_the_same_key_once_the_lease_is_over(
    shop: Shop, clock: Clock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    charged: dict[str, int] = {}  # a payment service that knows keys
    seen: list[tuple[str, int]] = []

    @idempotent(key=lambda order: order.id, store=shop.store, lease=60)
    def charge(order: Order) -> str:
        seen.append((idempotency_key(), attempt()))
        if where == "before the effect" and attempt() == 1:
            raise Crash
        charged.setdefault(idempotency_key(), order.total)
        if attempt() == 1:
            raise Crash
        return "charged"

    with monkeypatch.context() as dead:
        dead.setattr("pys_multi.idempotency._Guard.release", lambda *_: None)  # a dead process writes nothing
        with pytest.raises(Crash):
            charge(Order("a"))
    with pytest.raises(InProgress):
        charge(Order("a"))
    clock.now += 62
    assert charge(Order("a")) == "charged"
    assert len(charged) == 1
    (first_key, first), (second_key, second) = seen
    assert first_key == second_key
    assert len(first_key) == 64
    assert (first, second) == (1, 2)


def test_a_failed_run_may_be_repeated_at_once(shop: Shop) -> None:
    ship = shop.handler()
    for number in (1, 2):
        with pytest.raises(LookupError, match="not in stock"):
            ship(Order("fails"))
        assert shop.events[-1][1] == number
    assert ship(Order("fails"))["run"] == 3
    assert ship(Order("fails"))["run"] == 3


def test_a_result_is_forgotten_after_its_time(shop: Shop, clock: Clock) -> None:
    ship = shop.handler(ttl=100)
    assert ship(Order("a"))["run"] == 1
    clock.now += 99
    assert ship(Order("a"))["run"] == 1
    clock.now += 3
    assert ship(Order("a"))["run"] == 2
    assert [event[1] for event in shop.events] == [1, 1]


def test_the_lease_lasts_until_the_deadline_of_the_invocation(
    shop: Shop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    @idempotent(key=lambda name: name, store=shop.store, name="run")
    def run(name: str) -> float:
        item = shop.store.get(f"idempotent/run/{name}")
        assert item is not None
        return int(item["lease_until"]) - clock.now  # type: ignore[call-overload, no-any-return]

    assert run("without a deadline") == 301
    monkeypatch.setattr("pys_multi.messages.time", clock)
    token = _current.set(Context("r", deadline=clock.now + 30))
    try:
        assert run("with a deadline") == 36
    finally:
        _current.reset(token)


def test_another_payload_under_the_same_key_is_refused(shop: Shop) -> None:
    ship = shop.handler()
    ship(Order("a", total=1))
    with pytest.raises(KeyReused) as caught:
        ship(Order("a", total=2))
    assert caught.value.status == 422
    assert len(shop.events) == 1


def test_a_failed_run_may_be_corrected_under_its_key(shop: Shop) -> None:
    ship = shop.handler()
    for total in (1, 2):
        with pytest.raises(LookupError):
            ship(Order("fails", total))
    assert ship(Order("fails", 3))["run"] == 3


def test_keys_belong_to_their_handler(shop: Shop) -> None:
    one, two = shop.handler(name="one"), shop.handler(name="two")
    assert one(Order("a"))["run"] == 1
    assert two(Order("a"))["run"] == 2
    assert shop.events[0][2] != shop.events[1][2]
    long = Order("x" * 5000)
    assert one(long)["run"] == one(long)["run"] == 3


@pytest.mark.parametrize(
    "result",
    [None, "text", 5, [1, {"a": None}], {"a": [1]}, b"\0\xff", ("body", 201), ({"a": 1}, 201, {"x": "1"})],
)
def test_results_come_back_as_they_were(shop: Shop, result: object) -> None:
    @idempotent(key=lambda: "a", store=shop.store)
    def run() -> object:
        return result

    assert run() == result
    again = run()
    assert again == result
    assert type(again) is type(result)


def test_a_dataclass_comes_back_as_its_json(shop: Shop) -> None:
    @idempotent(key=lambda: "a", store=shop.store)
    def run() -> Order:
        return Order("a", 5)

    assert run() == Order("a", 5)
    assert run() == {"id": "a", "total": 5}


def test_a_response_comes_back_whole(shop: Shop) -> None:
    @idempotent(key=lambda: "a", store=shop.store)
    def run() -> Response:
        return Response(b"\0\xff", status=201, headers=[("x-a", "1")]).set_cookie("a", "1").set_cookie("b", "2")

    first, again = run(), run()
    assert again is not first
    assert (again.status, again.body, again.headers) == (first.status, first.body, first.headers)


@pytest.mark.parametrize("result", [Response(status=503), ("later", 500)])
def test_an_answer_of_500_is_not_kept(shop: Shop, result: object) -> None:
    runs: list[int] = []

    @idempotent(key=lambda: "a", store=shop.store)
    def run() -> object:
        runs.append(attempt())
        return result if len(runs) == 1 else "done"

    assert run() is result
    assert run() == "done"
    assert runs == [1, 2]


def test_what_cannot_be_stored_is_an_error_and_lets_go(shop: Shop) -> None:
    for result in (Response.stream(iter([b"x"])), object()):

        @idempotent(key=lambda: "a", store=shop.store)
        def run(made: object = result) -> object:
            return made

        with pytest.raises(TypeError):
            run()
        with pytest.raises(TypeError):
            run()


def test_a_lost_record_after_the_effect_is_as_a_crash(shop: Shop, clock: Clock, monkeypatch: Any) -> None:
    ship = shop.handler(lease=60)
    update = type(shop.store).update

    def fails_when_done(self: Any, *arguments: Any, **named: Any) -> Any:
        if named["set"]["state"] == "done":
            raise ResourceError("the table is gone")
        return update(self, *arguments, **named)

    with monkeypatch.context() as broken:
        broken.setattr(type(shop.store), "update", fails_when_done)
        with pytest.raises(ResourceError):
            ship(Order("a"))
    with pytest.raises(InProgress):
        ship(Order("a"))
    clock.now += 62
    assert ship(Order("a"))["run"] == 2
    assert [event[1] for event in shop.events] == [1, 2]


def test_who_outlived_the_lease_does_not_overwrite_the_next_one(
    shop: Shop, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    @idempotent(key=lambda: "a", store=shop.store, lease=60)
    def run() -> str:
        runs.append(attempt())
        if len(runs) == 1:
            clock.now += 62
            assert run() == "second"  # another instance, meanwhile
            return "first"
        return "second"

    assert run() == "first"
    assert run() == "second"
    assert "longer than its lease" in caplog.text


def test_losing_every_race_is_in_progress(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object, **__: object) -> None:
        raise ConditionFailed("taken")

    monkeypatch.setattr(type(shop.store), "update", taken)
    with pytest.raises(InProgress):
        shop.handler()(Order("a"))


# --- async


def test_async_handlers(shop: Shop) -> None:
    runs: list[tuple[int, str]] = []

    @idempotent(key=lambda name: name, store=shop.store)
    async def run(name: str) -> str:
        await asyncio.sleep(0)
        runs.append((attempt(), idempotency_key()))
        if len(runs) == 1:
            raise LookupError("first")
        return f"done {len(runs)}"

    async def go() -> None:
        with pytest.raises(LookupError):
            await run("a")
        assert await run("a") == "done 2"
        assert await run("a") == "done 2"

    asyncio.run(go())
    assert [number for number, _ in runs] == [1, 2]


def test_a_cancelled_async_run_lets_go(shop: Shop) -> None:
    runs: list[int] = []

    @idempotent(key=lambda: "a", store=shop.store)
    async def run() -> str:
        runs.append(attempt())
        if len(runs) == 1:
            await asyncio.Event().wait()
        return "done"

    async def go() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run(), 0.2)
        assert await run() == "done"

    asyncio.run(go())
    assert runs == [1, 2]


# --- through the runtime


def _http_shop() -> tuple[App, list[str]]:
    app = App("shop", public=True)
    store = app.table("seen", key="id")
    ran: list[str] = []
    api = app.function("api", uses=[store.get, store.update])

    @api.post("/orders", status=201)
    @idempotent(key="Idempotency-Key", store=store)
    def create(order: Order, request: Request) -> dict[str, object]:
        """Creates an order."""
        ran.append(order.id)
        if order.id == "refused":
            raise HTTPError(402, "no money")
        return {"created": order.id, "key": request.headers["idempotency-key"]}

    worker = app.function("worker", uses=[store])
    queue = app.queue("orders", retries=2)

    @worker.consume(queue)
    @idempotent(key=lambda message: message.json()["id"], store=store)
    async def ship(message: Message) -> None:
        ran.append(message.json()["id"])  # type: ignore[index, call-overload]

    app.function("sender", uses=[queue])
    return app, ran


def test_http_with_a_key_in_a_header() -> None:
    app, ran = _http_shop()
    with Client(app) as client:
        headers = {"Idempotency-Key": "k-1"}
        first = client.post("/orders", json={"id": "a"}, headers=headers)
        again = client.post("/orders", json={"id": "a"}, headers=headers)
        assert (first.status, first.json()) == (again.status, again.json()) == (201, {"created": "a", "key": "k-1"})
        assert client.post("/orders", json={"id": "b"}, headers=headers).status == 422
        assert client.post("/orders", json={"id": "a"}).status == 400
        assert client.post("/orders", json={"id": "a"}, headers={"Idempotency-Key": ""}).status == 400
        assert client.post("/orders", json={"id": "refused"}, headers={"Idempotency-Key": "k-2"}).status == 402
        assert client.post("/orders", json={"id": "refused"}, headers={"Idempotency-Key": "k-2"}).status == 402
    assert ran == ["a", "refused", "refused"]


def test_messages_with_the_same_key_run_once() -> None:
    app, ran = _http_shop()
    with Client(app) as client:
        queue: Any = app.resources["orders"]
        queue.send({"id": "a"})
        queue.send({"id": "a"})
        queue.send({"id": "b"})
        outcomes = client.run_pending()
    assert [outcome.error for outcome in outcomes] == ["", "", ""]
    assert sorted(ran) == ["a", "b"]


def test_callers_do_not_see_each_others_results(shop: Shop) -> None:
    @idempotent(key="Idempotency-Key", store=shop.store)
    def create(request: Request) -> str:
        return f"for {request.principal['sub']}"  # type: ignore[index]

    def call(sub: str, **more: object) -> object:
        request = Request("POST", "/", headers={"idempotency-key": "1"})
        request.principal = {"iss": "i", "sub": sub, **more}
        return create(request)

    assert call("alice", exp=1) == "for alice"
    assert call("bob") == "for bob"
    assert call("alice", exp=2) == "for alice"  # with a newer token


def test_redelivered_webhooks_are_the_same_though_their_time_is_not(shop: Shop) -> None:
    ran: list[int] = []

    @idempotent(key=lambda request: "delivery-1", store=shop.store)
    def hook(request: Request) -> int:
        ran.append(1)
        return len(ran)

    for time in (1, 2):
        request = Request("POST", "/", body=b"{}")
        request.principal = {"webhook": "HOOK", "time": time}
        assert hook(request) == 1


# --- definitions


def test_the_decorated_function_is_still_known_by_its_name_and_parameters(shop: Shop) -> None:
    def ship(order: Order) -> None:
        """Ships."""

    decorated = idempotent(key=lambda order: order.id, store=shop.store)(ship)
    assert (decorated.__name__, decorated.__doc__, decorated.__module__) == ("ship", "Ships.", __name__)
    assert decorated.__wrapped__ is ship  # type: ignore[attr-defined]


def test_wrong_definitions_are_refused() -> None:
    app = App("shop")
    table = app.table("seen", key="id")
    for options, text in [
        ({"key": 5, "store": table}, "key is a callable"),
        ({"key": "X", "store": "seen"}, "store is a table"),
        ({"key": "X", "store": app.bucket("b")}, "store is a table"),
        ({"key": "X", "store": app.table("sorted", key="id", sort="at")}, "without a sort key"),
        ({"key": "X", "store": app.table("clash", key="state")}, "'state'"),
        ({"key": "X", "store": table, "ttl": 0}, "seconds"),
        ({"key": "X", "store": table, "lease": 0}, "seconds"),
    ]:
        with pytest.raises(DefinitionError, match=text):
            idempotent(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", None, True, 1.5, b"x", []])
def test_keys_that_are_none_are_refused(shop: Shop, key: Any) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        idempotent(key=lambda: key, store=shop.store)(lambda: None)()


def test_a_key_may_be_a_number(shop: Shop) -> None:
    assert idempotent(key=lambda: 7, store=shop.store)(lambda: "x")() == "x"  # type: ignore[arg-type, return-value]


def test_a_handler_that_cannot_see_the_header_is_refused_before_it_is_called(shop: Shop) -> None:
    @idempotent(key="Idempotency-Key", store=shop.store)
    def pay(order: Order) -> None: ...

    with pytest.raises(DefinitionError, match=r"pay\(\): @idempotent reads its key .* take `request: Request`"):
        bind(pay, {}, "POST")


def test_calls_that_cannot_have_a_key_are_refused(shop: Shop) -> None:
    with pytest.raises(TypeError, match="type Request"):
        idempotent(key="Idempotency-Key", store=shop.store)(lambda order: None)(Order("a"))
    with pytest.raises(TypeError, match="batch"):
        idempotent(key=lambda batch: "x", store=shop.store)(lambda batch: None)([Message.of({})])
    for ask in (idempotency_key, attempt):
        with pytest.raises(RuntimeError, match="only while"):
            ask()
