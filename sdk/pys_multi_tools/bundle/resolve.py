"""Which version of what: every kind of input becomes one lock (PEP 751), which uv then installs.

A lock is used as it is. Anything else is resolved for the target, and the result is written down in the artefact.
pys-multi itself, and what only pys-multi brings, is never part of it: its SDK ships as a plain copy.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pys_multi_tools.bundle import uv_tool
from pys_multi_tools.bundle.bytecode import Interpreter
from pys_multi_tools.bundle.inputs import Inputs, local_projects, read_toml
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target

OWN_NAME = "pys-multi"

Package = dict[str, Any]
_HASH = re.compile(r"--hash[= ]sha256:([0-9a-f]{64})")
_INDEX_OPTION = re.compile(r"^(-i|--index-url|--extra-index-url)[ =]+(\S+)")
_INDEX_VARIABLES = {"-i": "UV_DEFAULT_INDEX", "--index-url": "UV_DEFAULT_INDEX", "--extra-index-url": "UV_INDEX"}
_PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*==")


@dataclass(frozen=True, slots=True)
class Resolution:
    """packages: as in a pylock.toml, with absolute paths. local: folders of projects that have to be built.

    roots: normalised names that were asked for, None where the inputs do not tell them from what they brought.
    """

    packages: tuple[Package, ...]
    local: tuple[Path, ...]
    roots: frozenset[str] | None

    def requirements(self) -> str:
        """The set in the form of a requirements file, with the hashes that are known."""
        lines = []
        for package in self.packages:
            files = [*package.get("wheels", ()), *filter(None, [package.get("sdist"), package.get("archive")])]
            hashes = sorted({file["hashes"]["sha256"] for file in files if "sha256" in file.get("hashes", {})})
            lines.append(" \\\n    ".join([_line(package), *(f"--hash=sha256:{digest}" for digest in hashes)]))
        return "\n".join(lines) + "\n" if lines else ""


def _line(package: Package) -> str:
    """One distribution, by version or by the commit or file that it comes from; never with a password."""
    name, vcs, archive = package["name"], package.get("vcs"), package.get("archive", {})
    if vcs and "url" in vcs:
        place = f"{vcs['type']}+{vcs['url']}@{vcs['commit-id']}"
        if "subdirectory" in vcs:
            place += f"#subdirectory={vcs['subdirectory']}"
    else:
        place = archive.get("url", "")
    if place:
        return f"{name} @ {without_password(place)}"
    return f"{name}=={package['version']}" if "version" in package else str(name)


def resolve(inputs: Inputs, target: Target, interpreter: Interpreter | None, scratch: Path) -> Resolution:
    """The distributions for a target. Raises BundleError where there are none that fit."""
    if inputs.kind == "none":
        return Resolution((), (), frozenset())
    if inputs.kind == "pylock.toml":
        document = read_toml(inputs.files[0])
        base = inputs.files[0].parent
    elif inputs.kind == "uv.lock":
        document = tomllib.loads(_exported(inputs))
        base = inputs.root
    else:
        document = tomllib.loads(_compiled(inputs, target, interpreter, scratch))
        base = inputs.root
    allowed = _hashes(inputs) if inputs.kind == "requirements" else {}
    packages, local = [], []
    brings_us = inputs.kind == "requirements"
    for package in document.get("packages", ()):
        name = normal(package["name"])
        if name == OWN_NAME:
            brings_us = True
            continue
        folder = package.get("directory", {}).get("path")
        if folder is not None:
            project = (base / folder).resolve()
            if project != inputs.root.resolve():  # its code goes in as the user's own
                local.append(project)
            continue
        packages.append(_with_allowed_hashes(_absolute(package, base), allowed.get(name), inputs))
    return Resolution(tuple(packages), tuple(local), _roots(inputs) if brings_us else None)


def write_pylock(packages: Iterable[Package], file: Path) -> None:
    """Writes packages as a lock that uv installs."""
    document = {"lock-version": "1.0", "created-by": "pys-multi", "packages": list(packages)}
    file.write_text("\n".join(f"{key} = {_toml(value)}" for key, value in document.items()), "utf-8")


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_options(target: Target, interpreter: Interpreter | None) -> list[str]:
    """Which Python uv asks about; a matching one where there is one, so that host builds are for it."""
    import sys

    options = ["--python", interpreter.path if interpreter else sys.executable, "--python-version", target.python]
    if interpreter is None and target.is_host:
        options += ["--only-binary", ":all:"]
    return options


def _exported(inputs: Inputs) -> str:
    root, where = inputs.root, str(inputs.files[0])
    code = uv_tool.succeeds(["lock", "--check"], cwd=root)
    if code == 1:
        raise BundleError("is older than pyproject.toml", where=where, hint="run: uv lock")
    selected = [option for extra in inputs.extras for option in ("--extra", extra)]
    selected += [option for group in inputs.groups for option in ("--group", group)]
    return uv_tool.run(
        [
            "export", "--frozen", "--format", "pylock.toml", "--no-default-groups", "--no-emit-project",
            "--no-header", "--no-annotate", "--prune", OWN_NAME, *selected,
        ],
        cwd=root,
        what="the lock cannot be read",
        where=where,
    )  # fmt: skip


def _compiled(inputs: Inputs, target: Target, interpreter: Interpreter | None, scratch: Path) -> str:
    excludes = scratch / "excludes.txt"
    excludes.write_text(OWN_NAME + "\n")
    files = [str(file) for file in inputs.files]
    selected = [option for group in inputs.groups for option in ("--group", group)]
    if inputs.kind == "pyproject":
        selected += [option for extra in inputs.extras for option in ("--extra", extra)]
    elif inputs.extras:
        file = scratch / "extras.txt"
        file.write_text("\n".join(_extra_lines(inputs)) + "\n")
        files.append(str(file))
    return uv_tool.run(
        [
            "pip", "compile", *files, *selected, "--format", "pylock.toml", "--no-header", "--no-annotate",
            "--excludes", str(excludes), *_refreshed(inputs),
            *python_options(target, interpreter), *uv_tool.platform_options(target),
        ],
        cwd=inputs.root,
        what="the dependencies cannot be resolved",
        where=", ".join(file.name for file in inputs.files),
    )  # fmt: skip


def _refreshed(inputs: Inputs) -> list[str]:
    """uv remembers what a local project asks for until its pyproject.toml changes, but dynamic ones read more."""
    options = []
    for folder in local_projects(inputs):
        file = folder / "pyproject.toml"
        project = read_toml(file).get("project", {}) if file.is_file() else {}
        if project.get("dynamic") and "name" in project:
            options += ["--refresh-package", project["name"]]
    return options


def _extra_lines(inputs: Inputs) -> list[str]:
    file = inputs.root / "pyproject.toml"
    document = read_toml(file) if file.is_file() else {}
    extras = document.get("project", {}).get("optional-dependencies", {})
    known = {normal(name): lines for name, lines in extras.items()}
    lines: list[str] = []
    for extra in inputs.extras:
        if normal(extra) not in known:
            raise BundleError(f"the project has no extra {extra!r}", where=str(file), hint="correct bundle.extras")
        lines += known[normal(extra)]
    return lines


def _hashes(inputs: Inputs) -> dict[str, frozenset[str]]:
    """The hashes that requirement files allow, by name: resolving ignores them, so they are checked here."""
    result: dict[str, frozenset[str]] = {}
    for line in requirement_lines(inputs):
        pinned, hashes = _PINNED.match(line), _HASH.findall(line)
        if pinned and hashes:
            result[normal(pinned[1])] = frozenset(hashes)
    return result


def index_options(inputs: Inputs) -> dict[str, str]:
    """The indexes that requirement files name, as uv's variables: a lock keeps the addresses without passwords."""
    found: dict[str, list[str]] = {}
    for line in requirement_lines(inputs) if inputs.kind == "requirements" else ():
        match = _INDEX_OPTION.match(line)
        if match:
            value = re.sub(r"\$\{([A-Z0-9_]+)\}", lambda name: os.environ.get(name[1], name[0]), match[2])
            found.setdefault(_INDEX_VARIABLES[match[1]], []).append(value)
    return {name: values[-1] if name == "UV_DEFAULT_INDEX" else " ".join(values) for name, values in found.items()}


