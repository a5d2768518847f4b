"""What goes in beside the dependencies: the user's code, the SDK, one provider's runtime, its entry files."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pys_multi_tools.bundle import archive
from pys_multi_tools.bundle.archive import Entry
from pys_multi_tools.bundle.bytecode import Detail, Interpreter, Source, compile_cached, pyc_path
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.inputs import read_toml
from pys_multi_tools.bundle.selection import File
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target

SDK = "pys_multi"
PROJECT_ORIGIN, SDK_ORIGIN = "the project", "pys-multi"


def runtime_files(target: Target) -> dict[str, tuple[bytes, str]]:
    """Path → bytes and origin of the SDK, the provider's runtime modules and its entry files."""
    result = {path: (data, SDK_ORIGIN) for path, data in _sdk()}
    origin = f"provider {target.provider}"
    for module in target.runtime_modules:
        for path, data in _module(module, target):
            result.setdefault(path, (data, origin))
    result.update({path: (data, origin) for path, data in target.files.items()})
    return result


def own_entries(files: Sequence[File], target: Target, interpreter: Interpreter | None, cache: Cache) -> list[Entry]:
    """The entries, compiled where there is an interpreter. Raises BundleError for code that is not of its version.

    The user's modules and the entry files ship with their source. The SDK's, like those of a distribution from
    an index, ship as bytecode.
    """
    for file in files:
        archive.check_path(file.path, f"{PROJECT_ORIGIN}: {file.source}")
    entries = [
        archive.pack(file.path, file.data, executable=file.executable, origin=f"{PROJECT_ORIGIN}: {file.source}")
        for file in files
    ]
    runtime = runtime_files(target)
    alone = {path for path in runtime if path.endswith(".py") and path not in target.files} if interpreter else set()
    entries += [
        archive.pack(path, data, origin=origin) for path, (data, origin) in runtime.items() if path not in alone
    ]
    if interpreter is None:
        return entries
    sources = {file.path: (file.data, PROJECT_ORIGIN) for file in files} | runtime
    wanted = [
        Source(path, data, Detail.BARE if path in alone else Detail.FULL)
        for path, (data, _) in sources.items()
        if path.endswith(".py")
    ]
    for path, pyc in compile_cached(interpreter, wanted, cache).items():
        origin = sources[path][1]
        if isinstance(pyc, bytes):
            place = f"{path}c" if path in alone else pyc_path(path, interpreter)
            entries.append(archive.pack(place, pyc, origin=origin))
        elif path.removesuffix(".py").replace("/", "").isidentifier():  # other names are data: nothing imports them
            line, _, message = pyc.partition(": ")
            raise BundleError(
                f"is not valid in Python {target.python}: {message}",
                where=f"{path}:{line.removeprefix('line ')}",
                hint="change the code, set another python, or leave the file out with bundle.exclude",
            )
    return entries


def own_metadata(root: Path) -> Entry | None:
    """The project's name and version where pyproject.toml says both: packages ask importlib.metadata for theirs."""
    pyproject = root / "pyproject.toml"
    project = read_toml(pyproject).get("project", {}) if pyproject.is_file() else {}
    name, version = project.get("name"), project.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        return None
    path = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}.dist-info/METADATA"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return archive.pack(path, text.encode(), origin=f"{PROJECT_ORIGIN}: pyproject.toml")


def _sdk() -> Iterator[tuple[str, bytes]]:
    folder = _package(SDK)
    if folder is None:
        raise BundleError("the installed pys-multi has no SDK", hint="reinstall pys-multi")
    for file in sorted(folder.rglob("*.py")):
        path = file.relative_to(folder.parent)
        if "tests" not in path.parts:
            yield path.as_posix(), file.read_bytes()


def _module(name: str, target: Target) -> Iterator[tuple[str, bytes]]:
    """A module and the ``__init__`` of the packages it lies in; nothing is imported to find them."""
    parts = name.split(".")
    top = _package(parts[0])
    if top is not None:
        file = top.joinpath(*parts[1:])
        found = file / "__init__.py" if (file / "__init__.py").is_file() else file.with_name(file.name + ".py")
        if found.is_file():
            yield found.relative_to(top.parent).as_posix(), found.read_bytes()
            for end in range(1, len(parts)):
                init = top.joinpath(*parts[1:end]) / "__init__.py"
                if init.is_file():
                    yield init.relative_to(top.parent).as_posix(), init.read_bytes()
            return
    raise BundleError(
        f"there is no module {name}, which the provider says it needs at run time",
        where=f"provider {target.provider}",
        hint="reinstall the provider's distribution",
    )


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None
