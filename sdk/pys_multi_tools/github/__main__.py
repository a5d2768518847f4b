"""What action.yml runs: ``python -m pys_multi_tools.github``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from pys_multi_tools.errors import ToolError
from pys_multi_tools.github.redaction import Redactor, secrets_of
from pys_multi_tools.github.runner import Runner, one_stream

_MATCHER = Path(__file__).with_name("matcher.json")


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run the command that the inputs name, and return the exit code."""
    runner = Runner(environment, Redactor(secrets_of(environment)))
    one_stream()
    try:
        runner.matchers(_MATCHER)
        return run(environment, runner)
    finally:
        runner.resume()


def run(environment: Mapping[str, str], runner: Runner) -> int:
    """The same, with the runner to tell of it; every way it can end is said there."""
    # Only now: what is imported from here on may print.
    from pys_multi_tools.github.commands import Action
    from pys_multi_tools.github.event import Event
    from pys_multi_tools.github.inputs import Inputs
    from pys_multi_tools.github.report import block
    from pys_multi_tools.github.tool import Cancelled

    try:
        return Action(environment, Inputs.read(environment), Event.read(environment), runner).run()
    except ToolError as exc:
        runner.annotate("error", str(exc), title="pys-multi")
        runner.summary(f"### pys-multi failed\n\n{block(str(exc))}")
        return exc.exit_code
    except (Cancelled, KeyboardInterrupt):
        runner.annotate("warning", "cancelled: nothing is locked, and the next run goes on from here")
        return 130
    except Exception:
        for line in traceback.format_exc().splitlines():
            runner.line(line)
        runner.annotate("error", "this is a defect of pys-multi: please report it with the lines above")
        return 1


if __name__ == "__main__":
    sys.exit(main())
