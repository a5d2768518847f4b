"""The archive: which paths it takes, and bytes that depend on nothing but its entries."""

from __future__ import annotations

import io
import shutil
import subprocess
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_tools.bundle import archive
from pys_multi_tools.errors import BundleError

PARTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=8
).filter(lambda part: part not in (".", "..") and part[1:2] != ":")
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TREES = st.dictionaries(PATHS, st.tuples(st.binary(max_size=200), st.booleans()), max_size=12)


def fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def is_unambiguous(paths: list[str]) -> bool:
    """An independent statement of the rule: no two names, files or folders, are one without case."""
    files = set(paths)
    folders = {path.rsplit("/", n)[0] for path in paths for n in range(1, path.count("/") + 1)}
    if len({fold(path) for path in files}) < len(files) or len({fold(path) for path in folders}) < len(folders):
        return False
    return not {fold(path) for path in files} & {fold(path) for path in folders}


def zipped(entries: list[archive.Entry]) -> bytes:
    file = io.BytesIO()
    archive.write_zip(entries, file)
    return file.getvalue()


@given(TREES, st.randoms())
def test_any_tree_comes_back_and_its_order_does_not_matter(tree: dict[str, tuple[bytes, bool]], random) -> None:  # type: ignore[no-untyped-def]
    entries = [archive.pack(path, data, executable=x) for path, (data, x) in tree.items()]
    if not is_unambiguous(list(tree)):
        with pytest.raises(BundleError):
            archive.check_paths(entries)
        return
    archive.check_paths(entries)
    data = zipped(entries)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == {path: item[0] for path, item in tree.items()}
        modes = {info.filename: info.external_attr >> 16 for info in file.infolist()}
        assert modes == {path: 0o100755 if item[1] else 0o100644 for path, item in tree.items()}
        assert {info.date_time for info in file.infolist()} <= {(1980, 1, 1, 0, 0, 0)}
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert zipped(shuffled) == data
    assert archive.content_hash(shuffled) == archive.content_hash(entries)
    assert all(archive.unpack(entry) == tree[entry.path][0] for entry in entries)


@given(PATHS, st.sampled_from(["/", "../", "a/../../", "C:", "a//", "./", "a\\", "a\x00", "\udcff", "a/./"]))
def test_unsafe_paths_are_refused(path: str, prefix: str) -> None:
    with pytest.raises(BundleError, match="cannot go into an artefact"):
        archive.check_path(prefix + path)


@given(TREES, PATHS, st.binary(max_size=50))
def test_content_hash_sees_every_change(tree: dict[str, tuple[bytes, bool]], path: str, data: bytes) -> None:
    entries = [archive.pack(name, item[0], executable=item[1]) for name, item in tree.items()]
    changed = [entry for entry in entries if entry.path != path] + [archive.pack(path, data)]
    same = tree.get(path) == (data, False)
    assert (archive.content_hash(entries) == archive.content_hash(changed)) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/b", "A/c"), ("x", "x/y"), ("straße", "STRASSE"), ("café", "cafe\u0301"), ("readme", "README"), ("a", "a")],
)
def test_collisions_name_both_files(one: str, other: str) -> None:
    entries = [archive.pack(one, b"1", origin="here"), archive.pack(other, b"2", origin="there")]
    with pytest.raises(BundleError) as caught:
        archive.check_paths(entries)
    assert "here" in str(caught.value)
    assert "there" in str(caught.value)


def test_the_bytes_of_the_compressor_are_the_ones_that_this_release_promises() -> None:
    # Anybody who sees this fail on a machine where the others pass has found a place where artefacts differ.
    text = b"".join(b"%d squared is %d\n" % (i, i * i) for i in range(70_000))
    assert _digest(text[:100_000]) == "061a91d942bed417"
    assert _digest(text) == "3186845bbc74d6b2"


def test_info_zip_agrees(tmp_path: Path) -> None:
    unzip = shutil.which("unzip")
    if unzip is None:
        pytest.skip("unzip is not installed")
    entries = [archive.pack("ä/ß.txt", b"x" * 5000), archive.pack("run", b"#!/bin/sh\n", executable=True)]
    (tmp_path / "a.zip").write_bytes(zipped(entries))
    subprocess.run([unzip, "-q", "a.zip", "-d", "out"], cwd=tmp_path, check=True)
    assert (tmp_path / "out" / "ä" / "ß.txt").read_bytes() == b"x" * 5000
    assert (tmp_path / "out" / "run").stat().st_mode & 0o777 == 0o755


def test_more_files_than_sixteen_bits_count() -> None:
    empty = archive.pack("a", b"")
    entries = [archive.Entry(f"{i:05}", 0o644, 0, 0, empty.sha256, archive.STORED, b"") for i in range(65_600)]
    with zipfile.ZipFile(io.BytesIO(zipped(entries))) as file:
        assert len(file.namelist()) == 65_600


def _digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(archive.pack("a", data).packed).hexdigest()[:16]


def test_a_path_that_is_not_unicode_is_refused_in_words_that_can_be_printed() -> None:
    with pytest.raises(BundleError, match="is not Unicode") as caught:
        archive.check_path("shop/\udcff.txt", "the project: shop/\udcff.txt")
    assert "shop/\\udcff.txt" in str(caught.value)
    str(caught.value).encode()
