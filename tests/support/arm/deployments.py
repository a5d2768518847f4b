"""ARM deployments: resources in the order of what they need, each an operation to look at; one of a name at a time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.arm.expressions import InvalidTemplate, Refused
from tests.support.arm.resources import World
from tests.support.arm.template import Context, Pending, Resource, Template

Json = dict[str, Any]


@dataclass
class Deployment:
    """One deployment; its record is what a GET answers."""

    id: str
    name: str
    tags: Json
    template: Template
    parameters: Json
    state: str = "Accepted"
    error: Json | None = None
    outputs: Json = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    operations: list[Json] = field(default_factory=list)
    is_canceled: bool = False

    def record(self) -> Json:
        properties: Json = {
            "mode": "Incremental",
            "provisioningState": self.state,
            "timestamp": "2026-11-24T10:00:00Z",
            "duration": "PT1S",
            "correlationId": str(uuid.UUID(int=0)),
            "templateHash": "0",
            "parameters": {name: {"type": "String", **entry} for name, entry in self.parameters.items()},
            "providers": [],
            "dependencies": [],
        }
        if self.state == "Succeeded":
            properties["outputs"] = self.outputs
            properties["outputResources"] = [{"id": id} for id in self.made]
        if self.error is not None:
            properties["error"] = self.error
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Resources/deployments",
            "tags": self.tags,
            "properties": properties,
        }


class Deployments:
    """The deployments of all groups."""

    def __init__(self, world: World, context: Callable[[str], Context]) -> None:
        self._world, self._context = world, context
        self.all: dict[tuple[str, str], Deployment] = {}
        self._threads: list[threading.Thread] = []
        #: Called before each resource; a test lets a deployment wait or fail in it.
        self.before: Callable[[Resource], None] = lambda _: None

    def get(self, group: str, name: str) -> Deployment:
        found = self.all.get((group.lower(), name.lower()))
        if found is None:
            raise Refused("DeploymentNotFound", f"Deployment '{name}' could not be found.", 404)
        return found

    def read(self, group: str, body: Json) -> tuple[Template, Json]:
        """Raises Refused for what Resource Manager finds wrong before it begins."""
        properties = body.get("properties", {})
        known = {"mode", "template", "parameters", "whatIfSettings"}
        if properties.get("mode") != "Incremental" or set(properties) - known:
            raise Refused("InvalidDeployment", f"mode or properties {sorted(properties)}")
        parameters = properties.get("parameters", {})
        try:
            return Template(properties["template"], parameters, self._context(group)), parameters
        except InvalidTemplate as error:
            text = f"Deployment template validation failed: '{error}'."
            raise Refused("InvalidTemplate", text) from error

    def put(self, group: str, name: str, body: Json) -> Deployment:
        template, parameters = self.read(group, body)
        key = (group.lower(), name.lower())
        with self._world.lock:
            running = self.all.get(key)
            if running is not None and running.state in ("Accepted", "Running"):
                raise Refused(
                    "DeploymentActive",
                    f"Unable to edit or replace deployment '{name}': previous deployment from '11/24/2026' is still "
                    "active (expiration time is '12/1/2026').",
                    409,
                )
            id = f"{template.context.group_id}/providers/Microsoft.Resources/deployments/{name}"
            made = self.all[key] = Deployment(id, name, body.get("tags", {}), template, parameters)
        thread = threading.Thread(target=self._run, args=(made,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return made

    def cancel(self, group: str, name: str) -> None:
        self.get(group, name).is_canceled = True

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)

    # ---- running

    def _run(self, deployment: Deployment) -> None:
        try:
            self._apply(deployment)
        except BaseException as error:  # a fault of the server's own must not look like Azure's silence
            deployment.error = {"code": "ServerBroke", "message": f"{type(error).__name__}: {error}"}
            deployment.state = "Failed"
            raise

    def _apply(self, deployment: Deployment) -> None:
        deployment.state = "Running"
        template = deployment.template
        # From the end: what does not say what it needs is not lucky.
        left, done, failures = list(reversed(template.resources)), set[str](), list[Json]()
        while left and not deployment.is_canceled:
            ready = self._next(template, left, done)
            if ready is None:
                break
            resource, body = ready
            left.remove(resource)
            error = self._put(deployment, resource, body)
            if error is None:
                done.add(resource.id.lower())
                deployment.made.append(resource.id)
            else:
                failures.append(error)
        if deployment.is_canceled:
            deployment.error = {"code": "DeploymentCanceled", "message": "The deployment was canceled."}
            deployment.state = "Canceled"
        elif failures:
            deployment.error = {
                "code": "DeploymentFailed",
                "target": deployment.id,
                "message": "At least one resource deployment operation failed. Please list deployment operations for "
                "details. Please see https://aka.ms/arm-deployment-operations for usage details.",
                "details": failures,
            }
            deployment.state = "Failed"
        elif left:
            names = ", ".join(resource.name for resource in left)
            deployment.error = {"code": "InvalidTemplate", "message": f"Circular dependency: {names}"}
            deployment.state = "Failed"
        else:
            deployment.outputs = template.outputs(self._runtime(template, {r.id.lower() for r in template.resources}))
            deployment.state = "Succeeded"

    def _next(
        self, template: Template, left: list[Resource], done: set[str]
    ) -> tuple[Resource, Json | Exception] | None:
        runtime = self._runtime(template, done)
        for resource in left:
            if not resource.needs <= done:
                continue
            try:
                return resource, template.body(resource, runtime)
            except Pending:
                continue
            except (InvalidTemplate, Refused) as error:
                return resource, error
        return None

    def _runtime(self, template: Template, done: set[str]) -> Json:
        def reference(what: str, api: str | None = None, full: str = "") -> Any:
            if not what.startswith("/"):
                [id] = [r.id for r in template.resources if r.name == what] or [what]
                if id.lower() not in done:  # a name is of this template, and makes it wait
                    raise Pending
                what = id
            elif api is None and what.lower() in template.by_id and what.lower() not in done:
                raise Pending
            entry = self._world.get(what)
            if entry is None:
                raise Refused("ResourceNotFound", f"The Resource '{what}' was not found.", 404)
            return entry if full else entry["properties"]

        return {"reference": reference}

    def _put(self, deployment: Deployment, resource: Resource, body: Json | Exception) -> Json | None:
        """One operation. Returns its error."""
        operation: Json = {
            "id": f"{deployment.id}/operations/{len(deployment.operations):016X}",
            "operationId": f"{len(deployment.operations):016X}",
            "properties": {
                "provisioningOperation": "Create",
                "provisioningState": "Running",
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "duration": "PT0S",
                "targetResource": {
                    "id": resource.id,
                    "resourceType": resource.type,
                    "resourceName": resource.name,
                },
            },
        }
        deployment.operations.append(operation)
        properties = operation["properties"]
        try:
            self.before(resource)
            if isinstance(body, Exception):
                raise body
            _, is_new = self._world.put(resource.id, resource.api, body)
        except (Refused, InvalidTemplate) as error:
            status = getattr(error, "status", 400)
            inner = {"code": error.code, "message": str(error)}
            properties |= {
                "provisioningState": "Failed",
                "statusCode": {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "Conflict"}.get(
                    status, str(status)
                ),
                "statusMessage": {"status": "Failed", "error": inner},
            }
            return inner
        properties |= {"provisioningState": "Succeeded", "statusCode": "Created" if is_new else "OK"}
        return None
