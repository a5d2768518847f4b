"""plan, render, bundle, deploy, rollback, destroy: from the service to what serves, and back."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import (
    confirm,
    paint,
    plain,
    print_json,
    print_table,
    progress_shown,
    say,
    shown,
)

if TYPE_CHECKING:
    from pys_multi_tools.bundle import Bundle
    from pys_multi_tools.deployment import Outputs, Plan, Progress, Rollout
    from pys_multi_tools.pipeline import Placement

app = typer.Typer(rich_markup_mode=None)

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "replace": ("±", "yellow"), "delete": ("-", "red")}


@app.command()
def plan(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 3 when there are changes.")
    ] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Look also for what was changed by other means.")] = False,
) -> int:
    """Show what a deploy would change, and why."""
    from pys_multi_tools import pipeline

    placements = options.place(folder, stage, cloud)
    with progress_shown() as progress:
        plans = {placement.name: _compared(placement, progress, refresh) for placement in placements}
    costs = {placement.name: pipeline.cost(placement) for placement in placements}
    if as_json:
        print_json({"plans": [{**_plan_json(name, plan), "cost": plain(costs[name])} for name, plan in plans.items()]})
    else:
        for name, plan in plans.items():
            _print_plan(name, plan)
            if cost := costs[name]:
                say(f"{name}, stage {plan.deployment.stage}: about {cost.usd:,.2f} USD a month, see `pys-multi cost`")
    return 3 if detailed_exitcode and any(plan.pending for plan in plans.values()) else 0


@app.command()
def render(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write to. Default: .pys-multi/render.", metavar="DIR"),
    ] = None,
) -> None:
    """Write the native configuration for review, byte for byte as deploy submits it."""
    from pys_multi_tools import pipeline

    for placement in options.place(folder, stage, cloud):
        loaded = placement.loaded
        base = output if output is not None else loaded.project.root / ".pys-multi" / "render"
        into = base / placement.name / loaded.project.stage
        for path in pipeline.write(pipeline.render(placement), into):
            print(shown(path))


@app.command()
def deploy(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    canary: Annotated[
        str | None,
        typer.Option(
            "--canary", help="Share of the calls that the new build gets first: 10% or 10%,50%.", metavar="SHARE"
        ),
    ] = None,
    bake: Annotated[
        str, typer.Option("--bake", help="How long each share is watched for errors.", metavar="SPAN")
    ] = "5m",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Bring the service to each cloud and return once the new build serves.

    Everything is checked, planned and built before the first cloud is touched. Asks before something is deleted
    or replaced.
    """
    from pys_multi_tools import pipeline

    rollout = _rollout(canary, bake)
    placements = options.place(folder, stage, cloud)
    if rollout.steps:
        for placement in placements:
            pipeline.require_canary(placement)
    prepared = _prepared(placements)
    _confirm_losses([(place, plan) for place, plan, _ in prepared], yes)
    outputs: list[Outputs] = []
    for placement, plan, bundle in prepared:
        with progress_shown() as progress:
            deployed = pipeline.deploy(placement, progress, plan=plan, bundle=bundle, rollout=rollout)
        outputs.append(deployed.outputs)
        if not as_json:
            _print_outputs(placement, deployed.outputs)
    if as_json:
        print_json({"outputs": plain(outputs)})


@app.command()
def rollback(
    build_id: Annotated[
        str | None, typer.Argument(help="Build to return to. Default: the former one.", metavar="[BUILD]")
    ] = None,
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
) -> None:
    """Return to a former build; `status` lists them."""
    from pys_multi_tools import pipeline

    outputs: list[Outputs] = []
    for placement in options.place_live(folder, stage, cloud):
        with progress_shown() as progress:
            outputs.append(pipeline.rollback(placement, build_id, progress))
        if not as_json:
            _print_outputs(placement, outputs[-1])
    if as_json:
        print_json({"outputs": plain(outputs)})