def without_password(url: str) -> str:
    """An address without the credentials in it."""
    return re.sub(r"(://)[^/@\s]+@", r"\1", url)


def requirement_lines(inputs: Inputs) -> list[str]:
    """The lines of requirement files, continued ones joined, comments cut off."""
    lines = []
    for file in inputs.read_files():
        if file.suffix == ".toml":
            continue
        for line in file.read_text("utf-8", errors="replace").replace("\\\n", " ").splitlines():
            text = re.sub(r"(^|\s)#.*$", "", line).strip()
            if text:
                lines.append(text)
    return lines


def _with_allowed_hashes(package: Package, allowed: frozenset[str] | None, inputs: Inputs) -> Package:
    if allowed is None:
        return package
    wheels = [wheel for wheel in package.get("wheels", ()) if wheel.get("hashes", {}).get("sha256") in allowed]
    sdist = package.get("sdist")
    if sdist and sdist.get("hashes", {}).get("sha256") not in allowed:
        sdist = None
    if not wheels and not sdist:
        raise BundleError(
            f"no file of {package['name']} {package.get('version', '')} has one of the hashes that are listed for it",
            where=", ".join(file.name for file in inputs.files),
            hint="find out why the index delivers something else; after a legitimate change, compile the file again",
        )
    rest = {key: value for key, value in package.items() if key not in ("wheels", "sdist")}
    return {**rest, **({"wheels": wheels} if wheels else {}), **({"sdist": sdist} if sdist else {})}


