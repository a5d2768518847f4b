"""Which files of a project go into an artefact."""

from __future__ import annotations

import os
import shutil
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bundle_project import write

from pys_multi_tools.bundle import secrets
from pys_multi_tools.bundle.selection import Selection, select
from pys_multi_tools.errors import BundleError


def paths(selection: Selection) -> set[str]:
    return {file.path for file in selection.files}


def selected(root: Path, app: str = "shop.app:app", **options: list[str]) -> set[str]:
    return paths(select(root, app, **options))  # type: ignore[arg-type]


def test_flat_project(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "shop/__init__.py": "", "shop/app.py": "", "shop/templates/mail.html": "", "helper.py": "",
            "data/a.csv": "",
            "pyproject.toml": "", "uv.lock": "", "README.md": "", "Dockerfile": "", "requirements-dev.txt": "",
            "tests/test_app.py": "", "shop/test_app.py": "", "shop/conftest.py": "", "shop/tests/x.py": "",
            "docs/a.md": "", "shop/docs/a.md": "", ".github/x.yml": "", "shop/.hidden": "",
            "shop/__pycache__/a.pyc": "",
            "dist/a.whl": "", "build/lib/a.py": "", "shop/py.typed": "", "shop/app.pyi": "", "node_modules/x/a.js": "",
            "env/pyvenv.cfg": "", "env/lib/a.py": "", "shop.egg-info/PKG-INFO": "", "other/pyproject.toml": "",
            "other/x.py": "", ".env.example": "A=",
        },
    )  # fmt: skip
    assert selected(tmp_path) == {
        "shop/__init__.py", "shop/app.py", "shop/templates/mail.html", "helper.py", "data/a.csv", "shop/docs/a.md",
    }  # fmt: skip


def test_src_layout_takes_what_lies_in_src_and_what_include_names(tmp_path: Path) -> None:
    write(tmp_path, {"src/shop/app.py": "", "src/other.py": "", "config/a.yaml": "", "config/b.txt": "", "run.py": ""})
    assert selected(tmp_path) == {"shop/app.py", "other.py"}
    assert selected(tmp_path, include=["config/*.yaml"]) == {"shop/app.py", "other.py", "config/a.yaml"}


def test_modules_that_are_named_like_tests_and_used_like_code(tmp_path: Path) -> None:
    code = "def later():\n    from shop.ab_test import X\n    from . import (\n        test_data,\n    )\n"
    files = {
        "shop/app.py": code,
        "shop/ab_test.py": "import shop.deep_test",
        "shop/deep_test.py": "",
        "shop/test_data.py": "",
    }
    write(tmp_path, {**files, "shop/test_app.py": "import shop.ab_test"})
    selection = select(tmp_path, "shop.app:app")
    assert paths(selection) == set(files)
    assert ("shop/test_app.py", "tests") in selection.left_out


def test_packages_that_are_named_like_folders_of_a_project(tmp_path: Path) -> None:
    write(
        tmp_path, {"shop/app.py": "", "docs/__init__.py": "", "docs/x.py": "", "build/__init__.py": "", "dist/x.py": ""}
    )
    assert selected(tmp_path) == {"shop/app.py", "docs/__init__.py", "docs/x.py", "build/__init__.py"}


def test_credentials_among_tests_refuse_only_where_the_tests_go_in(tmp_path: Path) -> None:
    write(tmp_path, {"shop/app.py": "", "tests/server.key": "x", "tests/.env": "A=1", "shop/tests/cert.pem": ""})
    assert selected(tmp_path) == {"shop/app.py"}
    write(tmp_path, {"shop/app.py": "from tests import helper"})
    with pytest.raises(BundleError, match="is refused"):
        select(tmp_path, "shop.app:app")


def test_single_module(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "", "pyproject.toml": ""})
    assert selected(tmp_path, "app:app") == {"app.py"}


