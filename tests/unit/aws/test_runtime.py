"""What Lambda hands over becomes a request, messages or an event, and what the function says goes back."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.http_api import ApiRoute, HttpApi
from tests.support.lambda_events import LambdaContext, function_url, load_balancer, rest_api
from tests.support.lambda_runtime import Result

from pys_multi import App, Context, Event, Message, Request, Response
from pys_multi.runtime import Runtime
from pys_multi_providers.aws.runtime import Adapter, trace_parent

app = App("shop", public=True)
api = app.function("api")
worker = app.function("worker")
orders = app.queue("orders")
ordered = app.queue("ordered", ordered=True)
files = app.bucket("files")
news = app.topic("news")
#: What the handlers of messages and events got.
got: list[Any] = []


@api.get("/echo/{rest:path}")
def echo_get(request: Request, rest: str) -> dict[str, Any]:
    return echo(request, rest)


@api.post("/echo/{rest:path}")
def echo_post(request: Request, rest: str) -> dict[str, Any]:
    return echo(request, rest)


def echo(request: Request, rest: str) -> dict[str, Any]:
    return {
        "rest": rest,
        "query": request.query.items(),
        "cookies": request.cookies,
        "body": b64encode(request.body).decode(),
        "tags": request.headers.get_all("x-tag"),
        "client": request.client,
        "url": request.url,
        "root": request.root_path,
    }


@api.get("/trace")
def trace(context: Context) -> str:
    return context.trace_parent


@api.get("/slash/")
def slash() -> str:
    return "slash"


@api.get("/respond")
def respond() -> Any:
    return answers.pop()


@api.get("/forever")
async def forever_async() -> None:
    import asyncio

    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        got.append("cancelled")
        raise


#: What the next call of /respond answers.
answers: list[Any] = []


@worker.consume(orders)
def order(message: Message) -> None:
    got.append((message.id, message.body, message.attributes, message.attempt, message.sent_at))
    if message.body.startswith(b"fail"):
        raise ValueError("as asked")


@worker.consume(ordered, batch=10)
def in_order(messages: list[Message]) -> None:
    got.append([message.text for message in messages])
    for message in messages:
        with message:
            if message.text.startswith("fail"):
                raise ValueError("as asked")


@worker.subscribe(news)
def reader(message: Message) -> None:
    got.append((message.text, message.attributes))
    if message.text == "fail":
        raise ValueError("as asked")


@worker.created(files, prefix="in/")
def arrived(event: Event) -> None:
    got.append((event.kind, event.bucket, event.key, event.size, event.etag, event.attempt))
    if "fail" in event.key:
        raise ValueError("as asked")


@worker.deleted(files)
def gone(event: Event) -> None:
    got.append((event.kind, event.key))


@worker.every("1 day")
def nightly(event: Event, context: Context) -> None:
    got.append((event.kind, event.time, context.trace_parent))


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    got.clear()
    answers.clear()


def adapter(front: str = "http-api", function: str = "api", base_path: str = "") -> Adapter:
    return Adapter(Runtime(app, function, logs=False), front, base_path)


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Adapter:
    queues = {
        "orders-queue": "worker:order",
        "ordered-queue.fifo": "worker:in_order",
        "files-queue": "worker:arrived",
        "news-topic": "worker:reader",
    }
    monkeypatch.setenv("PYS_MULTI_QUEUES", json.dumps(queues))
    monkeypatch.setenv("PYS_MULTI_BUCKETS", json.dumps({"shop-files-1": "files"}))
    return adapter(function="worker")


def over_json(value: Any) -> Any:
    """As it comes out of what carries it."""
    return json.loads(json.dumps(value))


def gateway(stage: str = "$default", base_path: str = "") -> HttpApi:
    """The adapter behind an HTTP API, in this process."""
    entry = adapter(base_path=base_path)
    route = ApiRoute("$default", lambda event: Result(over_json(entry(over_json(event), LambdaContext()))))
    return HttpApi([route], stage=stage)


# ---- requests

Call = Callable[..., Any]


def by_http_api(method: str, target: str, fields: Any = (), body: bytes = b"") -> Any:
    return json.loads(gateway().call(method, target, fields, body).body)


def by_event(front: str, make: Callable[..., Any]) -> Call:
    def call(method: str, target: str, fields: Any = (), body: bytes = b"") -> Any:
        answer = adapter(front)(over_json(make(method, target, fields, body)), LambdaContext())
        assert answer["statusCode"] == 200, answer
        return json.loads(answer["body"])

    return call


def single(*arguments: Any) -> Any:
    return load_balancer(*arguments, multi_value=False)


FRONTS: dict[str, Call] = {
    "http-api": by_http_api,
    "function-url": by_event("function-url", function_url),
    "rest-api": by_event("rest-api", rest_api),
    "alb": by_event("alb", load_balancer),
    "alb-single": by_event("alb", single),
}
every_front = pytest.mark.parametrize("call", FRONTS.values(), ids=FRONTS)
fronts_that_keep_all = pytest.mark.parametrize(
    "call",
    [call for name, call in FRONTS.items() if name != "alb-single"],
    ids=[n for n in FRONTS if n != "alb-single"],
)


@every_front
def test_a_path_is_decoded_once(call: Call) -> None:
    assert call("GET", "/echo/gr%C3%BC%C3%9Fe%20a+b/100%2525")["rest"] == "grüße a+b/100%25"


@fronts_that_keep_all
def test_query_parameters_keep_their_order_within_a_name_and_are_decoded_once(call: Call) -> None:
    query = call("GET", "/echo/?tag=b&tag=a%2520c&empty=&text=%C3%BC+x&equals=a%3Db%26c")["query"]
    assert [value for name, value in query if name == "tag"] == ["b", "a%20c"]
    assert dict(map(tuple, query)) == {"tag": "a%20c", "empty": "", "text": "ü x", "equals": "a=b&c"}


@every_front
def test_cookies_arrive(call: Call) -> None:
    assert call("GET", "/echo/", [("Cookie", "a=1; b=x=y")])["cookies"] == {"a": "1", "b": "x=y"}


@fronts_that_keep_all
def test_a_repeated_header_keeps_every_value(call: Call) -> None:
    tags = call("GET", "/echo/", [("X-Tag", "one"), ("X-Tag", "two")])["tags"]
    assert [part for tag in tags for part in tag.split(",")] == ["one", "two"]


@every_front
@pytest.mark.parametrize("body", [bytes(range(256)), "grüße".encode(), b""], ids=["binary", "text", "empty"])
def test_a_body_arrives_byte_for_byte(call: Call, body: bytes) -> None:
    assert b64decode(call("POST", "/echo/", [("content-type", "text/plain")], body)["body"]) == body


@every_front
def test_the_address_of_the_caller_is_the_one_that_the_front_saw(call: Call) -> None:
    found = call("GET", "/echo/", [("X-Forwarded-For", "10.0.0.1")] if call is FRONTS["function-url"] else [])
    assert found["client"] == "203.0.113.7"
    assert found["url"].startswith("https://")


def test_a_named_stage_is_no_part_of_the_path_and_a_part_of_the_url() -> None:
    found = json.loads(gateway("v1").call("GET", "/echo/a").body)
    assert (found["rest"], found["root"]) == ("a", "/v1")
    assert found["url"].endswith(".amazonaws.com/v1/echo/a")
    location = dict(gateway("v1").call("GET", "/slash").fields)["location"]
    assert location == "/v1/slash/"


@pytest.mark.parametrize("stage", ["$default", "v1"])
def test_behind_a_custom_domain_the_callers_prefix_is_its_mapping(stage: str) -> None:
    found = json.loads(gateway(stage, "/shop").call("GET", "/echo/a", [("host", "api.example.com")]).body)
    assert (found["rest"], found["root"]) == ("a", "/shop")
    assert found["url"] == "https://api.example.com/shop/echo/a"


def test_a_mapping_is_not_the_prefix_of_the_apis_own_address() -> None:
    assert json.loads(gateway("v1", "/shop").call("GET", "/echo/a").body)["root"] == "/v1"


@pytest.mark.parametrize("rest", ["a", "shop/a"])
def test_a_mapping_that_an_event_has_in_its_path_is_taken_off(rest: str) -> None:
    """Events were seen with the mapping in the path and without it; the key of the route never has it."""
    event = {**function_url("GET", f"/shop/echo/{rest}"), "routeKey": "GET /echo/{rest+}"}
    event["requestContext"]["domainName"] = "api.example.com"
    found = json.loads(adapter(base_path="/shop")(event, LambdaContext())["body"])
    assert (found["rest"], found["root"]) == (rest, "/shop")


def test_a_route_that_begins_like_the_mapping_keeps_its_path() -> None:
    event = {**function_url("GET", "/echo/a"), "routeKey": "GET /echo/{rest+}"}
    event["requestContext"]["domainName"] = "api.example.com"
    found = json.loads(adapter(base_path="/echo")(event, LambdaContext())["body"])
    assert (found["rest"], found["root"]) == ("a", "/echo")


def test_a_path_that_only_begins_like_the_stage_is_left_alone() -> None:
    event = {**function_url("GET", "/echo/a"), "rawPath": "/echo/a"}
    event["requestContext"]["stage"] = "ec"
    assert json.loads(adapter()(event, LambdaContext())["body"])["rest"] == "a"


def test_the_stage_of_a_rest_api_is_the_root() -> None:
    found = by_event("rest-api", rest_api)("GET", "/echo/a")
    assert (found["rest"], found["root"]) == ("a", "/prod")


def test_the_base_path_of_a_rest_api_is_taken_off() -> None:
    answer = adapter("rest-api", base_path="/shop")(rest_api("GET", "/echo/a", base_path="/shop"), LambdaContext())
    found = json.loads(answer["body"])
    assert (found["rest"], found["root"]) == ("a", "/shop")
    assert found["url"] == "https://api.example.com/shop/echo/a"


@pytest.mark.parametrize(("front", "make"), [("function-url", function_url), ("alb", load_balancer)])
def test_the_base_path_of_what_stands_in_front_is_taken_off(front: str, make: Callable[..., Any]) -> None:
    found = json.loads(adapter(front, base_path="/shop")(make("GET", "/shop/echo/a"), LambdaContext())["body"])
    assert (found["rest"], found["root"]) == ("a", "/shop")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=200, deadline=None)
@given(
    query=st.lists(st.tuples(TEXT, TEXT), max_size=5),
    body=st.binary(max_size=50),
    front=st.sampled_from(list(FRONTS)[:4]),
)
def test_whatever_is_sent_arrives(query: list[tuple[str, str]], body: bytes, front: str) -> None:
    from urllib.parse import urlencode

    found = FRONTS[front]("POST", f"/echo/x?{urlencode(query)}", [], body)
    assert sorted(map(tuple, found["query"])) == sorted(query)
    assert b64decode(found["body"]) == body


# ---- responses


def answered(response: Any, front: str = "http-api", method: str = "GET", **options: Any) -> Any:
    answers.append(response)
    make = {"rest-api": rest_api, "alb": load_balancer}.get(front, function_url)
    return over_json(adapter(front)(make(method, "/respond", **options), LambdaContext()))


def test_text_goes_as_text_and_bytes_go_as_base64() -> None:
    assert answered({"text": "grüße"})["body"] == '{"text":"grüße"}'
    answer = answered(b"\xff\x00")
    assert (b64decode(answer["body"]), answer["isBase64Encoded"]) == (b"\xff\x00", True)


def test_text_that_is_none_and_text_that_is_compressed_go_as_base64() -> None:
    for response in (
        Response(b"\xff", content_type="text/plain"),
        Response(b"{}", content_type="application/json", headers={"content-encoding": "br"}),
    ):
        assert answered(response)["isBase64Encoded"] is True


def with_cookies() -> Response:
    response = Response("x", headers=[("x-tag", "one"), ("X-Tag", "two")])
    return response.set_cookie("a", "1").set_cookie("b", "2")


def test_format_2_has_cookies_of_their_own_and_joined_headers() -> None:
    answer = answered(with_cookies())
    assert [cookie.partition(";")[0] for cookie in answer["cookies"]] == ["a=1", "b=2"]
    assert answer["headers"]["x-tag"] == "one, two"
    assert "set-cookie" not in answer["headers"]


@pytest.mark.parametrize("front", ["rest-api", "alb"])
def test_format_1_has_every_value_of_a_header(front: str) -> None:
    answer = answered(with_cookies(), front)
    assert answer["multiValueHeaders"]["x-tag"] == ["one", "two"]
    assert len(answer["multiValueHeaders"]["set-cookie"]) == 2
    assert "headers" not in answer


def test_a_load_balancer_without_multi_value_headers_still_gets_every_cookie() -> None:
    answer = answered(with_cookies(), "alb", multi_value=False)
    cookies = {name: value for name, value in answer["headers"].items() if name.lower() == "set-cookie"}
    assert len(cookies) == 2
    assert answer["headers"]["x-tag"] == "one, two"
    assert answer["statusDescription"] == "200 OK"
    assert "multiValueHeaders" not in answer


def test_head_and_204_and_304_have_no_body() -> None:
    head = answered({"a": 1}, method="HEAD")
    assert (head["body"], head["headers"]["content-length"]) == ("", "7")
    assert answered(None)["statusCode"] == 204
    assert answered(Response(b"never", status=304, headers={"etag": '"1"'}))["body"] == ""


@pytest.mark.parametrize("front", ["http-api", "rest-api", "alb"])
def test_fields_about_one_connection_end_here(front: str) -> None:
    answer = answered(Response("x", headers={"Connection": "close", "Keep-Alive": "timeout=5", "x-a": "1"}), front)
    names = {name.lower() for name in {**answer.get("headers", {}), **answer.get("multiValueHeaders", {})}}
    assert names == {"content-type", "x-a"}


def test_a_stream_is_joined() -> None:
    assert answered(chunk for chunk in ("one ", "two"))["body"] == b64encode(b"one two").decode()


def broken() -> Iterator[str]:
    yield "half"
    raise RuntimeError("hidden reason")


def test_a_stream_that_breaks_off_is_500_because_nothing_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    answer = answered(broken())
    assert answer["statusCode"] == 500
    assert "hidden" not in answer["body"]
    assert "hidden reason" in caplog.text


MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    "response",
    [
        Response(b"\xff" * (4 * MEGABYTE + 500_000)),
        Response("x" * (6 * MEGABYTE - 20_000)),
        Response("\x01" * (4 * MEGABYTE)),
        Response("ü" * (2 * MEGABYTE)),
    ],
    ids=["bytes", "text", "escaped-text", "non-ascii"],
)
def test_what_lambda_can_carry_is_carried(response: Response) -> None:
    answer = answered(response)
    assert answer["statusCode"] == 200
    assert len(json.dumps(answer)) <= 6 * MEGABYTE
    body = b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"].encode()
    assert body == response.body


@pytest.mark.parametrize("size", [5 * MEGABYTE, 20 * MEGABYTE])
def test_what_lambda_cannot_carry_is_500_with_the_reason_in_the_log(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = answered(b"\xff" * size)
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["request_id"] == LambdaContext.aws_request_id
    assert "presigned URL" in caplog.text


@pytest.fixture
def alarm() -> Iterator[None]:
    former = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


def forever() -> Iterator[str]:
    yield "still "
    while True:
        time.sleep(0.01)


def test_a_request_that_runs_out_of_time_is_504_and_the_log_says_where_it_was(
    alarm: None, caplog: pytest.LogCaptureFixture
) -> None:
    entry = adapter()
    entry.watch()
    answers.append(forever())
    answer = entry(function_url("GET", "/respond"), LambdaContext(0.3))
    assert answer["statusCode"] == 504
    assert json.loads(answer["body"])["status"] == 504
    assert "in forever" in caplog.text
    # The alarm of a request that has ended disturbs no later one.
    answers.append("in time")
    assert entry(function_url("GET", "/respond"), LambdaContext(0.2))["body"] == "in time"
    while signal.getitimer(signal.ITIMER_REAL)[0]:
        time.sleep(0.01)


def test_async_code_that_runs_out_of_time_is_cancelled(alarm: None) -> None:
    entry = adapter()
    entry.watch()
    assert entry(function_url("GET", "/forever"), LambdaContext(0.3))["statusCode"] == 504
    deadline = time.monotonic() + 10
    while not got and time.monotonic() < deadline:
        time.sleep(0.01)
    assert got == ["cancelled"]


def test_an_alarm_that_somebody_else_uses_is_left_alone(alarm: None) -> None:
    own = signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, lambda *_: None)
    theirs = signal.getsignal(signal.SIGALRM)
    adapter().watch()
    assert signal.getsignal(signal.SIGALRM) is theirs
    assert own is not theirs


# ---- traces

W3C = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
XRAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1"


@pytest.mark.parametrize("front", ["http-api", "rest-api", "alb"])
def test_the_callers_trace_goes_on_else_that_of_x_ray(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = {"rest-api": rest_api, "alb": load_balancer}.get(front, function_url)
    monkeypatch.setenv("_X_AMZN_TRACE_ID", XRAY)
    given = adapter(front)(make("GET", "/trace", [("Traceparent", W3C)]), LambdaContext())
    assert given["body"] == W3C
    taken = adapter(front)(make("GET", "/trace"), LambdaContext())
    assert taken["body"] == "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"


@pytest.mark.parametrize("header", ["", "nonsense", W3C[:-3], W3C.upper(), f"{W3C[:-2]}zz"])
def test_a_trace_of_the_caller_that_is_none_does_not_count(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", XRAY)
    found = adapter()(function_url("GET", "/trace", [("traceparent", header)]), LambdaContext())
    assert found["body"].startswith("00-5759e988")


@pytest.mark.parametrize("header", ["", "Root=1-5759e988-bd862e3fe1be46a994272793", "Root=x;Parent=y", "nonsense"])
def test_a_trace_header_that_names_no_parent_is_no_trace(header: str) -> None:
    assert trace_parent(header) == ""


def test_the_client_context_of_an_invocation_carries_a_trace() -> None:
    context = LambdaContext()
    context.client_context = SimpleNamespace(custom={"traceparent": W3C})
    adapter(function="worker")({"pys_multi": {"trigger": "worker:nightly", "event": {}}}, context)
    assert [(kind, trace) for kind, _, trace in got] == [("schedule", W3C)]


# ---- messages


def sqs(queue: str, *bodies: str, group: str = "", **more: Any) -> Any:
    """ "Using Lambda with Amazon SQS", example standard and FIFO queue message events."""
    return {
        "Records": [
            {
                "messageId": f"id-{number}",
                "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "3",
                    "SentTimestamp": "1545082649183",
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "ApproximateFirstReceiveTimestamp": "1545082649185",
                    **({"MessageGroupId": body.rpartition(" ")[2]} if queue.endswith(".fifo") else {}),
                },
                "messageAttributes": {
                    "kind": {"stringValue": "new", "stringListValues": [], "binaryListValues": [], "dataType": "String"}
                },
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-2:123456789012:{queue}",
                "awsRegion": "us-east-2",
            }
            for number, body in enumerate(bodies)
        ]
    }


def failed(answer: Any) -> list[str]:
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_messages_of_a_queue_are_handled_and_those_that_failed_are_named(consumer: Adapter) -> None:
    answer = consumer(sqs("orders-queue", "one", "fail", "grüße"), LambdaContext())
    assert failed(answer) == ["id-1"]
    assert [body for _, body, *_ in got] == [b"one", b"fail", "grüße".encode()]
    assert got[0][2:] == ({"kind": "new"}, 3, 1545082649.183)


def test_a_batch_without_failures_names_none(consumer: Adapter) -> None:
    assert consumer(sqs("orders-queue", "one"), LambdaContext()) == {"batchItemFailures": []}


def test_messages_of_one_group_wait_for_each_other_and_stop_at_the_first_that_fails(consumer: Adapter) -> None:
    bodies = ["1 a", "1 b", "fail a", "2 b", "3 a", "4 a", "3 b"]
    answer = consumer(sqs("ordered-queue.fifo", *bodies), LambdaContext())
    # Never two of a group in one call, and nothing of group a after the one that failed.
    assert got == [["1 a", "1 b"], ["fail a", "2 b"], ["3 b"]]
    assert failed(answer) == ["id-2", "id-4", "id-5"]


def test_a_queue_that_is_not_known_is_named_with_those_that_are(consumer: Adapter) -> None:
    with pytest.raises(LookupError, match=r"'other'.*orders-queue"):
        consumer(sqs("other", "x"), LambdaContext())


def sns(*messages: str) -> Any:
    """ "Using Lambda with Amazon SNS", example event."""
    return {
        "Records": [
            {
                "EventVersion": "1.0",
                "EventSubscriptionArn": "arn:aws:sns:us-east-1:123456789012:news-topic:21be56ed",
                "EventSource": "aws:sns",
                "Sns": {
                    "SignatureVersion": "1",
                    "Timestamp": "2019-01-02T12:45:07.000Z",
                    "MessageId": f"95df01b4-{number}",
                    "Message": message,
                    "MessageAttributes": {
                        "kind": {"Type": "String", "Value": "flash"},
                        "raw": {"Type": "Binary", "Value": "AAEC"},
                    },
                    "Type": "Notification",
                    "TopicArn": "arn:aws:sns:us-east-1:123456789012:news-topic",
                    "Subject": None,
                },
            }
            for number, message in enumerate(messages)
        ]
    }


def test_a_notification_of_a_topic_is_a_message(consumer: Adapter) -> None:
    consumer(sns("extra"), LambdaContext())
    assert got == [("extra", {"kind": "flash"})]


def test_a_notification_that_failed_fails_the_invocation_so_that_lambda_repeats_it(consumer: Adapter) -> None:
    with pytest.raises(RuntimeError, match="95df01b4-0 failed: ValueError: as asked"):
        consumer(sns("fail"), LambdaContext())


# ---- objects


def s3(key: str, name: str = "ObjectCreated:Put", bucket: str = "shop-files-1") -> Any:
    """ "Event message structure" of the S3 user guide."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-west-2",
                "eventTime": "1970-01-01T00:00:01.000Z",
                "eventName": name,
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {"key": key, "size": 7, "eTag": "d41d8cd9", "sequencer": "0055AED6DCD90281E5"},
                },
            }
        ]
    }


