"""The verbs on the local store: buckets, tables, secrets, presigned URLs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pys_multi.errors import ConditionFailed, NotFound, ResourceError
from pys_multi.model import Bucket, Function, ObjectEvent, Queue, Service, Table, Topic
from pys_multi.resources import Outgoing
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.store import Store

SERVICE = Service(
    name="shop",
    resources=(
        Queue(name="orders"),
        Topic(name="events"),
        Bucket(name="files"),
        Table(name="stock", key="sku"),
        Table(name="log", key="who", sort="at"),
    ),
    functions=(
        Function(
            name="worker",
            triggers=(
                ObjectEvent(id="worker:made", bucket="files", event="created", handler="made", suffix=".pdf"),
                ObjectEvent(id="worker:gone", bucket="files", event="deleted", handler="gone"),
            ),
        ),
    ),
)
MADE, GONE = "bucket/files/worker:made", "bucket/files/worker:gone"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(tmp_path: Path, clock: Clock) -> Iterator[LocalBackend]:
    store = Store(tmp_path, clock=clock)
    store.apply(SERVICE)
    yield LocalBackend(store, buckets=tmp_path / "buckets", base_url="http://127.0.0.1:8000", secrets={"KEY": "s3"})
    store.close()


@pytest.fixture
def store(backend: LocalBackend) -> Store:
    return backend.store


def put(backend: LocalBackend, key: str, data: bytes = b"x") -> str:
    return backend.bucket_put("files", key, data, "text/plain", {})


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "buckets").glob("*/*"))


def events(store: Store, queue: str) -> list[dict[str, object]]:
    return [json.loads(delivery.body) for delivery in store.receive(queue, 100, 60)]


def test_queue_topic_and_secret(backend: LocalBackend, store: Store) -> None:
    [id] = backend.queue_send("orders", [Outgoing(b"1", {})])
    assert [d.id for d in store.receive("orders", 10, 60)] == [id]
    assert backend.topic_publish("events", Outgoing(b"1", {}))
    assert backend.secret_value("KEY") == "s3"
    with pytest.raises(NotFound, match="env:OTHER"):
        backend.secret_value("OTHER")


def test_secrets_may_come_from_a_function(backend: LocalBackend, store: Store, tmp_path: Path) -> None:
    asked = LocalBackend(store, buckets=tmp_path / "buckets", secrets={"A": "1"}.get)
    assert asked.secret_value("A") == "1"
    with pytest.raises(NotFound):
        LocalBackend(store, buckets=tmp_path / "buckets").secret_value("A")


# ---- buckets


def test_an_object_is_what_was_put_last(backend: LocalBackend, tmp_path: Path, clock: Clock) -> None:
    assert put(backend, "a.txt", b"old") != put(backend, "a.txt", b"new\x00")
    assert backend.bucket_get("files", "a.txt") == b"new\x00"
    info = backend.bucket_head("files", "a.txt")
    assert info is not None
    assert (info.key, info.size, info.modified, info.content_type) == ("a.txt", 4, clock.now, "text/plain")
    assert info.etag == put(backend, "b.txt", b"new\x00")
    assert len(files(tmp_path)) == 2


def test_what_is_not_there(backend: LocalBackend) -> None:
    with pytest.raises(NotFound, match=r"'nope\.txt'"):
        backend.bucket_get("files", "nope.txt")
    assert backend.bucket_head("files", "nope.txt") is None
    with pytest.raises(NotFound):
        backend.bucket_metadata("files", "nope.txt")
    backend.bucket_delete("files", "nope.txt")
    for call in (
        lambda: backend.bucket_put("nope", "a", b"", "", {}),
        lambda: backend.bucket_get("nope", "a"),
        lambda: backend.bucket_head("nope", "a"),
        lambda: backend.bucket_delete("nope", "a"),
        lambda: backend.bucket_list("nope", ""),
        lambda: backend.table_get("nope", ("a",)),
        lambda: backend.table_put("nope", {}, {}),
        lambda: backend.table_query("nope", None, None, None, False),
    ):
        with pytest.raises(ResourceError, match="'nope'"):
            call()


def test_metadata_is_kept(backend: LocalBackend) -> None:
    backend.bucket_put("files", "a", b"", "", {"by": "ä"})
    assert backend.bucket_metadata("files", "a") == {"by": "ä"}


def test_a_deleted_object_is_gone_with_its_file(backend: LocalBackend, tmp_path: Path) -> None:
    put(backend, "a")
    backend.bucket_delete("files", "a")
    assert backend.bucket_head("files", "a") is None
    assert files(tmp_path) == []


HOSTILE = ["a", "A", "a/b", "a/b/c.pdf", "ä/ö", "🎉", " ", "a b", "-", "CON", "x" * 1024, "é" * 512, "a\nb", "%2F", "*"]


def test_any_key_is_an_object_of_its_own(backend: LocalBackend) -> None:
    for key in HOSTILE:
        put(backend, key, key.encode())
    assert [backend.bucket_get("files", key).decode() for key in HOSTILE] == HOSTILE
    assert [info.key for info in backend.bucket_list("files", "")] == sorted(HOSTILE, key=str.encode)


def test_listing_pages_and_stops_at_the_prefix(backend: LocalBackend, store: Store) -> None:
    with store.database.write() as db:
        db.executemany(
            "INSERT INTO objects VALUES ('files', ?, 'f', 1, 'e', 0, '', '{}')",
            [(key,) for i in range(1200) for key in (f"a/{i:04}", f"b/{i:04}")],
        )
    assert [info.key for info in backend.bucket_list("files", "a/")] == [f"a/{i:04}" for i in range(1200)]
    assert len(list(backend.bucket_list("files", ""))) == 2400
    assert list(backend.bucket_list("files", "c")) == []


@settings(max_examples=60, deadline=None)
@given(
    keys=st.sets(st.text(st.sampled_from("ab\ud7ff\ue000\U0010ffff~"), min_size=1, max_size=3)),
    prefix=st.text(st.sampled_from("ab\ud7ff\ue000\U0010ffff~"), max_size=2),
)
def test_a_prefix_means_what_it_says(tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str) -> None:
    store = Store(tmp_path_factory.mktemp("prefix"))
    store.apply(SERVICE)
    with store.database.write() as db:
        db.executemany("INSERT INTO objects VALUES ('files', ?, 'f', 1, 'e', 0, '', '{}')", [(key,) for key in keys])
        db.executemany("INSERT INTO items VALUES ('log', 1, ?, ?)", [(key, json.dumps(key)) for key in keys])
    backend = LocalBackend(store, buckets=store.directory / "buckets")
    expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    assert [info.key for info in backend.bucket_list("files", prefix)] == expected
    for reverse in (False, True):
        found = [str(item) for item in backend.table_query("log", 1, prefix, None, reverse)]
        assert found == (expected[::-1] if reverse else expected)
    store.close()


def test_events_tell_what_happened(backend: LocalBackend, store: Store, clock: Clock) -> None:
    etag = put(backend, "in/a.pdf", b"123")
    put(backend, "in/a.txt", b"1")
    backend.bucket_delete("files", "in/a.pdf")
    backend.bucket_delete("files", "in/a.pdf")
    told = {"time": clock.now, "bucket": "files", "key": "in/a.pdf", "size": 3, "etag": etag}
    assert events(store, MADE) == [{"kind": "created", **told}]
    assert events(store, GONE) == [{"kind": "deleted", **told}]


def test_files_of_crashed_writers_are_swept_when_they_are_old(backend: LocalBackend, tmp_path: Path) -> None:
    put(backend, "kept")
    [kept] = files(tmp_path)
    fresh, old = kept.with_name("fresh"), kept.with_name("old")
    for path in (fresh, old):
        path.touch()
    for path in (kept, old):
        os.utime(path, (0, 0))
    assert backend.sweep() == 1
    assert files(tmp_path) == sorted([kept, fresh])
    assert backend.bucket_get("files", "kept") == b"x"


def test_sweeping_needs_no_bucket_to_be_there(backend: LocalBackend) -> None:
    assert backend.sweep() == 0


def test_a_lost_file_and_a_full_disk_say_so(backend: LocalBackend, tmp_path: Path) -> None:
    put(backend, "a")
    files(tmp_path)[0].unlink()
    with pytest.raises(ResourceError, match="lost its file"):
        backend.bucket_get("files", "a")
    (tmp_path / "buckets" / "files").rmdir()
    (tmp_path / "buckets" / "files").touch()
    with pytest.raises(ResourceError, match="cannot be written"):
        put(backend, "b")


# ---- presigned URLs


def presigned(backend: LocalBackend, key: str, method: str = "GET") -> tuple[str, str, str, str]:
    url = urlsplit(backend.bucket_presign("files", key, method, 60))
    assert url.netloc == "127.0.0.1:8000"
    head, bucket, path = url.path.removeprefix("/.pys-multi/").split("/", 2)
    query = parse_qs(url.query)
    assert (head, query["method"]) == ("buckets", [method])
    return unquote(bucket), unquote(path), query["expires"][0], query["signature"][0]


@pytest.mark.parametrize("key", HOSTILE)
def test_a_presigned_url_lets_exactly_its_request_in(backend: LocalBackend, clock: Clock, key: str) -> None:
    bucket, path, expires, signature = presigned(backend, key)
    assert (bucket, path) == ("files", key)
    assert backend.verify_presigned("GET", bucket, path, expires, signature)
    assert backend.verify_presigned("HEAD", bucket, path, expires, signature)
    assert not backend.verify_presigned("PUT", bucket, path, expires, signature)
    assert not backend.verify_presigned("GET", bucket, path + "x", expires, signature)
    assert not backend.verify_presigned("GET", "other", path, expires, signature)
    assert not backend.verify_presigned("GET", bucket, path, str(int(expires) + 1), signature)
    clock.now += 60
    assert not backend.verify_presigned("GET", bucket, path, expires, signature)


@pytest.mark.parametrize(("expires", "signature"), [("", ""), ("x", "0"), ("٣", "0"), ("9" * 5000, "0"), ("1", "ä")])
def test_a_malformed_signature_is_no_error(backend: LocalBackend, expires: str, signature: str) -> None:
    assert not backend.verify_presigned("GET", "files", "a", expires, signature)


def test_processes_of_a_stage_share_the_key_and_stages_do_not(
    backend: LocalBackend, store: Store, tmp_path: Path, clock: Clock
) -> None:
    bucket, path, expires, signature = presigned(backend, "a", "PUT")
    other = LocalBackend(store, buckets=tmp_path / "buckets")
    assert other.verify_presigned("PUT", bucket, path, expires, signature)
    elsewhere = Store(tmp_path / "elsewhere", clock=clock)
    assert not LocalBackend(elsewhere, buckets=tmp_path).verify_presigned("PUT", bucket, path, expires, signature)
    elsewhere.close()


# ---- tables


def test_an_item_is_what_was_put_last(backend: LocalBackend) -> None:
    assert backend.table_get("stock", ("a",)) is None
    backend.table_put("stock", {"sku": "a", "n": 1, "old": True}, {})
    item = {"sku": "a", "n": 1.5, "deep": [{"x": None}], "text": "ä\u0000", "big": 2**70}
    backend.table_put("stock", item, {})
    assert backend.table_get("stock", ("a",)) == item
    backend.table_delete("stock", ("a",), {})
    backend.table_delete("stock", ("a",), {})
    assert backend.table_get("stock", ("a",)) is None


def test_a_number_and_its_text_are_two_keys(backend: LocalBackend) -> None:
    for sku in (1, "1", "a", "A", 2**63 - 1):
        backend.table_put("stock", {"sku": sku}, {})
    assert [item["sku"] for item in backend.table_query("stock", None, None, None, False)] == [
        1,
        2**63 - 1,
        "1",
        "A",
        "a",
    ]
    with pytest.raises(ValueError, match="64 bits"):
        backend.table_get("stock", (2**63,))


HOLDS = [
    ({"n": 1}, True),
    ({"n": 1.0}, True),
    ({"n": 2}, False),
    ({"n": True}, False),
    ({"n": "1"}, False),
    ({"n": None}, False),
    ({"n": ("!=", None)}, True),
    ({"n": ("!=", 2)}, True),
    ({"n": ("!=", 1)}, False),
    ({"n": ("<", 2)}, True),
    ({"n": ("<", 1)}, False),
    ({"n": ("<=", 1)}, True),
    ({"n": (">", 0.5)}, True),
    ({"n": (">", 1)}, False),
    ({"n": (">=", 1)}, True),
    ({"n": ("<", "2")}, False),
    ({"flag": True}, True),
    ({"flag": 1}, False),
    ({"flag": (">", 0)}, False),
    ({"text": ("<", "b")}, True),
    ({"text": (">=", "b")}, False),
    ({"text": ("=", "a")}, True),
    ({"list": [1, {"x": 2.0}]}, True),
    ({"list": [True, {"x": 2}]}, False),
    ({"null": None}, True),
    ({"null": ("!=", None)}, False),
    ({"absent": None}, True),
    ({"absent": ("!=", 5)}, True),
    ({"absent": ("<", 5)}, False),
    ({"sku": None}, False),
    ({"sku": ("!=", None)}, True),
    ({"n": 1, "text": "b"}, False),
    ({"n": 1, "text": "a"}, True),
]


@pytest.mark.parametrize(("condition", "holds"), HOLDS)
def test_a_write_happens_only_under_its_condition(
    backend: LocalBackend, condition: dict[str, object], holds: bool
) -> None:
    item = {"sku": "a", "n": 1, "flag": True, "text": "a", "list": [1, {"x": 2}], "null": None}
    writes = (
        lambda: backend.table_put("stock", item, condition),
        lambda: backend.table_update("stock", ("a",), {}, {}, (), condition),
        lambda: backend.table_delete("stock", ("a",), condition),
    )
    for write in writes:
        backend.table_put("stock", item, {})
        if holds:
            write()
        else:
            with pytest.raises(ConditionFailed, match="'stock'"):
                write()
            assert backend.table_get("stock", ("a",)) == item


def test_only_if_there_is_none(backend: LocalBackend) -> None:
    backend.table_put("stock", {"sku": "a", "n": 1}, {"sku": None})
    with pytest.raises(ConditionFailed):
        backend.table_put("stock", {"sku": "a", "n": 2}, {"sku": None})
    with pytest.raises(ConditionFailed, match="no such item"):
        backend.table_update("stock", ("b",), {"n": 2}, {}, (), {"sku": ("!=", None)})
    assert [item["n"] for item in backend.table_query("stock", None, None, None, False)] == [1]


def test_an_update_sets_adds_and_removes_in_one_step(backend: LocalBackend) -> None:
    backend.table_put("stock", {"sku": "a", "n": 1, "x": 1, "y": 2, "null": None}, {})
    expected = {"sku": "a", "n": 3.5, "x": [1], "null": 1, "new": -2}
    changed = backend.table_update("stock", ("a",), {"x": [1]}, {"n": 2.5, "new": -2, "null": 1}, ["y", "z"], {})
    assert changed == backend.table_get("stock", ("a",)) == expected


def test_an_update_creates_what_is_not_there(backend: LocalBackend) -> None:
    assert backend.table_update("stock", (7,), {}, {"n": 1}, (), {}) == {"sku": 7, "n": 1}
    assert backend.table_update("log", ("ann", 7), {"x": 1}, {}, (), {}) == {"who": "ann", "at": 7, "x": 1}
    assert backend.table_get("log", ("ann", 7)) == {"who": "ann", "at": 7, "x": 1}


@pytest.mark.parametrize("attribute", ["text", "flag"])
def test_an_update_that_makes_no_sense_changes_nothing(backend: LocalBackend, attribute: str) -> None:
    item = {"sku": "a", "text": "a", "flag": True, "n": 1}
    backend.table_put("stock", item, {})
    with pytest.raises(ValueError, match="not a number"):
        backend.table_update("stock", ("a",), {"m": 1}, {"n": 1, attribute: 1}, (), {})
    with pytest.raises(ValueError, match="JSON"):
        backend.table_update("stock", ("a",), {}, {"n": float("inf")}, (), {})
    assert backend.table_get("stock", ("a",)) == item


def ats(items: Iterator[dict[str, object]]) -> list[object]:
    return [item["at"] for item in items]


def test_a_query_gives_one_key_in_order_of_the_sort_key(backend: LocalBackend) -> None:
    for who in ("ann", "bob"):
        for at in (10, 9, -1, "b", "a2", "a1", "ä"):
            backend.table_put("log", {"who": who, "at": at}, {})
    assert ats(backend.table_query("log", "ann", None, None, False)) == [-1, 9, 10, "a1", "a2", "b", "ä"]
    assert ats(backend.table_query("log", "ann", None, 2, True)) == ["ä", "b"]
    assert ats(backend.table_query("log", "ann", "a", None, False)) == ["a1", "a2"]
    assert ats(backend.table_query("log", "ann", "a", 1, True)) == ["a2"]
    assert ats(backend.table_query("log", "ann", "", None, False)) == ["a1", "a2", "b", "ä"]
    assert ats(backend.table_query("log", "eve", None, None, False)) == []
    assert ats(backend.table_query("log", "ann", None, 0, False)) == []
    with pytest.raises(ValueError, match="limit"):
        backend.table_query("log", "ann", None, -1, False)


@pytest.mark.parametrize("limit", [None, 1, 499, 500, 501, 1000, 1001, 1100, 2000])
def test_queries_page_without_a_seam(backend: LocalBackend, store: Store, limit: int | None) -> None:
    with store.database.write() as db:
        db.executemany(
            "INSERT INTO items VALUES ('log', ?, ?, ?)",
            [(n // 1100, n % 1100, json.dumps({"at": n})) for n in range(2200)],
        )
    assert ats(backend.table_query("log", None, None, limit, False)) == list(range(2200))[:limit]
    assert ats(backend.table_query("log", 1, None, limit, False)) == list(range(1100, 2200))[:limit]
    assert ats(backend.table_query("log", 1, None, limit, True)) == list(range(2199, 1099, -1))[:limit]


def test_writes_while_a_query_is_read_do_not_wait(backend: LocalBackend) -> None:
    for n in range(3):
        backend.table_put("stock", {"sku": n}, {})
    for item in backend.table_query("stock", None, None, None, False):
        backend.table_delete("stock", (item["sku"],), {})
    assert list(backend.table_query("stock", None, None, None, False)) == []
