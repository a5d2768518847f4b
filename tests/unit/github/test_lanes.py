"""Several logs at a time, each in a group of its own."""

from __future__ import annotations

import io

import pytest

from pys_multi_tools.github.redaction import Redactor
from pys_multi_tools.github.runner import Runner
from pys_multi_tools.github.tool import Lanes


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def shown(stream: io.StringIO) -> list[str]:
    lines = stream.getvalue().splitlines()
    return [line for line in lines if "stop-commands" not in line and len(line) != 36]


def test_the_oldest_is_live_and_the_others_wait(stream: io.StringIO) -> None:
    lanes = Lanes(Runner({}, Redactor(), stream))
    one, two, three = (lanes.open(name) for name in ("one", "two", "three"))
    lanes.line(two, "two a")
    lanes.line(one, "one a")
    assert shown(stream) == ["::group::one", "one a"]
    lanes.close(two)
    lanes.line(three, "three a")
    lanes.line(one, "one b")
    lanes.close(one)
    assert shown(stream)[2:] == [
        "one b",
        "::endgroup::",
        "::group::two",
        "two a",
        "::endgroup::",
        "::group::three",
        "three a",
    ]
    lanes.line(three, "three b")
    lanes.close(three)
    assert shown(stream)[-2:] == ["three b", "::endgroup::"]


def test_a_title_may_come_again(stream: io.StringIO) -> None:
    lanes = Lanes(Runner({}, Redactor(), stream))
    for _ in range(2):
        lane = lanes.open("show")
        lanes.line(lane, "a line")
        lanes.close(lane)
    assert shown(stream) == ["::group::show", "a line", "::endgroup::"] * 2
