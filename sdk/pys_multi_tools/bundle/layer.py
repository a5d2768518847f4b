"""The dependencies of a function, installed once for a target and kept compressed in the cache.

    inputs → resolution (cached) → local projects built → uv installs into an empty folder → what is not needed
    goes out → compiled, compressed → one folder of the cache: ``entries.bin`` and ``layer.json``

A change of the user's code finds all of it ready.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as remembered
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pys_multi_tools.bundle import local_projects, resolve, uv_tool
from pys_multi_tools.bundle.archive import Entry
from pys_multi_tools.bundle.bytecode import Interpreter
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.inputs import Inputs
from pys_multi_tools.bundle.inputs import local_projects as named_projects
from pys_multi_tools.bundle.resolve import Resolution
from pys_multi_tools.target import Target

if TYPE_CHECKING:
    from pys_multi_tools.bundle.installation import Installation

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
        from pys_multi_tools.bundle.installation import Installation

        with cache.scratch() as scratch:
            _write(folder, Installation(inputs, resolution, target, interpreter, include, scratch, tell))

    return _read(cache.get("layers", key, make), key)


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


def _wheels_of(target: Target) -> dict[str, Any]:
    return {
        "python": target.python,
        "system": target.system,
        "architecture": target.architecture,
        "glibc": list(target.glibc) if target.glibc else None,
    }


def _write(folder: Path, installation: Installation) -> None:
    from pys_multi_tools.bundle.installation import describe
    from pys_multi_tools.bundle.packing import pack_files, records

    installation.carry(folder / "carried")
    entries = pack_files(
        {path: file for path, file in installation.files().items() if not path.endswith(".dist-info/RECORD")},
        interpreter=installation.interpreter,
        local=installation.local,
        requires=installation.requires(),
        include=installation.include,
        tell=installation.tell,
    )
    entries += records(entries, {one.info: one.name for one in installation.kept.values()})
    sizes: dict[str, tuple[int, int]] = {}
    offset, rows = 0, []
    with (folder / "entries.bin").open("wb") as file:
        for one in sorted(entries, key=lambda entry: entry.path):
            unpacked, packed = sizes.get(one.origin, (0, 0))
            sizes[one.origin] = (unpacked + one.size, packed + len(one.packed))
            file.write(one.packed)
            rows.append(
                [one.path, one.mode, one.size, one.crc, one.sha256, one.method, offset, len(one.packed), one.origin]
            )
            offset += len(one.packed)
    document = {
        "entries": rows,
        "packages": describe(installation, sizes),
        "carried": sorted(installation.carried),
        "notes": installation.notes,
        "requirements": installation.requirements(),
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
