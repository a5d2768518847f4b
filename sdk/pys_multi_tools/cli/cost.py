"""cost: what a month costs, by the profile in the settings and the prices of each cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import plain, print_json, print_table

if TYPE_CHECKING:
    from pys_multi_tools.cost import Cost

app = typer.Typer(rich_markup_mode=None)


@app.command()
def cost(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
) -> int:
    """Estimate what a month costs on each cloud; no cloud is asked. Exits with 1 where nothing can be estimated."""
    from pys_multi_tools import pipeline
    from pys_multi_tools.errors import ToolError

    placements = options.place(folder, stage, cloud)
    costs = {placement.name: pipeline.cost(placement) for placement in placements}
    if as_json:
        print_json({"costs": [{"cloud": name, "cost": plain(found)} for name, found in costs.items()]})
    elif not placements[0].loaded.project.settings.profile:
        hint = "add a table such as [tool.pys-multi.profile.api] with calls and duration_ms"
        raise ToolError("the settings have no profile to estimate from", hint=hint)
    else:
        for name, found in costs.items():
            if found is None:
                print(f"{name}: it bills nothing")
            else:
                _print_cost(name, found)
    return 0 if any(costs.values()) else 1


def _print_cost(name: str, found: Cost) -> None:
    print(f"{name}: about {found.usd:,.2f} USD a month\n")
    rows = [(c.meter, f"{c.used:,.0f}", f"{c.free:,.0f}", f"{c.usd:,.2f}") for c in found.charges]
    print_table(("billed", "used", "free", "usd"), rows)
    without = f"; no profile: {', '.join(found.uncounted)}" if found.uncounted else ""
    print(f"\ncounted: {', '.join(found.functions) or 'nothing'}{without}")
    print(f"prices of {found.as_of} in {found.place}: {found.source}\n")
