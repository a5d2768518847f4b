"""Tables on Firestore: values and keys as they were, writes that happen once, and queries page by page.

What the verbs mean is in the conformance suite. Here: Google's emulator takes every value and key there can be, and a
small Firestore of the tests' own fails on request, which the emulator does not.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gcp_emulators import PROJECT, Emulators, lacking
from tests.support.scripted_api import DROP, Asked, ScriptedApi

from pys_multi import App, ConditionFailed
from pys_multi.errors import ResourceError
from pys_multi_providers.gcp import calls, tables
from pys_multi_providers.gcp.calls import Google
from pys_multi_providers.gcp.resources import RESOURCES, GcpBackend
from pys_multi_providers.gcp.tables import _id_of, _key_text, read, write

PARENT = f"projects/{PROJECT}/databases/shop-dev/documents"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)
key_values = st.integers(-(2**63), 2**63 - 1) | texts.filter(bool)


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types throughout."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def unsigned(value: Any) -> Any:
    """Without negative zeros, which the emulator does not have."""
    return json.loads(json.dumps(value), parse_float=lambda text: float(text) + 0.0)


def nested(depth: int) -> Any:
    value: Any = "deep"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


# ---- values


@given(values)
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    assert same(read(json.loads(json.dumps(write(value)))), value)


@pytest.mark.parametrize("value", [2**63, -(2**200), [[1], [[]]], {"": 1, "__a__": 2}, nested(60), 1.0, -0.0])
def test_what_firestore_has_no_form_for_comes_back_too(value: Any) -> None:
    assert same(read(json.loads(json.dumps(write(value)))), value)


def levels(written: Any) -> int:
    [(kind, value)] = written.items()
    inner = value.get("fields", {}).values() if kind == "mapValue" else value["values"] if kind == "arrayValue" else ()
    return (kind in ("mapValue", "arrayValue")) + max(map(levels, inner), default=0)


@given(st.integers(0, 50))
def test_no_value_is_deeper_than_firestore_takes(depth: int) -> None:
    assert levels(write(nested(depth))) <= 20


# ---- keys


@given(key_values, key_values, key_values, key_values)
def test_keys_sort_by_number_then_text_and_never_mix(a: Any, b: Any, c: Any, d: Any) -> None:
    first, second = _key_text((a, b)), _key_text((c, d))
    assert (first == second) == ((type(a), a, type(b), b) == (type(c), c, type(d), d))
    if (type(a), a) == (type(c), c):
        order = (isinstance(b, str), b), (isinstance(d, str), d)
        if isinstance(b, str) == isinstance(d, str):
            assert (first < second) == (order[0][1] < order[1][1])
        else:
            assert (first < second) == (order[0][0] < order[1][0])


@given(key_values, key_values)
def test_the_id_of_a_document_is_one_that_firestore_takes(a: Any, b: Any) -> None:
    found = _id_of(_key_text((a, b)))
    assert 0 < len(found.encode()) <= 1500
    assert "/" not in found
    assert found not in (".", "..")
    assert not found.startswith("__")


def test_a_long_key_has_a_short_id_and_a_longer_one_is_refused() -> None:
    assert len(_id_of(_key_text(("ü" * 700,)))) < 100
    with pytest.raises(ValueError, match="1,500 bytes"):
        _key_text(("a" * 800, "b" * 800))
    with pytest.raises(ValueError, match="64 bits"):
        _key_text((2**63,))


# ---- the emulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    if why := lacking():
        pytest.skip(why)
    found = Emulators(tmp_path_factory.mktemp("firestore"), ["firestore"])
    yield found
    found.stop()


def backend_at(host: str, monkeypatch: pytest.MonkeyPatch) -> tuple[GcpBackend, Google]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
    monkeypatch.setenv(RESOURCES, json.dumps({"stock": f"{PARENT}/stock", "log": f"{PARENT}/log"}))
    app = App("shop")
    app.table("stock", key="sku")
    app.table("log", key="who", sort="at")
    google = Google()
    return GcpBackend(app, google), google


@pytest.mark.xdist_group("gcp-firestore")
def test_the_emulator_keeps_what_it_is_given(emulator: Emulators, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, google = backend_at(emulator.firestore_host, monkeypatch)

    @settings(max_examples=60, deadline=None)
    @given(key_values, st.dictionaries(texts, values, max_size=5))
    def keeps(key: Any, attributes: dict[str, Any]) -> None:
        item = {**attributes, "sku": key}
        backend.table_put("stock", item, {})
        found = backend.table_get("stock", (key,))
        assert same(unsigned(found), unsigned(item))
        backend.table_delete("stock", (key,), {})
        assert backend.table_get("stock", (key,)) is None

    try:
        keeps()
        for number, item in enumerate([{"deep": nested(60)}, {"big": 2**100}, {"__a__": 1}, {"long": "x" * 5000}]):
            backend.table_put("stock", {**item, "sku": number}, {})
            assert same(backend.table_get("stock", (number,)), {**item, "sku": number})
    finally:
        google.close()


@pytest.mark.xdist_group("gcp-firestore")
def test_queries_go_by_key_prefix_and_order_over_pages(emulator: Emulators, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, google = backend_at(emulator.firestore_host, monkeypatch)
    monkeypatch.setattr(tables, "_PAGE", 3)
    sorts = [5, -7, "a", "a/b", "a:b", "ab", "b", "ü", "\U0001f389", 10]
    try:
        for who in ("me", "me:", "m", 1):
            for at in sorts:
                backend.table_put("log", {"who": who, "at": at}, {})

        def found(who: Any, prefix: str | None = None, limit: int | None = None, reverse: bool = False) -> list[Any]:
            return [item["at"] for item in backend.table_query("log", who, prefix, limit, reverse)]

        ordered = [-7, 5, 10, "a", "a/b", "a:b", "ab", "b", "ü", "\U0001f389"]
        assert found("me") == ordered
        assert found("me", reverse=True) == ordered[::-1]
        assert found("me", "a") == ["a", "a/b", "a:b", "ab"]
        assert found("me", "") == ordered[3:]
        assert found("me", "a", reverse=True, limit=2) == ["ab", "a:b"]
        assert found(1, limit=7) == ordered[:7]
        assert found("nobody") == []
        assert len(list(backend.table_query("log", None, None, None, False))) == 4 * len(sorts)
        assert len(list(backend.table_query("log", None, None, 5, False))) == 5
    finally:
        google.close()


# ---- a Firestore that fails


class Firestore:
    """Documents and their preconditions. lose: how many more answers to commits are lost, after they happened (True)
    or before (False)."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.lose: list[bool] = []
        self.meddle: Any = None
        self._time = 0
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Any:
        with self._lock:
            if asked.method == "GET":
                path = unquote(asked.path.removeprefix("/v1/"))
                found = self.documents.get(path)
                return (200, found) if found else (404, {"error": {"status": "NOT_FOUND", "message": "not found"}})
            if self.meddle is not None:
                self.meddle(self.documents)
                self.meddle = None
            lost = self.lose.pop(0) if self.lose else None
            if lost is False:
                return DROP
            answer = self._commit(asked.json()["writes"][0])
            return DROP if lost else answer

    def _commit(self, write: Any) -> Any:
        path = write.get("delete") or write["update"]["name"]
        wanted, former = write.get("currentDocument", {}), self.documents.get(path)
        if wanted.get("exists") is False and former:
            return 409, {"error": {"status": "ALREADY_EXISTS"}}
        if "updateTime" in wanted and (former is None or former["updateTime"] != wanted["updateTime"]):
            return 400, {"error": {"status": "FAILED_PRECONDITION"}}
        self._time += 1
        if "delete" in write:
            self.documents.pop(path, None)
        else:
            self.documents[path] = {"fields": write["update"]["fields"], "updateTime": str(self._time)}
        return 200, {}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Firestore, GcpBackend]]:
    monkeypatch.setattr(calls, "_PAUSES", (0.0, 0.0, 0.0))
    firestore = Firestore()
    with ScriptedApi(firestore) as api:
        backend, google = backend_at(api.host, monkeypatch)
        yield firestore, backend
        google.close()


