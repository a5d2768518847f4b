"""The verbs of resources on AWS's services, as moto's server has them, and the errors that AWS answers."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.aws_emulator import CREDENTIALS, REGION, Emulator

from pys_multi import App
from pys_multi.errors import ConditionFailed, NotFound, ResourceError
from pys_multi_providers.aws import resources
from pys_multi_providers.aws.resources import AwsBackend
from pys_multi_providers.aws.tables import read, write
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.store import Store

#: One worker of pytest-xdist has the emulator.
pytestmark = pytest.mark.xdist_group("aws-resources")

app = App("shop")
jobs = app.queue("jobs")
ordered = app.queue("ordered", ordered=True)
news = app.topic("news")
files = app.bucket("files")
users = app.table("users", key="id")
readings = app.table("readings", key="sensor", sort="at")
key_secret = app.secret("KEY")
parameter = app.secret("PARAMETER")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    yield emulator
    emulator.stop()


def surroundings(patch: pytest.MonkeyPatch, url: str, where: dict[str, str]) -> AwsBackend:
    """The backend as it is in a function whose AWS is at a URL."""
    patch.setenv("PYS_MULTI_RESOURCES", json.dumps(where))
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_DEFAULT_REGION", REGION)
    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)
    return AwsBackend(app)


@pytest.fixture(scope="module")
def where(emulator: Emulator) -> dict[str, str]:
    """The resources, made once."""
    sqs, s3, dynamodb = emulator.client("sqs"), emulator.client("s3"), emulator.client("dynamodb")
    s3.create_bucket(Bucket="shop-files", CreateBucketConfiguration={"LocationConstraint": REGION})
    for table in (users, readings):
        names = [("HASH", table.key), *([("RANGE", table.sort)] if table.sort else [])]
        dynamodb.create_table(
            TableName=f"shop-{table.name}",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": name, "KeyType": kind} for kind, name in names],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for _, name in names],
        )
    secrets = emulator.client("secretsmanager")
    emulator.client("ssm").put_parameter(Name="/shop/parameter", Value="from ssm", Type="SecureString")
    return {
        "jobs": sqs.create_queue(QueueName="jobs")["QueueUrl"],
        "ordered": sqs.create_queue(QueueName="ordered.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"],
        "news": emulator.client("sns").create_topic(Name="news")["TopicArn"],
        "files": "shop-files",
        "users": "shop-users",
        "readings": "shop-readings",
        "KEY": secrets.create_secret(Name="shop/KEY", SecretString="from secretsmanager")["ARN"],
        "PARAMETER": "/shop/parameter",
    }


@pytest.fixture
def connected(emulator: Emulator, where: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsBackend]:
    app.backend = backend = surroundings(monkeypatch, emulator.url, where)
    yield backend
    app.backend = None


def received(emulator: Emulator, url: str) -> list[Any]:
    sqs = emulator.client("sqs")
    found: list[Any] = []
    while batch := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"]
    ).get("Messages"):
        found += batch
        for message in batch:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


# ---- queues and topics


def test_many_messages_are_sent_and_their_ids_come_back_in_order(
    connected: AwsBackend, emulator: Emulator, where: dict[str, str]
) -> None:
    ids = jobs.send_many([f"message {number}" for number in range(23)], attributes={"kind": "new"})
    found = {message["MessageId"]: message for message in received(emulator, where["jobs"])}
    assert [found[id]["Body"] for id in ids] == [f"message {number}" for number in range(23)]
    assert found[ids[0]]["MessageAttributes"]["kind"]["StringValue"] == "new"


def test_messages_that_are_large_together_go_in_several_calls(
    connected: AwsBackend, emulator: Emulator, where: dict[str, str]
) -> None:
    jobs.send_many(["x" * 200_000] * 7)
    assert len(received(emulator, where["jobs"])) == 7


def test_messages_of_an_ordered_queue_carry_their_group_and_equal_ones_are_all_kept(
    connected: AwsBackend, emulator: Emulator, where: dict[str, str]
) -> None:
    ordered.send_many(["same"] * 12, group="g")
    found = received(emulator, where["ordered"])
    assert [message["Attributes"]["MessageGroupId"] for message in found] == ["g"] * 12


def test_a_topic_hands_a_message_with_its_attributes_to_its_queue(
    connected: AwsBackend, emulator: Emulator, where: dict[str, str]
) -> None:
    url = emulator.client("sqs").create_queue(QueueName="subscriber")["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:123456789012:subscriber"
    emulator.client("sns").subscribe(
        TopicArn=where["news"], Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"}
    )
    assert news.publish(b"\xff\x00", attributes={"kind": "flash"})
    [message] = received(emulator, url)
    assert base64.b64decode(message["Body"]) == b"\xff\x00"
    assert message["MessageAttributes"]["kind"]["StringValue"] == "flash"


# ---- buckets


def test_objects_are_written_read_listed_and_deleted(connected: AwsBackend) -> None:
    etag = files.put("a/grüße 1+2.txt", "content", metadata={"author": "Ada Grüße"})
    assert files.get("a/grüße 1+2.txt") == b"content"
    assert files.exists("a/grüße 1+2.txt")
    [found] = files.list("a/")
    assert (found.key, found.size, found.etag) == ("a/grüße 1+2.txt", 7, etag)
    assert '"' not in etag
    assert found.modified > 1_600_000_000
    files.delete("a/grüße 1+2.txt")
    files.delete("a/grüße 1+2.txt")
    assert not files.exists("a/grüße 1+2.txt")
    with pytest.raises(NotFound, match="grüße") as error:
        files.get("a/grüße 1+2.txt")
    assert error.value.__cause__ is not None


def test_a_listing_goes_on_over_pages(connected: AwsBackend, emulator: Emulator) -> None:
    s3 = emulator.client("s3")
    for number in range(1005):
        s3.put_object(Bucket="shop-files", Key=f"many/{number:04d}", Body=b"")
    assert [found.key for found in files.list("many/")] == [f"many/{number:04d}" for number in range(1005)]


# ---- tables: the same as on this machine


@pytest.fixture
def both(connected: AwsBackend, tmp_path: Path) -> Iterator[Callable[[], tuple[AwsBackend, LocalBackend]]]:
    """The backend of AWS and that of the local provider."""
    store = Store(tmp_path / "data")
    store.apply(app.service())
    yield lambda: (connected, LocalBackend(store, buckets=tmp_path / "buckets"))
    store.close()


#: 1e14: DynamoDB adds decimals of 38 digits, so sums of much larger numbers are other ones there.
SCALARS = (
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.sampled_from([0.5, -2.25, 1e14]) | st.sampled_from("abc")
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2)
#: Reserved words, and names that no expression could have in it.
NAMES = st.sampled_from(["size", "name", "a.b", "#n", "ü"])


def wanted(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What a condition says of one attribute."""
    equal = st.tuples(st.sampled_from(["=", "!="]), values)
    ordered = st.tuples(st.sampled_from(["<", "<=", ">", ">="]), values.filter(lambda value: value is not None))
    return values | equal | ordered