def test_an_object_event_from_s3_finds_its_triggers(consumer: Adapter) -> None:
    consumer(s3("in/gr%C3%BC%C3%9Fe+%2B.txt"), LambdaContext())
    consumer(s3("out/x"), LambdaContext())
    consumer(s3("out/x", "ObjectRemoved:DeleteMarkerCreated"), LambdaContext())
    assert got == [("created", "files", "in/grüße +.txt", 7, "d41d8cd9", 1), ("deleted", "out/x")]


@pytest.mark.parametrize(("kind", "key"), [("Created", "in/größe +%2B.txt"), ("Deleted", "out/x")])
def test_an_object_event_through_eventbridge_finds_its_triggers(consumer: Adapter, kind: str, key: str) -> None:
    """ "EventBridge event message structure" of the S3 user guide."""
    about = {"key": key, "size": 7, "etag": "d41d8cd9", "sequencer": "00617F08299329D189"}
    event = {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": f"Object {kind}",
        "source": "aws.s3",
        "time": "2021-11-12T00:00:00Z",
        "resources": ["arn:aws:s3:::shop-files-1"],
        "detail": {"version": "0", "bucket": {"name": "shop-files-1"}, "object": about, "reason": "PutObject"},
    }
    consumer(event, LambdaContext())
    assert got == [("created", "files", key, 7, "d41d8cd9", 1) if kind == "Created" else ("deleted", key)]
    with pytest.raises(LookupError, match="'Object Tags Added' of a bucket"):
        consumer({**event, "detail-type": "Object Tags Added"}, LambdaContext())


