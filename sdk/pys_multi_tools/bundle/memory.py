"""What the last bundle of a folder was about, so that the next one is built without reading its settings.

Reading settings and asking providers costs ten times what comparing every file costs. What those depend on is
compared instead: the settings files as they are, the PYS_MULTI_* variables, the arguments, the code of the
tools and of the provider, and the model. The project's own files are compared by the build, as ever.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pys_multi.errors import PysMultiError
from pys_multi_tools.bundle.builder import Build, options_of, plain, silent
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.values import Bundle, Options
from pys_multi_tools.errors import DiscoveryError
from pys_multi_tools.target import Target

if TYPE_CHECKING:
    from pys_multi.model import Service
    from pys_multi_tools.deployment import Progress
    from pys_multi_tools.project import Project

_SETTINGS_FILES = ("pyproject.toml", "pys-multi.toml")


class _Other(Exception):
    """The service is not the one that was remembered, so its target may not be either."""


def recall(
    folder: Path,
    arguments: Mapping[str, str],
    *,
    progress: Callable[[Progress], None] = silent,
    cache: Path | None = None,
) -> tuple[Bundle, ...] | None:
    """The bundles that :func:`remember` was told of for this folder and these arguments, as they are now.

    Changed files are built. None where the settings, the tools or the model are not the remembered ones:
    then the whole way has to be gone, and the result remembered again.
    Raises BundleError as a build does.
    """
    store = Cache(cache)
    if not store.root.is_dir():
        return None
    with store.in_use():
        stored = store.read_object(_key(folder, arguments))
        if stored is None:
            return None
        document = json.loads(stored)
        root = Path(document["root"])
        if document["stamp"] != _stamp(folder, root, document["packages"]):
            return None
        found = []
        for row in document["builds"]:
            build = Build(root, _options(row["options"]), row["app"], _target(row["target"]), store, progress)
            try:
                found.append(build.run(partial(_same_model, build, row["model"])))
            except (_Other, DiscoveryError, PysMultiError):
                return None
    return tuple(found)


def _same_model(build: Build, expected: object) -> Service:
    from pys_multi_tools import discover

    with discover.importable(build.root, dict(build.options.environment)):
        service = discover.import_app(build.app, build.root).service()
    if plain(service) != expected:
        raise _Other
    return service


def remember(
    folder: Path,
    arguments: Mapping[str, str],
    builds: Sequence[tuple[Project, str, Service, Target]],
    *,
    cache: Path | None = None,
) -> None:
    """Notes what was built for a folder and arguments: what each build was given."""
    roots = {project.root for project, _, _, _ in builds}
    # A provider that ships no module of its own has code that cannot be compared later.
    if len(roots) != 1 or not all(target.runtime_modules for _, _, _, target in builds):
        return
    modules = {name.partition(".")[0] for _, _, _, target in builds for name in target.runtime_modules}
    packages = sorted(_folders({"pys_multi", "pys_multi_tools", *modules}))
    root = roots.pop()
    document = {
        "root": str(root),
        "packages": packages,
        "stamp": _stamp(folder, root, packages),
        "builds": [
            {
                "app": app,
                "options": asdict(options_of(project)),
                "model": plain(service),
                "target": _target_json(target),
            }
            for project, app, service, target in builds
        ],
    }
    store = Cache(cache)
    with store.in_use():
        store.write_object(_key(folder, arguments), json.dumps(document).encode())


def _key(folder: Path, arguments: Mapping[str, str]) -> str:
    return json.dumps(["recall", str(folder.resolve()), dict(arguments), sys.executable, sys.version], sort_keys=True)


def _stamp(folder: Path, root: Path, packages: Iterable[str]) -> str:
    """What settings, App and target depend on, beside the project's own files."""
    total = sha256()
    below = folder.resolve()
    for parent in (below, *below.parents):
        for name in _SETTINGS_FILES:
            file = parent / name
            total.update(file.read_bytes() if file.is_file() else b"\0")
        if parent == root:
            break
    for name, value in sorted(os.environ.items()):
        if name.startswith("PYS_MULTI_"):
            total.update(f"{name}={value}\0".encode(errors="surrogateescape"))
    for package in packages:
        for parent_name, folders, names in os.walk(package):
            folders[:] = sorted(one for one in folders if one != "__pycache__")
            for name in sorted(names):
                status = os.stat(os.path.join(parent_name, name))
                total.update(f"{name} {status.st_size} {status.st_mtime_ns}\0".encode())
    return total.hexdigest()


def _folders(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        spec = find_spec(name)
        yield from spec.submodule_search_locations or () if spec else ()


def _options(row: Mapping[str, Any]) -> Options:
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
    fields["environment"] = tuple((name, value) for name, value in row["environment"])
    return Options(**fields)


def _target_json(target: Target) -> dict[str, Any]:
    row = {name: getattr(target, name) for name in Target.__dataclass_fields__}
    row["files"] = {path: base64.b64encode(data).decode() for path, data in target.files.items()}
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in row.items()}


def _target(row: Mapping[str, Any]) -> Target:
    fields = dict(row)
    fields["files"] = {path: base64.b64decode(data) for path, data in row["files"].items()}
    fields["glibc"] = tuple(row["glibc"]) if row["glibc"] else None
    fields["runtime_modules"] = tuple(row["runtime_modules"])
    return Target(**fields)
