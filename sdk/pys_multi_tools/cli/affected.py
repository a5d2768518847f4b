"""affected: the services of a repository that a change touches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pys_multi_tools.cli.output import plain, print_json, say

app = typer.Typer(rich_markup_mode=None)


@app.command()
def affected(
    since: Annotated[str, typer.Option("--since", help="Branch, tag or commit to compare with.", metavar="REF")],
    folder: Annotated[
        Path, typer.Option("--directory", "-C", help="A folder of the repository. Default: this one.", metavar="DIR")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the reasons.")] = False,
    matrix: Annotated[bool, typer.Option("--matrix", help="Print one line of JSON for a workflow's matrix.")] = False,
) -> None:
    """List the services that changed since a revision: through code, imports, dependencies and settings."""
    from pys_multi_tools.affected import affected as affected_services

    found = affected_services(folder, since)
    if matrix:
        print(json.dumps([service.path for service in found]))
    elif as_json:
        print_json({"services": plain(found)})
    else:
        for service in found:
            print(service.path)
            for reason in service.reasons:
                say(f"  {reason}")
