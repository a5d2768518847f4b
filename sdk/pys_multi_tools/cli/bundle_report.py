"""What ``bundle`` prints. Without Typer, so that an unchanged bundle is reported before that is imported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pys_multi_tools.cli.output import print_json, print_table, say, shown

if TYPE_CHECKING:
    from pys_multi_tools.bundle import Artefact, Bundle

_MOST_ROWS = 12


def print_bundles(bundles: Iterable[Bundle], *, as_json: bool = False) -> None:
    """Print what was built."""
    if as_json:
        documents = [bundle.to_json() for bundle in bundles]
        print_json({"bundles": [{k: v for k, v in one.items() if k != "schema_version"} for one in documents]})
        return
    for bundle in bundles:
        for artefact, functions in bundle.distinct.values():
            print(f"{bundle.provider}: {', '.join(functions)}  build {artefact.build_id}  {shown(artefact.path)}")
            _print_report(artefact)


def _print_report(artefact: Artefact) -> None:
    report = artefact.report
    print()
    rows = [
        (distribution.name or "(this project)", distribution.version, _mb(distribution.packed), _mb(distribution.bytes))
        for distribution in report.distributions
    ]
    rows.append(("total", "", _mb(artefact.size), _mb(artefact.unzipped)))
    print_table(("distribution", "version", "in the zip", "unpacked"), rows)
    if report.import_ms is not None:
        print()
        slowest = [(m.name, f"{m.own_ms:.1f} ms", f"{m.total_ms:.1f} ms") for m in report.modules[:_MOST_ROWS]]
        print_table(("module", "alone", "with its imports"), [*slowest, ("total", "", f"{report.import_ms:.1f} ms")])
    for note in (report.preflight, *report.notes):
        say(note)


def print_difference(other: Path, artefact: Artefact, as_json: bool) -> None:
    from pys_multi_tools.bundle import diff

    difference = diff(other, artefact)
    if as_json:
        print(json.dumps(difference.to_json(), indent=2, ensure_ascii=False))
        return
    rows = [
        ("distribution", change.name, change.before, change.after, _grown(change.bytes_before, change.bytes_after))
        for change in difference.distributions
    ]
    for file in difference.files:
        before, after = file.before, file.after
        change = "new" if before is None else "gone" if after is None else "changed"
        rows.append(("file", file.path, "", change, _grown(before or 0, after or 0)))
    rows += [("input", what, before, after, "") for what, before, after in difference.inputs]
    if rows:
        print_table(("what", "name", "before", "after", "size"), rows)
    say(f"build {difference.before} → {difference.after}: {len(difference.files)} files differ")


def _grown(before: int, after: int) -> str:
    return f"{(after - before) / 1e3:+.1f} kB" if after != before else ""


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 10_000 else f"{size / 1e3:.1f} kB"
