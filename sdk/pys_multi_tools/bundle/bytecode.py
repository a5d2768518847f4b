"""Bytecode for the target's version of Python, compiled by an interpreter of that version."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.errors import BundleError

_WORKER = Path(__file__).with_name("bytecode_worker.py")
_ASK = (
    "import sys, sysconfig;"
    "print(*sys.version_info[:3], sys.version_info.releaselevel, sysconfig.get_config_var('Py_GIL_DISABLED') or 0,"
    "sys.implementation.name)"
)
#: Modules that one process compiles in about a tenth of a second: below, a second process costs more than it saves.
_BATCH = 40


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python on this machine: its executable, its full version, and its cache tag ("cpython-313")."""

    path: str
    version: str

    @property
    def tag(self) -> str:
        """The name that its .pyc files carry."""
        major, minor = self.version.split(".")[:2]
        return f"cpython-{major}{minor}"


class Detail(Enum):
    """How much of a module its bytecode keeps: options of the interpreter, and the level of optimisation."""

    #: All: it ships with its source, and a traceback marks the place below the line.
    FULL = ((), 0)
    #: No columns: without the source there is no line to mark a place below.
    LINES = (("-X", "no_debug_ranges"), 0)
    #: No docstrings and assertions either; for the SDK, which needs none.
    BARE = (("-X", "no_debug_ranges"), 2)


@dataclass(frozen=True, slots=True)
class Source:
    """A module to compile."""

    path: str
    data: bytes
    detail: Detail = Detail.FULL


class Compiled(NamedTuple):
    """What became of a module. pyc: the contents of the file, empty where ``error`` says why there are none.

    reads: whose source files it cannot do without: "own", "any", or empty for none.
    """

    pyc: bytes
    error: str
    reads: str


def find_interpreter(minor: str, cache: Cache) -> Interpreter | None:
    """The newest patch release of a minor version on this machine, whichever Python runs the tool.

    Bytecode may differ between patch releases, so the version that compiled is part of the record.
    """
    candidates = list(_candidates(minor))
    key = json.dumps(["interpreter", minor, candidates])
    known = cache.read_object(key)
    if known is not None:
        stored = json.loads(known)
        return Interpreter(**stored) if stored else None
    found = [answer for path, _ in candidates if (answer := _ask(path, minor))]
    if not found:
        found = [answer for path in _ask_uv(minor) if (answer := _ask(path, minor))]
    best = max(found, key=lambda one: [int(part) for part in one.version.split(".")], default=None)
    cache.write_object(key, json.dumps(asdict(best) if best else None).encode())
    return best


def compile_sources(interpreter: Interpreter, sources: Sequence[Source]) -> dict[str, Compiled]:
    """What became of each module, by path."""
    batches = [
        batch for detail in Detail for batch in _batches([source for source in sources if source.detail is detail])
    ]
    from concurrent.futures import ThreadPoolExecutor

    result: dict[str, Compiled] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for part in pool.map(lambda batch: _compile(interpreter, batch), batches):
            result.update(part)
    return result


def compile_cached(interpreter: Interpreter, sources: Iterable[Source], cache: Cache) -> dict[str, bytes | str]:
    """Path → contents of the .pyc, or the compiler's message for a source that is not of this version.

    For files that mostly stay as they are: only the changed ones are compiled.
    """
    from hashlib import sha256

    result: dict[str, bytes | str] = {}
    missing: dict[str, Source] = {}
    for source in sources:
        digest = sha256(source.data).hexdigest()
        key = f"pyc 1 {interpreter.version} {interpreter.path} {source.detail.name} {source.path} {digest}"
        known = cache.read_object(key)
        if known is not None:
            result[source.path] = known
        else:
            missing[key] = source
    made = compile_sources(interpreter, list(missing.values()))
    for key, source in missing.items():
        pyc, error, _ = made[source.path]
        result[source.path] = pyc or error
        if pyc:
            cache.write_object(key, pyc)
    return result


def pyc_path(path: str, interpreter: Interpreter | None) -> str:
    """Where Python looks for the bytecode of a module that ships with its source."""
    folder, _, name = path.rpartition("/")
    tag = interpreter.tag if interpreter else ""
    return f"{folder + '/' if folder else ''}__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def _batches(sources: Sequence[Source]) -> Iterator[Sequence[Source]]:
    if not sources:
        return
    # Dealt out by size, so that the processes end together.
    count = min(os.cpu_count() or 1, 1 + len(sources) // _BATCH)
    piles: list[list[Source]] = [[] for _ in range(count)]
    for index, source in enumerate(sorted(sources, key=lambda source: -len(source.data))):
        piles[index % count].append(source)
    yield from piles


def _compile(interpreter: Interpreter, sources: Sequence[Source]) -> dict[str, Compiled]:
    head = json.dumps([[source.path, len(source.data)] for source in sources]).encode()
    extra, optimize = sources[0].detail.value
    options = ["-X", "utf8", "-W", "ignore", "-S", "-s", "-B", *extra]
    ended = subprocess.run(
        [interpreter.path, *options, str(_WORKER), str(optimize)],
        input=head + b"\n" + b"".join(source.data for source in sources),
        capture_output=True,
        env={"PYTHONHASHSEED": "0", "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")},
    )
    if ended.returncode:
        raise BundleError(
            f"Python {interpreter.version} failed while compiling",
            where=interpreter.path,
            hint="reinstall that interpreter, or remove it so that another one is found",
            detail=ended.stderr.decode(errors="replace"),
        )
    line, _, body = ended.stdout.partition(b"\n")
    result: dict[str, Compiled] = {}
    offset = 0
    for source, (length, error, reads) in zip(sources, json.loads(line), strict=True):
        result[source.path] = Compiled(body[offset : offset + length], error, reads)
        offset += length
    return result


def _candidates(minor: str) -> Iterator[tuple[str, int]]:
    """Executables that may be of the version, with their time of change; none is run."""
    home = Path.home()
    paths = [Path(getattr(sys, "_base_executable", sys.executable) or sys.executable)]
    paths += sorted((home / ".pyenv" / "versions").glob(f"{minor}.*/bin/python{minor}"))
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    paths += sorted(managed.glob(f"cpython-{minor}.*/bin/python{minor}"))
    paths += [Path(folder) / f"python{minor}" for folder in os.get_exec_path() if "shims" not in folder]
    seen = set()
    for path in paths:
        real = os.path.realpath(path)
        if real not in seen and os.access(real, os.X_OK):
            seen.add(real)
            yield real, os.stat(real).st_mtime_ns


def _ask(path: str, minor: str) -> Interpreter | None:
    try:
        ended = subprocess.run([path, "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = ended.stdout.split()
    if ended.returncode or len(words) != 6:
        return None
    usable = words[3:] == ["final", "0", "cpython"] and ".".join(words[:2]) == minor
    return Interpreter(path, ".".join(words[:3])) if usable else None


def _ask_uv(minor: str) -> list[str]:
    """What uv finds in places that are its own knowledge, such as the Windows registry or Homebrew."""
    from uv import find_uv_bin

    ended = subprocess.run(
        [find_uv_bin(), "python", "find", minor, "--no-python-downloads", "--no-project", "--quiet"],
        capture_output=True,
        text=True,
    )
    return ended.stdout.split("\n")[:1] if ended.returncode == 0 else []
