"""Path dependencies and workspace members: built as what they are, so that what ships is what an install gives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from pys_multi_tools.bundle import uv_tool
from pys_multi_tools.bundle.bytecode import Interpreter
from pys_multi_tools.bundle.inputs import read_toml
from pys_multi_tools.bundle.resolve import Package, normal
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target

_NOT_SOURCES = ("__pycache__", "node_modules", "build", "dist")


def digest(folder: Path) -> str:
    """SHA-256 over the files that a build of the project can see."""
    total = sha256()
    for path in _files(folder):
        data = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def metadata_digest(folder: Path) -> str:
    """SHA-256 over what says which dependencies a project has: any file may where they are dynamic."""
    if not _is_static(folder / "pyproject.toml"):
        return digest(folder)
    total = sha256()
    for name in ("pyproject.toml", "setup.cfg", "setup.py"):
        file = folder / name
        total.update(file.read_bytes() if file.is_file() else b"-")
    return total.hexdigest()


def _is_static(pyproject: Path) -> bool:
    if not pyproject.is_file():
        return False
    project = read_toml(pyproject).get("project", {})
    return bool(project) and not {"dependencies", "optional-dependencies"} & set(project.get("dynamic", ()))


def build(folders: Sequence[Path], target: Target, interpreter: Interpreter | None, scratch: Path) -> list[Package]:
    """A wheel of each project, as packages of a lock. Raises BundleError where one does not build or fit."""
    return [_build(folder, target, interpreter, scratch / f"local-{i}") for i, folder in enumerate(folders)]


def _build(folder: Path, target: Target, interpreter: Interpreter | None, scratch: Path) -> Package:
    scratch.mkdir()
    # From a copy: a build leaves folders behind, and takes in what the last one has left.
    source = scratch / "source"
    for path in _files(folder):
        copy = source / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    try:
        wheel = _wheel(source, interpreter, scratch / "wheel", folder)
    except BundleError:
        # A project may take its version from the repository or read files beside it.
        wheel = _wheel(folder, interpreter, scratch / "again", folder)
    name, version, *_, tag = wheel.stem.split("-")
    if tag != "any" and not target.is_host:
        raise BundleError(
            f"{name} builds a wheel for this machine only ({tag})",
            where=str(folder),
            hint="build on a host that matches the target, or give it a wheel for the target on an index",
        )
    hashes = {"sha256": sha256(wheel.read_bytes()).hexdigest()}
    return {
        "name": normal(name),
        "version": version,
        "wheels": [{"name": wheel.name, "path": str(wheel), "hashes": hashes}],
    }


def _wheel(source: Path, interpreter: Interpreter | None, out: Path, folder: Path) -> Path:
    options = ["--python", interpreter.path] if interpreter else []
    uv_tool.run(
        ["build", "--wheel", "--out-dir", str(out), *options, str(source)],
        cwd=folder,
        what="the project does not build",
        where=str(folder),
    )
    wheels = list(out.glob("*.whl"))
    if len(wheels) != 1:
        raise BundleError("the project's build makes no wheel", where=str(folder), hint="run: uv build --wheel")
    return wheels[0]


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NOT_SOURCES
            and not name.endswith(".egg-info")
            and not (here / name / "pyvenv.cfg").exists()
            and not (here / name / "pyproject.toml").exists()
        )
        for name in sorted(names):
            path = here / name
            if path.is_file() and not name.endswith((".pyc", ".pyo")):
                yield path
