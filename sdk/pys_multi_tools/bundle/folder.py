"""The folder of the cache that an artefact lies in: the zip, its SBOM, its record and its report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pys_multi_tools.bundle.values import Artefact, Distribution, Module, Report

ZIP = "bundle.zip"
_SBOM, _RECORD, _REPORT = "sbom.cdx.json", "record.json", "report.json"


def write(folder: Path, record: object, sbom: object, report: Report, unzipped: int) -> None:
    """Writes what lies beside the zip."""
    _write_json(folder / _RECORD, record)
    _write_json(folder / _SBOM, sbom)
    _write_json(folder / _REPORT, {**asdict(report), "unzipped": unzipped, "left_out": ()})


def load(folder: Path, left_out: tuple[tuple[str, str], ...]) -> Artefact:
    """The artefact of a folder. left_out: files of the project as it is now, which are no part of the artefact."""
    report = json.loads((folder / _REPORT).read_text("utf-8"))
    return Artefact(
        path=folder / ZIP,
        build_id=json.loads((folder / _RECORD).read_text("utf-8"))["build_id"],
        size=(folder / ZIP).stat().st_size,
        unzipped=report["unzipped"],
        sbom=folder / _SBOM,
        record=folder / _RECORD,
        report=Report(
            distributions=tuple(Distribution(**row) for row in report["distributions"]),
            modules=tuple(Module(**row) for row in report["modules"]),
            import_ms=report["import_ms"],
            preflight=report["preflight"],
            left_out=left_out,
            notes=tuple(report["notes"]),
        ),
    )


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")
