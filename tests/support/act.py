"""A real workflow runner: ``act`` runs a repository's workflows with the action of this checkout, in a moment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: How the workflows of the tests name the action.
ACTION = "org/pys-action@" + "1" * 40
_SHIPPED = ("action.yml", "pyproject.toml", "README.md", "LICENSE", "sdk", "providers", "templates")


@dataclass(frozen=True)
class Run:
    """How a run ended. log: what the runner printed, without what it put in front of each line."""

    code: int
    log: str

    def lines(self) -> list[str]:
        return [
            re.sub(r"^\[[^\]]*\]\s+(?:\|\s|⚙\s+|❗\s+|🚧\s+|❓\s+|💬\s+)?", "", line) for line in self.log.splitlines()
        ]

    def output(self, name: str) -> str:
        """The output of the last step that set it."""
        return next(reversed(self.outputs(name)), "")  # a value that came before is not the last one again

    def outputs(self, name: str) -> list[str]:
        """The different ones of the steps and jobs of the run; those that do not set it print it empty."""
        found = re.findall(rf"::set-output:: {re.escape(name)}=(.*)", self.log)
        assert found, f"no output {name} in\n{self.log}"
        return [value for value in dict.fromkeys(found) if value]


def find_act() -> str | None:
    """Where act is; None where it is not installed."""
    beside = Path(sys.executable).with_name("act")
    return str(beside) if beside.exists() else shutil.which("act")


def copy_action(into: Path) -> Path:
    """The action as GitHub would check it out."""
    into.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
    for name in _SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, into / name)
    return into


class Act:
    """act with its own home and tool cache. action: folder of the action."""

    def __init__(self, action: Path, home: Path) -> None:
        self.action, self.home = action, home
        home.mkdir(parents=True, exist_ok=True)

    def command(
        self,
        repository: Path,
        event: str,
        payload: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        workflow: str = "",
        insecure: bool = False,
    ) -> tuple[list[str], dict[str, str]]:
        """The command line and its environment."""
        act = find_act()
        assert act is not None
        events = self.home / "event.json"
        events.write_text(json.dumps(payload or {}))
        arguments = [act, event, "-P", "ubuntu-latest=-self-hosted", "--action-offline-mode", "--no-cache-server"]
        arguments += ["--eventpath", str(events), "--local-repository", f"{ACTION}={self.action}"]
        arguments += ["--env-file", os.devnull, "--secret-file", os.devnull, "--var-file", os.devnull]
        if workflow:
            arguments += ["-W", f".github/workflows/{workflow}"]
        given = {"RUNNER_TOOL_CACHE": str(self.home / "tools"), **(environment or {})}
        for option, values in (("--env", given), ("-s", secrets or {}), ("--var", variables or {})):
            arguments += [part for name, value in values.items() for part in (option, f"{name}={value}")]
        if insecure:  # act hides the values of secrets itself; so that what the action prints can be seen
            arguments.append("--insecure-secrets")
        passed = re.compile(r"PATH|TMPDIR|LANG|(?:PIP|UV|SSL)_.*|.*_PROXY", re.IGNORECASE)
        kept = {name: value for name, value in os.environ.items() if passed.fullmatch(name)}
        # uv's own cache is shared: what it holds is named by its content.
        cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
        return arguments, {**kept, "HOME": str(self.home), "UV_CACHE_DIR": cache}

    def run(self, repository: Path, event: str, payload: Mapping[str, Any] | None = None, **options: Any) -> Run:
        arguments, environment = self.command(repository, event, payload, **options)
        ended = subprocess.run(
            arguments,
            cwd=repository,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        return Run(ended.returncode, ended.stdout.decode("utf-8", "replace"))
