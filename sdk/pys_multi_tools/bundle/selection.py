"""Which files of the project go into an artefact, and why the others do not.

The user's code is everything below ``src`` where the app lies there, else everything below the project
folder, without what is known not to be needed at run time. Only what the folder holds decides: no global
git configuration, no installed package.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from pys_multi_tools.bundle import secrets
from pys_multi_tools.errors import BundleError


@dataclass(frozen=True, slots=True)
class File:
    """A file that goes in. path: in the artefact. source: relative to the project folder, for messages."""

    path: str
    source: str
    data: bytes
    executable: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """files: what goes in, by path. left_out: (path relative to the project folder, reason), folders with a slash."""

    files: tuple[File, ...]
    left_out: tuple[tuple[str, str], ...]


# Anywhere below the project.
_FOLDERS = {
    "__pycache__": "a cache",
    "node_modules": "another package manager's folder",
}
_FILES = (
    ("*.py[co]", "a cache"),
    ("*.pyi", "a stub"),
    ("py.typed", "a stub"),
    ("conftest.py", "tests"),
)
_TEST_MODULE = re.compile(r"(?:test_.*|.*_test)\.py$")
# At the top of the project only, and only where it is no package: below, a package may well use such a name.
_TOP_FOLDERS = {
    "docs": "documentation",
    "doc": "documentation",
    "dist": "build output",
    "build": "build output",
    "htmlcov": "test output",
    "venv": "a virtual environment",
}
_TOP_FILES = (
    "pyproject.toml", "pys-multi.toml", "uv.lock", "uv.toml", "pylock*.toml", "poetry.lock", "pdm.lock", "pipfile*",
    "requirements*.txt", "requirements*.in", "constraints*.txt", "setup.py", "setup.cfg", "manifest.in", "tox.ini",
    "noxfile.py", "pytest.ini", "mypy.ini", "makefile", "justfile", "dockerfile*", "docker-compose*", "compose.y*ml",
    "readme*", "changelog*", "changes*", "contributing*", "code_of_conduct*", "security.md", "mkdocs.y*ml",
    "*.code-workspace",
)  # fmt: skip
# What is cheap to walk into when a pattern of ``include`` could match at any depth.
_DESCEND = ("tests", "documentation", "named by", "build output")
_IMPORTS_TESTS = re.compile(
    rb"^[ \t]*(?:from|import)[ \t]+[\w. \t]*\btests?\b"  # import a.tests; from a.tests.b import c
    rb"|^[ \t]*from[ \t]+\.+[ \t]*import[ \t(]+[^\n]*\btests?\b",  # from . import tests
    re.MULTILINE,
)


def imports_tests(source: bytes) -> bool:
    """Whether a module outside a ``tests`` folder imports from one, so that the folder is needed."""
    return bool(_IMPORTS_TESTS.search(source))


def select(
    root: Path,
    app: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    skip: Sequence[Path] = (),
    secret_files: Sequence[Path] = (),
) -> Selection:
    """The files of the project in ``root`` whose App is ``app``.

    include, exclude: globs as in .gitignore, relative to root; include wins.
    skip: folders of other projects, which come in as dependencies.
    secret_files: what the settings read secrets from; not even include brings one in.
    Raises BundleError for a file that must not go in: a credential, a link that leaves the project.
    """
    top = app.partition(":")[0].partition(".")[0]
    source = root / "src"
    base = source if any((source / name).exists() for name in (top, f"{top}.py")) else root
    walk = _Walk(root.resolve(), base.resolve(), include, exclude, {path.resolve() for path in skip})
    walk.secret_files = {path.resolve() for path in secret_files}
    files = walk.run()
    return Selection(tuple(sorted(files, key=lambda file: file.path)), tuple(walk.left_out))


class _Ignore(NamedTuple):
    """One .gitignore: where its patterns begin, what stands in front of paths for it, and its name."""

    prefix: str
    above: str
    spec: GitIgnoreSpec
    name: str


class _Walk:
    def __init__(self, root: Path, base: Path, include: Sequence[str], exclude: Sequence[str], skip: set[Path]) -> None:
        self.root, self.base, self.skip = root, base, skip
        self.include_patterns = list(include)
        self.include = GitIgnoreSpec.from_lines(include)
        self.exclude = GitIgnoreSpec.from_lines(exclude)
        self.explicit = GitIgnoreSpec.from_lines([p for p in include if secrets.names_explicitly(p)])
        self.secret_files: set[Path] = set()
        self.left_out: list[tuple[str, str]] = []
        self.ignores: list[_Ignore] = []
        self.tests: list[File] = []
        self.test_modules: list[File] = []

    def run(self) -> list[File]:
        for folder in reversed(_up_to_repository(self.root)[1:]):
            self._read_ignore_above(folder)
        files = list(self._folder(self.root, "", self.base == self.root, ()))
        files += self._mentioned(files)
        if any(file.path.endswith(".py") and imports_tests(file.data) for file in files):
            for file in self.tests:
                self._refuse_credential(file)
            return files + self.tests
        self.left_out += [(name, "tests") for name in dict.fromkeys(_tests_folder(f.source) for f in self.tests)]
        return files

    def _mentioned(self, files: Sequence[File]) -> list[File]:
        """Modules that are named like tests, such as ``ab_test``, and that other code mentions all the same."""
        found: list[File] = []
        new = [*files]
        while new:
            words = {word for file in new if file.path.endswith(".py") for word in re.findall(rb"\w+", file.data)}
            new = [f for f in self.test_modules if f.path.rpartition("/")[2].removesuffix(".py").encode() in words]
            self.test_modules = [file for file in self.test_modules if file not in new]
            found += new
        for file in found:
            self._refuse_credential(file)
        self.left_out += [(file.source, "tests") for file in self.test_modules]
        return found

    def _folder(self, folder: Path, name: str, inside: bool, links: tuple[Path, ...]) -> Iterator[File]:
        """The files of a folder. Inside the base everything counts, outside only what ``include`` names."""
        self._read_ignore(folder, name)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise BundleError(f"cannot be read: {error.strerror}", where=str(folder)) from error
        for entry in entries:
            path = f"{name}/{entry.name}" if name else entry.name
            if os.path.isdir(entry.path):  # not entry.is_dir(), which raises for a link to itself
                yield from self._subfolder(entry, path, inside, links)
            elif inside or self.include.match_file(path):
                yield from self._entry(entry, path)

    def _subfolder(self, entry: os.DirEntry[str], path: str, inside: bool, links: tuple[Path, ...]) -> Iterator[File]:
        real = Path(entry.path)
        reason = self._reason(real, path + "/", is_folder=True)
        if reason and inside:
            self.left_out.append((path + "/", reason))
        inside = (inside or real == self.base) and not reason
        if not inside and not (not reason and self.base.is_relative_to(real)) and not self._descend(path, reason):
            return
        if entry.is_symlink():
            if reason:
                return
            target = self._checked_link(entry, path)
            if target in links or real.parent.resolve().is_relative_to(target):
                raise BundleError(
                    "the link leads to a folder it lies in",
                    where=path,
                    hint="remove it, or list it in bundle.exclude",
                )
            links = (*links, target)
        yield from self._folder(real, path, inside, links)

    def _entry(self, entry: os.DirEntry[str], path: str) -> Iterator[File]:
        reason = self._reason(Path(entry.path), path, is_folder=False)
        if not reason and entry.is_symlink():
            self._checked_link(entry, path)
        elif not reason and not entry.is_file():
            reason = "not a regular file"
        if reason:
            self.left_out.append((path, reason))
            return
        file = self._file(entry, path)
        asked = self.include.match_file(path)
        if _tests_folder(path) and not asked:
            self.tests.append(file)
        elif _TEST_MODULE.match(entry.name) and not asked:
            self.test_modules.append(file)
        else:
            self._refuse_credential(file)
            yield file

    def _file(self, entry: os.DirEntry[str], path: str) -> File:
        try:
            data = Path(entry.path).read_bytes()
            executable = bool(entry.stat().st_mode & 0o100)
        except OSError as error:
            raise BundleError(f"cannot be read: {error.strerror}", where=entry.path) from error
        below_src = self.base != self.root and path.startswith("src/")
        return File(path.removeprefix("src/") if below_src else path, path, data, executable)

    def _refuse_credential(self, file: File) -> None:
        kind = secrets.looks_like(file.source) or secrets.holds(file.data)
        if kind and not self.explicit.match_file(file.source):
            raise _refused(file.source, kind)

    def _reason(self, real: Path, path: str, *, is_folder: bool) -> str:
        """Why a file or folder (with a slash at its end) stays out; empty where it goes in."""
        if self.secret_files and real.resolve() in self.secret_files:
            return "a secret"
        if self.include.match_file(path):
            return ""
        if self.exclude.match_file(path):
            return "named by bundle.exclude"
        ignored = self._ignored(path)
        if ignored:
            return f"named by {ignored}"
        name, top = path.rstrip("/").rpartition("/")[2], "/" not in path.rstrip("/")
        if is_folder:
            return self._folder_reason(real, name, top)
        if secrets.looks_like(path):
            return ""  # not left out in silence: reading it refuses the build
        if name.startswith("."):
            return "hidden"
        if top and any(fnmatchcase(name.lower(), pattern) for pattern in _TOP_FILES):
            return "a file of the project, not of the service"
        return next((reason for pattern, reason in _FILES if fnmatchcase(name, pattern)), "")

    def _folder_reason(self, real: Path, name: str, top: bool) -> str:
        if name.startswith("."):
            return "hidden"
        if real.resolve() in self.skip or (real / "pyproject.toml").is_file():
            return "another project"
        if (real / "pyvenv.cfg").is_file():
            return "a virtual environment"
        if name.endswith(".egg-info"):
            return "build output"
        is_package = (real / "__init__.py").is_file()
        return _FOLDERS.get(name, "") or (_TOP_FOLDERS.get(name, "") if top and not is_package else "")

    def _ignored(self, path: str) -> str:
        """The .gitignore that leaves a path out; a deeper one has the last word."""
        for ignore in reversed(self.ignores):
            if path.startswith(ignore.prefix):
                answer = ignore.spec.check_file(ignore.above + path[len(ignore.prefix) :]).include
                if answer is not None:
                    return ignore.name if answer else ""
        return ""

    def _read_ignore(self, folder: Path, name: str) -> None:
        spec = _ignore_spec(folder)
        if spec:
            prefix = f"{name}/" if name else ""
            self.ignores.append(_Ignore(prefix, "", spec, f"{prefix}.gitignore"))

    def _read_ignore_above(self, folder: Path) -> None:
        spec = _ignore_spec(folder)
        above = self.root.relative_to(folder).as_posix() + "/"
        # A project that is ignored as a whole is still built when it is asked for.
        if spec and not spec.match_file(above):
            self.ignores.append(_Ignore("", above, spec, os.path.relpath(folder / ".gitignore", self.root)))

    def _descend(self, path: str, reason: str) -> bool:
        """Whether a folder that stays out may hold a file that ``include`` names."""
        for pattern in self.include_patterns:
            anchored = "/" in pattern.rstrip("/")
            literal = re.split(r"[*?\[]", pattern.lstrip("/"))[0]
            if anchored and literal:
                if literal.startswith(path + "/") or (path + "/").startswith(literal):
                    return True
            elif not reason or reason.startswith(_DESCEND):
                return True
        return False

    def _checked_link(self, entry: os.DirEntry[str], path: str) -> Path:
        target = Path(os.path.realpath(entry.path))
        hint = "copy what it leads to into the project, or list the link in bundle.exclude"
        if not os.path.exists(target):
            raise BundleError("the link leads nowhere", where=path, hint=hint)
        if not target.is_relative_to(self.root):
            raise BundleError(f"the link leaves the project: it leads to {target}", where=path, hint=hint)
        kind = secrets.looks_like(target.relative_to(self.root).as_posix() + ("/" if target.is_dir() else ""))
        if kind and not self.explicit.match_file(path):
            raise _refused(path, kind)
        return target


def _ignore_spec(folder: Path) -> GitIgnoreSpec | None:
    file = folder / ".gitignore"
    if not file.is_file():
        return None
    return GitIgnoreSpec.from_lines(file.read_text("utf-8", errors="replace").splitlines())


def _refused(path: str, kind: str) -> BundleError:
    return BundleError(
        f"looks like {kind} and is refused",
        where=path,
        hint=f"name it in .gitignore or bundle.exclude; if it must ship, list it: include = [{path!r}]",
    )


def _tests_folder(path: str) -> str:
    """The outermost tests folder that a path lies in, with a slash; empty for none."""
    parts = path.split("/")[:-1]
    for index, part in enumerate(parts):
        if part in ("tests", "test"):
            return "/".join(parts[: index + 1]) + "/"
    return ""


def _up_to_repository(root: Path) -> list[Path]:
    """The project folder and its parents up to the one that holds the repository; the folder alone without one."""
    chain = [root]
    for folder in (root, *root.parents):
        if folder != root:
            chain.append(folder)
        if (folder / ".git").exists():
            return chain
    return [root]