@pytest.mark.parametrize("happened", [True, False])
def test_an_addition_whose_answer_is_lost_counts_once(failing: Any, happened: bool) -> None:
    firestore, backend = failing
    for _ in range(3):
        firestore.lose = [happened, happened]
        backend.table_update("stock", ("a",), {}, {"n": 1}, (), {})
    assert backend.table_get("stock", ("a",)) == {"sku": "a", "n": 3}


@pytest.mark.parametrize("happened", [True, False])
def test_a_put_if_absent_whose_answer_is_lost_has_happened(failing: Any, happened: bool) -> None:
    firestore, backend = failing
    firestore.lose = [happened]
    backend.table_put("stock", {"sku": "a", "n": 1}, {"sku": None})
    assert backend.table_get("stock", ("a",)) == {"sku": "a", "n": 1}
    with pytest.raises(ConditionFailed, match="item a of table 'stock'"):
        backend.table_put("stock", {"sku": "a", "n": 2}, {"sku": None})


@pytest.mark.parametrize("happened", [True, False])
def test_a_delete_with_a_condition_whose_answer_is_lost_has_happened(failing: Any, happened: bool) -> None:
    firestore, backend = failing
    backend.table_put("stock", {"sku": "a", "n": 1}, {})
    firestore.lose = [happened]
    backend.table_delete("stock", ("a",), {"n": 1})
    assert firestore.documents == {}


