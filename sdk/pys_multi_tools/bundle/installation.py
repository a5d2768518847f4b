"""One run of uv into an empty folder, and what of it a function needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.tags import parse_tag
from pathspec import GitIgnoreSpec

from pys_multi_tools.bundle import distributions as read
from pys_multi_tools.bundle import elf, local_projects, resolve, secrets, slim, uv_tool
from pys_multi_tools.bundle.bytecode import Interpreter
from pys_multi_tools.bundle.distributions import Distribution
from pys_multi_tools.bundle.inputs import Inputs
from pys_multi_tools.bundle.packing import InstalledFile
from pys_multi_tools.bundle.resolve import Package, Resolution
from pys_multi_tools.bundle.selection import imports_tests
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target


class Installation:
    """Distributions in a scratch folder.

    found: all of them by name. carried: names of those that the target has itself. local: names of local
    projects. notes: what a person should know about it.
    """

    def __init__(
        self,
        inputs: Inputs,
        resolution: Resolution,
        target: Target,
        interpreter: Interpreter | None,
        include: Sequence[str],
        scratch: Path,
        tell: Callable[[str, str], None],
    ) -> None:
        self.inputs, self.resolution, self.target, self.interpreter = inputs, resolution, target, interpreter
        self.include = GitIgnoreSpec.from_lines(include)
        self.explicit = GitIgnoreSpec.from_lines([p for p in include if secrets.names_explicitly(p)])
        self.scratch, self.site, self.tell = scratch, scratch / "site", tell
        self.notes: list[str] = []
        self.site.mkdir()
        self.local = self._install()
        self.found = read.read_all(self.site)
        self.owner = {path: one.name for one in self.found.values() for path in one.files}
        fitting = read.carried(self.found, resolve.direct_lines(inputs), target)
        # Naming a file of it in ``include`` asks for it.
        self.carried = frozenset(
            name for name in fitting if not any(map(self.include.match_file, self.found[name].files))
        )
        self.kept = {name: one for name, one in self.found.items() if name not in self.carried}

    def carry(self, folder: Path) -> None:
        """Moves what the target has itself to a folder, so that an import on this machine finds it."""
        for name in self.carried:
            for path in self.found[name].files:
                source = self.site / path
                if source.is_file() and source.resolve().is_relative_to(self.site.resolve()):
                    copy = folder / path
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(source, copy)

    def files(self) -> dict[str, InstalledFile]:
        """Path in the artefact → file, of all that is needed. Raises BundleError for what must not go in."""
        result: dict[str, InstalledFile] = {}
        tests: dict[str, InstalledFile] = {}
        stubs: dict[str, InstalledFile] = {}
        flat = self._path_files()
        for path, real, owner in self._walk():
            info = self.found[owner].info
            asked, is_stub = self.include.match_file(path), path.endswith(".pyi")
            if not asked and not is_stub and (slim.reason(path, info) or ("/" not in path and path.endswith(".pth"))):
                continue
            data = real.read_bytes()
            if path == f"{info}/METADATA":
                data = slim.short_metadata(data)
            self._check(path, data, owner)
            final = next((path[len(prefix) :] for prefix in flat if path.startswith(prefix)), path)
            file = InstalledFile(data if asked else elf.without_debug(data), bool(real.stat().st_mode & 0o100), owner)
            aside = tests if slim.tests_folder(path) else stubs if is_stub else result
            (result if asked else aside)[final] = file
        # A distribution that imports from its tests keeps all of them, one that reads stubs keeps those.
        modules = [file for path, file in result.items() if path.endswith(".py")]
        importers = {file.owner for file in modules if imports_tests(file.data)}
        readers = {file.owner for file in modules if slim.reads_stubs(file.data)}
        result.update({path: file for path, file in tests.items() if file.owner in importers})
        result.update({path: file for path, file in stubs.items() if file.owner in readers})
        return result

    def sha256(self, one: Distribution) -> str:
        """The hash of the wheel that was installed, as the index or lock says it; empty where it does not."""
        for package in self.resolution.packages:
            if resolve.normal(package["name"]) == one.name and package.get("version", one.version) == one.version:
                for wheel in package.get("wheels", ()):
                    name = wheel.get("name") or unquote(urlsplit(wheel.get("url") or wheel.get("path", "")).path)
                    tags = name.removesuffix(".whl").split("-")[-3:]
                    if {str(tag) for tag in parse_tag("-".join(tags))} == one.tags:
                        return str(wheel.get("hashes", {}).get("sha256", ""))
        return ""

    def requires(self) -> dict[str, frozenset[str]]:
        """What each kept distribution asks for, in whichever case."""
        return {name: read.brought({name: one.requires}, [name]) - {name} for name, one in self.kept.items()}

    def requirements(self) -> str:
        """The resolved set in pip's form; empty where a lock said it."""
        if self.inputs.locked:
            return ""
        packages = tuple(p for p in self.resolution.packages if resolve.normal(p["name"]) in self.kept)
        return Resolution(packages, (), None).requirements()

    def _install(self) -> frozenset[str]:
        built: list[Package] = []
        if self.resolution.local:
            self.tell("build", ", ".join(folder.name for folder in self.resolution.local))
            built = local_projects.build(self.resolution.local, self.target, self.interpreter, self.scratch)
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

    def _only_ours(self) -> frozenset[str]:
        """What pys-multi brings and nobody asked for by name, where the inputs let one know.

        It is held back, and installed after all where an installed distribution asks for it.
        """
        from importlib.metadata import distributions

        if self.resolution.roots is None:
            return frozenset()
        here = {resolve.normal(one.name): one.requires or () for one in distributions()}
        return read.brought(here, [resolve.OWN_NAME]) - self.resolution.roots

    def _run_uv(self, packages: Sequence[Package]) -> None:
        from_repository = [package for package in packages if "vcs" in package and not self.target.is_host]
        others = [package for package in packages if package not in from_repository]
        if others:
            self._run_uv_for(others, uv_tool.platform_options(self.target))
        if from_repository:
            # A repository has no wheels. What is pure Python is the same wherever it is built.
            self._run_uv_for(from_repository, [])
            found = read.read_all(self.site)
            for package in from_repository:
                one = found.get(resolve.normal(package["name"]))
                if one and not one.pure:
                    raise BundleError(
                        f"{one.name} comes from a repository and builds for this machine only",
                        where=", ".join(file.name for file in self.inputs.files),
                        hint="build on a host that matches the target; or use a release of it that has a wheel",
                    )

    def _run_uv_for(self, packages: Sequence[Package], options: Sequence[str]) -> None:
        lock = self.scratch / "pylock.toml"
        resolve.write_pylock(packages, lock)
        python = resolve.python_options(self.target, self.interpreter)
        uv_tool.run(
            ["pip", "install", "--target", str(self.site), "-r", str(lock), *_selected(self.inputs), *python, *options],
            cwd=self.inputs.root,
            what="the dependencies cannot be installed",
            where=", ".join(file.name for file in self.inputs.files),
            indexes=resolve.index_options(self.inputs),
        )

    def _walk(self) -> Iterator[tuple[str, Path, str]]:
        """Path, file and distribution of what is kept. Files of no distribution are uv's own, such as its lock."""
        infos = {one.info: name for name, one in self.found.items()}
        for parent, folders, names in os.walk(self.site):
            folders.sort()
            for name in sorted(names):
                real = Path(parent, name)
                path = real.relative_to(self.site).as_posix()
                owner = infos.get(path.partition("/")[0]) or self.owner.get(path, "")
                if owner in self.kept:
                    yield path, real, owner

    def _path_files(self) -> list[str]:
        """Folders that a .pth file puts on the path: nobody reads .pth files in a function, so they become flat."""
        prefixes, site = [], self.site.resolve()
        for file in sorted(self.site.glob("*.pth")):
            for line in map(str.strip, file.read_text("utf-8", errors="replace").splitlines()):
                folder = (self.site / line).resolve()
                if not line or line.startswith("#"):
                    continue
                if line.startswith(("import ", "import\t")):
                    if "nspkg" not in file.name:  # Python itself knows namespace packages
                        owner = self.owner.get(file.name, "a distribution")
                        self.notes.append(
                            f"{file.name} of {owner} runs code when Python starts, which no function does"
                        )
                elif folder.is_dir() and folder.is_relative_to(site) and folder != site:
                    prefixes.append(folder.relative_to(site).as_posix() + "/")
                else:
                    self.notes.append(f"{file.name} names {line!r}, which is not in the artefact")
        return prefixes

    def _check(self, path: str, data: bytes, owner: str) -> None:
        found = elf.machine(data) if path.endswith(".so") or ".so." in path else None
        if found and self.target.system == "linux" and found != self.target.architecture:
            raise BundleError(
                f"{path} of {owner} is for {found}, not for {self.target.architecture}",
                hint="its wheel is mislabelled; choose another version of it",
            )
        kind = owner in self.local and (secrets.looks_like(path) or secrets.holds(data))
        if kind and not self.explicit.match_file(path):
            raise BundleError(
                f"{path} looks like {kind} and is refused",
                where=f"local project {owner}",
                hint=f"keep it out of that project's wheel; if it must ship, list it: include = [{path!r}]",
            )


def _selected(inputs: Inputs) -> list[str]:
    """Extras and groups of a pylock.toml, whose markers ask for them."""
    if inputs.kind != "pylock.toml":
        return []
    options = [option for extra in inputs.extras for option in ("--extra", extra)]
    return options + [option for group in inputs.groups for option in ("--group", group)]


def describe(installation: Installation, sizes: Mapping[str, tuple[int, int]]) -> list[dict[str, object]]:
    """The kept distributions as JSON values, for report, record and SBOM. sizes: bytes unpacked and packed by name."""
    kept = installation.kept
    environment = read.marker_environment(installation.target)
    return [
        {
            "name": one.name,
            "version": one.version,
            "license": one.license,
            "requires": sorted(
                kept.keys() & {resolve.normal(r.name) for r in read.requirements_of(one.requires, environment)}
            ),
            "sha256": installation.sha256(one),
            "bytes": sizes.get(one.name, (0, 0))[0],
            "packed": sizes.get(one.name, (0, 0))[1],
            "local": one.name in installation.local,
        }
        for one in sorted(kept.values(), key=lambda one: one.name)
    ]