def test_gitignore_files_nest_and_a_deeper_one_has_the_last_word(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".git/HEAD": "", ".gitignore": "*.log\n/service/generated/\n",
            "service/shop/app.py": "", "service/shop/a.log": "", "service/shop/b.log": "", "service/generated/x.py": "",
            "service/shop/.gitignore": "!b.log\n*.tmp\n", "service/shop/c.tmp": "", "service/d.tmp": "",
        },
    )  # fmt: skip
    root = tmp_path / "service"
    assert selected(root) == {"shop/app.py", "shop/b.log", "d.tmp"}
    assert selected(root, include=["generated/x.py"]) == {"shop/app.py", "shop/b.log", "d.tmp", "generated/x.py"}
    reasons = dict(select(root, "shop.app:app").left_out)
    assert reasons["shop/a.log"] == "named by ../.gitignore"
    assert reasons["shop/c.tmp"] == "named by shop/.gitignore"


def test_a_project_that_its_repository_ignores_is_built_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, {".git/HEAD": "", ".gitignore": "sandbox/\n", "sandbox/shop/app.py": ""})
    assert selected(tmp_path / "sandbox") == {"shop/app.py"}


def test_the_users_global_git_configuration_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"home/.config/git/ignore": "*.csv\n", "project/.git/info/exclude": "*.py\n", "project/app.py": ""})
    write(tmp_path, {"project/a.csv": ""})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
    assert selected(tmp_path / "project", "app:app") == {"app.py", "a.csv"}


def test_exclude_and_include(tmp_path: Path) -> None:
    write(tmp_path, {"shop/app.py": "", "shop/big.bin": "", "shop/keep.bin": "", "tests/data.json": ""})
    assert selected(tmp_path, exclude=["*.bin"], include=["shop/keep.bin", "tests/data.json"]) == {
        "shop/app.py", "shop/keep.bin", "tests/data.json",
    }  # fmt: skip


def test_a_tests_folder_that_the_code_imports_from_is_kept(tmp_path: Path) -> None:
    write(tmp_path, {"shop/app.py": "from shop.tests import fixtures\n", "shop/tests/fixtures.py": ""})
    assert "shop/tests/fixtures.py" in selected(tmp_path)


@pytest.mark.parametrize(
    "name",
    [".env", ".env.prod", "shop/server.pem", "shop/private.key", "id_rsa", "shop/credentials.json", ".npmrc",
     "shop/.netrc", "shop/.pypirc", "terraform.tfstate", "shop/store.p12", "SHOP.KEY"],
)  # fmt: skip
def test_credentials_are_refused_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"shop/app.py": "", name: "x"})
    with pytest.raises(BundleError) as caught:
        select(tmp_path, "shop.app:app")
    assert caught.value.where == name
    for spared in ({"exclude": [name]}, {"include": [name]}):
        assert (name in selected(tmp_path, **spared)) is ("include" in spared)
    with pytest.raises(BundleError):
        select(tmp_path, "shop.app:app", include=["**", "*", "shop/*"])  # nobody had that file in mind
    write(tmp_path, {".gitignore": f"/{name}\n"})
    assert name not in selected(tmp_path)


@pytest.mark.parametrize("folder", [".git", ".aws", ".ssh"])
def test_folders_with_credentials_stay_out(tmp_path: Path, folder: str) -> None:
    write(tmp_path, {"shop/app.py": "", f"{folder}/config": "x"})
    assert selected(tmp_path) == {"shop/app.py"}
    assert (folder + "/", "hidden") in select(tmp_path, "shop.app:app").left_out


def test_the_git_file_of_a_worktree_or_submodule_stays_out(tmp_path: Path) -> None:
    write(tmp_path, {"shop/app.py": "", ".git": "gitdir: ../.git/worktrees/x", "shop/.git": "gitdir: x"})
    assert selected(tmp_path) == {"shop/app.py"}
    (tmp_path / "vcs").symlink_to(".git")
    assert "vcs" in selected(tmp_path)
    (tmp_path / "vcs").unlink()
    (tmp_path / ".git").unlink()
    write(tmp_path, {".git/HEAD": ""})
    (tmp_path / "vcs").symlink_to(".git")
    with pytest.raises(BundleError, match="repository's history"):
        select(tmp_path, "shop.app:app")


def test_a_private_key_under_another_name_is_refused(tmp_path: Path) -> None:
    key = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\n"
    write(tmp_path, {"shop/app.py": "", "shop/signing.txt": key})
    with pytest.raises(BundleError, match="looks like a private key"):
        select(tmp_path, "shop.app:app")


def test_harmless_neighbours_of_credentials(tmp_path: Path) -> None:
    write(tmp_path, {"shop/app.py": "", "shop/keys.py": "", "shop/monkey.json": "", "shop/id.pub": ""})
    assert selected(tmp_path) == {"shop/app.py", "shop/keys.py", "shop/monkey.json", "shop/id.pub"}