CONDITIONS = st.tuples(
    st.dictionaries(NAMES, wanted(VALUES), max_size=2),
    st.dictionaries(st.just("id"), wanted(st.none() | st.integers(-5, 5) | st.sampled_from("abc"))),
).map(lambda parts: parts[0] | parts[1])
ITEMS = st.dictionaries(NAMES, VALUES, max_size=4)
UPDATES = st.fixed_dictionaries(
    {
        "set": st.dictionaries(st.sampled_from(["size", "name"]), VALUES, max_size=2),
        "add": st.dictionaries(st.sampled_from(["a.b", "#n"]), st.integers(-5, 5), max_size=2),
        "remove": st.lists(st.just("ü"), max_size=1),
    }
).filter(lambda update: any(update.values()))  # moto cannot update nothing, as DynamoDB can
STEPS = st.one_of(
    st.tuples(st.just("put"), ITEMS, CONDITIONS),
    st.tuples(st.just("update"), UPDATES, CONDITIONS),
    st.tuples(st.just("delete"), st.none(), CONDITIONS),
    st.tuples(st.just("get"), st.none(), st.none()),
)


def outcome(step: Any, key: object) -> Any:
    """What a verb gives or raises."""
    verb, value, condition = step
    try:
        if verb == "put":
            return users.put({"id": key, **value}, condition=condition)
        if verb == "update":
            return users.update(key, condition=condition, **value)
        if verb == "delete":
            return users.delete(key, condition=condition)
        return users.get(key)
    except ConditionFailed:
        return "the condition failed"
    except ValueError:
        return "refused"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=6), number=st.booleans())
