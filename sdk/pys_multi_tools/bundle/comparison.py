"""What changed between two artefacts."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from pys_multi_tools.bundle.values import Artefact
from pys_multi_tools.errors import BundleError


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file in one of two artefacts or different in both. Bytes unpacked, None where it is absent."""

    path: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class DistributionChange:
    """A distribution in one of two artefacts, or in another version or size. Versions are empty where absent."""

    name: str
    before: str
    after: str
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True)
class Difference:
    """before, after: build ids. inputs: (what, before, after) of the records, where both are there."""

    before: str
    after: str
    bytes_before: int
    bytes_after: int
    files: tuple[FileChange, ...]
    distributions: tuple[DistributionChange, ...]
    inputs: tuple[tuple[str, str, str], ...]

    @property
    def is_empty(self) -> bool:
        """Whether both hold the same."""
        return not self.files

    def to_json(self) -> dict[str, Any]:
        """The difference as JSON values."""
        return {
            "schema_version": 1,
            "before": {"build_id": self.before, "bytes": self.bytes_before},
            "after": {"build_id": self.after, "bytes": self.bytes_after},
            "distributions": [
                {
                    "name": d.name,
                    "before": d.before or None,
                    "after": d.after or None,
                    "bytes_before": d.bytes_before,
                    "bytes_after": d.bytes_after,
                }
                for d in self.distributions
            ],
            "files": [{"path": f.path, "before": f.before, "after": f.after} for f in self.files],
            "inputs": [{"what": what, "before": a, "after": b} for what, a, b in self.inputs],
        }


def compare(before: Artefact | Path, after: Artefact | Path) -> Difference:
    """What changed from one artefact to another. Raises BundleError for a file that is no artefact."""
    one, other = _Side(_path(before)), _Side(_path(after))
    files = [
        FileChange(path, _size(one.files.get(path)), _size(other.files.get(path)))
        for path in sorted({*one.files, *other.files})
        if one.files.get(path) != other.files.get(path)
    ]
    distributions = [
        DistributionChange(name, *_versions(one, other, name), one.sizes.get(name, 0), other.sizes.get(name, 0))
        for name in sorted({*one.versions, *other.versions})
        if (one.versions.get(name), one.sizes.get(name)) != (other.versions.get(name), other.sizes.get(name))
    ]
    return Difference(
        one.build_id,
        other.build_id,
        one.path.stat().st_size,
        other.path.stat().st_size,
        tuple(files),
        tuple(distributions),
        tuple(_changes(one.record, other.record, "")) if one.record and other.record else (),
    )


class _Side:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        try:
            with zipfile.ZipFile(path) as file:
                self.files = {i.filename: (i.CRC, i.file_size, i.external_attr) for i in file.infolist()}
                self.build_id = str(json.loads(file.read("pys_multi_build.json"))["build_id"])
                for name in self.files:
                    folder, _, rest = name.partition("/")
                    if rest == "METADATA" and folder.endswith(".dist-info"):
                        self._distribution(file, folder)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise BundleError("is not an artefact of pys-multi", where=str(path), hint="name a bundle.zip") from error
        record = path.with_name("record.json")
        self.record: Mapping[str, Any] = json.loads(record.read_text()) if record.is_file() else {}

    def _distribution(self, file: zipfile.ZipFile, folder: str) -> None:
        metadata = HeaderParser().parsestr(file.read(f"{folder}/METADATA").decode(errors="replace"))
        self.versions[metadata["Name"]] = metadata["Version"]
        listed = file.read(f"{folder}/RECORD").decode().splitlines() if f"{folder}/RECORD" in self.files else []
        names = [line.rsplit(",", 2)[0].strip('"') for line in listed]
        self.sizes[metadata["Name"]] = sum(self.files[name][1] for name in names if name in self.files)


def _path(side: Artefact | Path) -> Path:
    if isinstance(side, Artefact):
        return side.path
    return side / "bundle.zip" if side.is_dir() else side


def _size(entry: tuple[int, int, int] | None) -> int | None:
    return entry[1] if entry else None


def _versions(one: _Side, other: _Side, name: str) -> tuple[str, str]:
    return one.versions.get(name, ""), other.versions.get(name, "")


def _changes(one: Any, other: Any, where: str) -> list[tuple[str, str, str]]:
    if where in (".build_id", ".distributions"):
        return []
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = sorted({*one, *other})
        return [row for key in keys for row in _changes(one.get(key), other.get(key), f"{where}.{key}")]
    return [] if one == other else [(where.removeprefix("."), json.dumps(one), json.dumps(other))]
