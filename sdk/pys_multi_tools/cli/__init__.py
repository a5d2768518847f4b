"""The command line: a thin layer over the pipeline.

``main`` answers ``--version`` and ``--help`` by itself, before anything is imported that costs time; each
command's module is imported when that command runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pys_multi_tools.cli.table import COMPLETION_VARIABLE, help_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 failed, 2 usage, 3 changes pending, 130 interrupted."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started it, as a daemon may
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115  (until the process ends)
    try:
        code = _answer(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:  # before a command could say so itself
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return reader_is_gone()
    except OSError as error:
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        drop_output()
        return 1
    return code


def reader_is_gone() -> int:
    """Whoever read the output has had enough, as in `logs | head`: the rest goes nowhere, and all is well."""
    drop_output()
    return 0


def drop_output() -> None:
    """Sends what is still to be written to stdout nowhere, also what Python writes when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answer(given: list[str]) -> int:
    if COMPLETION_VARIABLE not in os.environ:
        if given in (["--version"], ["-V"]):
            from importlib.metadata import version

            print(f"pys-multi {version('pys-multi')}")
            return 0
        if given in ([], ["--help"], ["-h"], ["help"]):
            print(help_text())
            return 0
        if given[0] == "bundle":
            from pys_multi_tools.cli import quick

            if quick.bundle(given[1:]):
                return 0
    from pys_multi_tools.cli.group import run

    return run(given)
