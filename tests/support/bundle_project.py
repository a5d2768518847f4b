"""A project on disk to build artefacts from, and the targets that the tests build for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pys_multi.model import Service
from pys_multi_tools.bundle import Artefact, Bundle, build
from pys_multi_tools.settings import BundleSettings
from pys_multi_tools.target import Target, host_target

REPOSITORY = Path(__file__).parents[2]

#: What the App of the tests defines; the imports of a test stand in front of it.
DEFINITIONS = """
from pys_multi import App

app = App("shop")
api = app.function("api")


@api.get("/answer")
def answer() -> dict:
    return {}
"""

LAMBDA = Target(provider="lambda-like", python="3.13", system="linux", architecture="x86_64", glibc=(2, 34))
LAMBDA_ARM = Target(provider="lambda-like", python="3.13", system="linux", architecture="aarch64", glibc=(2, 34))


@dataclass(frozen=True)
class Settings:
    """The part of a project's settings that a build reads."""

    bundle: BundleSettings
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """What a build takes from a project."""

    root: Path
    settings: Settings
    secret_files: tuple[str, ...] = ()


def service(definitions: str = DEFINITIONS, module: str = "shop.app") -> Service:
    """The model of an App, from its definitions alone: what it imports need not be installed here."""
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(definitions, f"{module}.py", "exec"), namespace)
    result: Service = namespace["app"].service()
    return result


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Writes files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_project(
    root: Path,
    *,
    imports: str = "",
    definitions: str = DEFINITIONS,
    requirements: Sequence[str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> None:
    """Writes a flat project with the package ``shop``."""
    write(root, {"shop/__init__.py": "", "shop/app.py": imports + definitions, **(files or {})})
    if requirements is not None:
        write(root, {"requirements.txt": "\n".join(requirements) + "\n"})


def built(
    root: Path,
    cache: Path,
    target: Target = LAMBDA,
    *,
    definitions: str = DEFINITIONS,
    environment: Mapping[str, str] | None = None,
    preflight: bool = True,
    **settings: Any,
) -> Bundle:
    """The bundle of a project."""
    project: Any = Project(root, Settings(BundleSettings(**settings), environment or {}))
    return build(project, "shop.app:app", service(definitions), target, cache=cache, preflight=preflight)


def one(bundle: Bundle) -> Artefact:
    """The artefact of a bundle that has one."""
    (only,) = {id(artefact): artefact for artefact in bundle.artefacts.values()}.values()
    return only


def names(artefact: Artefact) -> set[str]:
    """The paths in an artefact."""
    with zipfile.ZipFile(artefact.path) as file:
        return set(file.namelist())


def read(artefact: Artefact, name: str) -> bytes:
    """One file of an artefact."""
    with zipfile.ZipFile(artefact.path) as file:
        return file.read(name)


def record(artefact: Artefact) -> dict[str, Any]:
    """The record of inputs."""
    result: dict[str, Any] = json.loads(artefact.record.read_text())
    return result


def run_inside(artefact: Artefact, folder: Path, code: str) -> str:
    """What a program prints that runs with nothing but the unpacked artefact on its path."""
    artefact.unpacked(folder)
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": os.defpath},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def host() -> Target:
    """The target that this machine is."""
    return host_target("local")
