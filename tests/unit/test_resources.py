"""Handles: grants are enforced wherever they are used, and what no provider can do is refused before it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pys_multi import App, GrantError, Message, Request, ResourceError
from pys_multi.resources import Bucket, ObjectInfo, Outgoing, Queue, Secret, Table, Topic
from pys_multi.runtime import Runtime, whole_body
from pys_multi_tools.testing import Client


class Memory:
    """A provider's backend that keeps nothing but what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def answer(*arguments: Any) -> Any:
            self.asked.append((verb, arguments))
            return ["1"] if verb == "queue_send" else "value" if verb == "secret_value" else None

        return answer


class Shop:
    """A service with every kind of resource, behind which there is a backend."""

    def __init__(self) -> None:
        self.app = App("shop")
        self.orders: Queue = self.app.queue("orders")
        self.lines: Queue = self.app.queue("lines", ordered=True)
        self.news: Topic = self.app.topic("news")
        self.files: Bucket = self.app.bucket("files")
        self.stock: Table = self.app.table("stock", key="sku")
        self.notes: Table = self.app.table("notes", key="user", sort="at")
        self.key: Secret = self.app.secret("PAYMENT_KEY")
        self.backend = Memory()
        self.app.backend = self.backend


#: A verb in use → the grant it needs.
VERBS: dict[str, Callable[[Shop], Any]] = {
    "orders.send": lambda shop: shop.orders.send("x"),
    "news.publish": lambda shop: shop.news.publish("x"),
    "files.get": lambda shop: shop.files.get("a"),
    "files.exists": lambda shop: shop.files.exists("a"),
    "files.list": lambda shop: shop.files.list(),
    "files.put": lambda shop: shop.files.put("a", b"x"),
    "files.delete": lambda shop: shop.files.delete("a"),
    "stock.get": lambda shop: shop.stock.get("a"),
    "stock.query": lambda shop: shop.stock.query("a"),
    "stock.put": lambda shop: shop.stock.put({"sku": "a"}),
    "stock.delete": lambda shop: shop.stock.delete("a"),
    "stock.update": lambda shop: shop.stock.update("a", set={"n": 1}),
    "payment_key": lambda shop: shop.key.value,
}


def run(shop: Shop, function: str, use: Callable[[Shop], Any]) -> Exception | None:
    """Uses a resource inside of an invocation of the function."""
    raised: list[Exception] = []

    def handler() -> str:
        try:
            use(shop)
        except Exception as error:
            raised.append(error)
        return "x"

    shop.app.functions[function].get(f"/{function}-{len(shop.app.functions[function].endpoints)}")(handler)
    runtime = Runtime(shop.app, connect=lambda: shop.backend, logs=False)
    path = shop.app.functions[function].endpoints[-1].template.text
    assert runtime.http(Request("GET", path)).status == 200
    return raised[0] if raised else None


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_is_not_granted_is_refused_before_the_provider_is_asked(verb: str) -> None:
    shop = Shop()
    everything_else = [
        entry
        for name, entry in {
            "orders.send": shop.orders.send,
            "news.publish": shop.news.publish,
            "files.get": shop.files.get,
            "files.exists": shop.files.exists,
            "files.list": shop.files.list,
            "files.put": shop.files.put,
            "files.delete": shop.files.delete,
            "stock.get": shop.stock.get,
            "stock.query": shop.stock.query,
            "stock.put": shop.stock.put,
            "stock.delete": shop.stock.delete,
            "stock.update": shop.stock.update,
            "payment_key": shop.key,
        }.items()
        if name != verb
    ]
    shop.app.function("api", uses=everything_else)
    shop.app.function("worker", uses=[shop.orders, shop.news, shop.files, shop.stock, shop.key])
    error = run(shop, "api", VERBS[verb])
    assert isinstance(error, GrantError)
    assert "function 'api' may not" in str(error)
    assert f"uses=[{verb}]" in str(error)
    assert shop.backend.asked == []
    assert run(shop, "worker", VERBS[verb]) is None
    assert len(shop.backend.asked) == 1


def test_presigned_urls_need_the_grant_of_what_they_do() -> None:
    shop = Shop()
    shop.app.function("reader", uses=[shop.files.read])
    shop.app.function("writer", uses=[shop.files.write])
    for function, method, granted in (
        ("reader", "GET", True),
        ("reader", "PUT", False),
        ("writer", "GET", False),
        ("writer", "PUT", True),
    ):
        error = run(shop, function, lambda shop, method=method: shop.files.presign("a", method=method))  # type: ignore[misc]
        assert (error is None) == granted


