"""Which services of a repository a change touches: through their code, imports, dependencies and settings.

Nothing is imported and nothing installed: code is read, so that a continuous integration asks this first.

    own files       what its bundle takes in                     any change
    imports         modules of path dependencies it can reach    any change, also in what those import
    dependencies    requirement files, its part of uv.lock       what differs once read
    settings        pys-multi.toml, its tables in pyproject      what differs once read
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from pys_multi_tools.bundle.inputs import Inputs, find_inputs, find_uv_lock, local_projects
from pys_multi_tools.bundle.selection import select
from pys_multi_tools.discover import import_roots
from pys_multi_tools.errors import BundleError, SettingsError
from pys_multi_tools.git import Repository
from pys_multi_tools.imports import reachable
from pys_multi_tools.project import Project

#: Of pyproject.toml, what decides what is deployed; a linter's table does not.
_TABLES = ("project", "build-system", "dependency-groups", "tool.pys-multi", "tool.uv")
#: Of what was removed, nobody can say any more whether a bundle took it in; these it never does.
_NEVER_BUNDLED = ("*.md", "docs/*", "tests/*", "*/tests/*", "test_*.py", "*/test_*.py", "*_test.py", "*.pyi")


@dataclass(frozen=True, slots=True)
class Affected:
    """A service that a change touches. path: its folder in the repository, "." for the root. reasons: why."""

    path: str
    reasons: tuple[str, ...]


def services(repository: Repository) -> tuple[str, ...]:
    """The folders of a repository that hold a service: those with settings for pys-multi."""
    found: set[str] = set()
    for path in map(PurePosixPath, repository.files()):
        if path.name == "pys-multi.toml" or (path.name == "pyproject.toml" and _has_settings(repository.root / path)):
            found.add(str(path.parent))
    return tuple(sorted(found))


def affected(folder: str | Path, since: str) -> tuple[Affected, ...]:
    """The services, below the repository that ``folder`` is in, that changed since a revision.

    since: a branch, tag or commit; what happened there after the present branch left it does not count.
    Raises ToolError for a revision that is not there.
    """
    repository = Repository.around(Path(folder).resolve())
    base = repository.merge_base(repository.commit(since))
    changed = repository.changed(base)
    found = (Affected(path, tuple(_reasons(repository, base, path, changed))) for path in services(repository))
    return tuple(service for service in found if service.reasons)


def _reasons(repository: Repository, base: str, path: str, changed: tuple[str, ...]) -> Iterator[str]:
    root = (repository.root / path).resolve()
    prefix = "" if path == "." else f"{path}/"
    if not any(repository.read(base, prefix + name) for name in ("pys-multi.toml", "pyproject.toml")):
        yield "it is new"
        return
    try:
        project = Project.load(root, env={})
        bundle = project.settings.bundle
        inputs = find_inputs(root, bundle.requirements, bundle.extras, bundle.groups)
        others = local_projects(inputs)
    except (SettingsError, BundleError) as exc:
        if any(name.startswith(prefix) for name in changed):
            yield f"its settings cannot be read: {exc.what}"
        return
    own = _bundled(project, inputs, others)
    for name in changed:
        file = repository.root / name
        if file in own or (name.startswith(prefix) and not file.exists() and not _never(name[len(prefix) :])):
            yield name
    yield from _settings(repository, base, prefix, project, changed)
    yield from _dependencies(repository, base, prefix, inputs, changed)
    yield from _imports(repository, own, root, others, changed)


def _has_settings(file: Path) -> bool:
    try:
        return "pys-multi" in tomllib.loads(file.read_text("utf-8")).get("tool", {})
    except (OSError, ValueError, AttributeError):
        return False


def _bundled(project: Project, inputs: Inputs, others: list[Path]) -> set[Path]:
    """The files of the project that its bundle takes in."""
    settings, root = project.settings.bundle, project.root
    try:
        # Without a reference the App lies where its modules lie: below src, where there is one.
        found = select(
            root, project.settings.app or "", include=settings.include, exclude=settings.exclude, skip=others
        )
    except BundleError:  # `bundle` will say so; until then every file counts
        return {path for path in root.rglob("*") if path.is_file()}
    files = {root / file.source for file in found.files}
    return files - set(inputs.read_files())


def _never(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in _NEVER_BUNDLED)


def _settings(
    repository: Repository, base: str, prefix: str, project: Project, changed: tuple[str, ...]
) -> Iterator[str]:
    if (name := f"{prefix}pys-multi.toml") in changed and _differs(repository, base, name):
        yield f"settings: {name}"
    if (name := f"{prefix}pyproject.toml") in changed and _differs(repository, base, name, _TABLES):
        yield f"settings or dependencies: {name}"
    for secret, reference in project.settings.secrets.items():
        scheme, _, place = reference.partition(":")
        if scheme == "file" and _relative(repository, project.root / place) in changed:
            yield f"secret {secret}: {place}"


def _dependencies(
    repository: Repository, base: str, prefix: str, inputs: Inputs, changed: tuple[str, ...]
) -> Iterator[str]:
    for file in inputs.read_files():
        name = _relative(repository, file)
        if name not in changed or file.name == "pyproject.toml":
            continue
        if file.name != "uv.lock":
            yield f"dependencies: {name}"
            continue
        before, after = repository.read(base, name), file.read_text("utf-8")
        differing = _locked(before or "", inputs) ^ _locked(after, inputs)
        if differing:
            yield f"dependencies: {', '.join(sorted({package for package, _ in differing}))} in {name}"
    if inputs.kind != "uv.lock" and find_uv_lock(inputs.root) is None and f"{prefix}uv.lock" in changed:
        yield f"dependencies: {prefix}uv.lock is gone"


def _imports(
    repository: Repository, own: set[Path], root: Path, others: list[Path], changed: tuple[str, ...]
) -> Iterator[str]:
    touched = [(name, repository.root / name) for name in changed]
    for other in others:
        below = [(name, file) for name, file in touched if file.is_relative_to(other)]
        if not below:
            continue
        roots = [*import_roots(root), *(entry for folder in others for entry in import_roots(folder))]
        seen = reachable([file for file in own if file.suffix == ".py"], roots)
        for name, file in below:
            inside = file.relative_to(other).as_posix()
            if file.suffix != ".py" or not file.exists():
                if not _never(inside) and not inside.startswith("."):
                    yield f"dependency: {name}"
            elif file in seen:
                yield f"import: {name}"
            elif file.name == "setup.py":
                yield f"dependency: {name}"


def _differs(repository: Repository, base: str, name: str, tables: Iterable[str] = ()) -> bool:
    """Whether a TOML file says something else than before, in these tables or at all."""
    try:
        before = tomllib.loads(repository.read(base, name) or "")
        after = tomllib.loads((repository.root / name).read_text("utf-8"))
    except (OSError, ValueError):
        return True
    return any(_table(before, table) != _table(after, table) for table in tables or ("",))


def _table(document: Any, dotted: str) -> Any:
    for key in filter(None, dotted.split(".")):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _locked(text: str, inputs: Inputs) -> set[tuple[str, str]]:
    """(name, all that the lock says of it) of every package that the project in the lock needs."""
    try:
        packages = tomllib.loads(text).get("package", [])
        name = tomllib.loads((inputs.root / "pyproject.toml").read_text("utf-8"))["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return {("everything", text)}
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in packages:
        by_name.setdefault(package["name"], []).append(package)
    wanted, done = [name.lower().replace("_", "-").replace(".", "-")], set()
    while wanted:
        current = wanted.pop()
        if current in done:
            continue
        done.add(current)
        for package in by_name.get(current, []):
            edges = list(package.get("dependencies", []))
            edges += [edge for group in package.get("optional-dependencies", {}).values() for edge in group]
            groups = package.get("dev-dependencies", {})
            edges += [edge for group in inputs.groups for edge in groups.get(group, [])]
            wanted += [edge["name"] for edge in edges]
    return {(package, repr(entry)) for package in done for entry in by_name.get(package, [])}


def _relative(repository: Repository, file: Path) -> str:
    file = file.resolve()
    return file.relative_to(repository.root).as_posix() if file.is_relative_to(repository.root) else ""
