"""Deploys to Azure and destroys in processes that may be killed (``tests/support/fault_process.py``)."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import azure.identity
import azure.mgmt.resource.deployments
import msal
import requests
from tests.support.azure_stage import AzureStage
from tests.support.fault_process import serve

from pys_multi_providers.azure import apps, artefacts, client, engine, inventory, observe, secret_values  # noqa: F401
from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle

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
    serve(stages, enter)


def enter(placement: pipeline.Placement, endpoint: str) -> pipeline.Placement:
    os.environ["IDENTITY_ENDPOINT"] = f"{endpoint}/msi/token"
    settings: Any = placement.deployment.settings
    named = {kind: endpoint for kind, value in settings.endpoints.model_dump().items() if value}
    settings = settings.model_copy(update={"endpoints": settings.endpoints.model_copy(update=named)})
    return replace(placement, deployment=replace(placement.deployment, settings=settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
