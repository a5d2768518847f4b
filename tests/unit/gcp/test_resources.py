"""Queues, topics, buckets and secrets over REST: what is asked of Google, and what becomes of its answers.

That the real counterparts take it is shown by the conformance suite; here is what they do not do on request.
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from tests.support.gcp_identity import Identity
from tests.support.scripted_api import DROP, Asked, ScriptedApi

from pys_multi import App
from pys_multi.errors import NotFound, ResourceError
from pys_multi.resources import Outgoing
from pys_multi_providers.gcp import calls
from pys_multi_providers.gcp.calls import Google, Refused, address_of
from pys_multi_providers.gcp.resources import RESOURCES, GcpBackend

EMAIL = "shop-dev-api@p.iam.gserviceaccount.com"
PLACES = {
    "jobs": "projects/p/topics/shop-dev-jobs",
    "news": "projects/p/topics/shop-dev-news",
    "files": "shop-dev-files-1a2b",
    "KEY": "PYS_MULTI_SECRET_0",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESOURCES, json.dumps(PLACES))
    monkeypatch.setenv("PYS_MULTI_SECRET_0", "canary-5f1d")
    monkeypatch.setattr(calls, "_PAUSES", (0.0, 0.0, 0.0))
    for variable in calls.EMULATORS.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], tuple[GcpBackend, ScriptedApi]]]:
    """A backend whose Google is a script: a list of answers, or what makes them."""
    running: list[ScriptedApi] = []
    made: list[Google] = []

    def start(script: Any) -> tuple[GcpBackend, ScriptedApi]:
        answers = iter(script) if isinstance(script, list) else None
        lock = threading.Lock()

        def answer(asked: Asked) -> Any:
            if answers is None:
                return script(asked)
            with lock:
                return next(answers)

        api = ScriptedApi(answer)
        running.append(api)
        for variable in ("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
            monkeypatch.setenv(variable, api.url)
        made.append(Google())
        return GcpBackend(App("shop"), made[-1]), api

    yield start
    for google in made:
        google.close()
    for api in running:
        api.__exit__()


def published(asked: Asked) -> list[Any]:
    found: list[Any] = asked.json()["messages"]
    return found


def accept(asked: Asked) -> tuple[int, Any]:
    return 200, {"messageIds": [str(number) for number in range(len(published(asked)))]}


# ---- queues and topics


def test_a_message_is_published_to_its_topic(serve: Any) -> None:
    backend, api = serve(accept)
    assert backend.queue_send("jobs", [Outgoing(b"a", {"x": "y"}), Outgoing(b"b", {}, group="g")]) == ["0", "1"]
    [asked] = api.asked
    assert (asked.method, asked.path) == ("POST", "/v1/projects/p/topics/shop-dev-jobs:publish")
    assert published(asked) == [
        {"data": b64encode(b"a").decode(), "attributes": {"x": "y"}},
        {"data": b64encode(b"b").decode(), "orderingKey": "g"},
    ]
    assert backend.topic_publish("news", Outgoing(b"c", {})) == "0"


def test_many_messages_go_in_calls_that_pub_sub_takes_in_order(serve: Any) -> None:
    backend, api = serve(accept)
    messages = [Outgoing(f"{number}".encode().ljust(9_000), {}) for number in range(2_500)]
    assert len(backend.queue_send("jobs", messages)) == 2_500
    assert all(len(published(asked)) <= 1_000 and len(asked.body) <= 10_000_000 for asked in api.asked)
    sent = [b64decode(entry["data"]).split()[0] for asked in api.asked for entry in published(asked)]
    assert sent == [f"{number}".encode() for number in range(2_500)]


def test_what_was_sent_before_a_failure_is_told(serve: Any) -> None:
    backend, _ = serve([(200, {"messageIds": ["1"] * 1000}), (400, {"error": {"status": "INVALID_ARGUMENT"}})])
    with pytest.raises(ResourceError, match="after 1000 of 1001 messages were sent"):
        backend.queue_send("jobs", [Outgoing(b"", {"a": "b"})] * 1001)


@pytest.mark.parametrize("first", [(503, b"busy"), (429, {}), (500, {}), DROP], ids=["503", "429", "500", "no answer"])
def test_a_call_that_failed_in_passing_is_made_again(serve: Any, first: Any) -> None:
    backend, api = serve([first, (200, {"messageIds": ["9"]})])
    assert backend.queue_send("jobs", [Outgoing(b"a", {})]) == ["9"]
    assert len(api.asked) == 2


def test_a_call_is_not_made_forever(serve: Any) -> None:
    backend, api = serve(lambda _: (503, {"error": {"status": "UNAVAILABLE", "message": "try later"}}))
    with pytest.raises(Refused, match=r"pubsub\.topics\.publish failed: 503 UNAVAILABLE: try later") as raised:
        backend.queue_send("jobs", [Outgoing(b"a", {})])
    assert (raised.value.status, raised.value.code) == (503, "UNAVAILABLE")
    assert len(api.asked) == 4


def test_who_may_not_is_told_which_permission_is_missing(serve: Any) -> None:
    denied = {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "User not authorized"}}
    backend, api = serve([(403, denied)])
    with pytest.raises(Refused, match=r"queue 'jobs': Google does not let this process pubsub\.topics\.publish"):
        backend.queue_send("jobs", [Outgoing(b"a", {})])
    assert len(api.asked) == 1


def test_a_topic_that_is_not_there_is_said_to_be_missing(serve: Any) -> None:
    backend, _ = serve([(404, {"error": {"status": "NOT_FOUND", "message": "Resource not found (resource=x)."}})])
    with pytest.raises(Refused, match="it is not there; deploy the service"):
        backend.queue_send("jobs", [Outgoing(b"a", {})])


def test_nobody_there_is_said_to_be_unreachable(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, _ = serve([])
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    with pytest.raises(Refused, match="did not reach Google") as raised:
        backend.queue_send("jobs", [Outgoing(b"a", {})])
    assert raised.value.untouched


def test_a_resource_that_was_not_deployed_is_named(serve: Any) -> None:
    backend, _ = serve([])
    with pytest.raises(ResourceError, match=r"queue 'other': PYS_MULTI_RESOURCES .* deploy the service again"):
        backend.queue_send("other", [Outgoing(b"a", {})])


# ---- tokens


def test_a_token_comes_from_the_metadata_server_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(EMAIL)
    with ScriptedApi(accept) as api:
        monkeypatch.setenv("GCE_METADATA_HOST", identity.host)
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", f"{api.url}/")
        google = Google()
        backend = GcpBackend(App("shop"), google)
        for _ in range(3):
            backend.topic_publish("news", Outgoing(b"c", {}))
        google.close()
        assert {asked.headers["authorization"] for asked in api.asked} == {"Bearer ya29.of-the-tests"}
    identity.stop()
    assert identity.calls == ["/computeMetadata/v1/instance/service-accounts/default/token"]


def test_a_token_that_is_not_taken_is_replaced_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(EMAIL)
    answers = iter([(401, {"error": {"status": "UNAUTHENTICATED"}}), (200, {"messageIds": ["1"]})])
    with ScriptedApi(lambda _: next(answers)) as api:
        monkeypatch.setenv("GCE_METADATA_HOST", identity.host)
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", api.url)
        google = Google()
        GcpBackend(App("shop"), google).topic_publish("news", Outgoing(b"c", {}))
        google.close()
    identity.stop()
    assert len(identity.calls) == 2


def test_outside_of_google_cloud_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    with pytest.raises(ResourceError, match="set the variables of emulators"):
        GcpBackend(App("shop"), Google()).topic_publish("news", Outgoing(b"c", {}))


def test_addresses_can_be_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_of("pubsub") == "https://pubsub.googleapis.com"
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "sovereign.example")
    assert address_of("pubsub") == "https://pubsub.sovereign.example"
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", "https://pubsub-x.p.googleapis.com/")
    assert address_of("pubsub") == "https://pubsub-x.p.googleapis.com"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "localhost:8085")
    assert address_of("pubsub") == "http://localhost:8085"


# ---- buckets

INFO = {"name": "k", "size": "3", "etag": "E=", "updated": "2026-11-24T10:00:00.5Z", "contentType": "text/plain"}


def test_an_object_is_put_with_type_and_metadata(serve: Any) -> None:
    backend, api = serve([(200, INFO)])
    assert backend.bucket_put("files", "a b/ü", b"\r\n--x", "text/plain", {"who": "grüße"}) == "E="
    [asked] = api.asked
    assert asked.path == "/upload/storage/v1/b/shop-dev-files-1a2b/o?uploadType=multipart"
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    _, about, content, end = asked.body.split(b"--" + boundary)
    assert json.loads(about.partition(b"\r\n\r\n")[2]) == {
        "name": "a b/ü",
        "contentType": "text/plain",
        "metadata": {"who": "grüße"},
    }
    assert content.partition(b"\r\n\r\n")[2] == b"\r\n--x\r\n"
    assert end == b"--\r\n"


def test_a_missing_object_is_not_found_and_a_missing_bucket_is_not_deployed(serve: Any) -> None:
    backend, _ = serve(lambda _: (404, b"No such object: shop/k"))
    with pytest.raises(NotFound):
        backend.bucket_get("files", "k")
    assert backend.bucket_head("files", "k") is None
    backend.bucket_delete("files", "k")
    missing = {"error": {"code": 404, "message": "The specified bucket does not exist."}}
    backend, _ = serve(lambda _: (404, missing))
    with pytest.raises(Refused, match="it is not there"):
        backend.bucket_get("files", "k")
    with pytest.raises(Refused, match="it is not there"):
        backend.bucket_head("files", "k")


def test_a_listing_goes_on_page_by_page(serve: Any) -> None:
    pages = [(200, {"items": [INFO], "nextPageToken": "p/2"}), (200, {"items": [{**INFO, "name": "l"}]})]
    backend, api = serve(pages)
    first, second = backend.bucket_list("files", "a/b c")
    assert (first.key, first.size, first.etag, first.content_type) == ("k", 3, "E=", "text/plain")
    assert first.modified == 1795514400.5
    assert second.key == "l"
    asked = [parse_qs(urlsplit(found.path).query) for found in api.asked]
    assert [found["prefix"] for found in asked] == [["a/b c"], ["a/b c"]]
    assert asked[1]["pageToken"] == ["p/2"]


def test_an_empty_listing(serve: Any) -> None:
    backend, _ = serve([(200, {"kind": "storage#objects"})])
    assert list(backend.bucket_list("files", "")) == []


def test_a_presigned_url_is_signed_by_iam_and_says_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(EMAIL)
    for name, value in identity.environment().items():
        monkeypatch.setenv(name, value)
    google = Google()
    url = GcpBackend(App("shop"), google).bucket_presign("files", "a b/ü?", "PUT", 60)
    google.close()
    identity.stop()
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "storage.googleapis.com")
    assert unquote(parts.path) == "/shop-dev-files-1a2b/a b/ü?"
    query = parse_qs(parts.query)
    assert query["X-Goog-Expires"] == ["60"]
    assert query["X-Goog-Credential"][0].startswith(f"{EMAIL}/")
    assert len(bytes.fromhex(query["X-Goog-Signature"][0])) == 256


# ---- secrets


def test_a_secret_is_in_the_environment(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, _ = serve([])
    assert backend.secret_value("KEY") == "canary-5f1d"
    monkeypatch.delenv("PYS_MULTI_SECRET_0")
    with pytest.raises(NotFound, match="deploy the service again"):
        backend.secret_value("KEY")


def test_no_error_names_what_was_sent(serve: Any) -> None:
    backend, _ = serve(lambda _: (400, {"error": {"status": "INVALID_ARGUMENT", "message": "bad"}}))
    with pytest.raises(Refused) as raised:
        backend.queue_send("jobs", [Outgoing(b"canary-5f1d", {"a": "canary-5f1d"})])
    assert "canary" not in str(raised.value)
