"""previews: the stages that were deployed for pull requests."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import plain, print_json, print_table, say

if TYPE_CHECKING:
    from pys_multi_tools.github.client import Client
    from pys_multi_tools.previews import Preview

app = typer.Typer(rich_markup_mode=None)
previews = typer.Typer(rich_markup_mode=None, help="List preview environments, and remove those that are over.")
app.add_typer(previews, name="previews")

Root = Annotated[
    Path, typer.Option("--directory", "-C", help="Folder of the repository. Default: this one.", metavar="DIR")
]


@previews.command("list")
def list_previews(as_json: options.Json = False) -> None:
    """List the previews of the repository GITHUB_REPOSITORY, which GITHUB_TOKEN gives access to."""
    from pys_multi_tools.previews import live

    found = list(live(_client()))
    if as_json:
        print_json({"previews": plain(found)})
        return
    rows = [(p.service, p.stage, ", ".join(p.clouds), p.number, _day(p.expires), p.url) for p in found]
    print_table(("service", "stage", "clouds", "pull request", "until", "url"), rows)


@previews.command("reap")
def reap_previews(
    root: Root = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: options.Json = False,
) -> int:
    """Remove the previews whose pull request is closed or whose time is over. Exits with 1 when one cannot be."""
    from pys_multi_tools.previews import reap

    client = _client()
    # The project's own code is about to be imported, and GitHub is none of its business.
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        os.environ.pop(name, None)
    found = list(reap(client, lambda preview: _destroy(root, preview), dry_run=dry_run))
    if as_json:
        print_json({"previews": plain(found)})
    for one in found:
        verb = "cannot remove" if one.error else "would remove" if dry_run else "removed"
        say(f"{verb} {one.preview.service}, stage {one.preview.stage}: {one.error or one.reason}")
    if not found:
        say("no preview is over")
    return 1 if any(one.error for one in found) else 0


def _client() -> Client:
    from pys_multi_tools.github.client import Client

    return Client.of(os.environ, os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or "")


def _destroy(root: Path, preview: Preview) -> None:
    from pys_multi_tools import pipeline
    from pys_multi_tools.cli.output import progress_shown
    from pys_multi_tools.errors import ToolError

    folder = (root / preview.path).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise ToolError("is outside of the repository", where=preview.path)
    loaded = pipeline.load(folder, preview.stage)
    if loaded.service.name != preview.service:
        hint = f"destroy it from a commit that still has it: pys-multi destroy --stage {preview.stage} --delete-data"
        raise ToolError(
            f"the service is {loaded.service.name} now, not {preview.service}", where=preview.path, hint=hint
        )
    for placement in pipeline.place(loaded, preview.clouds):
        with progress_shown() as progress:
            pipeline.destroy(placement, delete_data=True, progress=progress)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")