@app.command()
def destroy(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete queues, tables and buckets with what is in them, too.")
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Remove all that deploy made; what holds data stays without --delete-data."""
    from pys_multi_tools import pipeline

    placements = options.place_live(folder, stage, cloud)
    for placement in placements:
        deployment = placement.deployment
        data = " and all of its data" if delete_data else ""
        confirm(f"destroy {deployment.service.name}, stage {deployment.stage}, on {placement.name}{data}?", yes)
    for placement in placements:
        with progress_shown() as progress:
            pipeline.destroy(placement, delete_data=delete_data, progress=progress)
        say(f"{placement.deployment.service.name} is gone from {placement.name}, stage {placement.deployment.stage}")


def _rollout(canary: str | None, bake: str) -> Rollout:
    """What --canary and --bake mean. Raises typer.BadParameter."""
    from pys_multi_tools.deployment import Rollout

    span = re.fullmatch(r"(\d+)([smh])", bake)
    if span is None:
        raise typer.BadParameter(f"'{bake}' is no span: write 30s, 5m or 1h", param_hint="--bake")
    steps: list[float] = []
    for share in canary.split(",") if canary is not None else ():
        number = re.fullmatch(r"(\d{1,2}(?:\.\d+)?)%", share.strip())
        if number is None or not float(number[1]) > (steps[-1] * 100 if steps else 0):
            hint = "write a share below 100%, such as 10%, or several that rise, such as 10%,50%"
            raise typer.BadParameter(f"'{canary}' is no share: {hint}", param_hint="--canary")
        steps.append(float(number[1]) / 100)
    return Rollout(steps=tuple(steps), bake=float(span[1]) * {"s": 1, "m": 60, "h": 3600}[span[2]])


def _compared(placement: Placement, progress: Callable[[Progress], None], refresh: bool) -> Plan:
    """The plan, with the code compared where any serves; else nothing needs to be built for it."""
    from pys_multi_tools import pipeline

    pipeline.require(placement)
    serves = any(function.build_id for function in pipeline.status(placement).functions)
    bundle = pipeline.bundle(placement, progress) if serves else None
    return pipeline.plan(placement, bundle, refresh=refresh)


def _prepared(placements: tuple[Placement, ...]) -> list[tuple[Placement, Plan, Bundle]]:
    """Check every cloud before anything is built, and build for every cloud before anything is deployed."""
    from pys_multi_tools import pipeline

    for placement in placements:
        pipeline.require(placement)
    with progress_shown() as progress:
        built = [(placement, pipeline.bundle(placement, progress)) for placement in placements]
    return [(placement, pipeline.plan(placement, bundle), bundle) for placement, bundle in built]


def _confirm_losses(plans: list[tuple[Placement, Plan]], yes: bool) -> None:
    for placement, plan in plans:
        losses = [change for change in plan.pending if change.action in ("delete", "replace")]
        if losses:
            _print_plan(placement.name, plan, stream_is_data=False)
            names = ", ".join(f"{change.kind} {change.name}" for change in losses)
            confirm(f"deploy to {placement.name} deletes or replaces {names}: go on?", yes)


def _print_plan(name: str, plan: Plan, stream_is_data: bool = True) -> None:
    stream = sys.stdout if stream_is_data else sys.stderr
    counts: dict[str, int] = {}
    for change in plan.changes:
        counts[change.action] = counts.get(change.action, 0) + 1
        if change.action == "unchanged":
            continue
        sign, colour = _SIGNS[change.action]
        marks = " [public]" if change.public else ""
        marks += " [loses data]" if change.data else ""
        reason = f"  ({change.reason})" if change.reason else ""
        line = f"{paint(f'{sign} {change.action}', colour, stream)} {change.kind} {change.name}{marks}{reason}"
        print(line, file=stream)
        for key, before, after in change.properties:
            print(f"    {key}: {before!r} → {after!r}", file=stream)
    stage = plan.deployment.stage
    total = ", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing"
    say(f"{name}, stage {stage}: {total}")


def _plan_json(name: str, plan: Plan) -> dict[str, object]:
    service = plan.deployment.service.name
    return {"cloud": name, "service": service, "stage": plan.deployment.stage, "changes": plain(plan.changes)}


def _print_outputs(placement: Placement, outputs: Outputs) -> None:
    builds = ", ".join(sorted(set(outputs.build_ids.values())))
    say(f"{outputs.service} serves on {placement.name}, stage {outputs.stage}, build {builds}")
    rows = [("url", outputs.url)] if outputs.url else []
    rows += sorted(outputs.values.items())
    if rows:
        print_table(("output", "value"), rows)
