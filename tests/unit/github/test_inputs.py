"""What a workflow may ask for; what is wrong is named and never repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.github.test_runner import HOSTILE

from pys_multi_tools.github.inputs import InputError, Inputs

WRONG = (*HOSTILE, "../..", "/etc", "a b", "-h", "--help", "x" * 5000, "\x00", "no/such/folder")
CHECKED = {
    "COMMAND": "command",
    "CLOUD": "cloud",
    "STAGE": "stage",
    "PATH": "path",
    "APP": "app",
    "SETTINGS": "settings",
    "TTL": "ttl",
    "COMMENT": "comment",
    "FAIL_ON_CHANGES": "fail-on-changes",
    "FAIL_ON_DESTRUCTIVE": "fail-on-destructive",
    "DELETE_DATA": "delete-data",
}


def read(workspace: Path, **inputs: str) -> Inputs:
    return Inputs.read(
        {"GITHUB_WORKSPACE": str(workspace), **{f"INPUT_{name.upper()}": value for name, value in inputs.items()}}
    )


def test_nothing_given_is_a_plan_of_the_whole_repository(tmp_path: Path) -> None:
    found = read(tmp_path, command="", path="", ttl="")
    assert (found.command, found.path, found.clouds, found.stage) == ("plan", ".", (), "")
    assert found.comment
    assert not found.fail_on_changes
    assert not found.fail_on_destructive
    assert read(tmp_path, command="drift").fail_on_changes
    assert read(tmp_path, command="deploy").fail_on_destructive
    assert not read(tmp_path, command="deploy", fail_on_destructive="False").fail_on_destructive


def test_everything_given(tmp_path: Path) -> None:
    (tmp_path / "services" / "shop").mkdir(parents=True)
    found = read(
        tmp_path,
        command="preview",
        cloud="aws, local\ngcp",
        path="services/shop",
        app="shop.app:app",
        settings="# a comment\nbundle.max_mb = 80\n\nlocal.port = '0'",
        ttl="90m",
        gcp_project="acme-prod",
        azure_location="",
    )
    assert found.clouds == ("aws", "local", "gcp")
    assert found.path == "services/shop"
    assert found.time_to_live == 5400
    assert found.settings == {
        "PYS_MULTI_BUNDLE_MAX_MB": "80",
        "PYS_MULTI_LOCAL_PORT": "0",
        "PYS_MULTI_APP": "shop.app:app",
        "PYS_MULTI_GCP_PROJECT": "acme-prod",
    }


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("value", WRONG)
def test_what_is_wrong_is_named_and_not_repeated(tmp_path: Path, name: str, value: str) -> None:
    if (name, value) in (("SETTINGS", "##[error]spoofed"), ("CLOUD", "a b")):
        return  # a comment, and two names
    with pytest.raises(InputError) as caught:
        read(tmp_path, **{name.lower(): value})
    assert caught.value.where == f"input {CHECKED[name]}"
    assert value not in str(caught.value)


@given(st.sampled_from(sorted(CHECKED)), st.text(max_size=40))
def test_any_value_is_taken_or_refused(name: str, value: str) -> None:
    try:
        found = read(Path(), **{name.lower(): value})
    except InputError:
        return
    assert found.folder.is_relative_to(Path().resolve())
    assert all(cloud.replace("-", "").isalnum() for cloud in found.clouds)


def test_a_link_that_leaves_the_repository_is_no_folder_of_it(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="no folder of the repository"):
        read(workspace, path="out")
