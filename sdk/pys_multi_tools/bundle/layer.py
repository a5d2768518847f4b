"""The dependencies of a function, installed once for a target and kept compressed in the cache.

    inputs → resolution (cached) → local projects built → uv installs into an empty folder → what is not needed
    goes out → compiled, compressed → one folder of the cache: ``entries.bin`` and ``layer.json``

A change of the user's code finds all of it ready.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as remembered
from hashlib import sha256
from pathlib import Path
from typing import Any

from pys_multi_tools.bundle import archive, elf, local_projects, resolve, secrets, slim, uv_tool
from pys_multi_tools.bundle.archive import Entry
from pys_multi_tools.bundle.bytecode import Detail, Interpreter, Source, compile_sources
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.inputs import Inputs
from pys_multi_tools.bundle.inputs import local_projects as named_projects
from pys_multi_tools.bundle.resolve import Resolution
from pys_multi_tools.bundle.selection import imports_tests
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target

Tell = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Layer:
    """Installed dependencies. packages: name, version, license, requires, sha256, bytes and local of each.

    carried: distributions that the target has itself. notes: what a person should know. requirements: the
    resolved set in pip's form, empty where a lock said it.
    """

    key: str
    folder: Path
    entries: tuple[Entry, ...]
    packages: tuple[Mapping[str, Any], ...]
    carried: tuple[str, ...]
    notes: tuple[str, ...]
    requirements: str

    @property
    def carried_folder(self) -> Path | None:
        """The distributions that the target has itself, for an import on this machine."""
        folder = self.folder / "carried"
        return folder if folder.is_dir() else None


def build_layer(
    inputs: Inputs, target: Target, interpreter: Interpreter | None, include: Sequence[str], cache: Cache, tell: Tell
) -> Layer:
    """The layer of some inputs, from the cache where it is there. Raises BundleError."""
    if inputs.kind == "none":
        return Layer("none", cache.root, (), (), (), (), "")
    resolution = _resolution(inputs, target, interpreter, cache, tell)
    key = layer_key(inputs, resolution, target, interpreter, include)

    def make(folder: Path) -> None:
        with cache.scratch() as scratch:
            _Installation(inputs, resolution, target, interpreter, include, scratch, tell).write(folder)

    return _read(cache.get("layers", key, make), key)


def local_folders(
    inputs: Inputs, target: Target, interpreter: Interpreter | None, cache: Cache, tell: Tell
) -> tuple[Path, ...]:
    """The local projects that are really installed, so that they are not taken for the user's own files."""
    return _resolution(inputs, target, interpreter, cache, tell).local if inputs.kind != "none" else ()


def layer_key(
    inputs: Inputs, resolution: Resolution, target: Target, interpreter: Interpreter | None, include: Sequence[str]
) -> str:
    """What a layer's content depends on."""
    return _digest(
        {
            "tool": tool_digest(),
            "packages": resolution.packages,
            "roots": sorted(resolution.roots) if resolution.roots is not None else None,
            "direct": resolve.direct_lines(inputs) if target.preinstalled else [],
            "local": {folder.name: local_projects.digest(folder) for folder in resolution.local},
            "target": _wheels_of(target) | {"preinstalled": dict(target.preinstalled)},
            "interpreter": interpreter.version if interpreter else None,
            "include": list(include),
        }
    )


@remembered
def tool_digest() -> str:
    """SHA-256 over the bundler itself: another release of it makes its own layers."""
    total = sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()


def _resolution(
    inputs: Inputs, target: Target, interpreter: Interpreter | None, cache: Cache, tell: Tell
) -> Resolution:
    key = _digest(
        {
            "tool": tool_digest(),
            "inputs": inputs.describe(),
            "kind": inputs.kind,
            "root": str(inputs.root),  # paths of local projects are in the answer
            "extras": inputs.extras,
            "groups": inputs.groups,
            "local": {str(folder): local_projects.metadata_digest(folder) for folder in named_projects(inputs)},
            "target": _wheels_of(target),
            "index": uv_tool.index_environment(inputs.root),
        }
    )

    def make(folder: Path) -> None:
        tell("resolve", inputs.kind)
        with cache.scratch() as scratch:
            found = resolve.resolve(inputs, target, interpreter, scratch)
        document = {
            "packages": found.packages,
            "local": [str(path) for path in found.local],
            "roots": sorted(found.roots) if found.roots is not None else None,
        }
        (folder / "resolution.json").write_text(json.dumps(document))

    document = json.loads((cache.get("resolutions", key, make) / "resolution.json").read_text())
    roots = document["roots"]
    return Resolution(
        tuple(document["packages"]),
        tuple(map(Path, document["local"])),
        frozenset(roots) if roots is not None else None,
    )


