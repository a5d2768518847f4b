"""workflow: the GitHub workflows of a project or of every service in a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import plain, print_json, say, shown

app = typer.Typer(rich_markup_mode=None)


@app.command()
def workflow(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--directory", "-C", help="Folder of the only project. Default: every service here.", metavar="DIR"
        ),
    ] = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    branch: Annotated[
        str | None,
        typer.Option("--branch", help="Branch that is deployed. Default: the repository's own.", metavar="NAME"),
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(
            "--action", help="The action. Default: as written last, else the published one.", metavar="OWNER/REPO@REF"
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 3 where something would be written.")
    ] = False,
    as_json: options.Json = False,
) -> int:
    """Write the workflows that plan, deploy, preview, find drift and reap; an update keeps what was edited."""
    from pys_multi_tools.git import Repository
    from pys_multi_tools.workflow import generate, write

    start = (folder or Path()).resolve()
    repository = Repository.around(start)
    path = start.relative_to(repository.root.resolve()).as_posix() if folder is not None else None
    texts = generate(repository, path=path, clouds=cloud or (), stage=stage, branch=branch, action=action)
    written = write(repository, texts, dry_run=check)
    if as_json:
        print_json({"workflows": plain(written)})
    for one in written:
        say(f"{one.state}: {shown(one.path)}")
    if "id-token: write" in texts["deploy"]:
        say("next: set the variables that they name in the environments plan, preview and the stage's own on GitHub")
    return 3 if check and any(one.state != "unchanged" for one in written) else 0
