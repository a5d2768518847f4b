"""The artefact is imported before it is uploaded, in a clean process, from exactly the files that it holds.

Where no interpreter of this machine can run it (another version, system or architecture), what can be known
without running is checked instead: that every module that the service imports is there.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pys_multi_tools.bundle import archive, missing
from pys_multi_tools.bundle.archive import Entry
from pys_multi_tools.bundle.bytecode import Interpreter
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.layer import Layer
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target, host_architecture, host_glibc, host_system

#: Seconds after which an import counts as hung.
TIMEOUT = 60
_TRIES = 3

_WORKER = Path(__file__).with_name("preflight_worker.py")
_MARK = "pys-multi: the import begins or ends here"
_TIME = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|(\s*)(\S+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the import showed. how: "imported" or "checked", and why it was not imported.

    modules: (name, its own milliseconds, milliseconds with what it imports), slowest first.
    service: what the App in the artefact defines, None where it could not be imported.
    """

    how: str
    milliseconds: float | None
    modules: tuple[tuple[str, float, float], ...]
    service: Mapping[str, Any] | None
    python: str

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "how": self.how,
            "milliseconds": self.milliseconds,
            "modules": [list(row) for row in self.modules],
            "service": self.service,
            "python": self.python,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Outcome:
        """The outcome that :meth:`to_json` wrote."""
        rows = tuple((str(n), float(s), float(t)) for n, s, t in document["modules"])
        return cls(document["how"], document["milliseconds"], rows, document["service"], document["python"])


@dataclass(frozen=True, slots=True)
class Subject:
    """What is imported. own: the entries beside the layer's; left_out: for hints about what is missing."""

    app: str
    target: Target
    own: Sequence[Entry]
    layer: Layer
    environment: Mapping[str, str]
    left_out: Sequence[tuple[str, str]]


def inspect(subject: Subject, interpreter: Interpreter | None, cache: Cache, limit: float | None = None) -> Outcome:
    """Imports or, where that cannot be, checks. Raises BundleError that shows the user's own traceback.

    limit: milliseconds above which the import is repeated, because a busy machine is no slow service.
    """
    obstacle = _obstacle(subject, interpreter)
    if obstacle or interpreter is None:
        _check_imports(subject)
        return Outcome(f"checked: {obstacle}", None, (), None, "")
    with cache.scratch() as scratch:
        tree = scratch / "bundle"
        _lay_out(subject, tree, cache)
        for _ in range(_TRIES):
            answer, stderr = _run(subject, interpreter, tree, scratch)
            if "traceback" in answer:
                raise _failed(subject, answer, str(tree))
            if limit is None or answer["seconds"] * 1000 <= limit:
                break
    times = _modules(stderr)
    return Outcome("imported", round(answer["seconds"] * 1000, 1), times, answer["service"], interpreter.version)