def test_links_inside_are_copied_and_links_that_leave_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(root, {"shop/app.py": "", "shared/a.txt": "inside"})
    write(tmp_path, {"outside.txt": "outside"})
    (root / "shop/a.txt").symlink_to("../shared/a.txt")
    (root / "shop/shared").symlink_to("../shared")
    files = {file.path: file.data for file in select(root, "shop.app:app").files}
    assert files["shop/a.txt"] == files["shop/shared/a.txt"] == b"inside"
    (root / "shop/b.txt").symlink_to("../../outside.txt")
    with pytest.raises(BundleError, match="leaves the project") as caught:
        select(root, "shop.app:app")
    assert caught.value.where == "shop/b.txt"
    assert "shop/b.txt" not in selected(root, exclude=["shop/b.txt"])


def test_a_link_to_a_credential_is_refused_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, {"shop/app.py": "", ".env": "PASSWORD=x", ".gitignore": ".env\n"})
    (tmp_path / "shop/settings.txt").symlink_to("../.env")
    with pytest.raises(BundleError, match="environment file"):
        select(tmp_path, "shop.app:app")


@pytest.mark.parametrize("links", [{"shop/loop": ".."}, {"a/x": "../b", "b/y": "../a"}, {"shop/self": "self"}])
def test_links_in_a_circle_are_refused(tmp_path: Path, links: dict[str, str]) -> None:
    write(tmp_path, {"shop/app.py": "", "a/f": "", "b/f": ""})
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    with pytest.raises(BundleError):
        select(tmp_path, "shop.app:app")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"shop/app.py": ""})
    os.mkfifo(tmp_path / "shop/pipe")
    assert ("shop/pipe", "not a regular file") in select(tmp_path, "shop.app:app").left_out


NAMES = st.sampled_from(
    [
        "app.py",
        "a",
        "B.txt",
        "tests",
        "docs",
        ".env",
        "x.pem",
        ".git",
        "build",
        "data.json",
        ".gitignore",
        "ä",
        "__pycache__",
    ]
)
CONTENTS = st.sampled_from(["", "x", "*.txt\n", "a/\n", "!a\n"])
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map("/".join), CONTENTS, max_size=10)
LINKS = st.dictionaries(
    st.text(string.ascii_lowercase, min_size=3, max_size=5).map(lambda name: f"shop/{name}"),
    st.sampled_from(["..", "../..", "app.py", "../data.json", "/etc/passwd", "../../outside", ".", "../a"]),
    max_size=3,
)


@given(TREES, LINKS)
def test_any_tree_gives_safe_files_or_a_named_refusal(tree: dict[str, str], links: dict[str, str]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        root = folder / "project"
        write(folder, {"outside": "SECRET OUTSIDE", "project/shop/app.py": "app"})
        for name, content in tree.items():
            try:
                write(root, {name: content})
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # a file and a folder of one name
        for name, target in links.items():
            (root / name).symlink_to(target)
        try:
            selection = select(root, "shop.app:app")
        except BundleError as error:
            assert error.where and error.hint  # noqa: PT017, PT018 - either outcome is right for a random tree
            return
        assert "shop/app.py" in paths(selection)
        for file in selection.files:
            assert not secrets.looks_like(file.path)
            assert b"SECRET" not in file.data
            assert not set(file.path.split("/")) & {"..", ".", "", ".git"}
            assert "__pycache__" not in file.path.split("/")[:-1]
            assert Path(os.path.realpath(root / file.source)).is_relative_to(root.resolve())
        assert len(paths(selection)) == len(selection.files)
    finally:
        shutil.rmtree(folder)


def test_a_file_that_a_secret_is_read_from_stays_out_whatever_names_it(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "", "token.txt": "s3cret", "conf/other.txt": "s3cret"})
    (tmp_path / "link.txt").symlink_to("token.txt")
    files = [tmp_path / "token.txt", tmp_path / "conf" / "other.txt"]
    selection = select(tmp_path, "app:app", include=["token.txt", "conf/*"], secret_files=files)
    assert paths(selection) == {"app.py"}
    assert dict(selection.left_out)["token.txt"] == "a secret"
