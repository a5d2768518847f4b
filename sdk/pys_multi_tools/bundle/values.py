"""What a build gives back: frozen values that go to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """What a project says about its bundle: its settings, its plain environment, and what must stay out."""

    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_mb: float | None = None
    max_import_ms: float | None = None
    environment: tuple[tuple[str, str], ...] = ()
    secret_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution in an artefact. bytes: unpacked; packed: in the zip. name: empty for the user's own files."""

    name: str
    version: str
    bytes: int
    packed: int


@dataclass(frozen=True, slots=True)
class Module:
    """How long a module took to import, in milliseconds: alone, and with all that it imports."""

    name: str
    own_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """What an artefact holds and costs, culprits first.

    preflight: "imported", or "checked: " and why it could not be imported here, or "skipped".
    import_ms: of the whole service, None where it was not imported. left_out: files of the project, and why.
    notes: what a person should know, such as missing bytecode.
    """

    distributions: tuple[Distribution, ...]
    modules: tuple[Module, ...]
    import_ms: float | None
    preflight: str
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Artefact:
    """One zip, ready for upload. size, unzipped: bytes. sbom: CycloneDX. record: what it was made from."""

    path: Path
    build_id: str
    size: int
    unzipped: int
    sbom: Path
    record: Path
    report: Report

    def unpacked(self, folder: Path) -> Path:
        """Unpacks it into an empty or missing folder and returns that; modes are kept."""
        from pys_multi_tools.bundle.reader import unpack_zip

        unpack_zip(self.path, folder)
        return folder

    def to_json(self) -> dict[str, Any]:
        """The artefact as JSON values."""
        report = self.report
        return {
            "path": str(self.path),
            "build_id": self.build_id,
            "bytes": self.size,
            "unzipped_bytes": self.unzipped,
            "sbom": str(self.sbom),
            "record": str(self.record),
            "preflight": report.preflight,
            "import_ms": report.import_ms,
            "distributions": [
                {"name": d.name, "version": d.version, "bytes": d.bytes, "packed_bytes": d.packed}
                for d in report.distributions
            ],
            "modules": [{"name": m.name, "own_ms": m.own_ms, "total_ms": m.total_ms} for m in report.modules],
            "left_out": [{"path": path, "reason": reason} for path, reason in report.left_out],
            "notes": list(report.notes),
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """The artefacts of a service by function; functions with the same dependencies share one."""

    service: str
    provider: str
    artefacts: Mapping[str, Artefact]

    @property
    def distinct(self) -> dict[str, tuple[Artefact, tuple[str, ...]]]:
        """Build id → the artefact and the functions that run it."""
        result: dict[str, tuple[Artefact, tuple[str, ...]]] = {}
        for name, artefact in self.artefacts.items():
            names = result[artefact.build_id][1] if artefact.build_id in result else ()
            result[artefact.build_id] = (artefact, (*names, name))
        return result

    def to_json(self) -> dict[str, Any]:
        """The bundle as JSON values, for ``--json``."""
        return {
            "schema_version": 1,
            "service": self.service,
            "provider": self.provider,
            "artefacts": [
                {"functions": list(names), **artefact.to_json()} for artefact, names in self.distinct.values()
            ],
        }
