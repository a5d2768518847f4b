"""The client that users test their services with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pys_multi import App, Context, Event, HTTPError, Message, NotFound, Request, Response
from pys_multi.errors import GrantError, ResourceError
from pys_multi.resources import Bucket, Queue, Table, Topic
from pys_multi_tools.errors import ToolError
from pys_multi_tools.testing import Client


class Shop:
    """A small service and what its handlers saw."""

    def __init__(self) -> None:
        self.app = app = App("shop", public=True)
        self.jobs: Queue = app.queue("jobs", retries=2)
        self.news: Topic = app.topic("news")
        self.files: Bucket = app.bucket("files")
        self.items: Table = app.table("items", key="id")
        self.key = app.secret("KEY")
        self.seen: list[object] = []
        api = app.function("api", uses=[self.jobs.send, self.news.publish, self.files.write, self.key])
        worker = app.function("worker", uses=[self.items.write])

        @api.get("/echo/{name}")
        def echo(name: str, request: Request) -> dict[str, object]:
            return {
                "name": name,
                "query": request.query.items(),
                "cookies": request.cookies,
                "body": request.text,
                "type": request.headers.get("content-type"),
                "token": request.headers.get("x-token"),
            }

        @api.post("/echo/{name}")
        def post(name: str, request: Request) -> dict[str, object]:
            return echo(name, request)

        @api.get("/where")
        def where(context: Context) -> dict[str, object]:
            return {"stage": context.stage, "function": context.function, "id": context.request_id}

        @api.get("/secret")
        def secret() -> str:
            try:
                return self.key.value
            except NotFound as error:
                raise HTTPError(404, str(error)) from error

        @api.get("/forbidden")
        def forbidden() -> str:
            with pytest.raises(GrantError):
                self.items.put({"id": "1"})
            return "refused"

        @api.get("/cookies")
        def cookies() -> Response:
            return Response("").set_cookie("a", "1").set_cookie("b", "2")

        @api.get("/stream")
        def stream() -> Iterator[str]:
            self.seen.append("started")
            yield "one"
            yield "two"

        @api.post("/jobs")
        def send(request: Request) -> None:
            self.jobs.send(request.json())

        @worker.consume(self.jobs)
        def job(message: Message) -> None:
            self.seen.append((message.text, message.attempt))
            if message.text == "fail":
                raise RuntimeError("as asked")

        @worker.subscribe(self.news)
        def reader(message: Message) -> None:
            self.seen.append(("reader", message.text))
            self.items.put({"id": message.text})

        @worker.created(self.files, suffix=".txt")
        def created(event: Event) -> None:
            self.seen.append((event.kind, event.key, event.size))

        @worker.every("1 day")
        def nightly(event: Event) -> None:
            self.seen.append(("nightly", event.time))

        @worker.every("2 days")
        def broken() -> None:
            raise ValueError("broken")


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def client(shop: Shop) -> Iterator[Client]:
    with Client(shop.app, secrets={"KEY": "value"}, headers={"x-token": "t"}) as client:
        yield client


def test_a_call_carries_path_query_headers_and_cookies(client: Client) -> None:
    found = client.get("/echo/a%20b?x=1", query={"y": ["2", "3"]}, cookies={"c": "d"}).json()
    assert found["name"] == "a b"
    assert found["query"] == [["x", "1"], ["y", "2"], ["y", "3"]]
    assert found["cookies"] == {"c": "d"}
    assert found["token"] == "t"


def test_a_body_is_json_a_form_or_as_given(client: Client) -> None:
    @dataclass
    class Item:
        sku: str

    assert client.post("/echo/a", json=Item("x")).json()["body"] == '{"sku":"x"}'
    assert client.post("/echo/a", json="text").json()["body"] == '"text"'
    form = client.post("/echo/a", form={"a": ["1", "2"]}).json()
    assert (form["body"], form["type"]) == ("a=1&a=2", "application/x-www-form-urlencoded")
    own = client.post("/echo/a", body="ü", headers={"Content-Type": "text/x-own"}).json()
    assert (own["body"], own["type"]) == ("ü", "text/x-own")


def test_a_reply_has_status_headers_cookies_and_text(client: Client) -> None:
    reply = client.get("/cookies")
    assert (reply.status, reply.text) == (200, "")
    assert reply.cookies == {"a": "1", "b": "2"}
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert client.get("/nothing").status == 404


def test_a_stream_can_be_read_piece_by_piece(client: Client, shop: Shop) -> None:
    chunks = client.get("/stream").chunks()
    assert next(chunks) == b"one"
    assert shop.seen == ["started"]
    assert list(chunks) == [b"two"]
    assert client.get("/stream").text == "onetwo"


def test_the_context_is_that_of_the_function(client: Client) -> None:
    reply = client.get("/where")
    assert reply.json() == {"stage": "test", "function": "api", "id": reply.request_id}


def test_secrets_are_given_to_the_client(shop: Shop) -> None:
    with Client(shop.app, secrets={"KEY": "value"}) as client:
        assert client.get("/secret").text == "value"
    with Client(shop.app) as client:
        assert client.get("/secret").status == 404


def test_grants_hold_in_handlers_and_not_in_the_test_itself(client: Client, shop: Shop) -> None:
    assert client.get("/forbidden").text == "refused"
    shop.items.put({"id": "1"})
    assert shop.items.get("1") == {"id": "1"}


def test_what_was_sent_is_handled_when_the_test_says_so(client: Client, shop: Shop) -> None:
    client.post("/jobs", json={"n": 1})
    assert shop.seen == []
    [outcome] = client.run_pending()
    assert shop.seen == [('{"n":1}', 1)]
    assert (outcome.trigger, outcome.attempt, outcome.error, outcome.dead) == ("worker:job", 1, "", False)
    assert client.run_pending() == []


def test_what_fails_is_retried_and_then_dead(client: Client, shop: Shop) -> None:
    client.post("/jobs", json="fail")
    outcomes = client.run_pending()
    assert [outcome.attempt for outcome in outcomes] == [1, 2, 3]
    assert [outcome.dead for outcome in outcomes] == [False, False, True]
    assert outcomes[0].error == "RuntimeError: as asked"
    assert [message.text for message in client.dead_letters("job")] == ["fail"]


def test_time_jumps_to_delayed_messages(client: Client, shop: Shop) -> None:
    shop.jobs.send("late", delay=900)
    shop.jobs.send("soon")
    client.run_pending()
    assert shop.seen == [("soon", 1), ("late", 1)]


def test_topics_and_buckets_reach_their_handlers(client: Client, shop: Shop) -> None:
    shop.news.publish("extra")
    shop.files.put("a.txt", b"12345")
    shop.files.put("a.pdf", b"")
    client.run_pending()
    assert sorted(map(str, shop.seen)) == sorted(map(str, [("reader", "extra"), ("created", "a.txt", 5)]))
    assert shop.items.get("extra") is not None


def test_a_trigger_can_be_run_by_hand(client: Client, shop: Shop) -> None:
    client.trigger("nightly", time=7.0)
    client.trigger("worker:job", {"by": "hand"})
    client.trigger("job", [Message.of("a", attempt=3), "b"])
    client.trigger("created", key="x.txt", size=2)
    assert shop.seen == [("nightly", 7.0), ('{"by":"hand"}', 1), ("a", 3), ("b", 1), ("created", "x.txt", 2)]


def test_a_trigger_that_fails_raises(client: Client) -> None:
    with pytest.raises(ValueError, match="broken"):
        client.trigger("broken")
    with pytest.raises(AssertionError, match="RuntimeError: as asked"):
        client.trigger("job", "fail")


def test_an_unknown_trigger_is_refused_with_a_suggestion(client: Client) -> None:
    with pytest.raises(ToolError, match="worker:job"):
        client.trigger("worker:jop")
    with pytest.raises(ToolError, match="over HTTP"):
        client.trigger("GET /where")


def test_handlers_that_feed_each_other_are_stopped() -> None:
    app = App("loop")
    queue = app.queue("again")

    @app.consume(queue, uses=[queue.send])
    def again(message: Message) -> None:
        queue.send("more")

    with Client(app) as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pys_multi_tools.testing.client._MOST_DELIVERIES", 50)
        queue.send("first")
        with pytest.raises(AssertionError, match="feed each other"):
            client.run_pending()


def test_each_client_begins_empty_and_leaves_the_app_as_it_was(shop: Shop) -> None:
    for _ in range(2):
        with Client(shop.app):
            assert shop.items.get("1") is None
            shop.items.put({"id": "1"})
    with pytest.raises(ResourceError, match="no provider behind it"):
        shop.items.get("1")


def test_log_records_stay_with_the_test(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    handlers = list(logging.getLogger().handlers)
    client.post("/jobs", json="fail")
    client.run_pending()
    assert "as asked" in caplog.text
    assert logging.getLogger().handlers == handlers
