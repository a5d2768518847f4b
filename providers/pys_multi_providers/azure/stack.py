"""The ARM deployment of one service at one stage: what-if, incremental deployments, and how the last one ended.

Its name is the same in every deploy, so that Azure itself lets no two run at once ("DeploymentActive"). Which template
it is of stands in a tag of the deployment, by which the next run knows whether anything is left to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pys_multi_providers.azure.client import Cloud, digest
from pys_multi_providers.azure.errors import AzureError, innermost, refusal
from pys_multi_providers.azure.index import called
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError
from pys_multi_tools.patience import Pause

Json = dict[str, Any]

#: The tag that says which template and parameters a deployment is of.
TEMPLATE_TAG = "pys-multi-template"
_ENDED = ("Succeeded", "Failed", "Canceled", "Deleted")
#: How often a deployment is started again for a reason that passes, such as an identity not known everywhere yet.
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class State:
    """How the last deployment ended. template: which one it was of. resources: ids of all that it made."""

    status: str
    template: str
    outputs: Mapping[str, Any]
    resources: tuple[str, ...]
    error: Json

    @property
    def is_busy(self) -> bool:
        """Whether it runs still."""
        return self.status not in _ENDED


class Stack:
    """The deployment of that name."""

    def __init__(
        self,
        cloud: Cloud,
        name: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        progress: Callable[[Progress], None],
    ) -> None:
        self.cloud, self.name, self._tags, self._progress = cloud, name, tags, progress
        self._parameters = {key: {"value": value} for key, value in parameters.items()}

    # ---- looking

    def read(self) -> State | None:
        """How it is now; None where nothing was deployed."""
        found = self.cloud.deployment(self.name)
        if found is None:
            return None
        properties = found.get("properties") or {}
        return State(
            status=str(properties.get("provisioningState", "")),
            template=str((found.get("tags") or {}).get(TEMPLATE_TAG, "")),
            outputs={name: entry.get("value") for name, entry in (properties.get("outputs") or {}).items()},
            resources=tuple(entry["id"] for entry in properties.get("outputResources") or ()),
            error=dict(properties.get("error") or {}),
        )

    def ready(self) -> State | None:
        """The same, once nothing runs any more."""
        state = self.read()
        if state is not None and state.is_busy:
            self._say("wait", "another deployment of this service and stage is running")
            state = self._follow(quiet=True)
        return state

    def fits(self, state: State | None, text: str) -> bool:
        """Whether the last deployment ended well and was of this template."""
        return state is not None and state.status == "Succeeded" and state.template == self._digest(text)

    def template(self) -> Json:
        """The template of the last deployment, whether it ended well or not."""
        return self.cloud.deployed_template(self.name)

    def what_if(self, template: Mapping[str, Any]) -> Json:
        """What deploying a template would change."""
        return self.cloud.what_if(self.name, {"template": dict(template), "parameters": self._parameters})

    # ---- deploying

    def apply(self, text: str) -> State:
        """Deploys a template and follows that to its end. Raises DeployError with the innermost reason."""
        template = json.loads(text)
        total = len(template["resources"])
        for attempt in range(1, _ATTEMPTS + 1):
            state = self._attempt(text, template, total)
            if state is None:
                continue
            if state.status == "Succeeded":
                return state
            failure = self._failure(state)
            if attempt == _ATTEMPTS or not failure.may_pass:
                raise DeployError(failure.what, where=failure.where, hint=failure.hint or _MEND) from failure
            self._say("stack", f"{failure.where}: {failure.what}: trying again")
        raise DeployError(
            "other deployments of this service and stage run all the time",
            where=f"deployment {self.name}",
            hint="let one of them end, and deploy again",
        )

    def _attempt(self, text: str, template: Json, total: int) -> State | None:
        """One deployment; None where another one was in its way and has ended now."""
        tags = {**self._tags, TEMPLATE_TAG: self._digest(text)}
        try:
            self.cloud.start(self.name, {"template": template, "parameters": self._parameters}, tags)
        except AzureError as error:
            if error.code != "DeploymentActive":
                if error.status in (400, 409):  # Azure looks a template through before it begins
                    raise DeployError(error.what, where=error.where, hint=error.hint or _MEND) from error
                raise
            # Ours, where the answer to its start was lost and it was started again; else somebody's.
            self._say("wait", "a deployment of this service and stage is running already")
            state = self._follow(total=total)
            return state if self.fits(state, text) else None
        state = self._follow(total=total)
        if state is None or state.template != tags[TEMPLATE_TAG]:
            return None
        return state

    def _follow(self, *, total: int = 0, quiet: bool = False) -> State | None:
        """Tells what happens until the deployment has ended, and returns the state then."""
        pause, told = Pause(first=0.15, most=3.0), dict[str, str]()
        while True:
            state = self.read()
            if not quiet:
                self._tell(told, total)
            if state is None or not state.is_busy:
                return state
            pause()

    def _tell(self, told: dict[str, str], total: int) -> None:
        """Each resource as its operation changes; what did not change since the last look is not told again."""
        for operation in self.cloud.operations(self.name):
            properties = operation.get("properties") or {}
            target = (properties.get("targetResource") or {}).get("id", "")
            status = str(properties.get("provisioningState", ""))
            if not target or told.get(operation["operationId"]) == status:
                continue
            told[operation["operationId"]] = status
            ended = sum(status in _ENDED for status in told.values())
            text = f"{called(target)} {_words(status)}"
            if status == "Failed":
                text += f": {innermost(properties.get('statusMessage') or {})[1]}"
            fraction = min(1.0, ended / max(total, len(told))) if told else None
            self._progress(Progress(step="stack", text=text, fraction=fraction))

    def _failure(self, state: State) -> AzureError:
        """With the reason of the resource that failed first; what failed as a consequence says nothing."""
        for operation in self.cloud.operations(self.name):
            properties = operation.get("properties") or {}
            target = (properties.get("targetResource") or {}).get("id", "")
            if properties.get("provisioningState") == "Failed" and target:
                code, message = innermost(properties.get("statusMessage") or {})
                status = _status(str(properties.get("statusCode", "")))
                return refusal(code, message, status=status, asked=f"deployment {self.name}, {called(target)}")
        code, message = innermost(state.error)
        what = message or f"it ended {_words(state.status)}"
        return refusal(code, what, status=0, asked=f"deployment {self.name}")

    def forget(self) -> None:
        """Deletes the record; what was deployed stays."""
        self.cloud.forget(self.name)

    def _digest(self, text: str) -> str:
        return digest(text, json.dumps(self._parameters, sort_keys=True))

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))


_MEND = "mend that and deploy again: it goes on from there"


def _words(status: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in status).strip()


def _status(code: str) -> int:
    """The number of a status that an operation names ("Conflict")."""
    if code.isdigit():
        return int(code)
    return next((status.value for status in HTTPStatus if status.phrase.replace(" ", "") == code), 0)
