"""Deploys to Google Cloud and destroys in processes that may be killed (``tests/support/fault_process.py``)."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from tests.support.fault_process import serve
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_stage import GcpStage

from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle

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
    serve(stages, enter)


def enter(placement: pipeline.Placement, endpoint: str) -> pipeline.Placement:
    os.environ.update(ControlPlane.endpoints(endpoint))
    return placement


if __name__ == "__main__":
    main(*sys.argv[1:])
