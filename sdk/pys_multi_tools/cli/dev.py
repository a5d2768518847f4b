"""dev: the service in the foreground."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pys_multi_tools.cli import options

app = typer.Typer(rich_markup_mode=None)


@app.command()
def dev(
    folder: options.Folder = None,
    stage: options.Stage = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
) -> None:
    """Run the service in the foreground with every trigger live; reload on edit."""
    from pys_multi_tools.cli.records import text_of
    from pys_multi_tools.dev import run
    from pys_multi_tools.project import Project

    project = Project.load(options.root_of(folder), stage)
    run(project, host=host, port=port, log=lambda record: text_of(record, sys.stdout))