def compare(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuses an artefact whose App is not the one that was discovered. Raises BundleError that says where."""
    plain = json.loads(json.dumps(expected, default=str))
    difference = next(_differences(plain, found, "service"), None)
    if difference:
        where, here, there = difference
        raise BundleError(
            f"the artefact defines another service: {where} is {there} in the artefact and {here} here",
            hint="the module behaves differently in a clean process: look for what it reads from the environment, "
            "the working directory or files that are not in the artefact",
        )


def _obstacle(subject: Subject, interpreter: Interpreter | None) -> str:
    """Why the artefact cannot be imported on this machine; empty where it can."""
    target = subject.target
    if interpreter is None:
        return f"there is no Python {target.python} on this machine"
    native = any(_is_native(entry.path) for entry in (*subject.own, *subject.layer.entries))
    if not native or target.is_host:
        return ""
    if (target.system, target.architecture) != (host_system(), host_architecture()):
        return f"its native modules are for {target.system} on {target.architecture}"
    glibc = host_glibc()
    if target.glibc and (glibc is None or glibc < target.glibc):
        return "its native modules may need a newer glibc than this machine's"
    return ""


def _is_native(path: str) -> bool:
    return path.endswith((".so", ".pyd", ".dylib")) or ".so." in path


def _lay_out(subject: Subject, tree: Path, cache: Cache) -> None:
    """Unpacks the artefact. The layer is unpacked once; its files are linked, not copied."""
    tree.mkdir()
    archive.write_files(subject.own, tree)
    if subject.layer.entries:
        key = sha256(subject.layer.key.encode()).hexdigest()[:32]
        unpacked = cache.get("trees", key, lambda folder: archive.write_files(subject.layer.entries, folder / "tree"))
        _link(unpacked / "tree", tree)


def _link(source: Path, tree: Path) -> None:
    """Hard links: a package that asks for its real path must be told the one in the tree."""
    for item in os.scandir(source):
        place = tree / item.name
        if item.is_dir():
            place.mkdir(exist_ok=True)
            _link(Path(item.path), place)
        elif not place.exists():
            try:
                os.link(item.path, place)
            except OSError:  # a file system without them
                shutil.copy2(item.path, place)


def _run(subject: Subject, interpreter: Interpreter, tree: Path, scratch: Path) -> tuple[dict[str, Any], str]:
    answer = scratch / "answer.json"
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    answer.unlink(missing_ok=True)
    folders = [str(tree)]
    if subject.layer.carried_folder:
        folders.append(str(subject.layer.carried_folder))
    # Nothing of the developer's environment: a function has none of it.
    environment = {
        "PATH": os.defpath,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **subject.target.environment,
        **subject.environment,
    }
    try:
        ended = subprocess.run(
            [
                interpreter.path, "-I", "-S", "-B", "-X", "importtime", "-X", "utf8",
                str(_WORKER), subject.app, str(answer), *folders,
            ],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            f"importing {subject.app} did not end within {TIMEOUT} s",
            hint="move what waits (a connection, a server loop) out of the module into a handler",
        ) from error
    if not answer.exists():
        lines = [line for line in ended.stderr.splitlines() if not line.startswith("import time:")]
        raise BundleError(
            f"importing {subject.app} ended the process with code {ended.returncode}",
            hint="a native module crashed, or the module ends the process itself",
            detail="\n".join(line for line in lines if line != _MARK),
        )
    return json.loads(answer.read_text("utf-8")), ended.stderr


def _failed(subject: Subject, answer: Mapping[str, Any], tree: str) -> BundleError:
    text = str(answer["traceback"])
    for prefix in (os.path.realpath(tree) + os.sep, tree + os.sep):
        text = text.replace(prefix, "")
    name = answer.get("missing")
    hint = _missing_hint(subject, name) if name else ""
    if "could not get source code" in text:
        hint = "a distribution reads its own source, which ships as bytecode: include = ['<its package>/**']"
    if "PackageNotFoundError" in str(answer["error"]):
        hint = "the project's own metadata ships where [project] in pyproject.toml says its name and version"
    return BundleError(
        f"does not import in the artefact: {answer['error']}",
        where=subject.app,
        hint=hint or "the traceback is your code's; the function would fail like this at its first start",
        detail=text.rstrip(),
    )


def _missing_hint(subject: Subject, module: str) -> str:
    own = {entry.path.partition("/")[0].removesuffix(".py") for entry in subject.own}
    return missing.hint(
        module,
        installed=[package["name"] for package in subject.layer.packages],
        left_out=subject.left_out,
        own=own,
    )


def _modules(stderr: str) -> tuple[tuple[str, float, float], ...]:
    """The lines of -X importtime between the marks, in milliseconds, slowest with all it imports first."""
    rows = []
    for line in stderr.split(_MARK)[1].splitlines():
        match = _TIME.match(line)
        if match:
            rows.append((match[4], int(match[1]) / 1000, int(match[2]) / 1000))
    return tuple(sorted(rows, key=lambda row: (-row[2], row[0])))


def _differences(here: Any, there: Any, where: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted({*here, *there}):
            yield from _differences(here.get(key), there.get(key), f"{where}.{key}")
    elif isinstance(here, list) and isinstance(there, list):
        if len(here) != len(there):
            yield where, f"{len(here)} entries", f"{len(there)} entries"
        for index, (one, other) in enumerate(zip(here, there, strict=False)):
            name = one.get("name", one.get("id", index)) if isinstance(one, dict) else index
            yield from _differences(one, other, f"{where}[{name}]")
    elif here != there:
        yield where, json.dumps(here), json.dumps(there)


def _check_imports(subject: Subject) -> None:
    """Follows the imports that every start of the service does, and refuses one that leads nowhere."""
    modules = _modules_of((*subject.own, *subject.layer.entries))
    carried = subject.layer.carried_folder
    if carried:
        names = (path.relative_to(carried).as_posix() for path in carried.rglob("*") if path.is_file())
        modules |= {name for path in names for name in _names(path)}
    sources = {entry.path: entry for entry in subject.own if entry.path.endswith(".py")}
    waiting, seen = [subject.app.partition(":")[0]], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = next(
            (p for p in (f"{name.replace('.', '/')}.py", f"{name.replace('.', '/')}/__init__.py") if p in sources), ""
        )
        if not path:
            continue
        tree = ast.parse(archive.unpack(sources[path]), path)
        package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
        for line, module in _imports(tree.body, package):
            if module.partition(".")[0] in sys.stdlib_module_names:
                continue
            if module not in modules:
                raise BundleError(
                    f"No module named {module!r} in the artefact",
                    where=f"{path}:{line}",
                    hint=_missing_hint(subject, module),
                )
            waiting.append(module)
    if not seen & modules:
        raise BundleError(f"No module named {subject.app.partition(':')[0]!r} in the artefact", where=subject.app)


def _imports(body: Sequence[ast.stmt], package: str) -> Iterator[tuple[int, str]]:
    """Line and name of the modules that the statements of a module's top level import whatever happens."""
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield statement.lineno, alias.name
        elif isinstance(statement, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
            name = ".".join([*base, *([statement.module] if statement.module else [])])
            if name:
                yield statement.lineno, name


def _modules_of(entries: Iterable[Entry]) -> set[str]:
    return {name for entry in entries for name in _names(entry.path)}


def _names(path: str) -> Iterator[str]:
    """The module that a file is, and the packages it lies in."""
    folder, _, name = path.rpartition("/")
    if name.endswith((".py", ".pyc", ".so", ".pyd")) and "__pycache__" not in path:
        stem = name.partition(".")[0]
        dotted = ".".join([*folder.split("/"), stem] if folder else [stem])
        yield dotted.removesuffix(".__init__")
        parts = folder.split("/") if folder else []
        yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))
