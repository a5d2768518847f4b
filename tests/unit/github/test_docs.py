"""The page about the action names every input, output and command that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pys_multi_tools.github.inputs import COMMANDS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "github-action.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


def first_column(heading: str) -> set[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize(
    ("heading", "names"),
    [("Inputs", ACTION["inputs"]), ("Outputs", ACTION["outputs"]), ("Commands", COMMANDS)],
)
def test_every_name_is_there(heading: str, names: list[str]) -> None:
    assert first_column(heading) - {"command"} == set(names) - {"command"}


def test_every_input_reaches_the_tool() -> None:
    install, run = ACTION["runs"]["steps"]
    for step, names in ((run, set(ACTION["inputs"]) - {"python-version"}), (install, {"python-version", "path"})):
        given = {name: value for name, value in step["env"].items() if name.startswith("INPUT_")}
        wanted = {f"INPUT_{name.upper().replace('-', '_')}": f"${{{{ inputs.{name} }}}}" for name in names}
        assert wanted.items() <= given.items()
        assert "${{" not in step["run"]


def test_every_output_comes_from_it() -> None:
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.run.outputs.{name} }}}}"