def _absolute(package: Package, base: Path) -> Package:
    """The package with paths that hold wherever the lock is written."""

    def fixed(value: Any) -> Any:
        if isinstance(value, Mapping):
            kept = {k: v for k, v in value.items() if k != "upload-time"}  # of no use here, and no JSON
            return {k: str((base / v).resolve()) if k == "path" else fixed(v) for k, v in kept.items()}
        return [fixed(item) for item in value] if isinstance(value, list) else value

    return {key: fixed(value) for key, value in package.items()}


def _roots(inputs: Inputs) -> frozenset[str] | None:
    """What was asked for by name. uv.lock and pyproject.toml are pruned by uv itself, which needs no roots."""
    if inputs.kind == "requirements":
        text = "\n".join(file.read_text("utf-8", errors="replace") for file in inputs.files)
        return annotated_roots(text)
    if inputs.kind == "pylock.toml":
        names = frozenset(map(normal, direct_names(inputs)))
        return names if OWN_NAME in names else None  # a lock of something else says nothing about who asked
    return None


def direct_names(inputs: Inputs) -> list[str]:
    """Names of the distributions that pyproject.toml asks for, with the extras and groups in use."""
    return [match[0] for line in direct_lines(inputs) if (match := re.match(r"[A-Za-z0-9][\w.-]*", line))]


def direct_lines(inputs: Inputs) -> list[str]:
    """The requirements that a person wrote, as far as the inputs tell them from what was resolved."""
    if inputs.kind == "requirements":
        return requirement_lines(inputs)
    file = inputs.root / "pyproject.toml"
    document = read_toml(file) if file.is_file() else {}
    project, groups = document.get("project", {}), document.get("dependency-groups", {})
    lines = list(project.get("dependencies", ()))
    for name, extra in project.get("optional-dependencies", {}).items():
        if normal(name) in map(normal, inputs.extras):
            lines += extra
    for group in inputs.groups:
        lines += _group_lines(groups, group, frozenset())
    return [line for line in lines if isinstance(line, str)]


def _group_lines(groups: Mapping[str, Any], name: str, seen: frozenset[str]) -> list[str]:
    """The requirements of a dependency group and of those it includes (PEP 735)."""
    lines: list[str] = []
    for key, items in groups.items():
        if normal(key) == normal(name) and normal(key) not in seen:
            for item in items:
                if isinstance(item, str):
                    lines.append(item)
                elif isinstance(item, dict) and "include-group" in item:
                    lines += _group_lines(groups, item["include-group"], seen | {normal(key)})
    return lines


def annotated_roots(text: str) -> frozenset[str] | None:
    """From the "# via" comments of pip-compile and uv: what only another distribution brought is no root."""
    if "# via" not in text:
        return None
    roots: set[str] = set()
    name = ""
    for line in text.splitlines():
        match = _PINNED.match(line)
        if match:
            name = normal(match[1])
            roots.add(name)  # until a comment says that others brought it
        comment = line.partition("#")[2].strip().removeprefix("via").strip()
        if name and "#" in line and comment:
            brought = {normal(word) for word in re.split(r"[,\s]+", comment) if word}
            if comment.startswith("-") or "(" in comment:
                roots.add(name)
                name = ""  # settled
            elif brought:
                roots.discard(name)
    return frozenset(roots)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