def test_what_others_changed_meanwhile_is_looked_at_again(failing: Any) -> None:
    firestore, backend = failing
    backend.table_put("stock", {"sku": "a", "n": 1}, {})

    def meddle(documents: dict[str, Any]) -> None:
        for document in documents.values():
            document["fields"]["item"] = write({"sku": "a", "n": 10})
            document["updateTime"] = "other"

    firestore.meddle = meddle
    assert backend.table_update("stock", ("a",), {}, {"n": 1}, (), {})["n"] == 11
    firestore.meddle = meddle
    with pytest.raises(ConditionFailed):
        backend.table_put("stock", {"sku": "a", "n": 99}, {"n": 11})
    assert backend.table_get("stock", ("a",)) == {"sku": "a", "n": 10}


def test_an_item_that_others_change_each_time_is_given_up(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, backend = failing
    monkeypatch.setattr(tables, "_TRIES", 3)
    monkeypatch.setattr(tables.TableVerbs, "_commits", lambda *_: False)
    with pytest.raises(ResourceError, match="changed by others at each of 3 tries"):
        backend.table_update("stock", ("a",), {"x": 1}, {}, (), {})


def test_nothing_is_added_to_what_is_no_number(failing: Any) -> None:
    _, backend = failing
    backend.table_put("stock", {"sku": "a", "n": "five", "none": None}, {})
    with pytest.raises(ValueError, match="'n' of an item of table 'stock' is not a number"):
        backend.table_update("stock", ("a",), {}, {"n": 1}, (), {})
    assert backend.table_update("stock", ("a",), {}, {"none": 1}, (), {})["none"] == 1


def test_a_database_that_is_not_there_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The database shop-dev does not exist for project p Please visit https://console.cloud.google.com/ to add it"
    with ScriptedApi(lambda _: (404, {"error": {"status": "NOT_FOUND", "message": text}})) as api:
        backend, google = backend_at(api.host, monkeypatch)
        with pytest.raises(ResourceError, match=r"table 'stock': it is not there; deploy the service"):
            backend.table_get("stock", ("a",))
        google.close()