def test_an_object_event_through_a_queue_counts_its_attempts_and_fails_alone(consumer: Adapter) -> None:
    bodies = [json.dumps(s3("in/a")), json.dumps(s3("in/fail")), json.dumps(s3("in/b"))]
    answer = consumer(sqs("files-queue", *bodies), LambdaContext())
    assert failed(answer) == ["id-1"]
    assert [(key, attempt) for _, _, key, _, _, attempt in got] == [("in/a", 3), ("in/fail", 3), ("in/b", 3)]


def test_the_test_that_s3_sends_when_it_is_set_up_is_nothing(consumer: Adapter) -> None:
    body = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2014-10-13T15:57:02.089Z", "Bucket": "b"}
    assert consumer(sqs("files-queue", json.dumps(body)), LambdaContext()) == {"batchItemFailures": []}
    assert got == []


def test_an_event_of_another_bucket_is_refused(consumer: Adapter) -> None:
    with pytest.raises(LookupError, match=r"'elsewhere'.*shop-files-1"):
        consumer(s3("in/a", bucket="elsewhere"), LambdaContext())


# ---- pys-multi's own


def own(**envelope: Any) -> Any:
    return adapter(function="worker")({"pys_multi": envelope}, LambdaContext())


def test_a_schedule_says_when_it_was_due() -> None:
    own(trigger="worker:nightly", event={"kind": "schedule", "time": "2026-03-01T04:30:00Z"})
    assert got == [("schedule", 1772339400.0, "")]


