"""What counts as a difference between what must be and what is there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.gcp.difference import differences, mask_of, masked, same
from pys_multi_providers.gcp.document import Unknown

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=4))
def test_what_was_sent_is_no_difference(body: dict[str, Any]) -> None:
    assert differences(body, body) == []
    assert differences(body, {**body, "addedByGoogle": {"x": 1}}) == []


@pytest.mark.parametrize(
    ("name", "wanted", "live"),
    [
        ("ttl", "600s", "600.000s"),
        ("size", 5, "5"),
        ("availableMemory", "512Mi", "512M"),
        ("availableMemory", "1Gi", "1024Mi"),
        ("topic", "projects/shop/topics/a", "projects/424242/topics/a"),
        ("enableMessageOrdering", False, None),
        ("minInstanceCount", 0, None),
        ("pushConfig", {}, None),
        ("location", "europe-west1", "EUROPE-WEST1"),
        ("event_types", ["A", "B"], ["B", "A"]),
        ("labels", {"a": "b"}, {"a": "b", "c": "d"}),
        ("uri", Unknown("function:api"), "https://anything"),
    ],
)
def test_the_same_in_other_words(name: str, wanted: Any, live: Any) -> None:
    assert same(wanted, live, name)


@pytest.mark.parametrize(
    ("name", "wanted", "live"),
    [
        ("ttl", "600s", "601s"),
        ("availableMemory", "512Mi", "256Mi"),
        ("topic", "projects/shop/topics/a", "projects/shop/topics/b"),
        ("enableMessageOrdering", True, None),
        ("expirationPolicy", {}, {"ttl": "2678400s"}),
        ("environmentVariables", {"A": "1"}, {"A": "1", "B": "2"}),
        ("labels", {"a": "b"}, {"a": "c"}),
        ("list", [1, 2], [1]),
        ("flag", True, "true"),
    ],
)
def test_not_the_same(name: str, wanted: Any, live: Any) -> None:
    assert not same(wanted, live, name)


def test_differences_are_as_deep_as_messages_are() -> None:
    wanted = {"a": {"b": 1, "c": {"d": 2}}, "labels": {"x": "y"}, "e": 5}
    live = {"a": {"b": 1, "c": {"d": 3}, "z": 0}, "labels": {}, "e": 5}
    found = differences(wanted, live)
    assert found == [("a.c.d", 3, 2), ("labels", {}, {"x": "y"})]
    assert mask_of(found, 1) == "a,labels"
    assert mask_of(found, 2) == "a.c,labels"
    assert masked(wanted, "a.c,labels") == {"a": {"c": {"d": 2}}, "labels": {"x": "y"}}
    assert differences(wanted, live, ignored=frozenset({"labels", "a.c.d"})) == []
    assert differences({"a": {"b": 1}}, {}) == [("a", None, {"b": 1})]