class _Installation:
    """One run of uv into a scratch folder, and what is made of it."""

    def __init__(
        self,
        inputs: Inputs,
        resolution: Resolution,
        target: Target,
        interpreter: Interpreter | None,
        include: Sequence[str],
        scratch: Path,
        tell: Tell,
    ) -> None:
        from pathspec import GitIgnoreSpec

        self.inputs, self.resolution, self.target, self.interpreter = inputs, resolution, target, interpreter
        self.include = GitIgnoreSpec.from_lines(include)
        self.explicit = GitIgnoreSpec.from_lines([p for p in include if secrets.names_explicitly(p)])
        self.scratch, self.site, self.tell = scratch, scratch / "site", tell
        self.notes: list[str] = []

    def write(self, folder: Path) -> None:
        from pys_multi_tools.bundle import distributions as read

        local = self._install()
        found = read.read_all(self.site)
        self.owner = {path: one.name for one in found.values() for path in one.files}
        carried = read.carried(found, resolve.direct_lines(self.inputs), self.target)
        carried = frozenset(name for name in carried if not self._asked_for(found[name].files))
        self._carry(folder, {path for name in carried for path in found[name].files})
        kept = {name: one for name, one in found.items() if name not in carried}
        files = self._files({one.info: one.name for one in found.values()}, set(kept))
        self._check_native(files)
        entries = self._entries(files, local)
        hashes = {
            resolve.normal(package["name"]): sorted(
                wheel["hashes"]["sha256"] for wheel in package.get("wheels", ()) if "sha256" in wheel.get("hashes", {})
            )
            for package in self.resolution.packages
        }
        environment = read.marker_environment(self.target)
        sizes: dict[str, list[int]] = {}
        for entry in entries:
            size = sizes.setdefault(entry.origin, [0, 0])
            size[0] += entry.size
            size[1] += len(entry.packed)
        packages = [
            {
                "name": one.name,
                "version": one.version,
                "license": one.license,
                "requires": sorted(
                    set(kept) & {resolve.normal(r.name) for r in read.requirements_of(one.requires, environment)}
                ),
                "sha256": hashes.get(one.name, []) if len(hashes.get(one.name, [])) == 1 else [],
                "bytes": sizes.get(one.name, [0, 0])[0],
                "packed": sizes.get(one.name, [0, 0])[1],
                "local": one.name in local,
            }
            for one in sorted(kept.values(), key=lambda one: one.name)
        ]  # fmt: skip
        _write(folder, entries, packages, sorted(carried), self.notes, self._requirements(kept))

    def _install(self) -> frozenset[str]:
        """Installs into ``site`` and returns the names of the local projects."""
        from pys_multi_tools.bundle import distributions as read

        built: list[resolve.Package] = []
        if self.resolution.local:
            self.tell("build", ", ".join(folder.name for folder in self.resolution.local))
            built = local_projects.build(self.resolution.local, self.target, self.interpreter, self.scratch)
        self.site.mkdir()
        packages = [*self.resolution.packages, *built]
        if packages:
            self.tell("install", f"{len(packages)} distributions")
        held = self._only_ours()
        wanted = [package for package in packages if resolve.normal(package["name"]) not in held]
        while wanted:
            self._run_uv(wanted)
            requires = {name: one.requires for name, one in read.read_all(self.site).items()}
            asked = read.brought(requires, [*requires, *(self.resolution.roots or ())]) - requires.keys()
            wanted = [package for package in packages if resolve.normal(package["name"]) in asked & held]
            held -= asked
        return frozenset(package["name"] for package in built)

    def _run_uv(self, packages: Sequence[resolve.Package]) -> None:
        lock = self.scratch / "pylock.toml"
        resolve.write_pylock(packages, lock)
        options = [*resolve.python_options(self.target, self.interpreter), *uv_tool.platform_options(self.target)]
        uv_tool.run(
            ["pip", "install", "--target", str(self.site), "-r", str(lock), *_selected(self.inputs), *options],
            cwd=self.inputs.root,
            what="the dependencies cannot be installed",
            where=", ".join(file.name for file in self.inputs.files),
        )

    def _only_ours(self) -> frozenset[str]:
        """What pys-multi brings and nobody asked for by name, where the inputs let one know.

        It is held back, and installed after all where an installed distribution asks for it.
        """
        from importlib.metadata import distributions

        from pys_multi_tools.bundle import distributions as read

        if self.resolution.roots is None:
            return frozenset()
        here = {resolve.normal(one.name): one.requires or () for one in distributions()}
        return read.brought(here, [resolve.OWN_NAME]) - self.resolution.roots

    def _asked_for(self, files: frozenset[str]) -> bool:
        return any(self.include.match_file(path) for path in files)

    def _carry(self, folder: Path, paths: set[str]) -> None:
        for path in sorted(paths):
            source = self.site / path
            if source.is_file() and source.resolve().is_relative_to(self.site.resolve()):
                copy = folder / "carried" / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(source, copy)

    def _files(self, infos: Mapping[str, str], kept: set[str]) -> dict[str, tuple[bytes, bool, str]]:
        """Path in the artefact → bytes, whether executable, and the distribution, of all that is needed."""
        result: dict[str, tuple[bytes, bool, str]] = {}
        tests: dict[str, tuple[bytes, bool, str]] = {}
        flat = self._path_files()
        importers: set[str] = set()
        for parent, folders, names in os.walk(self.site):
            folders.sort()
            for name in sorted(names):
                real = Path(parent, name)
                path = real.relative_to(self.site).as_posix()
                info = path.split("/")[0]
                owner = infos.get(info) or self.owner.get(path, "")
                if owner not in kept:  # nobody's files are uv's own, such as its lock
                    continue
                asked = self.include.match_file(path)
                if not asked and (
                    (path.endswith(".pth") and "/" not in path) or slim.reason(path, info if info in infos else "")
                ):
                    continue
                data = real.read_bytes()
                if info in infos and path == f"{info}/METADATA":
                    data = slim.short_metadata(data)
                executable = bool(real.stat().st_mode & 0o100)
                final = next((path[len(prefix) :] for prefix in flat if path.startswith(prefix)), path)
                place = tests if slim.tests_folder(path) and not asked else result
                place[final] = (data if asked else elf.without_debug(data), executable, owner)
                if place is result and path.endswith(".py") and imports_tests(data):
                    importers.add(owner)
        # A distribution that imports from its tests keeps all of them.
        result.update({path: file for path, file in tests.items() if file[2] in importers})
        for info, owner in infos.items():
            if f"{info}/RECORD" in result:
                listed = sorted(path for path, file in result.items() if file[2] == owner)
                text = "".join(f'"{path}",,\n' if "," in path else f"{path},,\n" for path in listed)
                result[f"{info}/RECORD"] = (text.encode(), False, owner)
        return result

    def _path_files(self) -> list[str]:
        """Folders that a .pth file puts on the path: nobody reads .pth files in a function, so they become flat."""
        prefixes = []
        for file in sorted(self.site.glob("*.pth")):
            for line in file.read_text("utf-8", errors="replace").splitlines():
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                folder = (self.site / text).resolve()
                if text.startswith(("import ", "import\t")):
                    if "nspkg" not in file.name:  # Python itself knows namespace packages
                        owner = self.owner.get(file.name, "a distribution")
                        self.notes.append(
                            f"{file.name} of {owner} runs code when Python starts, which no function does"
                        )
                elif folder.is_dir() and folder.is_relative_to(self.site.resolve()) and folder != self.site.resolve():
                    prefixes.append(folder.relative_to(self.site.resolve()).as_posix() + "/")
                else:
                    self.notes.append(f"{file.name} names {text!r}, which is not in the artefact")
        return prefixes

    def _check_native(self, files: Mapping[str, tuple[bytes, bool, str]]) -> None:
        for path, (data, _, owner) in files.items():
            found = elf.machine(data)
            is_module = path.endswith(".so") or ".so." in path
            if is_module and found and self.target.system == "linux" and found != self.target.architecture:
                raise BundleError(
                    f"{path} of {owner or 'a distribution'} is for {found}, not for {self.target.architecture}",
                    hint="its wheel is mislabelled; choose another version of it",
                )

    def _entries(self, files: Mapping[str, tuple[bytes, bool, str]], local: frozenset[str]) -> list[Entry]:
        packages = frozenset(path.rpartition("/")[0] for path in files if path.endswith("/__init__.py"))
        alone = {
            path
            for path, (_, _, owner) in files.items()
            if path.endswith(".py")
            and owner not in local
            and slim.is_bytecode_only(path, packages)
            and not self.include.match_file(path)
        }
        # Python looks for a native module first, so that its Python twin is never read.
        shadowed = alone & {f"{path.partition('.')[0]}.py" for path in files if path.endswith((".so", ".pyd"))}
        files = {path: file for path, file in files.items() if path not in shadowed}
        alone -= shadowed
        sources = [
            Source(path, file[0], Detail.LINES if path in alone else Detail.FULL)
            for path, file in files.items()
            if path.endswith(".py")
        ]
        from concurrent.futures import ThreadPoolExecutor

        for path, (data, _, owner) in files.items():
            if owner in local:
                self._refuse_secret(path, data, owner)
        # The compressor works without the interpreter's lock, and the compiler is another process.
        with ThreadPoolExecutor() as pool:
            compiling = None
            if self.interpreter and sources:
                self.tell("compile", f"{len(sources)} modules for Python {self.target.python}")
                compiling = pool.submit(compile_sources, self.interpreter, sources)
            plain = [path for path in files if path not in alone or not compiling]
            plain.sort(key=lambda path: -len(files[path][0]))
            packing = [pool.submit(_pack, path, *files[path]) for path in plain]
            for path, pyc in (compiling.result() if compiling else {}).items():
                data, executable, owner = files[path]
                if isinstance(pyc, bytes):
                    place = path + "c" if path in alone else pyc_path(path, self.interpreter)
                    packing.append(pool.submit(_pack, place, pyc, False, owner))
                elif path in alone:  # not of this version of Python; whoever imports it is told by Python
                    packing.append(pool.submit(_pack, path, data, executable, owner))
            entries = [one.result() for one in packing]
        archive.check_paths(entries)
        return sorted(entries, key=lambda entry: entry.path)

    def _refuse_secret(self, path: str, data: bytes, owner: str) -> None:
        kind = secrets.looks_like(path) or secrets.holds(data)
        if kind and not self.explicit.match_file(path):
            raise BundleError(
                f"{path} looks like {kind} and is refused",
                where=f"local project {owner}",
                hint=f"keep it out of that project's wheel; if it must ship, list it: include = [{path!r}]",
            )

    def _requirements(self, kept: Mapping[str, Any]) -> str:
        if self.inputs.locked:
            return ""
        packages = tuple(p for p in self.resolution.packages if resolve.normal(p["name"]) in kept)
        return Resolution(packages, (), None).requirements()