def test_a_table_does_what_it_does_on_this_machine(
    both: Callable[[], tuple[AwsBackend, LocalBackend]], steps: list[Any], number: bool
) -> None:
    aws, local = both()
    key: object = uuid4().int >> 66 if number else uuid4().hex
    for step in [*steps, ("get", None, None)]:
        found = []
        for backend in (aws, local):
            app.backend = backend
            found.append(outcome(step, key))
        assert found[0] == found[1], step


KEYS = st.integers(-(2**63), 2**63 - 1) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sorts=st.lists(KEYS, min_size=1, max_size=8, unique=True),
    prefix=st.none() | st.text("ab", max_size=2),
    limit=st.none() | st.integers(1, 4),
    reverse=st.booleans(),
)
def test_a_query_finds_the_same_in_the_same_order_as_on_this_machine(
    both: Callable[[], tuple[AwsBackend, LocalBackend]],
    sorts: list[Any],
    prefix: str | None,
    limit: int | None,
    reverse: bool,
) -> None:
    sensor = uuid4().hex
    found = []
    for backend in both():
        app.backend = backend
        for at in sorts:
            readings.put({"sensor": sensor, "at": at})
        found.append([item["at"] for item in readings.query(sensor, prefix=prefix, limit=limit, reverse=reverse)])
    assert found[0] == found[1]


def test_a_query_goes_on_over_pages_up_to_its_limit(connected: AwsBackend) -> None:
    sensor = uuid4().hex
    for number in range(12):
        # A page of DynamoDB has a megabyte.
        readings.put({"sensor": sensor, "at": f"{number:02d}", "filling": "x" * 250_000})
    assert [item["at"] for item in readings.query(sensor)] == [f"{number:02d}" for number in range(12)]
    assert [item["at"] for item in readings.query(sensor, limit=9)] == [f"{number:02d}" for number in range(9)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**37), 10**37) | st.text(max_size=5)
        | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-130 <= abs(x) < 1e126),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)  # fmt: skip
def test_every_json_value_comes_back(value: Any) -> None:
    assert read(json.loads(json.dumps(write(value)))) == value


@pytest.mark.parametrize("value", [10**39 + 1, 1e200, 1e-200, float("1e126")])
def test_a_number_that_dynamodb_would_change_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="as a str"):
        write(value)


def test_an_int_stays_an_int_and_sets_of_others_are_lists() -> None:
    assert type(read({"N": "12"})) is int
    assert read({"SS": ["a", "b"]}) == ["a", "b"]
    assert read({"NS": ["1", "2.5"]}) == [1, 2.5]
    assert read({"B": b"\x00"}) == "AA=="


