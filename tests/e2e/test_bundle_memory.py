"""An unchanged folder's bundle is found again without reading settings; any change is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundle_project import DEFINITIONS, Project, Settings, host, make_project, read, service, write

from pys_multi_tools.bundle import Bundle, build, recall, remember
from pys_multi_tools.settings import BundleSettings
from pys_multi_tools.target import Target, host_target

ARGUMENTS = {"stage": "dev"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    make_project(folder, files={"pyproject.toml": "[tool.pys-multi]\n", ".gitignore": "*.log\n", "shop/a.log": ""})
    return folder


@pytest.fixture
def target() -> Target:
    return host_target("local", runtime_modules=("pys_multi_providers.local.frames",), files={"entry.bin": b"\xff"})


@pytest.fixture
def bundle(root: Path, tmp_path: Path, target: Target) -> Bundle:
    project: Any = Project(root, Settings(BundleSettings(include=("x",)), {"A": "1"}))
    built = build(project, "shop.app:app", service(), target, cache=tmp_path / "cache")
    remember(root, ARGUMENTS, [(project, "shop.app:app", service(), target)], cache=tmp_path / "cache")
    return built


def test_unchanged(root: Path, tmp_path: Path, bundle: Bundle) -> None:
    assert recall(root, ARGUMENTS, cache=tmp_path / "cache") == (bundle,)
    write(root, {"shop/b.log": "ignored, so no change", ".idea/x": "hidden"})
    (found,) = recall(root, ARGUMENTS, cache=tmp_path / "cache") or ()
    assert found.artefacts["api"].path == bundle.artefacts["api"].path
    assert ("shop/b.log", "named by .gitignore") in found.artefacts["api"].report.left_out


@pytest.mark.parametrize(
    ("name", "content"), [("shop/app.py", DEFINITIONS + "X = 1\n"), ("shop/new.py", ""), ("shop/__init__.py", "#")]
)
def test_a_changed_file_is_built(root: Path, tmp_path: Path, bundle: Bundle, name: str, content: str) -> None:
    write(root, {name: content})
    (found,) = recall(root, ARGUMENTS, cache=tmp_path / "cache") or ()
    assert found.artefacts["api"].build_id != bundle.artefacts["api"].build_id
    assert read(found.artefacts["api"], name) == content.encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda root, _: write(root, {"pyproject.toml": "[tool.pys-multi]\nstage = 'x'\n"}),
        lambda root, _: write(root, {"pys-multi.toml": ""}),
        lambda root, _: write(root, {"shop/app.py": DEFINITIONS + "app.function('another')\n"}),
        lambda root, _: write(root, {"shop/app.py": "raise ValueError"}),
        lambda _, monkeypatch: monkeypatch.setenv("PYS_MULTI_STAGE", "x"),
    ],
)
def test_changed_settings_or_model_go_the_whole_way(
    root: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    change(root, monkeypatch)
    assert recall(root, ARGUMENTS, cache=tmp_path / "cache") is None


def test_other_arguments_or_no_cache(root: Path, tmp_path: Path, bundle: Bundle) -> None:
    assert recall(root, {"stage": "prod"}, cache=tmp_path / "cache") is None
    assert recall(root, ARGUMENTS, cache=tmp_path / "elsewhere") is None
    bundle.artefacts["api"].path.parent.rename(tmp_path / "gone")
    (again,) = recall(root, ARGUMENTS, cache=tmp_path / "cache") or ()
    assert again.artefacts["api"].path.is_file()


def test_a_provider_whose_code_cannot_be_compared_is_not_remembered(root: Path, tmp_path: Path) -> None:
    project: Any = Project(root, Settings(BundleSettings()))
    remember(root, ARGUMENTS, [(project, "shop.app:app", service(), host())], cache=tmp_path / "cache")
    assert recall(root, ARGUMENTS, cache=tmp_path / "cache") is None


def test_the_command_answers_an_unchanged_bundle_without_typer_and_without_the_app(root: Path, tmp_path: Path) -> None:
    write(root, {"pyproject.toml": '[tool.pys-multi]\napp = "shop.app:app"\n'})
    command = [sys.executable, "-X", "importtime", "-m", "pys_multi_tools.cli", "bundle", "--cloud", "local"]
    environment = {**os.environ, "PYS_MULTI_CACHE_DIR": str(tmp_path / "cache")}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)

    first, again = run(), run()
    assert again.stdout == first.stdout
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert "pys_multi_tools.bundle.memory" in imported
    assert not imported & {"typer", "pydantic", "shop.app"}