def pyc_path(path: str, interpreter: Interpreter | None) -> str:
    """Where Python looks for the bytecode of a module that ships with its source."""
    folder, _, name = path.rpartition("/")
    tag = interpreter.tag if interpreter else ""
    return f"{folder + '/' if folder else ''}__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def _pack(path: str, data: bytes, executable: bool, origin: str) -> Entry:
    return archive.pack(path, data, executable=executable, origin=origin)


def _selected(inputs: Inputs) -> list[str]:
    """Extras and groups of a pylock.toml, whose markers ask for them."""
    if inputs.kind != "pylock.toml":
        return []
    options = [option for extra in inputs.extras for option in ("--extra", extra)]
    return options + [option for group in inputs.groups for option in ("--group", group)]


def _wheels_of(target: Target) -> dict[str, Any]:
    return {
        "python": target.python,
        "system": target.system,
        "architecture": target.architecture,
        "glibc": list(target.glibc) if target.glibc else None,
    }


def _write(
    folder: Path,
    entries: Sequence[Entry],
    packages: Sequence[Mapping[str, Any]],
    carried: Sequence[str],
    notes: Sequence[str],
    requirements: str,
) -> None:
    offset, rows = 0, []
    with (folder / "entries.bin").open("wb") as file:
        for one in entries:
            file.write(one.packed)
            rows.append(
                [one.path, one.mode, one.size, one.crc, one.sha256, one.method, offset, len(one.packed), one.origin]
            )
            offset += len(one.packed)
    document = {
        "entries": rows,
        "packages": packages,
        "carried": carried,
        "notes": notes,
        "requirements": requirements,
    }
    (folder / "layer.json").write_text(json.dumps(document))


def _read(folder: Path, key: str) -> Layer:
    document = json.loads((folder / "layer.json").read_text())
    packed = memoryview((folder / "entries.bin").read_bytes())
    entries = tuple(
        Entry(path, mode, size, crc, digest, method, packed[offset : offset + length], origin)
        for path, mode, size, crc, digest, method, offset, length, origin in document["entries"]
    )
    return Layer(
        key,
        folder,
        entries,
        tuple(document["packages"]),
        tuple(document["carried"]),
        tuple(document["notes"]),
        document["requirements"],
    )


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
