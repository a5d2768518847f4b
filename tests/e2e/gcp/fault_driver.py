"""Deploys and destroys in processes that may be killed: forked, so that what they import is imported once.

Reads lines of JSON: {"action": "deploy" | "destroy", "mark": …, "endpoint": …}. Answers {"pid": …} once the process
runs, and {"code": …, "text": …} when it has ended. Exit codes are those of the command line.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_stage import GcpStage

from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle
from pys_multi_tools.errors import ToolError

#: What every deploy imports, and what takes longer than its calls do here.
SLOW = ("google.cloud.functions_v2", "google.cloud.run_v2", "googleapiclient.discovery", "google.auth.compute_engine")
SLOW += ("google.auth.impersonated_credentials", "pys_multi_providers.gcp.observe")


def main(folder: str, service: str) -> None:
    for name in SLOW:
        importlib.import_module(name)
    stages: dict[str, tuple[pipeline.Placement, Bundle]] = {}
    for mark in ("one", "two"):
        stage = GcpStage(Path(folder) / mark, service)
        stage.write(mark)
        placement = stage.place()
        pipeline.require(placement)
        stages[mark] = (placement, stage.bundle(placement))
    print(json.dumps({"builds": {mark: _builds(bundle) for mark, (_, bundle) in stages.items()}}), flush=True)
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        placement, bundle = stages[wanted["mark"]]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            pid = os.fork()
            if pid == 0:
                os.dup2(said.fileno(), 2)
                os.environ.update(ControlPlane.endpoints(wanted["endpoint"]))
                os._exit(_run(wanted["action"], placement, bundle))
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


def _builds(bundle: Bundle) -> dict[str, str]:
    return {name: artefact.build_id for name, artefact in bundle.artefacts.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
