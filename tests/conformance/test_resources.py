"""The verbs of tables, buckets and secrets mean the same everywhere, and what was not granted is refused."""

from __future__ import annotations

from json import dumps
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from tests.conformance.driver import Driver, Reply, Settings

JSON = [("content-type", "application/json")]


def send(driver: Driver, method: str, target: str, value: object) -> Reply:
    return driver.request(method, target, JSON, dumps(value).encode())


def put(driver: Driver, item: dict[str, Any], condition: dict[str, Any] | None = None) -> int:
    return send(driver, "PUT", "/users", {"item": item, "condition": condition}).status


def get(driver: Driver, key: str) -> Any:
    return driver.request("GET", f"/users/{key}").json()["item"]


def update(driver: Driver, key: str, **changes: Any) -> Reply:
    return send(driver, "PATCH", f"/users/{key}", changes)


# ---- tables


def test_an_item_comes_back_as_it_was_put(driver: Driver, key: str) -> None:
    item = {"id": key, "text": "grüße 🎉", "n": 12, "x": 1.5, "yes": True, "list": [1, "a"], "map": {"a": {"b": []}}}
    assert put(driver, item) == 200
    assert get(driver, key) == item


def test_an_item_that_is_not_there_is_none(driver: Driver, key: str) -> None:
    assert get(driver, key) is None


def test_put_replaces_the_whole_item(driver: Driver, key: str) -> None:
    put(driver, {"id": key, "a": 1, "b": 2})
    put(driver, {"id": key, "c": 3})
    assert get(driver, key) == {"id": key, "c": 3}


def test_put_if_absent_happens_once(driver: Driver, key: str) -> None:
    assert put(driver, {"id": key, "n": 1}, {"id": None}) == 200
    assert put(driver, {"id": key, "n": 2}, {"id": None}) == 409
    assert get(driver, key)["n"] == 1


def test_a_condition_on_a_value_holds_or_fails(driver: Driver, key: str) -> None:
    put(driver, {"id": key, "version": 1})
    assert put(driver, {"id": key, "version": 2}, {"version": 1}) == 200
    assert put(driver, {"id": key, "version": 3}, {"version": 1}) == 409
    assert get(driver, key)["version"] == 2


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [
        ("=", 5, True),
        ("!=", 5, False),
        ("<", 6, True),
        ("<", 5, False),
        ("<=", 5, True),
        (">", 4, True),
        (">=", 5, True),
        (">=", 6, False),
    ],
)
def test_a_condition_compares(driver: Driver, key: str, operator: str, value: int, holds: bool) -> None:
    put(driver, {"id": key, "n": 5})
    assert put(driver, {"id": key, "n": 5, "touched": True}, {"n": [operator, value]}) == (200 if holds else 409)
    assert ("touched" in get(driver, key)) is holds


def test_update_sets_adds_and_removes_in_one_step(driver: Driver, key: str) -> None:
    put(driver, {"id": key, "n": 1, "old": True, "kept": "k"})
    reply = update(driver, key, set={"name": "new"}, add={"n": 2, "m": 5}, remove=["old"])
    assert reply.json()["item"] == {"id": key, "n": 3, "m": 5, "name": "new", "kept": "k"}
    assert get(driver, key) == reply.json()["item"]


def test_update_creates_an_item_that_is_not_there(driver: Driver, key: str) -> None:
    assert update(driver, key, add={"count": 1}).json()["item"] == {"id": key, "count": 1}


def test_update_with_a_failed_condition_changes_nothing(driver: Driver, key: str) -> None:
    put(driver, {"id": key, "n": 1})
    assert update(driver, key, set={"n": 9}, condition={"n": 2}).status == 409
    assert get(driver, key) == {"id": key, "n": 1}


def test_update_of_an_absent_item_can_be_refused(driver: Driver, key: str) -> None:
    assert update(driver, key, set={"n": 9}, condition={"id": ["!=", None]}).status == 409
    assert get(driver, key) is None


def test_concurrent_additions_are_all_counted(driver: Driver, key: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: update(driver, key, add={"n": 1}).status, range(40)))
    assert replies == [200] * 40
    assert get(driver, key)["n"] == 40


def test_delete_removes_an_item(driver: Driver, key: str) -> None:
    put(driver, {"id": key})
    assert send(driver, "DELETE", f"/users/{key}", {}).status == 204
    assert get(driver, key) is None


