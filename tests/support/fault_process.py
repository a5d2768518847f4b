"""Deploys and destroys in processes that may be killed: forked, so that what they import is imported once.

A `fault_driver.py` of a cloud calls `serve`; its tests talk to it through `Driver`. It reads lines of JSON: {"action":
"deploy" | "destroy", "mark": …, "endpoint": …}, and answers {"pid": …} once the process runs, and {"code": …, "text":
…} when it has ended. Exit codes are those of the command line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.fault_proxy import FaultProxy

from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle
from pys_multi_tools.errors import ToolError


class Driver:
    """The process that deploys, from the outside. endpoint: of the cloud itself; environment: beside this one's."""

    def __init__(self, script: Path, arguments: list[str], endpoint: str, environment: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            #: Mark → function → build.
            self.builds: dict[str, dict[str, str]] = self._read()["builds"]
        except BaseException:
            self.stop()
            raise

    def run(self, action: str, mark: str, proxy: FaultProxy | None = None) -> tuple[int, str]:
        """The exit code and what was said."""
        assert self._process.stdin is not None
        endpoint = proxy.url if proxy is not None else self._endpoint
        self._process.stdin.write(json.dumps({"action": action, "mark": mark, "endpoint": endpoint}) + "\n")
        self._process.stdin.flush()
        pid = self._read()["pid"]
        if proxy is not None:
            proxy.kill = lambda: os.kill(pid, signal.SIGKILL)
        ended = self._read()
        return ended["code"], ended["text"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the driver ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def serve(
    stages: Mapping[str, tuple[pipeline.Placement, Bundle]],
    enter: Callable[[pipeline.Placement, str], pipeline.Placement],
) -> None:
    """Does what it is told to until its input ends.

    stages: by mark. enter: called in the process that was forked, with the endpoint that it has to use.
    """
    builds = {
        mark: {name: artefact.build_id for name, artefact in bundle.artefacts.items()}
        for mark, (_, bundle) in stages.items()
    }
    print(json.dumps({"builds": builds}), flush=True)
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        placement, bundle = stages[wanted["mark"]]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            pid = os.fork()
            if pid == 0:
                os.dup2(said.fileno(), 2)
                os._exit(_run(wanted["action"], enter(placement, wanted["endpoint"]), bundle))
            print(json.dumps({"pid": pid}), flush=True)
            _, status = os.waitpid(pid, 0)
            said.seek(0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status), "text": said.read()}), flush=True)


def _run(action: str, placement: pipeline.Placement, bundle: Bundle) -> int:
    try:
        if action == "deploy":
            pipeline.deploy(placement, bundle=bundle)
        else:
            pipeline.destroy(placement, delete_data=True)
    except ToolError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        return 70
    return 0
