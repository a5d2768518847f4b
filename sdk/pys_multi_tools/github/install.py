"""Installs, beside pys-multi, what the project needs to be imported and its clouds to be spoken to.

It runs once the tool itself is there, knows no secret, and uses the files that the bundle uses: uv.lock, else
pylock.toml, requirements.txt, pyproject.toml.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import metadata
from pathlib import Path

from pys_multi_tools.bundle.inputs import Inputs as Dependencies
from pys_multi_tools.bundle.inputs import find_inputs
from pys_multi_tools.errors import ToolError
from pys_multi_tools.github.inputs import Inputs
from pys_multi_tools.project import Project


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Install what the inputs and the project name. Returns the exit code."""
    try:
        inputs = Inputs.read(environment)
        folders = [inputs.folder] if inputs.command not in ("reap", "affected") else []
        if inputs.command == "reap":
            folders = _services(Path(environment.get("GITHUB_WORKSPACE") or ".").resolve())
        for folder in folders:
            project = Project.load(folder, env=inputs.settings)
            _install(project, inputs.clouds or project.settings.cloud, environment)
    except ToolError as exc:
        print(f"::error title=pys-multi install::{_escape(str(exc))}")
        return exc.exit_code
    return 0


def _services(workspace: Path) -> list[Path]:
    from pys_multi_tools.affected import services
    from pys_multi_tools.git import Repository

    return [workspace / path for path in services(Repository.around(workspace))]


def _install(project: Project, clouds: Iterable[str], environment: Mapping[str, str]) -> None:
    known = {_normal(extra) for extra in metadata("pys-multi").get_all("Provides-Extra") or ()}
    extras = sorted(_normal(cloud) for cloud in clouds if _normal(cloud) in known)
    wanted: list[str] = []
    if extras:
        wanted.append(f"pys-multi[{','.join(extras)}] @ {Path(environment['GITHUB_ACTION_PATH']).resolve().as_uri()}")
    bundle = project.settings.bundle
    dependencies = find_inputs(project.root, bundle.requirements, bundle.extras, bundle.groups)
    with tempfile.TemporaryDirectory() as folder:
        wanted += _requirements(dependencies, Path(folder))
        if wanted:
            _uv(["pip", "install", "--quiet", *wanted], project.root)


def _requirements(dependencies: Dependencies, folder: Path) -> list[str]:
    """What uv is to install, as its arguments."""
    options = [f"--extra={extra}" for extra in dependencies.extras]
    options += [f"--group={group}" for group in dependencies.groups]
    match dependencies.kind:
        case "none":
            return []
        case "uv.lock":
            file = folder / "requirements.txt"
            fixed = ["--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--quiet"]
            _uv(["export", *fixed, *options, f"--output-file={file}"], dependencies.root)
            return [f"--requirements={file}"]
        case _:
            found = [f"--requirements={file}" for file in dependencies.files]
            if dependencies.kind == "pyproject":
                return [*found, *(f"--extra={extra}" for extra in dependencies.extras)] + [
                    f"--group={group}" for group in dependencies.groups
                ]
            return found


def _uv(arguments: list[str], folder: Path) -> None:
    from uv import find_uv_bin

    command = [find_uv_bin(), *arguments]
    if arguments[0] == "pip":
        command.append(f"--python={sys.executable}")
    if subprocess.run(command, cwd=folder, check=False).returncode:
        hint = "the lines above are uv's own; the project's dependencies must go together with pys-multi's"
        raise ToolError("the project's dependencies cannot be installed", where=str(folder), hint=hint)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


if __name__ == "__main__":
    sys.exit(main())
