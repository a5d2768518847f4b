"""Deploys and destroys in processes that may be killed: forked, so that what they import is imported once.

Reads lines of JSON: {"action": "deploy" | "destroy", "mark": …, "endpoint": …}. Answers {"pid": …} once the process
runs, and {"code": …, "text": …} when it has ended. Exit codes are those of the command line.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import azure.identity
import azure.mgmt.resource.deployments
import msal
import requests
from tests.support.azure_stage import AzureStage

from pys_multi_providers.azure import apps, artefacts, client, engine, inventory, observe, secret_values  # noqa: F401
from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle
from pys_multi_tools.errors import ToolError

#: What is imported before the fork, and used in what is forked.
WARM = (azure.identity, azure.mgmt.resource.deployments, msal, requests)


def main(folder: str, service: str, url: str) -> None:
    apps.PATIENCE = 5.0
    stages: dict[str, tuple[pipeline.Placement, Bundle]] = {}
    for mark in ("one", "two"):
        stage = AzureStage(Path(folder) / mark, url, service)
        stage.write(mark)
        placement = stage.place()
        stages[mark] = (placement, stage.bundle(placement))
    print(json.dumps({"builds": {mark: _builds(bundle) for mark, (_, bundle) in stages.items()}}), flush=True)
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        placement, bundle = stages[wanted["mark"]]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            pid = os.fork()
            if pid == 0:
                os.dup2(said.fileno(), 2)
                os.environ["IDENTITY_ENDPOINT"] = f"{wanted['endpoint']}/msi/token"
                os._exit(_run(wanted["action"], _through(placement, wanted["endpoint"]), bundle))
            print(json.dumps({"pid": pid}), flush=True)
            _, status = os.waitpid(pid, 0)
            said.seek(0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status), "text": said.read()}), flush=True)


def _through(placement: pipeline.Placement, endpoint: str) -> pipeline.Placement:
    """The same, by way of an endpoint."""
    settings: Any = placement.deployment.settings
    named = {kind: endpoint for kind, value in settings.endpoints.model_dump().items() if value}
    settings = settings.model_copy(update={"endpoints": settings.endpoints.model_copy(update=named)})
    return replace(placement, deployment=replace(placement.deployment, settings=settings))


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
