"""Conditions and changes of items, and the order of keys, for providers that compare and change by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi.errors import ConditionFailed
from pys_multi.items import check, end_of_prefix, key_in, new_item, number_of, number_text, updated

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def holds(actual: Any, operator: str, wanted: Any) -> bool:
    try:
        check("stock", ("a",), {"x": actual}, {"x": (operator, wanted)})
    except ConditionFailed:
        return False
    return True


@given(JSON, JSON)
def test_a_value_is_equal_or_is_not(actual: Any, wanted: Any) -> None:
    assert holds(actual, "=", wanted) is not holds(actual, "!=", wanted)
    assert holds(actual, "=", json.loads(json.dumps(actual)))


@given(NUMBER | st.floats(allow_nan=False, allow_infinity=False), NUMBER)
def test_numbers_are_ordered_whatever_their_type(actual: float, wanted: int) -> None:
    assert [holds(actual, sign, wanted) for sign in ("<", "<=", ">", ">=")] == [
        actual < wanted,
        actual <= wanted,
        actual > wanted,
        actual >= wanted,
    ]


@pytest.mark.parametrize(
    ("actual", "wanted"), [(True, 0), (1, True), ("1", 0), (1, "0"), (None, 0), ([1], [0]), (None, "")]
)
def test_what_has_no_order_is_neither_less_nor_more(actual: Any, wanted: Any) -> None:
    assert not any(holds(actual, sign, wanted) for sign in ("<", "<=", ">", ">="))


def test_true_is_not_one_and_null_is_absent() -> None:
    assert holds(1, "=", 1.0)
    assert not holds(True, "=", 1)
    assert not holds([{"n": True}], "=", [{"n": 1}])
    check("stock", ("a",), {"x": None}, {"x": None, "y": None})
    check("stock", ("a",), None, {"x": None})


def test_a_condition_that_fails_says_of_what() -> None:
    with pytest.raises(ConditionFailed, match="item a 7 of table 'log': there is no such item"):
        check("log", ("a", 7), None, {"x": 1})
    with pytest.raises(ConditionFailed, match="item a of table 'stock': 'x' is not < what was required"):
        check("stock", ("a",), {"x": 2}, {"x": ("<", 1)})


def test_an_update_makes_a_new_item() -> None:
    before = {"sku": "a", "n": 1, "none": None, "old": True}
    after = updated("stock", before, {"x": [1]}, {"n": 2, "none": 1.5, "new": -1}, ("old", "never"))
    assert after == {"sku": "a", "n": 3, "none": 1.5, "new": -1, "x": [1]}
    assert before == {"sku": "a", "n": 1, "none": None, "old": True}


@pytest.mark.parametrize("value", ["1", True, [], {}])
def test_nothing_adds_to_what_is_no_number(value: Any) -> None:
    with pytest.raises(ValueError, match="attribute 'n' of an item of table 'stock' is not a number"):
        updated("stock", {"sku": "a", "n": value}, {}, {"n": 1}, ())


def test_the_key_of_an_item() -> None:
    assert key_in({"who": "a", "at": 7}, "who", None) == ("a",)
    assert key_in({"who": "a", "at": 7}, "who", "at") == ("a", 7)
    assert new_item(("a",), "who", None) == {"who": "a"}
    assert new_item(("a", 7), "who", "at") == {"who": "a", "at": 7}


@given(NUMBER, NUMBER)
def test_the_text_of_numbers_sorts_as_they_do(one: int, other: int) -> None:
    assert (number_text(one) < number_text(other)) is (one < other)
    assert number_of(number_text(one)) == one


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_of_more_than_64_bits_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        number_text(number)


@given(TEXT.filter(bool), TEXT)
def test_the_end_of_a_prefix_is_after_all_that_begin_with_it(prefix: str, rest: str) -> None:
    end = end_of_prefix(prefix)
    assert end is None or prefix + rest < end
