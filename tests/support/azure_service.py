"""Deployments of services that are written in the test itself, and their templates as Resource Manager reads them."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from tests.support.arm.template import Context, Template

from pys_multi import App
from pys_multi.model import Service
from pys_multi_providers.azure.provider import TEMPLATE, AzureProvider
from pys_multi_providers.azure.settings import AzureSettings
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.project import Project
from pys_multi_tools.settings import Settings
from pys_multi_tools.testing import ProviderContract

Json = dict[str, Any]

SUBSCRIPTION, TENANT = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
#: What ends the names that are unique in the world, in these tests.
UNIQUE = "1a2b3c4d"
CONTEXT = Context(SUBSCRIPTION, TENANT, "g", "northeurope", {}, "nobody")


def deployment(
    service: App | Service,
    *,
    stage: str = "dev",
    environment: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
    python: str = "3.13",
    **azure: Any,
) -> Deployment:
    """A service at a stage; what is not named here is a setting of the provider."""
    model = service.service() if isinstance(service, App) else service
    settings = Settings(environment=environment or {}, secrets=secrets or {}, python=python, stage=stage)
    project = Project(root=Path("/nowhere"), settings=settings, stage=stage)
    own = AzureSettings.model_validate({"resource_group": "g", "location": "westeurope", **azure})
    return Deployment(service=model, stage=stage, project=project, app="app:app", settings=own)


#: Checks of the contract without the fixture `deployed` that ask the cloud all the same.
_ASKING = {
    "test_a_plan_submits_what_render_writes",
    "test_a_first_plan_creates_every_function",
    "test_no_secret_is_in_configuration_plan_or_bundle",
    "test_what_was_never_deployed_is_absent",
    "test_what_was_never_deployed_cannot_be_invoked",
    "test_what_was_never_deployed_can_be_destroyed",
}


def contract(*, cloud: bool) -> list[str]:
    """The checks of the contract of providers that need a cloud, or those that need none."""
    checks = inspect.getmembers(ProviderContract, inspect.isfunction)
    return [
        name
        for name, check in checks
        if name.startswith("test_") and cloud == (name in _ASKING or "deployed" in inspect.signature(check).parameters)
    ]


class Rendered:
    """A template whose expressions are evaluated; what resources say of themselves is "<what of whom>"."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.template = Template(json.loads(text), {"unique": {"value": UNIQUE}}, CONTEXT)
        self.resources: list[Json] = [
            {
                "id": resource.id,
                "type": resource.type,
                "apiVersion": resource.api,
                "name": resource.name,
                "needs": resource.needs,
                "body": self.template.body(resource, {"reference": _reference}),
            }
            for resource in self.template.resources
        ]

    def of(self, kind: str) -> dict[str, Json]:
        """Name → body, of the resources of one type."""
        return {entry["name"]: entry["body"] for entry in self.resources if entry["type"] == kind}

    def properties(self, kind: str, name: str) -> Json:
        """What one resource is put with."""
        found: Json = self.of(kind)[name]["properties"]
        return found

    def variables(self, function: str) -> dict[str, str]:
        """The settings of the app of a function."""
        for body in self.of("Microsoft.Web/sites").values():
            if body["tags"]["pys-multi-function"] == function:
                return {item["name"]: item["value"] for item in body["properties"]["siteConfig"]["appSettings"]}
        raise LookupError(function)

    def roles(self, function: str) -> set[tuple[str, str]]:
        """(id of a role, end of the id of what it is on) of a function's identity, or of one named otherwise."""
        found = set()
        for entry in self.resources:
            if entry["type"] == "Microsoft.Authorization/roleAssignments":
                body = entry["body"]["properties"]
                if body["principalId"] == f"<principalId of {function}>":
                    scope = entry["id"].partition("/providers/Microsoft.Authorization")[0].partition("/providers/")[2]
                    found.add((body["roleDefinitionId"].rpartition("/")[2], scope))
        return found


def template(placed: Deployment) -> Rendered:
    """What is rendered for a deployment."""
    return Rendered(AzureProvider().render(placed)[TEMPLATE])


def _reference(id: str, api: str = "") -> Json:
    name = id.rpartition("/")[2].removesuffix(f"-{UNIQUE}")
    return {key: f"<{key} of {name}>" for key in ("principalId", "clientId", "ConnectionString", "defaultHostName")}
