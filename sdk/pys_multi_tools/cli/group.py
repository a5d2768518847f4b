"""Finds the command, runs it, and turns every way it can end into an exit code and a message on stderr."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from pys_multi_tools.cli import drop_output, flags, reader_is_gone
from pys_multi_tools.cli.table import COMMANDS, COMPLETION_VARIABLE, NO_FLAGS
from pys_multi_tools.errors import ToolError
from pys_multi_tools.suggest import nearest

if TYPE_CHECKING:
    from typer._click import Command
    from typer._click.shell_completion import CompletionItem


#: Errors of the machine and not of the tool that name no file: a full or failing disk, no room for another open file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


class Commands(TyperGroup):
    """The commands of the table; a command's module is imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        app: typer.Typer = import_module(f"pys_multi_tools.cli.{COMMANDS[cmd_name][0]}").app
        return get_group(app if cmd_name in NO_FLAGS else flags.offered(app)).commands[cmd_name]

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # before Typer makes an error of it
            return reader_is_gone()

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        from typer._click.shell_completion import CompletionItem

        return [CompletionItem(name, help=COMMANDS[name][1]) for name in COMMANDS if name.startswith(incomplete)]


def run(arguments: list[str]) -> int:
    """Run ``pys-multi`` with ``arguments`` and return the exit code."""
    if COMPLETION_VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    elif arguments[0] not in COMMANDS:
        return _unknown(arguments[0])
    terminated: list[int] = []

    def on_terminate(number: int, _: object) -> None:
        terminated.append(number)
        raise KeyboardInterrupt  # the same way out as Ctrl-C, so that nothing stays half done or locked

    former = signal.signal(signal.SIGTERM, on_terminate)
    try:
        code = _main(arguments)
    finally:
        signal.signal(signal.SIGTERM, former)
    return 128 + terminated[0] if terminated else code


def _main(arguments: list[str]) -> int:
    try:
        result = Commands(name="pys-multi", rich_markup_mode=None).main(
            arguments, prog_name="pys-multi", complete_var=COMPLETION_VARIABLE, standalone_mode=False
        )
        sys.stdout.flush()
    except ToolError as exc:
        _say(str(exc))
        return exc.exit_code
    except typer.TyperException as exc:
        _say(_message(exc), f"pys-multi {arguments[0]} --help lists what it takes")
        return exc.exit_code
    except typer.Abort:
        print("aborted", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        result = 130
    except BrokenPipeError:
        return reader_is_gone()
    except OSError as exc:
        if exc.filename is None and exc.errno not in _FULL:
            return _defect()
        _say(f"{exc.filename}: {exc.strerror}" if exc.filename else f"{exc.strerror}")
        drop_output()
        return 1
    except Exception:
        return _defect()
    if result == 130:
        print("interrupted", file=sys.stderr)
    return result if isinstance(result, int) else 0


def _defect() -> int:
    traceback.print_exc()
    _say("this is a defect of pys-multi", "please report it with the lines above")
    return 1


def _unknown(word: str) -> int:
    if word.startswith("-"):
        _say(f"there is no option '{word}'", "pys-multi --help lists the commands")
        return 2
    guess = nearest(word, COMMANDS)
    hint = f"did you mean '{guess}'? " if guess else ""
    _say(f"there is no command '{word}'", f"{hint}pys-multi --help lists the commands")
    return 2


def _message(exc: typer.TyperException) -> str:
    option = getattr(exc, "option_name", None)
    near = getattr(exc, "possibilities", None)
    if option and near:
        return f"there is no option '{option}'; did you mean {' or '.join(near)}?"
    message = exc.format_message()
    return message[:1].lower() + message[1:].removesuffix(".")


def _say(message: str, hint: str = "") -> None:
    from pys_multi_tools.cli.output import paint

    text = f"{message}\n  → {hint}" if hint else message
    print(f"{paint('error:', 'red', sys.stderr)} {text}", file=sys.stderr)
