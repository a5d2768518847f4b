"""new, check, show, openapi: what a person needs while writing a service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import paint, plain, print_json, print_table, say, shown

if TYPE_CHECKING:
    from pys_multi.model import Service, Trigger

app = typer.Typer(rich_markup_mode=None)


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="Folder to make.", metavar="DIR")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the service. Default: the folder's.", metavar="NAME")
    ] = None,
) -> None:
    """Make a project that runs at once, with its own tests."""
    from pys_multi_tools.new_project import create

    written = create(folder, name)
    for path in written:
        print(shown(path))
    change = "" if folder.resolve() == Path.cwd() else f"cd {quote(shown(folder.resolve()))} && "
    say(f"next: {change}pys-multi dev")


@app.command()
def check(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
) -> int:
    """Say everything that keeps the service from running, and which routes are public.

    Exits with 1 when there is an error; warnings alone are well.
    """
    from pys_multi_tools import pipeline
    from pys_multi_tools.check import public_routes

    placements = options.place(folder, stage, cloud)
    problems = {placement.name: pipeline.check(placement) for placement in placements}
    service = placements[0].loaded.service
    public = public_routes(service)
    errors = sum(problem.severity == "error" for found in problems.values() for problem in found)
    if as_json:
        routes = [{"function": function, "route": route} for function, route in public]
        print_json({"problems": plain(problems), "public_routes": routes, "service": service.to_json()})
        return 1 if errors else 0
    for name, found in problems.items():
        for problem in found:
            colour = "red" if problem.severity == "error" else "yellow"
            print(f"{paint(f'{problem.severity}:', colour, sys.stdout)} {name}: {problem.where}: {problem.what}")
            print(f"  → {problem.hint}")
    for function, route in public:
        print(f"public: {route} ({function})")
    clouds = " and ".join(problems)
    say(f"{errors} error{'s' if errors != 1 else ''}" if errors else f"the service can run on {clouds}")
    return 1 if errors else 0


@app.command()
def show(folder: options.Folder = None, stage: options.Stage = None, as_json: options.Json = False) -> None:
    """Show the service: functions, triggers, resources and grants."""
    service = options.load(folder, stage).service
    if as_json:
        print(json.dumps(service.to_json(), indent=2, ensure_ascii=False))
        return
    print(f"service {paint(service.name, 'bold', sys.stdout)}")
    for function in service.functions:
        print(
            f"\nfunction {paint(function.name, 'bold', sys.stdout)}  {function.memory} MB, {function.timeout:g} s, "
            f"{function.concurrency} at once"
        )
        for trigger in function.triggers:
            print(f"  {_described(trigger)}")
        for grant in function.grants:
            print(f"  may {', '.join(grant.verbs)} on {grant.resource}")
    if service.resources:
        print()
        print_table(("resource", "name"), [(resource.kind, resource.name) for resource in service.resources])
    _say_totals(service)


@app.command()
def openapi(folder: options.Folder = None, stage: options.Stage = None) -> None:
    """Print the OpenAPI 3.1 document of the routes."""
    from pys_multi_tools import pipeline

    print(json.dumps(pipeline.openapi(options.load(folder, stage)), indent=2, ensure_ascii=False))


def _described(trigger: Trigger) -> str:
    """One line for a trigger, in the words of its decorator."""
    from pys_multi import model

    match trigger:
        case model.Route():
            text = f"{trigger.method} {trigger.path}{_access(trigger)}"
        case model.Mount():
            text = f"{trigger.interface} {trigger.path}{_access(trigger)}"
        case model.Schedule():
            text = f"schedule {trigger.expression} ({trigger.timezone})"
        case model.Consume():
            text = f"consume {trigger.queue}, batch of {trigger.batch}"
        case model.Subscribe():
            text = f"subscribe {trigger.topic}"
        case model.ObjectEvent():
            text = f"{trigger.event} in {trigger.bucket}: {trigger.prefix}*{trigger.suffix}"
    return f"{text}  → {trigger.handler}"


def _access(trigger: Trigger) -> str:
    if getattr(trigger, "public", False):
        return f"  {paint('public', 'yellow', sys.stdout)}"
    return "  authenticated" if getattr(trigger, "auth", None) else "  private"


def _say_totals(service: Service) -> None:
    triggers = sum(len(function.triggers) for function in service.functions)
    counts = {"function": len(service.functions), "trigger": triggers, "resource": len(service.resources)}
    say(", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items()))
