"""providers, doctor, permissions, completion: the machine that the tools run on, and what it may do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pys_multi_tools.cli import flags, options
from pys_multi_tools.cli.output import paint, plain, print_json, print_table, say
from pys_multi_tools.cli.table import COMPLETION_VARIABLE
from pys_multi_tools.provider import Purpose

app = typer.Typer(rich_markup_mode=None)
completion = typer.Typer(rich_markup_mode=None, help="Show or install shell completion.")
app.add_typer(completion, name="completion")

_SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
Shell = Annotated[
    str | None,
    typer.Argument(help=f"One of {', '.join(_SHELLS)}. Default: the shell this runs in.", metavar="[SHELL]"),
]


@app.command()
def providers(as_json: options.Json = False) -> int:
    """List the installed providers and what each can do. Exits with 1 when one does not load."""
    from pys_multi_tools import machine

    found = machine.providers()
    if as_json:
        print_json({"providers": plain(found)})
    else:
        rows = [
            (
                info.name,
                f"{info.distribution} {info.version}",
                ", ".join(info.triggers),
                ", ".join(info.resources),
                ", ".join(info.features),
                info.error,
            )
            for info in found
        ]
        print_table(("provider", "from", "triggers", "resources", "features", "error"), rows)
    return 1 if any(info.error for info in found) else 0


@app.command()
def doctor(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
) -> int:
    """Look at this machine, the project, and each provider's credentials. Exits with 1 when something is wrong."""
    from pys_multi_tools import machine

    findings = machine.doctor(options.root_of(folder), stage, clouds=cloud or (), flags=flags.given())
    wrong = [finding for finding in findings if not finding.ok]
    if as_json:
        print_json({"findings": plain(findings)})
        return 1 if wrong else 0
    for finding in findings:
        mark = paint("ok   ", "green", sys.stdout) if finding.ok else paint("wrong", "red", sys.stdout)
        print(f"{mark}  {finding.subject}: {finding.text}")
        if finding.hint and not finding.ok:
            print(f"       → {finding.hint}")
    say(f"{len(wrong)} of {len(findings)} need attention" if wrong else "all is well")
    return 1 if wrong else 0


@app.command()
def permissions(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    account: Annotated[
        str | None, typer.Option("--account", help="Account at the cloud that is deployed to.", metavar="ID")
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option(
            "--github",
            help="Print also what lets workflows of this GitHub repository deploy: OWNER/NAME, or OWNER@ID/NAME@ID.",
            metavar="REPOSITORY",
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            "--environment",
            help="The repository's environment. Default: the stage's name, plan or preview.",
            metavar="NAME",
        ),
    ] = None,
    purpose: Annotated[
        Purpose,
        typer.Option("--for", help="deploy to the stage; preview: to every stage pr-…; plan: look, change nothing."),
    ] = "deploy",
) -> None:
    """Print the least rights that deploying needs, or previews or a plan, as JSON in the cloud's own form."""
    from pys_multi_tools import pipeline

    for placement in options.place(folder, stage, cloud):
        print_json(
            pipeline.permissions(
                placement, account=account, repository=repository, environment=environment, purpose=purpose
            )
        )


@completion.command("show")
def show_completion(shell: Shell = None) -> None:
    """Print the script, for a shell's own start-up file."""
    from typer._completion_shared import get_completion_script

    name = _shell(shell)
    print(get_completion_script(prog_name="pys-multi", complete_var=COMPLETION_VARIABLE, shell=name))


@completion.command("install")
def install_completion(shell: Shell = None) -> None:
    """Install completion for the current user; a new terminal has it."""
    from typer._completion_shared import install

    name, path = install(shell=_shell(shell), prog_name="pys-multi", complete_var=COMPLETION_VARIABLE)
    say(f"{name} completion is installed in {path}; open a new terminal")


def _shell(given: str | None) -> str:
    from typer._completion_shared import _get_shell_name

    name = given or _get_shell_name()
    if name not in _SHELLS:
        what = f"'{name}' has no completion" if name else "the shell cannot be told"
        raise typer.BadParameter(f"{what}: name one of {', '.join(_SHELLS)}", param_hint="SHELL")
    return name
