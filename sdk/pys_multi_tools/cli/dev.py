"""dev: the service in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import say, shown

app = typer.Typer(rich_markup_mode=None)


@app.command()
def dev(
    folder: options.Folder = None,
    stage: options.Stage = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
) -> None:
    """Run the service in the foreground with every trigger live; reload on edit."""
    from pys_multi_tools.dev import Dev, run
    from pys_multi_tools.project import Project

    def on_start(dev: Dev) -> None:
        say(f"{dev.url}  (state in {shown(dev.state)}; Ctrl-C ends it)")

    run(Project.load(options.root_of(folder), stage), host=host, port=port, on_start=on_start)