@pytest.mark.parametrize("key", ["\0text", 2**63])
def test_a_key_that_could_be_mistaken_is_refused(connected: AwsBackend, key: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        users.get(key)


# ---- secrets


def test_a_secret_is_read_from_where_it_is_kept(connected: AwsBackend) -> None:
    assert key_secret.value == "from secretsmanager"
    assert parameter.value == "from ssm"


def test_a_rotated_secret_is_seen_after_its_time_and_not_read_before(
    connected: AwsBackend, emulator: Emulator, where: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(resources, "time", lambda: now)
    assert parameter.value == "from ssm"
    emulator.client("ssm").put_parameter(Name="/shop/parameter", Value="rotated", Type="SecureString", Overwrite=True)
    try:
        assert parameter.value == "from ssm"
        now += resources.SECRET_TTL
        assert parameter.value == "rotated"
    finally:
        emulator.client("ssm").put_parameter(
            Name="/shop/parameter", Value="from ssm", Type="SecureString", Overwrite=True
        )


def test_a_secret_that_is_not_there_is_not_found(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:nothing-AbCdEf"
    backend = surroundings(monkeypatch, emulator.url, {"KEY": arn, "PARAMETER": "/nothing"})
    for name in ("KEY", "PARAMETER"):
        with pytest.raises(NotFound, match=name):
            backend.secret_value(name)


# ---- errors


def test_what_was_not_deployed_says_so(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{emulator.url}/123456789012/nothing"
    where = {"jobs": url, "files": "no-such-bucket", "users": "no-such-table", "news": "arn:aws:sns:x:123456789012:no"}
    backend = surroundings(monkeypatch, emulator.url, where)
    calls: list[Callable[[], object]] = [
        lambda: backend.bucket_get("files", "a"),
        lambda: list(backend.bucket_list("files", "")),
        lambda: backend.table_get("users", ("a",)),
        lambda: list(backend.table_query("users", "a", None, None, False)),
    ]
    for call in calls:
        with pytest.raises(ResourceError, match="deploy the service"):
            call()
    with pytest.raises(ResourceError, match="does not say where it is"):
        backend.secret_value("KEY")


class Answering:
    """An AWS that gives the same answers whatever it is asked, one after the other and the last one on and on."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(self.rfile.read(int(self.headers["content-length"] or 0)))
                status, document = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if not status:  # the answer is lost
                    self.close_connection = True
                    return
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response_only(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def answering() -> Iterator[Answering]:
    aws = Answering()
    yield aws
    aws.stop()


@pytest.fixture
def facing(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> AwsBackend:
    names = ("jobs", "news", "files", "users", "KEY", "PARAMETER")
    where = {name: f"{answering.url}/1/{name}" if name == "jobs" else name for name in names}
    return surroundings(monkeypatch, answering.url, {**where, "KEY": "arn:aws:secretsmanager:x:1:secret:KEY"})


def sent(count: int, *failed: tuple[int, str, bool]) -> Any:
    bad = {number for number, _, _ in failed}
    return {
        "Successful": [
            {"Id": str(n), "MessageId": f"m{n}", "MD5OfMessageBody": "x"} for n in range(count) if n not in bad
        ],
        "Failed": [{"Id": str(n), "Code": code, "SenderFault": theirs, "Message": "why"} for n, code, theirs in failed],
    }


def test_messages_that_sqs_could_not_take_are_sent_again_and_only_those(
    facing: AwsBackend, answering: Answering
) -> None:
    again = {"Successful": [{"Id": "1", "MessageId": "m1", "MD5OfMessageBody": "x"}], "Failed": []}
    answering.answers = [(200, sent(3, (1, "InternalError", False))), (200, again)]
    app.backend = facing
    assert jobs.send_many(["a", "b", "c"]) == ["m0", "m1", "m2"]
    assert [entry["MessageBody"] for entry in json.loads(answering.asked[1])["Entries"]] == ["b"]


@pytest.mark.parametrize(("theirs", "calls"), [(True, 1), (False, 3)])
def test_messages_that_sqs_never_takes_are_an_error_that_says_how_many_were_sent(
    facing: AwsBackend, answering: Answering, theirs: bool, calls: int
) -> None:
    answering.answers = [(200, sent(3, (1, "InvalidMessageContents", theirs)))]
    app.backend = facing
    with pytest.raises(ResourceError, match=r"'jobs'.*1 messages, after 2 were sent.*InvalidMessageContents"):
        jobs.send_many(["a", "b", "c"])
    assert len(answering.asked) == calls


DENIED = {"__type": "com.amazonaws#AccessDeniedException", "message": "not authorized"}
DENIED_XML = b"<ErrorResponse><Error><Code>AuthorizationError</Code><Message>no</Message></Error></ErrorResponse>"
DENIED_S3 = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.mark.parametrize(
    ("call", "answer", "action"),
    [
        (lambda b: b.table_get("users", ("a",)), (400, DENIED), "dynamodb:GetItem"),
        (lambda b: b.table_put("users", {"id": "a"}, {}), (400, DENIED), "dynamodb:PutItem"),
        (lambda b: list(b.table_query("users", None, None, None, False)), (400, DENIED), "dynamodb:Scan"),
        (lambda b: b.secret_value("KEY"), (400, DENIED), "secretsmanager:GetSecretValue"),
        (lambda b: b.secret_value("PARAMETER"), (400, DENIED), "ssm:GetParameter"),
        (lambda b: b.topic_publish("news", resources_message()), (403, DENIED_XML), "sns:Publish"),
        (lambda b: b.bucket_get("files", "a"), (403, DENIED_S3), "s3:GetObject"),
        (lambda b: b.bucket_put("files", "a", b"", "x/y", {}), (403, DENIED_S3), "s3:PutObject"),
        (lambda b: b.bucket_head("files", "a"), (403, b""), "s3:GetObject"),
    ],
)
def test_what_is_not_allowed_names_the_permission(
    facing: AwsBackend, answering: Answering, call: Any, answer: Any, action: str
) -> None:
    answering.answers = [answer]
    with pytest.raises(ResourceError, match=action) as error:
        call(facing)
    assert "uses" in str(error.value)
    assert error.value.__cause__ is not None


def resources_message() -> Any:
    from pys_multi.resources import Outgoing

    return Outgoing(b"x", {})


def test_an_error_shows_no_value_that_was_sent(facing: AwsBackend, answering: Answering) -> None:
    answering.answers = [(400, {"__type": "ValidationException", "message": "bad"})]
    with pytest.raises(ResourceError) as error:
        facing.table_put("users", {"id": "a", "card": "4111-canary"}, {"card": "4111-canary"})
    assert "canary" not in str(error.value)
    with pytest.raises(ValueError, match="arguments") as refused:
        facing.bucket_put("files", "a", b"x", ("canary",), {})  # type: ignore[arg-type]
    assert "canary" not in str(refused.value)


FAILED = {"__type": "InternalServerError", "message": "why"}
BUSY = {"__type": "ThrottlingException", "message": "slow down"}
#: What a second time would do something else.
ONCE: list[Any] = [
    lambda b: b.table_put("users", {"id": "a"}, {"id": None}),
    lambda b: b.table_delete("users", ("a",), {"n": 1}),
    lambda b: b.table_update("users", ("a",), {}, {"n": 1}, (), {}),
]


@pytest.mark.parametrize("write_once", ONCE, ids=["put-if", "delete-if", "add"])
@pytest.mark.parametrize("answer", [(500, FAILED), (0, b"")], ids=["500", "lost"])
def test_a_write_that_may_have_happened_is_not_done_again(
    facing: AwsBackend, answering: Answering, write_once: Any, answer: Any
) -> None:
    answering.answers = [answer]
    with pytest.raises(ResourceError):
        write_once(facing)
    assert len(answering.asked) == 1


@pytest.mark.parametrize("write_once", ONCE, ids=["put-if", "delete-if", "add"])
def test_a_write_that_was_held_back_is_done_later(facing: AwsBackend, answering: Answering, write_once: Any) -> None:
    answering.answers = [(400, BUSY), (400, BUSY), (200, {"Attributes": {"id": {"S": "a"}}})]
    write_once(facing)
    assert len(answering.asked) == 3


def test_a_write_that_is_the_same_twice_is_tried_again(facing: AwsBackend, answering: Answering) -> None:
    answering.answers = [(0, b""), (500, FAILED), (200, {})]
    facing.table_put("users", {"id": "a"}, {})
    assert len(answering.asked) == 3


def test_an_aws_that_cannot_be_reached_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    backend = surroundings(monkeypatch, f"http://127.0.0.1:{port}", {"users": "users"})
    with pytest.raises(ResourceError, match="did not reach AWS"):
        backend.table_get("users", ("a",))


def test_threads_share_one_client(connected: AwsBackend) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(connected.clients.get("s3"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client in found}) == 1
