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
    given = list(sys.argv[1:] if arguments is None else arguments)
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
