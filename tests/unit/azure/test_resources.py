"""The verbs of queues, topics, buckets and secrets on Azurite and a Service Bus of the tests' own."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from tests.support.azure_host.identity import Identity
from tests.support.azurite import Azurite
from tests.support.service_bus import Namespace, Stored

import pys_multi
import pys_multi_providers
from pys_multi import App
from pys_multi.errors import NotFound, ResourceError
from pys_multi_providers.azure import entry
from pys_multi_providers.azure.resources import AzureBackend
from pys_multi_providers.azure.signatures import signed

#: One worker of pytest-xdist has Azurite.
pytestmark = pytest.mark.xdist_group("azurite")
CLIENT = "an identity"

app = App("shop")
jobs = app.queue("jobs")
ordered = app.queue("ordered", ordered=True)
news = app.topic("news")
files = app.bucket("files")
key_secret = app.secret("KEY")


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    namespace = Namespace()
    namespace.add_queue("jobs")
    namespace.add_queue("ordered", sessions=True)
    namespace.add_topic("news")
    for name in ("one", "two"):
        namespace.add_subscription("news", name)
    yield namespace
    namespace.stop()


@pytest.fixture(scope="module")
def identity() -> Iterator[Identity]:
    identity = Identity(CLIENT)
    yield identity
    identity.stop()


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> str:
    return azurite.make_container("files")


@pytest.fixture
def connect(
    azurite: Azurite, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., AzureBackend]]:
    def made(**where: str) -> AzureBackend:
        monkeypatch.setenv("PYS_MULTI_RESOURCES", json.dumps(where))
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
        monkeypatch.setenv("SSL_CERT_FILE", str(azurite.certificate))
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        app.backend = backend = AzureBackend(app)
        made_here.append(backend)
        return backend

    made_here: list[AzureBackend] = []
    yield made
    app.backend = None
    for backend in made_here:
        backend._connections.close()


@pytest.fixture
def connected(connect: Callable[..., AzureBackend], namespace: Namespace, container: str) -> AzureBackend:
    return connect(
        jobs=f"{namespace.url}/jobs",
        ordered=f"{namespace.url}/ordered",
        news=f"{namespace.url}/news",
        files=container,
        KEY="PYS_MULTI_SECRET_0",
    )


def received(namespace: Namespace, entity: str) -> list[Stored]:
    queue = namespace.queues[entity]
    found = []
    while (message := queue.take()) is not None:
        found.append(message)
        queue.complete(message.lock)
    return found


# ---- queues and topics


def test_many_messages_are_sent_and_their_ids_come_back_in_order(connected: AzureBackend, namespace: Namespace) -> None:
    ids = jobs.send_many([f"message {number}" for number in range(230)], attributes={"kind": "new"})
    found = received(namespace, "jobs")
    assert [message.id for message in found] == ids
    assert [message.body for message in found] == [f"message {number}".encode() for number in range(230)]
    assert found[0].properties == {"kind": "new"}


def test_messages_that_are_large_together_go_in_several_calls(connected: AzureBackend, namespace: Namespace) -> None:
    jobs.send_many(["x" * 100_000] * 7)
    assert len(received(namespace, "jobs")) == 7


def test_a_message_that_is_too_large_is_refused_before_any_is_sent(
    connected: AzureBackend, namespace: Namespace
) -> None:
    with pytest.raises(ValueError, match="at most"):
        jobs.send_many(["small", "x" * 300_000])
    assert received(namespace, "jobs") == []


def test_a_topic_has_a_copy_for_every_subscription(connected: AzureBackend, namespace: Namespace) -> None:
    id = news.publish(b"\xff\x00", attributes={"ü": "1"})
    for name in ("one", "two"):
        [message] = received(namespace, f"news/subscriptions/{name}")
        assert message.id == id
        assert message.properties["pys-multi-encoding"] == "base64"
        assert json.loads(message.properties["pys-multi-attributes"]) == {"ü": "1"}


def test_a_group_is_a_session_and_a_delay_a_time(connected: AzureBackend, namespace: Namespace) -> None:
    ordered.send("a", group="customer 7")
    assert [message.session for message in received(namespace, "ordered")] == ["customer 7"]
    before = time.time()
    jobs.send("late", delay=100)
    [late] = namespace.queues["jobs"].messages
    namespace.queues["jobs"].messages.clear()
    assert before + 100 <= late.visible <= before + 102


def test_a_queue_that_is_not_deployed_is_named(connect: Callable[..., AzureBackend], namespace: Namespace) -> None:
    connect(jobs=f"{namespace.url}/nowhere")
    with pytest.raises(ResourceError, match=r"queue 'jobs'.*not there; deploy"):
        jobs.send("a")
    with pytest.raises(ResourceError, match=r"topic 'news'.*deploy"):
        news.publish("a")


def test_tokens_are_kept(connected: AzureBackend, identity: Identity, namespace: Namespace) -> None:
    before = len(identity.asked)
    for _ in range(3):
        jobs.send("a")
        files.exists("a")
    received(namespace, "jobs")
    assert sorted(identity.asked[before:]) == ["https://servicebus.azure.net/", "https://storage.azure.com/"]


def test_a_process_without_an_identity_says_so(
    connected: AzureBackend, monkeypatch: pytest.MonkeyPatch, namespace: Namespace
) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    with pytest.raises(ResourceError, match="IDENTITY_ENDPOINT"):
        jobs.send("a")


# ---- buckets


@pytest.mark.parametrize("key", ["a b+c&d=e?f#g%h/ü 🎉'\"", "~/a", "a%2Fb", "a//b", "<xml>&amp;", "0" * 900])
def test_an_object_of_any_key_comes_back(connected: AzureBackend, key: str) -> None:
    name = f"{uuid4().hex}/{key}"
    etag = files.put(name, b"\x00content\xff", metadata={"made-by": "grüße", "1": "x"})
    assert files.get(name) == b"\x00content\xff"
    [found] = files.list(name[:33])
    assert (found.key, found.size, found.etag) == (name, 9, etag)
    assert abs(found.modified - time.time()) < 60
    assert files.exists(name)
    files.delete(name)
    files.delete(name)
    assert not files.exists(name)
    with pytest.raises(NotFound):
        files.get(name)


def test_a_listing_goes_on_where_an_answer_ends(connected: AzureBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = uuid4().hex
    for number in range(5):
        files.put(f"{folder}/{number}", b"x")
    storage = connected._storage

    def in_twos(what: str, method: str, url: str, *rest: Any) -> Any:
        return storage(what, method, f"{url}&maxresults=2" if "comp=list" in url else url, *rest)

    monkeypatch.setattr(connected, "_storage", in_twos)
    assert [found.key for found in files.list(f"{folder}/")] == [f"{folder}/{number}" for number in range(5)]


def test_a_bucket_that_is_not_deployed_is_named(connect: Callable[..., AzureBackend], azurite: Azurite) -> None:
    connect(files=f"{azurite.blob}/nowhere")
    for verb in (lambda: files.get("a"), lambda: files.put("a", b""), lambda: list(files.list())):
        with pytest.raises(ResourceError, match=r"bucket 'files'.*not there; deploy") as raised:
            verb()
        assert not isinstance(raised.value, NotFound)


def test_a_signed_url_is_good_for_one_object_and_verb(connected: AzureBackend, azurite: Azurite) -> None:
    name = f"{uuid4().hex}/a b.txt"
    assert fetched(azurite, files.presign(name, method="PUT"), "PUT", b"uploaded") == 201
    assert files.get(name) == b"uploaded"
    url = files.presign(name, expires=60)
    assert fetched(azurite, url, "GET") == 200
    assert fetched(azurite, url, "PUT", b"other") == 403
    assert fetched(azurite, url.replace("a%20b", "other"), "GET") == 403
    assert fetched(azurite, files.presign(name, expires=604_800), "GET") == 200


def fetched(azurite: Azurite, url: str, method: str, body: bytes | None = None) -> int:
    trusts = ssl.create_default_context(cafile=str(azurite.certificate))
    fields = {"x-ms-blob-type": "BlockBlob"} if method == "PUT" else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=body, method=method, headers=fields), context=trusts
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize(
    ("permissions", "signature"),
    [
        ("r", "ydKWvF6G3YVUAeKXxovoSqBNQgHQvimkXTYREvKGCzs="),
        ("cw", "pJN31SjIxO8JM2pj4ZUSgQhFdGQkptZlFOZoJ8M/ej8="),
    ],
)
def test_a_signature_is_that_of_microsofts_own_library(permissions: str, signature: str) -> None:
    """What azure-storage-blob 12.24.1 (``generate_blob_sas``) made of the same values."""
    key = {
        "SignedOid": "o",
        "SignedTid": "t",
        "SignedStart": "2026-11-24T00:00:00Z",
        "SignedExpiry": "2026-11-25T00:00:00Z",
        "SignedService": "b",
        "SignedVersion": "2020-12-06",
        "Value": "c2VjcmV0",
    }
    ends = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
    url = signed(key, "https://acct.blob.core.windows.net/files", "a b/ü.txt", permissions, ends, "2025-01-05")
    assert urlsplit(url).path == "/files/a%20b/%C3%BC.txt"
    assert parse_qs(urlsplit(url).query) == {
        "se": ["2026-11-24T12:00:00Z"],
        "sig": [signature],
        "ske": ["2026-11-25T00:00:00Z"],
        "skoid": ["o"],
        "sks": ["b"],
        "skt": ["2026-11-24T00:00:00Z"],
        "sktid": ["t"],
        "skv": ["2020-12-06"],
        "sp": [permissions],
        "spr": ["https"],
        "sr": ["b"],
        "sv": ["2025-01-05"],
    }


# ---- secrets


def test_a_secret_is_a_setting(connected: AzureBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="PYS_MULTI_SECRET_0"):
        _ = key_secret.value
    monkeypatch.setenv("PYS_MULTI_SECRET_0", "the value")
    assert key_secret.value == "the value"
    monkeypatch.setenv("PYS_MULTI_SECRET_0", "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/KEY)")
    with pytest.raises(ResourceError, match=r"secret 'KEY'.*Key Vault"):
        _ = key_secret.value


def test_the_modules_of_the_runtime_need_nothing_but_the_standard_library() -> None:
    roots = [str(Path(module.__file__ or "").parents[1]) for module in (pys_multi, pys_multi_providers)]
    names = [name for name in entry.RUNTIME_MODULES if not name.endswith((".streaming", ".objects"))]
    code = f"import sys; sys.path[:0] = {roots!r}\nfor name in {names!r}: __import__(name)"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)
