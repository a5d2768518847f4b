"""Folders, builds and secrets of a stage on disk."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from pys_multi_providers.local.state import State
from pys_multi_tools.errors import ProviderError


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State.of("shop", "dev", {"PYS_MULTI_STATE_DIR": str(tmp_path)})
    state.create()
    return state


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, data in files.items():
            bundle.writestr(name.replace("__", "/"), data)
    return path


def test_where_the_state_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"PYS_MULTI_STATE_DIR": "/own", "XDG_STATE_HOME": "/xdg"}
    assert State.of("shop", "dev", own).root == Path("/own/local/shop/dev")
    assert State.of("shop", "dev", {"XDG_STATE_HOME": "/xdg"}).root == Path("/xdg/pys-multi/local/shop/dev")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert State.of("shop", "dev", {}).root == tmp_path / ".local/state/pys-multi/local/shop/dev"


@pytest.mark.parametrize("name", ["", "..", ".x", "a/b", "a\0b"])
def test_a_name_that_would_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ProviderError):
        State.of(name, "dev", {})
    with pytest.raises(ProviderError):
        State.of("shop", name, {})


def test_only_the_owner_gets_in(state: State) -> None:
    for folder in (state.root, state.builds, state.logs, state.data, state.scratch):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    state.fingerprint("x")
    assert stat.S_IMODE((state.root / "key").stat().st_mode) == 0o600


def test_fingerprints_tell_values_apart_within_a_stage_only(state: State, tmp_path: Path) -> None:
    other = State.of("shop", "prod", {"PYS_MULTI_STATE_DIR": str(tmp_path)})
    other.create()
    assert state.fingerprint("a") == state.fingerprint("a")
    assert state.fingerprint("a") != state.fingerprint("b")
    assert state.fingerprint("a") != other.fingerprint("a")


def test_a_build_is_unpacked_once_whole_and_read_only(state: State, tmp_path: Path) -> None:
    build = state.unpack(archive(tmp_path / "a.zip", app=b"1", pkg__mod=b"2"), "b1")
    assert (build / "pkg" / "mod").read_bytes() == b"2"
    assert not (build / "app").stat().st_mode & 0o222
    assert not (build / "pkg").stat().st_mode & 0o222
    assert state.unpack(tmp_path / "missing.zip", "b1") == build
    state.prune(set())
    assert list(state.builds.iterdir()) == []


def test_an_archive_that_is_broken_or_leaves_its_folder_leaves_nothing(state: State, tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as bundle:
        bundle.writestr("../../outside", b"x")
    for path in (tmp_path / "broken.zip", evil, tmp_path / "missing.zip"):
        with pytest.raises(ProviderError, match="cannot be unpacked"):
            state.unpack(path, "b1")
    assert list(state.builds.iterdir()) == []
    assert not list(tmp_path.rglob("outside"))


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    long = State(tmp_path / ("x" * 120))
    assert len(os.fsencode(long.socket)) < 104
    assert long.socket != State(tmp_path / ("y" * 120)).socket
    assert long.socket == State(tmp_path / ("x" * 120)).socket
    assert stat.S_IMODE(long.socket.parent.stat().st_mode) == 0o700


def test_damaged_releases_are_none(state: State) -> None:
    state.write_releases([{"builds": {}}])
    assert state.releases() == [{"builds": {}}]
    for text in ("", "{", "{}"):
        (state.root / "releases.json").write_text(text)
        assert state.releases() == []
