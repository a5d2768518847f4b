"""Logs are written in any form, rotated by size, and read whole and in order."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.local.journal import KEPT, LONGEST, Journal, read


def messages(directory: Path, **wanted: object) -> list[str]:
    return [record.message for record in read(directory, **wanted)]  # type: ignore[arg-type]


def test_records_and_plain_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    at = time.time() - 1
    record = {"time": at, "level": "ERROR", "message": "one", "request_id": "r1", "logger": "x", "extra": [1]}
    journal.output("api", "api-1", [json.dumps(record).encode(), b"plain", b"", b'{"no": "message"}', b"{broken"])
    found = list(read(tmp_path))
    assert [r.message for r in found] == ["one", "plain", '{"no": "message"}', "{broken"]
    assert (found[0].time, found[0].level, found[0].request_id, found[0].instance) == (at, "error", "r1", "api-1")
    assert found[0].fields == {"logger": "x", "extra": [1]}
    assert (found[1].level, found[1].function) == ("info", "api")


@pytest.mark.parametrize("at", [0, -5, 1e18, "yesterday", None, True])
def test_a_time_that_is_none_is_replaced(tmp_path: Path, at: object) -> None:
    journal = Journal(tmp_path)
    journal.output("api", "", [json.dumps({"message": "x", "time": at}).encode()])
    (record,) = read(tmp_path)
    assert abs(record.time - time.time()) < 60


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_no_line_is_too_odd(lines: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        journal.output("api", "", lines)
        journal.close()
        assert len(list(read(Path(folder)))) == sum(bool(line.strip()) for line in lines)


def test_rotation_keeps_the_newest_and_reading_goes_over_all_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=10_000)
    for number in range(1000):
        journal.output("api", "", [f"line {number}".encode()])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["api.log", *(f"api.log.{n}" for n in range(1, KEPT + 1))]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000 * (KEPT + 1)
    found = messages(tmp_path)
    assert found[-1] == "line 999"
    numbers = [int(message.split()[1]) for message in found]
    assert numbers == list(range(numbers[0], 1000))


def test_a_huge_line_is_cut(tmp_path: Path) -> None:
    Journal(tmp_path).output("api", "", [b"x" * 1_000_000])
    assert messages(tmp_path) == ["x" * LONGEST]


def test_following_sees_what_comes_over_rotations_and_new_functions(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=2_000)
    journal.output("api", "", [b"first"])
    turns = iter(range(1, 100))

    def wait(_: float) -> None:
        turn = next(turns)
        journal.output("api" if turn % 2 else "other", "", [f"turn {turn}".encode() + b"." * 500])

    follower = read(tmp_path, follow=True, wait=wait)
    found = [next(follower).message.rstrip(".") for _ in range(40)]
    follower.close()  # type: ignore[attr-defined]
    assert found == ["first", *(f"turn {n}" for n in range(1, 40))]


def test_functions_and_times_are_filtered(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.note("api", "error", "an instance ended", "api-1")
    journal.output("worker", "", [b"work"])
    assert messages(tmp_path, function="worker") == ["work"]
    assert messages(tmp_path, function="nobody") == []
    assert messages(tmp_path, since=time.time() + 60) == []
    (record,) = read(tmp_path, function="api")
    assert (record.fields["source"], record.instance) == ("supervisor", "api-1")


def test_a_half_written_line_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_bytes(b'{"time": 1, "message": "whole"}\n{"time": 2, "mess')
    assert messages(tmp_path) == ["whole"]