def test_grants_hold_outside_of_an_invocation_of_a_deployed_function() -> None:
    shop = Shop()
    shop.app.function("api", uses=[shop.orders.send])
    Runtime(shop.app, "api", connect=lambda: shop.backend, logs=False)
    assert shop.orders.send("x") == "1"
    with pytest.raises(GrantError, match="function 'api' may not publish"):
        shop.news.publish("x")


def test_handlers_of_events_have_the_grants_of_their_function() -> None:
    shop = Shop()
    worker = shop.app.function("worker", uses=[shop.news.publish])
    errors: list[Any] = []

    @worker.consume(shop.orders)
    def ship(message: Message) -> None:
        shop.news.publish("x")
        with pytest.raises(GrantError) as caught:
            shop.orders.send("x")
        errors.append(caught.value)

    runtime = Runtime(shop.app, connect=lambda: shop.backend, logs=False)
    assert runtime.messages("worker:ship", [Message(b"", id="1")]) == []
    assert "function 'worker' may not send" in str(errors[0])


def test_an_invocation_of_one_app_is_none_of_another() -> None:
    shop, other = Shop(), App("other")
    shop.app.function("api", uses=[shop.orders.send])
    other.function("api").get("/a")(lambda: shop.news.publish("x"))
    shop.app.backend = None
    response = Runtime(other, logs=False).http(Request("GET", "/a"))
    assert response.status == 500  # not because of a grant: the other app has no provider here
    with pytest.raises(ResourceError, match="no provider behind it"):
        shop.orders.send("x")


def test_the_backend_is_made_once_at_the_first_use() -> None:
    shop = Shop()
    shop.app.function("api", uses=[shop.orders.send]).get("/a")(lambda: shop.orders.send("x"))
    made: list[int] = []
    barrier = threading.Barrier(8, timeout=30)

    def connect() -> Any:
        made.append(1)
        return shop.backend

    runtime = Runtime(shop.app, "api", connect=connect, logs=False)
    assert made == []

    def call(_: int) -> int:
        barrier.wait()
        return runtime.http(Request("GET", "/a")).status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(8))) == [200] * 8
    assert made == [1]


# ---- what is asked


@pytest.mark.parametrize(
    ("use", "why"),
    [
        (lambda shop: shop.orders.send("x", delay=901), "delay"),
        (lambda shop: shop.orders.send("x", delay=float("nan")), "delay"),
        (lambda shop: shop.orders.send("x", group="g"), "not ordered"),
        (lambda shop: shop.lines.send("x"), "which group"),
        (lambda shop: shop.orders.send("x", attributes={"a": 1}), "text by name"),
        (lambda shop: shop.orders.send_many("abc"), "a list of messages"),
        (lambda shop: shop.orders.send_many({"a": 1}), "a list of messages"),
        (lambda shop: shop.files.get(""), "object key"),
        (lambda shop: shop.files.get("/etc/passwd"), "object key"),
        (lambda shop: shop.files.get("a/../../b"), "object key"),
        (lambda shop: shop.files.get("a\0"), "object key"),
        (lambda shop: shop.files.get("é" * 513), "object key"),
        (lambda shop: shop.files.get(5), "object key"),
        (lambda shop: shop.files.presign("a", method="DELETE"), "method"),
        (lambda shop: shop.files.presign("a", expires=0), "expires"),
        (lambda shop: shop.stock.get(""), "key 'sku'"),
        (lambda shop: shop.stock.get(True), "key 'sku'"),
        (lambda shop: shop.stock.get(1.5), "key 'sku'"),
        (lambda shop: shop.stock.get("a", "b"), "no sort key"),
        (lambda shop: shop.notes.get("a"), "key 'at'"),
        (lambda shop: shop.stock.put({"n": 1}), "key 'sku'"),
        (lambda shop: shop.stock.put([1]), "is a mapping"),
        (lambda shop: shop.stock.put({"sku": "a", "n": float("nan")}), "JSON cannot hold"),
        (lambda shop: shop.stock.put({"sku": "a"}, condition={"n": ("~", 1)}), "condition on 'n'"),
        (lambda shop: shop.stock.put({"sku": "a"}, condition={"n": ("<", None)}), "condition on 'n'"),
        (lambda shop: shop.stock.update("a", set={"sku": "b"}), "is the key"),
        (lambda shop: shop.stock.update("a", remove=["sku"]), "is the key"),
        (lambda shop: shop.stock.update("a", set={"n": 1}, add={"n": 1}), "changed twice"),
        (lambda shop: shop.stock.update("a", add={"n": "1"}), "numbers by attribute"),
        (lambda shop: shop.stock.query(prefix="a"), "sort key"),
        (lambda shop: shop.stock.query("a", reverse=True), "sort key"),
        (lambda shop: shop.notes.query("a", limit=0), "limit"),
    ],
)
def test_what_no_provider_can_do_is_refused_before_it_is_asked(use: Callable[[Shop], Any], why: str) -> None:
    shop = Shop()
    with pytest.raises(ValueError, match=why):
        use(shop)
    assert shop.backend.asked == []


