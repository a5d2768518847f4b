"""bundle: what is uploaded, and what it weighs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pys_multi_tools.cli import flags, options
from pys_multi_tools.cli.bundle_report import print_bundles, print_difference
from pys_multi_tools.cli.output import progress_shown, say
from pys_multi_tools.cli.quick import arguments_of

if TYPE_CHECKING:
    from pys_multi_tools.bundle import Bundle

app = typer.Typer(rich_markup_mode=None)


@app.command()
def bundle(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
    clean: Annotated[bool, typer.Option("--clean", help="Empty the cache first, and build everything anew.")] = False,
    other: Annotated[
        Path | None, typer.Option("--diff", help="Say what changed since this other artefact.", metavar="ZIP")
    ] = None,
) -> None:
    """Build what is uploaded, import it once as the target would, and say what it weighs."""
    if clean:
        from pys_multi_tools.bundle import clean as clean_cache

        cleaned = clean_cache()
        say(f"removed {cleaned.bytes / 1e6:.1f} MB from {cleaned.path}")
    built = _built(folder, stage, cloud)
    if other is None:
        print_bundles(built, as_json=as_json)
        return
    for bundle in built:
        for artefact, _ in bundle.distinct.values():
            print_difference(other, artefact, as_json)


def _built(folder: Path | None, stage: str | None, cloud: list[str] | None) -> tuple[Bundle, ...]:
    """Build for each provider; without reading settings, where what was built last says all that they would."""
    from pys_multi_tools.bundle import recall, remember

    start, arguments = folder or Path(), arguments_of(stage, cloud, flags.given())
    with progress_shown() as progress:
        known = recall(start, arguments, progress=progress)
    if known is not None:
        return known
    from pys_multi_tools import pipeline

    placements = options.place(folder, stage, cloud)
    with progress_shown() as progress:
        built = tuple(pipeline.bundle(placement, progress) for placement in placements)
    of = [(placement.deployment, placement.provider) for placement in placements]
    remember(start, arguments, [(one.project, one.app, one.service, provider.target(one)) for one, provider in of])
    return built
