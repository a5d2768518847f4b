"""The pages about the tools name every command, option, setting and step that there is."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_group

import pys_multi_tools
from pys_multi_tools.cli.table import COMMANDS
from pys_multi_tools.settings import BundleSettings, Settings, keys_of

DOCS = Path(__file__).parents[3] / "docs"
SHARED = ("--directory", "--stage", "--cloud", "--json", "--yes", "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command: str) -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    found = re.search(rf"^### {command}\n(.*?)(?=^##)", page + "\n##", re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section on {command}"
    app = import_module(f"pys_multi_tools.cli.{COMMANDS[command][0]}").app
    for parameter in get_group(app).commands[command].params:
        for option in parameter.opts:
            if option.startswith("--") and option not in SHARED:
                assert option in found[1], f"docs/cli.md does not say what {command} {option} does"


def test_every_setting_is_documented() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    for key in [*keys_of(Settings), *(f"bundle.{key}" for key in keys_of(BundleSettings))]:
        assert f"`{key}`" in page or key == "bundle", key


def test_every_step_is_documented() -> None:
    page = (DOCS / "library.md").read_text(encoding="utf-8")
    for name in pys_multi_tools.__all__:
        assert name in page or name.endswith("Error"), name
