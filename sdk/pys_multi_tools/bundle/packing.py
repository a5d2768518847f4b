"""Installed files become entries: modules as bytecode, everything compressed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from pys_multi_tools.bundle import archive, slim
from pys_multi_tools.bundle.archive import Entry
from pys_multi_tools.bundle.bytecode import Detail, Interpreter, Source, compile_sources, pyc_path

# As the import system of CPython names them: x.so, x.abi3.so, x.cpython-313-x86_64-linux-gnu.so, x.cp313-win_amd64.pyd.
_NATIVE_MODULE = re.compile(r"((?:.*/)?[^/.]+)(?:\.(?:abi3|cpython-[^/.]+|cp\d+[^/.]*))?\.(?:so|pyd)$")


class InstalledFile(NamedTuple):
    """A file of an installed distribution, by that distribution's name."""

    data: bytes
    executable: bool
    owner: str


def pack_files(
    files: Mapping[str, InstalledFile],
    *,
    interpreter: Interpreter | None,
    local: frozenset[str],
    requires: Mapping[str, Collection[str]],
    include: GitIgnoreSpec,
    tell: Callable[[str, str], None],
) -> list[Entry]:
    """The entries of files by path.

    A distribution's modules ship as bytecode alone where that is certain to be enough; those of a local project
    and of ``include`` ship with their source, like the user's own. So do those of a distribution that reads
    source files, its own or, through ``inspect``, those of the distributions that use it.
    requires: what each distribution asks for, by name.
    """
    packages = frozenset(path.rpartition("/")[0] for path in files if path.endswith("/__init__.py"))
    alone = {
        path
        for path, file in files.items()
        if path.endswith(".py")
        and file.owner not in local
        and slim.is_bytecode_only(path, packages)
        and not include.match_file(path)
    }
    shadowed = alone & set(filter(None, map(_twin, files)))
    files = {path: file for path, file in files.items() if path not in shadowed}
    alone -= shadowed
    sources = [
        Source(path, file.data, Detail.LINES if path in alone else Detail.FULL)
        for path, file in files.items()
        if path.endswith(".py")
    ]
    # The compressor works without the interpreter's lock, and the compiler is another process.
    with ThreadPoolExecutor() as pool:

        def packed(path: str, file: InstalledFile) -> None:
            packing.append(pool.submit(archive.pack, path, file.data, executable=file.executable, origin=file.owner))

        packing: list[Future[Entry]] = []
        compiling = None
        if interpreter and sources:
            tell("compile", f"{len(sources)} modules for Python {interpreter.version}")
            compiling = pool.submit(compile_sources, interpreter, sources)
        for path in sorted(files, key=lambda path: -len(files[path].data)):
            if path not in alone or not compiling:
                packed(path, files[path])
        made = compiling.result() if compiling else {}
        read = _read({path: one.reads for path, one in made.items()}, files, requires)
        for path, (pyc, _, _) in made.items():
            # Not of this version of Python: whoever imports it is told by Python.
            if path in alone and (not pyc or files[path].owner in read):
                packed(path, files[path])
                alone.remove(path)
            if pyc:
                place = path + "c" if path in alone else pyc_path(path, interpreter)
                packed(place, InstalledFile(pyc, False, files[path].owner))
        entries = [one.result() for one in packing]
    archive.check_paths(entries)
    return entries


def _read(
    reads: Mapping[str, str], files: Mapping[str, InstalledFile], requires: Mapping[str, Collection[str]]
) -> set[str]:
    """Names of the distributions whose sources something reads. reads: by path, as the compiler found it."""
    own = {files[path].owner for path, whose in reads.items() if whose}
    readers = {files[path].owner for path, whose in reads.items() if whose == "any"}
    return own | {name for name, asked in requires.items() if not readers.isdisjoint(asked)}


def records(entries: Iterable[Entry], infos: Mapping[str, str]) -> list[Entry]:
    """The RECORD of each distribution (dist-info folder → name), which lists what has remained of it."""
    listed: dict[str, list[str]] = {}
    for entry in entries:
        listed.setdefault(entry.origin, []).append(entry.path)
    result = []
    for info, owner in infos.items():
        if owner in listed:
            path = f"{info}/RECORD"
            names = sorted([*listed[owner], path])
            text = "".join(f'"{name}",,\n' if "," in name else f"{name},,\n" for name in names)
            result.append(archive.pack(path, text.encode(), origin=owner))
    return result


def _twin(path: str) -> str:
    """The Python module that is never read because a native one of its name lies beside it; empty for none."""
    match = _NATIVE_MODULE.match(path)
    return f"{match[1]}.py" if match else ""
