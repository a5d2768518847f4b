"""``bundle`` again, answered before Typer is imported, which takes longer than comparing and building what changed.

Whatever is not plain (another option, a first build, other settings, an error) is left to the command itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_VALUES = {
    "--directory": "project", "-C": "project", "--stage": "stage", "-s": "stage", "--cloud": "cloud", "-c": "cloud",
}  # fmt: skip


def arguments_of(
    stage: str | None, cloud: Sequence[str] | None, flags: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a bundle depends on beside its folder, as the bundler remembers it."""
    return {"stage": stage or "", "cloud": " ".join(cloud or ()), **(flags or {})}


def bundle(given: Sequence[str]) -> bool:
    """Print the bundles of plain arguments and return True; False where the command has to be run."""
    values: dict[str, list[str]] = {"project": [], "stage": [], "cloud": []}
    as_json, rest = False, list(given)
    while rest:
        option = rest.pop(0)
        if option == "--json":
            as_json = True
        elif option in _VALUES and rest and not rest[0].startswith("-"):
            values[_VALUES[option]].append(rest.pop(0))
        else:
            return False
    if len(values["project"]) > 1 or len(values["stage"]) > 1:
        return False
    from pys_multi_tools.bundle import recall
    from pys_multi_tools.cli.bundle_report import print_bundles
    from pys_multi_tools.cli.output import progress_shown
    from pys_multi_tools.errors import ToolError

    stage = values["stage"][0] if values["stage"] else None
    try:
        with progress_shown() as progress:
            known = recall(Path(*values["project"]), arguments_of(stage, values["cloud"]), progress=progress)
    except ToolError:
        return False  # the command finds the same error and knows how to show it
    if known is None:
        return False
    print_bundles(known, as_json=as_json)
    return True
