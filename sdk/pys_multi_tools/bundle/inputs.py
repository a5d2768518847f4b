"""What a project says about its dependencies: which files, and which local projects they name.

bundle.requirements  >  uv.lock  >  pylock.toml  >  requirements.txt  >  pyproject.toml  >  none
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pys_multi_tools.errors import BundleError
from pys_multi_tools.suggest import did_you_mean

Kind = Literal["uv.lock", "pylock.toml", "requirements", "pyproject", "none"]

_LOCAL_IN_LOCK = re.compile(r'(?:editable|directory|virtual|path)\s*=\s*"([^"]+)"')
_INCLUDED = re.compile(r"^(?:-r|--requirement|-c|--constraint)[ =]*(\S+)")
_LOCAL_LINE = re.compile(r"^(?:-e\s*|--editable[ =]+)?(?:[\w.\[\],-]+\s*@\s*)?(\.{0,2}/\S*|\.{1,2}|file:\S+)")


@dataclass(frozen=True, slots=True)
class Inputs:
    """kind: how uv is asked. files: what it reads. extras, groups: of the project, for one function or all."""

    root: Path
    kind: Kind
    files: tuple[Path, ...]
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def locked(self) -> bool:
        """Whether the files say every version, so that nothing is resolved."""
        return self.kind in ("uv.lock", "pylock.toml")

    def read_files(self) -> list[Path]:
        """Every file whose text decides what is installed, beside local projects."""
        files = [*self.files]
        for file in self.files:
            files += [included for included in _included(file) if included not in files]
        for name in ("pyproject.toml", "uv.toml"):
            if (self.root / name).is_file() and self.root / name not in files:
                files.append(self.root / name)
        return files

    def describe(self) -> list[dict[str, str]]:
        """The files with their SHA-256, for the record."""
        return [
            {"path": _relative(file, self.root), "sha256": sha256(file.read_bytes()).hexdigest()}
            for file in self.read_files()
        ]


def find_inputs(root: Path, requirements: Sequence[str], extras: Sequence[str], groups: Sequence[str]) -> Inputs:
    """The dependency files of a project.

    requirements: the setting of that name, paths relative to root; empty looks for the usual names.
    Raises BundleError for a file that is not there.
    """
    extras, groups = tuple(dict.fromkeys(extras)), tuple(dict.fromkeys(groups))
    if requirements:
        files = tuple(root / name for name in requirements)
        for file in files:
            if not file.is_file():
                raise BundleError("does not exist", where=str(file), hint="correct bundle.requirements")
        kinds = {_kind(file) for file in files}
        if len(kinds) > 1 or (kinds & {"uv.lock", "pylock.toml"} and len(files) > 1):
            raise BundleError(
                "a lock cannot be combined with other files",
                where="bundle.requirements",
                hint="name one lock, or requirement files only",
            )
        return Inputs(root, kinds.pop(), files, extras, groups)
    lock = find_uv_lock(root)
    if lock:
        return Inputs(root, "uv.lock", (lock,), extras, groups)
    for name in ("pylock.toml", "requirements.txt"):
        if (root / name).is_file():
            return Inputs(root, _kind(root / name), (root / name,), extras, groups)
    pyproject = root / "pyproject.toml"
    document = read_toml(pyproject) if pyproject.is_file() else {}
    if "project" in document:
        return Inputs(root, "pyproject", (pyproject,), extras, groups)
    if document.get("tool", {}).get("poetry", {}).get("dependencies", {}).keys() - {"python"}:
        raise BundleError(
            "the dependencies stand in [tool.poetry] only, which no other tool reads",
            where=str(pyproject),
            hint="move them to [project], which Poetry 2 reads too; or run: poetry export --output requirements.txt",
        )
    return Inputs(root, "none", (), extras, groups)


def find_uv_lock(root: Path) -> Path | None:
    """The lock of the project, or of the workspace that it is a member of."""
    if not (root / "pyproject.toml").is_file():
        return None
    for folder in (root, *root.parents):
        lock = folder / "uv.lock"
        if lock.is_file() and (folder == root or _is_member(root, folder)):
            return lock
        if (folder / ".git").exists():
            break
    return None


def with_dependencies(inputs: Inputs, names: Sequence[str], function: str) -> Inputs:
    """The inputs of a function that asks for extras or groups of its own.

    Raises BundleError for a name that is neither.
    """
    if not names:
        return inputs
    pyproject = inputs.root / "pyproject.toml"
    document = read_toml(pyproject) if pyproject.is_file() else {}
    extras = document.get("project", {}).get("optional-dependencies", {})
    groups = document.get("dependency-groups", {})
    extra, group = list(inputs.extras), list(inputs.groups)
    for name in names:
        if _normal(name) in map(_normal, extras):
            extra.append(name)
        elif _normal(name) in map(_normal, groups):
            group.append(name)
        else:
            known = [*extras, *groups]
            raise BundleError(
                f"{name!r} is neither an extra nor a dependency group of the project",
                where=f"function {function!r}, dependencies",
                hint=did_you_mean(name, known)
                or "add it to [project.optional-dependencies] or [dependency-groups] in pyproject.toml",
            )
    return Inputs(inputs.root, inputs.kind, inputs.files, tuple(dict.fromkeys(extra)), tuple(dict.fromkeys(group)))


def local_projects(inputs: Inputs) -> list[Path]:
    """Folders of other projects that the inputs name: path dependencies and workspace members.

    A folder too many costs a look at its files; one too few would miss a change.
    """
    found: dict[Path, None] = {}
    for file in inputs.read_files():
        text = file.read_text("utf-8", errors="replace")
        if file.suffix in (".toml", ".lock"):
            names: Iterator[str] = (match[1] for match in _LOCAL_IN_LOCK.finditer(text))
        else:
            names = (match[1] for line in text.splitlines() if (match := _LOCAL_LINE.match(line.strip())))
        for name in names:
            folder = _local_path(name, file.parent)
            if folder.is_dir() and folder != inputs.root.resolve() and _is_project(folder):
                found[folder] = None
    return list(found)


def local_folder(line: str, base: Path) -> Path | None:
    """The folder that a requirement line names, or None for a line that names a distribution or a file."""
    match = _LOCAL_LINE.match(line.strip())
    if not match:
        return None
    folder = _local_path(match[1], base)
    return folder if folder.is_dir() else None


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises BundleError where it is none."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleError(f"cannot be read: {error}", where=str(path), hint="correct the file") from error


def _kind(file: Path) -> Kind:
    if file.name == "uv.lock":
        return "uv.lock"
    if file.name == "pyproject.toml":
        return "pyproject"
    return "pylock.toml" if re.fullmatch(r"pylock(\..+)?\.toml", file.name) else "requirements"


def _included(file: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    if file.suffix in (".toml", ".lock"):
        return
    for line in file.read_text("utf-8", errors="replace").splitlines():
        match = _INCLUDED.match(line.strip())
        if match and "://" not in match[1]:
            other = (file.parent / match[1]).resolve()
            if other.is_file() and other not in seen:
                yield other
                yield from _included(other, seen | {other})


def _local_path(name: str, base: Path) -> Path:
    name = re.split(r"[;#\[\s]", name)[0]
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    return (base / name).resolve()


def _is_project(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("pyproject.toml", "setup.py", "setup.cfg"))


def _is_member(root: Path, folder: Path) -> bool:
    pyproject = folder / "pyproject.toml"
    if not pyproject.is_file():
        return False
    workspace = read_toml(pyproject).get("tool", {}).get("uv", {}).get("workspace", {})
    path = root.relative_to(folder)
    return any(path.match(pattern.rstrip("/")) for pattern in workspace.get("members", ())) and not any(
        path.match(pattern.rstrip("/")) for pattern in workspace.get("exclude", ())
    )


def _relative(file: Path, root: Path) -> str:
    import os

    return Path(os.path.relpath(file, root)).as_posix()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
