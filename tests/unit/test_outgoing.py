"""What is sent together fits, and comes in order; what a header field carries is read as it was."""

from __future__ import annotations

from email.header import decode_header, make_header
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pys_multi.outgoing import encoded_word, in_groups


@given(st.lists(st.integers(1, 12)), st.integers(1, 5))
def test_groups_hold_everything_in_order_and_as_much_as_fits(sizes: list[int], most: int) -> None:
    groups = list(in_groups(sizes, lambda size: size, most=most, room=10))
    assert [size for group in groups for size in group] == sizes
    for group in groups:
        assert len(group) <= most
        assert sum(group) <= 10 or len(group) == 1
    for group, following in pairwise(groups):
        assert len(group) == most or sum(group) + following[0] > 10


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda text: "=?" not in text))
def test_a_text_of_a_header_field_is_read_as_it_was(text: str) -> None:
    carried = encoded_word(text)
    assert carried.isascii()
    assert carried.isprintable()
    assert text in (carried, str(make_header(decode_header(carried))))
