"""Settings of providers that have a flag of their own on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pys_multi_tools import provider as providers
from pys_multi_tools.cli import flags, main
from pys_multi_tools.cli.group import Commands
from pys_multi_tools.cli.table import COMMANDS, NO_FLAGS

DOCS = Path(__file__).parents[3] / "docs"
APP = 'from pys_multi import App\napp = App("shop")\n@app.get("/", public=True)\ndef hello() -> str: ...\n'
BUILT_IN = {
    "profile": ("aws",),
    "region": ("aws", "gcp"),
    "location": ("azure",),
    "resource_group": ("azure",),
    "subscription": ("azure",),
    "project": ("gcp",),
}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    for name in ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_REGION", "CLOUDSDK_FUNCTIONS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CLOUDSDK_RUN_REGION", raising=False)
    return tmp_path


def options_of(command: str) -> set[str]:
    found = Commands(name="pys-multi").get_command(None, command)
    assert found is not None
    return {option for parameter in found.params for option in parameter.opts}


def test_what_providers_declare_is_a_setting_of_theirs() -> None:
    assert BUILT_IN.items() <= providers.flags().items()
    for setting, names in providers.flags().items():
        for name in names:
            model: type[BaseModel] = providers.load(name).settings_model
            assert setting in model.model_fields


def test_every_command_about_a_cloud_has_them_and_no_other() -> None:
    wanted = {f"--{name.replace('_', '-')}" for name in BUILT_IN}
    for command in COMMANDS:
        found = options_of(command)
        if "--cloud" in found and command not in NO_FLAGS:
            assert wanted <= found, command
        else:
            assert wanted.isdisjoint(found), command


def test_help_imports_no_provider() -> None:
    code = (
        "import sys; from pys_multi_tools.cli import main; main(['deploy', '--help']);"
        "print([name for name in sys.modules if name.startswith('pys_multi_providers')], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--resource-group" in found.stdout
    assert found.stderr.strip() == "[]"


def test_a_flag_is_the_setting_and_wins(
    service: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYS_MULTI_GCP_PROJECT", "another")
    monkeypatch.setenv("GOOGLE_CLOUD_REGION", "us-central1")
    where = ["-C", str(service), "--output", str(service / "out")]
    assert main(["render", "--cloud", "gcp", "--project", "given", "--region", "europe-west1", *where]) == 0
    [path] = (service / "out").rglob("resources.json")
    document = json.loads(path.read_text())
    assert (document["project"], document["region"]) == ("given", "europe-west1")


def test_a_flag_of_another_command_s_run_is_forgotten(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--cloud", "gcp", "-C", str(service)]
    assert main(["check", "--project", "p", "--region", "europe-west1", *here]) == 0
    capsys.readouterr()
    assert main(["check", *here]) == 1
    assert "no project is named" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cloud", "local", "--project", "p"], ["--project: is a flag of gcp, and this is about local"]),
        (["--cloud", "local", "--region", "r"], ["is a flag of aws and gcp"]),
        (
            ["--cloud", "gcp", "--project", "No", "--region", "us-east1"],
            ["flag --project", "'gcp.project' must be the id"],
        ),
        (["--cloud", "gcp", "--project"], ["--project", "requires an argument"]),
        (["--cloud", "gcp", "--projetc", "p"], ["did you mean", "--project"]),
    ],
)
def test_what_is_wrong_is_a_usage_error(
    service: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: list[str]
) -> None:
    assert main(["check", "-C", str(service), *arguments]) == 2
    said = capsys.readouterr().err
    assert all(text in said for text in expected), said


def test_a_command_s_own_option_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """`permissions --environment` stays what it is where a provider has a setting of that name."""
    monkeypatch.setattr(flags, "flags", lambda: {"environment": ("gcp",), "colour": ("gcp",)})
    found = Commands(name="pys-multi").get_command(None, "permissions")
    assert found is not None
    names: list[Any] = [parameter.name for parameter in found.params if "--environment" in parameter.opts]
    assert names == ["environment"]


def test_they_are_documented() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    for name in BUILT_IN:
        assert f"`--{name.replace('_', '-')} " in page, name