def test_delete_of_nothing_is_no_error(driver: Driver, key: str) -> None:
    assert send(driver, "DELETE", f"/users/{key}", {}).status == 204


def test_delete_with_a_failed_condition_keeps_the_item(driver: Driver, key: str) -> None:
    put(driver, {"id": key, "n": 1})
    assert send(driver, "DELETE", f"/users/{key}", {"condition": {"n": 2}}).status == 409
    assert get(driver, key) is not None


@pytest.fixture
def readings(driver: Driver, key: str) -> str:
    """A key with items at 2026-01-01 … 2026-02-02, put in another order."""
    days = ["2026-02-02", "2026-01-01", "2026-01-03", "2026-02-01", "2026-01-02"]
    items = [{"sensor": key, "at": day, "value": int(day[-2:])} for day in days]
    assert send(driver, "PUT", "/readings", [*items, {"sensor": key + "-other", "at": "2026-01-09"}]).status == 204
    return key


def days(reply: Reply) -> list[str]:
    return [item["at"] for item in reply.json()]


def test_a_query_gives_the_items_of_one_key_in_order(driver: Driver, readings: str) -> None:
    assert days(driver.request("GET", f"/readings/{readings}")) == [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
        "2026-02-01",
        "2026-02-02",
    ]


def test_a_query_by_prefix_gives_those_items(driver: Driver, readings: str) -> None:
    assert days(driver.request("GET", f"/readings/{readings}?prefix=2026-02")) == ["2026-02-01", "2026-02-02"]


def test_a_query_in_reverse_gives_the_last_first(driver: Driver, readings: str) -> None:
    found = days(driver.request("GET", f"/readings/{readings}?reverse=true&prefix=2026-01"))
    assert found == ["2026-01-03", "2026-01-02", "2026-01-01"]


def test_a_query_with_a_limit_stops_there(driver: Driver, readings: str) -> None:
    assert days(driver.request("GET", f"/readings/{readings}?limit=2")) == ["2026-01-01", "2026-01-02"]
    assert days(driver.request("GET", f"/readings/{readings}?limit=1&reverse=true")) == ["2026-02-02"]


def test_a_query_of_an_unknown_key_is_empty(driver: Driver, key: str) -> None:
    assert driver.request("GET", f"/readings/{key}").json() == []


def test_a_query_without_a_key_gives_every_item(driver: Driver, readings: str) -> None:
    assert driver.request("GET", "/readings").json()["count"] >= 6


def test_an_item_is_found_by_key_and_sort_key(driver: Driver, readings: str) -> None:
    found = driver.request("GET", f"/readings/{readings}/2026-01-02").json()
    assert found["item"] == {"sensor": readings, "at": "2026-01-02", "value": 2}
    assert driver.request("DELETE", f"/readings/{readings}/2026-01-02").status == 204
    assert driver.request("GET", f"/readings/{readings}/2026-01-02").json() == {"item": None}


# ---- buckets


def test_an_object_comes_back_byte_for_byte(driver: Driver, key: str) -> None:
    content = bytes(range(256)) * 10
    assert driver.request("PUT", f"/files/{key}/a.bin", [], content).json()["etag"]
    assert driver.request("GET", f"/files/{key}/a.bin").body == content


def test_an_empty_object_is_an_object(driver: Driver, key: str) -> None:
    driver.request("PUT", f"/files/{key}", [], b"")
    reply = driver.request("GET", f"/files/{key}")
    assert (reply.status, reply.body) == (200, b"")


def test_an_object_that_is_not_there_is_not_found(driver: Driver, key: str) -> None:
    driver.request("GET", f"/files/{key}").problem(404)


def test_put_replaces_an_object(driver: Driver, key: str) -> None:
    first = driver.request("PUT", f"/files/{key}", [], b"one").json()["etag"]
    second = driver.request("PUT", f"/files/{key}", [], b"two").json()["etag"]
    assert first != second
    assert driver.request("GET", f"/files/{key}").body == b"two"


def test_a_listing_gives_the_keys_below_a_prefix_in_order(driver: Driver, key: str) -> None:
    for name in ("b/2", "a", "b/1", "c", "b2"):
        driver.request("PUT", f"/files/{key}/{name}", [], name.encode())
    found = driver.request("GET", f"/listing?prefix={key}/b/").json()
    assert [entry["key"] for entry in found] == [f"{key}/b/1", f"{key}/b/2"]
    assert [entry["size"] for entry in found] == [3, 3]
    assert all(entry["etag"] and entry["modified"] > 1_600_000_000 for entry in found)
    everything = driver.request("GET", f"/listing?prefix={key}/").json()
    assert [entry["key"] for entry in everything] == [f"{key}/{n}" for n in ("a", "b/1", "b/2", "b2", "c")]