def test_a_schedule_that_does_not_say_when_runs_now() -> None:
    """As a rule of one's own has it run, whose input names the trigger alone."""
    own(trigger="worker:nightly")
    [(kind, when, _)] = got
    assert kind == "schedule"
    assert when == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    ("time_", "runs"), [("2026-03-02T06:00:00Z", True), ("2026-03-01T06:00:00Z", False), ("2026-03-02T06:00:30Z", True)]
)
def test_a_schedule_that_aws_makes_too_often_counts_only_when_it_is_due(time_: str, runs: bool) -> None:
    only = {"expression": "0 6 * * MON", "timezone": "UTC"}
    own(trigger="worker:nightly", event={"time": time_}, only=only)
    assert bool(got) is runs
    got.clear()
    own(trigger="worker:nightly", event={"time": time_}, unless=only)
    assert bool(got) is not runs


def test_a_handler_that_raises_fails_the_invocation() -> None:
    with pytest.raises(LookupError, match="no trigger 'worker:nothing'"):
        own(trigger="worker:nothing", event={})


def test_messages_by_hand_come_with_an_id_and_say_what_failed() -> None:
    messages = [{"body": "fail"}, {"body": b64encode(b"\xff").decode(), "base64": True, "attributes": {"a": "1"}}]
    answer = own(trigger="worker:order", messages=messages)
    id = f"{LambdaContext.aws_request_id}-0"
    assert answer == {"failures": {id: "ValueError: as asked"}}
    assert got[1][1:3] == (b"\xff", {"a": "1"})


