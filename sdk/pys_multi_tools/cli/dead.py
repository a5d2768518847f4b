"""dead: the messages that failed all their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import plain, print_json, print_table, say

app = typer.Typer(rich_markup_mode=None)


@app.command()
def dead(
    queue: Annotated[str, typer.Argument(help="A queue or subscription, as status names it.", metavar="QUEUE")],
    redrive: Annotated[bool, typer.Option("--redrive", help="Put them back into the queue.")] = False,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only this message; may be repeated.", metavar="ID")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Show at most this many.", min=1)] = 100,
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
) -> None:
    """Show the messages of a queue that failed all their deliveries; --redrive has them delivered again."""
    from pys_multi_tools import pipeline

    placements = options.place_live(folder, stage, cloud)
    if redrive:
        moved = {placement.name: pipeline.redrive(placement, queue, ids) for placement in placements}
        if as_json:
            print_json({"redriven": moved})
        for name, count in moved.items():
            say(f"{name}: {count} put back into {queue}")
        return
    found = {placement.name: pipeline.dead_letters(placement, queue, limit=limit) for placement in placements}
    found = {name: [letter for letter in letters if not ids or letter.id in ids] for name, letters in found.items()}
    if as_json:
        print_json({"dead_letters": plain(found)})
        return
    print_table(
        ("cloud", "id", "died", "attempts", "reason", "body"),
        (
            (name, letter.id, _time(letter.died_at), letter.attempts, _line(letter.reason), _line(_text(letter.body)))
            for name, letters in found.items()
            for letter in letters
        ),
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def _line(text: str) -> str:
    # One row per message, and nothing in it that a terminal would act on.
    shown = "".join(character if character.isprintable() else " " for character in text[:200])
    return shown + ("…" if len(text) > 200 else "")
