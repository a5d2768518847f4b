"""Deployments of services that are written in the test itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.gcp_document import Document

from pys_multi import App
from pys_multi.model import Service
from pys_multi_providers.gcp.provider import DOCUMENT, GcpProvider
from pys_multi_providers.gcp.settings import GcpSettings
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.project import Project
from pys_multi_tools.settings import Settings


def deployment(
    service: App | Service,
    *,
    stage: str = "dev",
    environment: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
    python: str = "3.13",
    **gcp: Any,
) -> Deployment:
    """A service at a stage; what is not named here is a setting of the provider."""
    model = service.service() if isinstance(service, App) else service
    settings = Settings(environment=environment or {}, secrets=secrets or {}, python=python, stage=stage)
    project = Project(root=Path("/nowhere"), settings=settings, stage=stage)
    gcp = {"project": "acme", "region": "europe-west1", **gcp}
    return Deployment(
        service=model, stage=stage, project=project, app="app:app", settings=GcpSettings.model_validate(gcp)
    )


def text(placed: Deployment) -> str:
    """What is rendered for a deployment."""
    return GcpProvider().render(placed)[DOCUMENT]


def document(placed: Deployment) -> Document:
    """What is rendered for a deployment, every body of it as Google's schema says."""
    return Document(text(placed))
