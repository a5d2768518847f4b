"""The project as a driver deploys it: a copy with the settings of the suite."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.conformance.driver import Settings


def copied(project: Path, settings: Settings, root: Path, *lines: str) -> Path:
    """The folder of a copy. Its secrets come from variables that begin with PROBE_; lines are further settings."""
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("__pycache__"))
    with (root / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(f"secrets = {_inline({name: f'env:PROBE_{name}' for name in settings.secrets})}\n")
        file.write(f"environment = {_inline(settings.environment)}\n")
        file.writelines(f"{line}\n" for line in lines)
    return root


def _inline(values: Mapping[str, str]) -> str:
    """A table of texts in one line of TOML."""
    return "{ " + ", ".join(f"{name} = '{value}'" for name, value in values.items()) + " }"
