"""Frames survive being cut anywhere."""

from __future__ import annotations

import os
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.local.frames import Channel, Decoder, encode

headers = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=20), max_size=4
)
frames = st.lists(st.tuples(headers, st.binary(max_size=200)), max_size=6)


@given(frames, st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_any_cut_gives_the_same_frames(sent: list[tuple[dict[str, object], bytes]], cuts: list[int]) -> None:
    data = b"".join(encode(header, body) for header, body in sent)
    decoder, received, position, turn = Decoder(), [], 0, 0
    while position < len(data):
        step = cuts[turn % len(cuts)]
        received += decoder.feed(data[position : position + step])
        position, turn = position + step, turn + 1
    assert received == sent


def test_a_channel_reads_large_frames_and_sees_the_end() -> None:
    reader, writer = os.pipe()
    body = os.urandom(1_000_000)
    sender = Thread(target=lambda: (Channel(writer).write({"id": 1}, body), os.close(writer)))
    sender.start()
    channel = Channel(reader)
    assert channel.read() == ({"id": 1}, body)
    assert channel.read() is None
    sender.join()
    os.close(reader)


def test_a_channel_knows_whether_something_waits() -> None:
    reader, writer = os.pipe()
    channel = Channel(reader)
    assert not channel.has_frame()
    Channel(writer).write({"id": 1})
    Channel(writer).write({"id": 2})
    assert channel.has_frame()
    assert channel.read() == ({"id": 1}, b"")
    assert channel.has_frame()
    assert channel.read() == ({"id": 2}, b"")
    assert not channel.has_frame()
    os.close(reader)
    os.close(writer)