def test_what_the_provider_is_asked() -> None:
    shop = Shop()
    shop.orders.send({"a": 1}, delay=5, attributes={"x": "y"})
    shop.lines.send_many(["a", b"b"], group="g")
    shop.files.put("a.json", "é")
    shop.stock.put({"sku": "a"}, condition={"sku": None})
    shop.notes.delete("ann", 5)
    shop.stock.update("a", set={"n": 1}, add={"m": 2}, remove=["o"], condition={"n": ("<", 1)})
    assert shop.orders.send_many([]) == []
    sent = [message for verb, arguments in shop.backend.asked if verb == "queue_send" for message in arguments[1]]
    assert all(isinstance(message, Outgoing) for message in sent)
    assert [(m.body, m.delay, m.group, m.attributes) for m in sent] == [
        (b'{"a":1}', 5, "", {"x": "y"}),
        (b"a", 0.0, "g", {}),
        (b"b", 0.0, "g", {}),
    ]
    assert [entry for entry in shop.backend.asked if entry[0] != "queue_send"] == [
        ("bucket_put", ("files", "a.json", "é".encode(), "application/json", {})),
        ("table_put", ("stock", {"sku": "a"}, {"sku": None})),
        ("table_delete", ("notes", ("ann", 5), {})),
        ("table_update", ("stock", ("a",), {"n": 1}, {"m": 2}, ("o",), {"n": ("<", 1)})),
    ]


def test_a_secret_does_not_show_itself() -> None:
    shop = Shop()
    assert shop.key.value == "value"
    assert f"{shop.key} {shop.key!r}" == "<Secret PAYMENT_KEY> <Secret PAYMENT_KEY>"


# ---- through the local provider


def test_handles_work_in_a_test_of_a_service() -> None:
    app = App("shop", public=True)
    orders, stock, files = app.queue("orders"), app.table("stock", key="sku"), app.bucket("files")
    api = app.function("api", uses=[orders.send, stock, files])

    @api.post("/stock/{sku}")
    def add(sku: str) -> Any:
        files.put(f"{sku}.txt", "x")
        orders.send({"sku": sku})
        return stock.update(sku, add={"amount": 2}) | {"files": [info.key for info in files.list()]}

    @api.get("/stock/{sku}")
    def read(sku: str) -> Any:
        return stock.get(sku)

    handled: list[Any] = []

    @app.consume(orders)
    def ship(order: dict[str, Any]) -> None:
        handled.append(order)
        with pytest.raises(GrantError):
            stock.get("a")

    with Client(app) as client:
        assert client.post("/stock/a").json() == {"sku": "a", "amount": 2, "files": ["a.txt"]}
        assert client.post("/stock/a").json()["amount"] == 4
        assert client.get("/stock/a").json() == {"sku": "a", "amount": 4}
        client.run_pending()
    assert handled == [{"sku": "a"}, {"sku": "a"}]


def test_object_info_is_shown_by_its_key() -> None:
    assert repr(ObjectInfo("a", 5)) == "<ObjectInfo a 5 bytes>"


def test_a_streamed_response_uses_the_grants_of_its_function() -> None:
    shop = Shop()
    api = shop.app.function("api", uses=[shop.orders.send])

    @api.get("/a")
    def stream() -> Iterator[str]:
        yield shop.orders.send("x")
        try:
            shop.news.publish("x")
        except GrantError:
            yield "refused"

    runtime = Runtime(shop.app, connect=lambda: shop.backend, logs=False)
    assert whole_body(runtime.http(Request("GET", "/a"))) == b"1refused"