def test_exists_says_whether_there_is_an_object(driver: Driver, key: str) -> None:
    assert driver.request("GET", f"/exists/{key}").json() == {"exists": False}
    driver.request("PUT", f"/files/{key}", [], b"x")
    assert driver.request("GET", f"/exists/{key}").json() == {"exists": True}


def test_delete_removes_an_object_and_is_no_error_twice(driver: Driver, key: str) -> None:
    driver.request("PUT", f"/files/{key}", [], b"x")
    assert driver.request("DELETE", f"/files/{key}").status == 204
    assert driver.request("DELETE", f"/files/{key}").status == 204
    driver.request("GET", f"/files/{key}").problem(404)


@pytest.mark.parametrize(
    "name", ["grüße 🎉.txt", "a b+c&d=e?f#g%h", "quote'\".txt"], ids=["unicode", "reserved", "quotes"]
)
def test_an_object_key_may_be_any_text(driver: Driver, key: str, name: str) -> None:
    target = f"/files/{quote(f'{key}/{name}')}"
    driver.request("PUT", target, [], b"x")
    assert driver.request("GET", target).body == b"x"
    assert [entry["key"] for entry in driver.request("GET", f"/listing?prefix={key}/").json()] == [f"{key}/{name}"]


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "a/../../b", ""], ids=["up", "root", "inside", "empty"])
def test_an_object_key_never_leaves_the_bucket(driver: Driver, name: str) -> None:
    assert driver.request("GET", f"/bad-key?key={quote(name, safe='')}").json()["refused"]


def call(driver: Driver, url: str, method: str, body: bytes = b"") -> Reply:
    parts = urlsplit(url)
    return driver.request(method, f"{parts.path}?{parts.query}", [], body)


@pytest.mark.needs("presign")
def test_a_presigned_url_downloads_one_object(driver: Driver, key: str) -> None:
    driver.request("PUT", f"/files/{key}", [], b"content")
    url = driver.request("GET", f"/presign/{key}").json()["url"]
    assert call(driver, url, "GET").body == b"content"


@pytest.mark.needs("presign")
def test_a_presigned_url_uploads_one_object(driver: Driver, key: str) -> None:
    url = driver.request("GET", f"/presign/{key}?method=PUT").json()["url"]
    assert call(driver, url, "PUT", b"uploaded").status in (200, 201, 204)
    assert driver.request("GET", f"/files/{key}").body == b"uploaded"


@pytest.mark.needs("presign")
def test_a_presigned_url_is_good_for_its_method_and_object_alone(driver: Driver, key: str) -> None:
    driver.request("PUT", f"/files/{key}", [], b"content")
    driver.request("PUT", f"/files/{key}-other", [], b"other")
    url = driver.request("GET", f"/presign/{key}").json()["url"]
    assert call(driver, url, "PUT", b"overwritten").status in (400, 401, 403, 405)
    assert call(driver, url.replace(key, f"{key}-other"), "GET").status in (400, 401, 403, 404)
    assert driver.request("GET", f"/files/{key}").body == b"content"


# ---- secrets and grants


def test_a_secret_has_the_value_of_the_settings(driver: Driver, settings: Settings) -> None:
    assert driver.request("GET", "/secret").json()["value"] == settings.secrets["PAYMENT_KEY"]


def test_a_secret_in_a_text_does_not_leak(driver: Driver, settings: Settings) -> None:
    assert settings.secrets["PAYMENT_KEY"] not in driver.request("GET", "/secret").json()["shown"]


@pytest.mark.parametrize(
    "verb",
    ["bucket.put", "bucket.delete", "table.get", "table.put", "queue.send", "topic.publish", "secret.value"],
)
def test_a_verb_that_was_not_granted_is_refused(driver: Driver, verb: str) -> None:
    refused = driver.request("GET", f"/poor/{verb}").json()["refused"]
    assert "poor" in refused
    assert "uses" in refused


def test_a_verb_that_was_granted_is_allowed(driver: Driver) -> None:
    assert driver.request("GET", "/poor/bucket.get").json() == {"refused": ""}