def test_what_lambda_itself_logs_has_no_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from pys_multi import resources

    monkeypatch.setattr(resources, "revealed_secrets", {"canary-5f1d"})
    with pytest.raises(Exception, match=r"no trigger '\*\*\*' is here") as error:
        own(trigger="canary-5f1d", event={})
    assert type(error.value).__name__ == "LookupError"
    assert "canary" not in str(error.value)
    assert error.value.__suppress_context__


def test_health_says_which_function_it_is() -> None:
    health = own(health=True)
    assert (health["status"], health["function"], health["service"]) == ("ok", "worker", "shop")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"detail-type": "x", "source": "aws.ec2"}, "triggered by aws.ec2"),
        ({"some": 1, "other": 2}, "some, other"),
        ({}, "nothing in it"),
        ([], "a list"),
        (None, "a NoneType"),
        ({"Records": [{"eventSource": "aws:kinesis"}]}, "aws:kinesis"),
        ({"Records": []}, "Records"),
    ],
)
def test_an_event_that_nothing_waits_for_is_refused_in_words(event: Any, words: str) -> None:
    with pytest.raises(LookupError, match=words):
        adapter(function="worker")(event, LambdaContext())


def test_an_import_brings_neither_aws_nor_anything_slow() -> None:
    paths = [str(Path(__file__).parents[3] / root) for root in ("sdk", "providers")]
    code = f"import sys; sys.path[:0] = {paths}; import pys_multi_providers.aws.runtime; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    slow = {"asyncio", "base64", "boto3", "botocore", "dataclasses", "datetime", "enum", "inspect", "json", "logging"}
    slow |= {"re", "signal", "typing", "urllib", "pys_multi_providers.aws.events", "pys_multi_providers.aws.resources"}
    assert not slow.intersection(found.split())


def test_log_records_of_an_answer_after_the_handler_carry_the_request(caplog: pytest.LogCaptureFixture) -> None:
    from pys_multi import current_context

    seen: list[str] = []

    class Spy(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            context = current_context()
            seen.append(context.request_id if context else "")

    spy = Spy()
    logging.getLogger().addHandler(spy)
    try:
        answered(broken())
    finally:
        logging.getLogger().removeHandler(spy)
    assert seen == [LambdaContext.aws_request_id]
