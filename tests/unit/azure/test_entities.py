"""Keys keep their order and their beginnings, and items what is in them, in Table storage."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.azure.entities import END, entity_of, item_of, key_of, prefix_of

#: What Table storage refuses in a key ("Understanding the Table service data model").
FORBIDDEN = frozenset("/\\#?") | {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))}
_CHARACTERS = st.one_of(
    st.characters(exclude_categories=("Cs",)),
    st.sampled_from([*sorted(FORBIDDEN), *'" $.>[~!%', "\ud7fe", "\ud7ff", "\ue000", "\uffff", "\U00010000"]),
)
_KEYS = st.text(_CHARACTERS, min_size=1, max_size=30)
_NUMBERS = st.integers(-(2**63), 2**63 - 1)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def order(key: str) -> bytes:
    """By what Table storage compares: UTF-16 code units."""
    return key.encode("utf-16-be")


@given(_KEYS)
def test_a_key_has_nothing_in_it_that_is_refused(key: str) -> None:
    assert not FORBIDDEN.intersection(key_of(key))
    key_of(key).encode()


@given(_KEYS, _KEYS)
def test_keys_sort_as_their_code_points_do(one: str, other: str) -> None:
    assert (order(key_of(one)) < order(key_of(other))) == (one < other)
    assert (key_of(one) == key_of(other)) == (one == other)


@given(_KEYS, _KEYS)
def test_what_begins_with_a_text_is_found_by_it(prefix: str, rest: str) -> None:
    assert key_of(prefix + rest).startswith(prefix_of(prefix))
    assert key_of(rest).startswith(prefix_of(prefix)) == rest.startswith(prefix)
    found = order(prefix_of(prefix)) <= order(key_of(rest)) < order(prefix_of(prefix) + END)
    assert found == rest.startswith(prefix)


@given(_NUMBERS, _NUMBERS, _KEYS)
def test_numbers_sort_as_numbers_before_all_text(one: int, other: int, text: str) -> None:
    assert (order(key_of(one)) < order(key_of(other))) == (one < other)
    assert order(key_of(one)) < order(' "') < order(key_of(text))
    assert not FORBIDDEN.intersection(key_of(one))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_that_is_too_large_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        key_of(value)


def test_a_key_that_is_too_long_is_refused() -> None:
    assert key_of("k" * 512)
    for key in ("k" * 513, "\n" * 257, "🎉" * 257):
        with pytest.raises(ValueError, match="at most 512 characters"):
            key_of(key)


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        key_of("a\ud800")


@given(st.dictionaries(st.text(), _VALUES, max_size=6))
def test_an_item_comes_back_as_it_was_put(item: dict[str, object]) -> None:
    entity = json.loads(json.dumps(entity_of("p", "r", item, "s")))
    assert item_of(entity) == item
    assert (entity["PartitionKey"], entity["RowKey"], entity["stamp"]) == ("p", "r", "s")


def test_a_large_item_is_cut_into_properties() -> None:
    item = {"text": "ü" * 60_000}
    entity = entity_of("p", "r", item, "s")
    assert len(entity) > 10
    assert max(len(value) for value in entity.values()) <= 32_768  # 64 KiB of UTF-16
    assert item_of(entity) == item
    with pytest.raises(ValueError, match="at most 512,000 characters"):
        entity_of("p", "r", {"text": "x" * 600_000}, "s")


def test_what_others_wrote_is_no_item() -> None:
    with pytest.raises(ValueError, match="not one that pys-multi wrote"):
        item_of({"PartitionKey": "p", "RowKey": "r", "name": "x"})
