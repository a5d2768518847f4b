"""The options that several commands share, and what each command starts with."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pys_multi_tools.cli import flags

if TYPE_CHECKING:
    from pys_multi_tools.pipeline import Loaded, Placement


def _installed_clouds(incomplete: str) -> list[str]:
    from pys_multi_tools.provider import installed

    return [name for name in installed() if name.startswith(incomplete)]


Folder = Annotated[
    Path | None,
    typer.Option(
        "--directory", "-C", help="Project folder. Default: the nearest one from here upwards.", metavar="DIR"
    ),
]
Stage = Annotated[str | None, typer.Option("--stage", "-s", help="Stage, such as dev or prod.", metavar="NAME")]
Clouds = Annotated[
    list[str] | None,
    typer.Option(
        "--cloud",
        "-c",
        help="Provider; may be repeated. Default: those of the settings.",
        metavar="NAME",
        autocompletion=_installed_clouds,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def root_of(folder: Path | None) -> Path:
    """Return the project folder that a command is about."""
    from pys_multi_tools.project import find_root

    return folder if folder is not None else find_root()


def load(folder: Path | None, stage: str | None, flags: Mapping[str, object] | None = None) -> Loaded:
    """Load the service of a command, and say on stderr what the settings have to say."""
    from pys_multi_tools import pipeline

    loaded = pipeline.load(root_of(folder), stage, flags=flags)
    for notice in loaded.project.notices:
        print(f"note: {notice}", file=sys.stderr)
    return loaded


def place(folder: Path | None, stage: str | None, clouds: list[str] | None) -> tuple[Placement, ...]:
    """Load the service of a command and place it on its providers."""
    return _placed(load(folder, stage, flags.given()), clouds)


def place_live(folder: Path | None, stage: str | None, clouds: list[str] | None) -> tuple[Placement, ...]:
    """As :func:`place`, for what is about the live service: where the code does not import, it is the service as it
    was deployed last from this folder."""
    from pys_multi_tools import pipeline
    from pys_multi_tools.errors import DiscoveryError

    try:
        loaded = load(folder, stage, flags.given())
    except DiscoveryError as error:
        deployed = pipeline.load_deployed(root_of(folder), stage, flags=flags.given())
        if deployed is None:
            raise
        loaded = deployed
        print(f"note: {error.where}: {error.what}; this is the service as it was deployed last", file=sys.stderr)
    return _placed(loaded, clouds)


def _placed(loaded: Loaded, clouds: list[str] | None) -> tuple[Placement, ...]:
    from pys_multi_tools import pipeline

    flags.require(clouds or loaded.project.settings.cloud)
    return pipeline.place(loaded, clouds or ())
