"""A build onto its function: code, published version, proof that it starts, alias.

code      $LATEST runs the build                 UpdateFunctionCode, where its hash differs
publish   a version of $LATEST                   the same code and configuration is published once
prove     the version answers with its build id  before anybody else is answered by it
shift     the alias points to it                 at once, or in steps that errors turn back
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pys_multi_providers.aws import telemetry
from pys_multi_providers.aws.artefacts import Build
from pys_multi_providers.aws.client import AwsError, Cloud, while_not_yet
from pys_multi_providers.aws.names import ALIAS
from pys_multi_tools import canary
from pys_multi_tools.canary import Failures
from pys_multi_tools.deployment import Progress, Rollout
from pys_multi_tools.errors import DeployError
from pys_multi_tools.patience import Pause, each

Json = dict[str, Any]
OnProgress = Callable[[Progress], None]

LATEST = "$LATEST"
#: What a version is a snapshot of, as GetFunctionConfiguration says it.
_SNAPSHOT = (
    "CodeSha256",
    "Runtime",
    "Role",
    "Handler",
    "Timeout",
    "MemorySize",
    "Environment",
    "VpcConfig",
    "Layers",
    "EphemeralStorage",
    "Architectures",
    "LoggingConfig",
    "TracingConfig",
)
#: Settings that GetFunctionConfiguration says as the template does.
_PLAIN = ("Runtime", "Handler", "Timeout", "MemorySize", "EphemeralStorage", "Architectures")
#: Begins the description of every version, which the build id follows.
_BUILD = "build "
#: Seconds that an update of a function, and the first start of a new one, are waited for.
_UPDATE, _START = 600.0, 120.0


@dataclass(frozen=True, slots=True)
class Live:
    """A function as it is. version: what the alias points to; weights: of other versions. The configurations are
    of $LATEST and of that version."""

    name: str
    version: str
    weights: Mapping[str, float]
    latest: Json
    served: Json

    @property
    def build_id(self) -> str:
        """The build that is served; empty where it is not known."""
        description = str(self.served.get("Description", ""))
        return description.removeprefix(_BUILD) if description.startswith(_BUILD) else ""

    @property
    def is_current(self) -> bool:
        """Whether what is served is what $LATEST is."""
        return all(self.latest.get(key) == self.served.get(key) for key in _SNAPSHOT)

    @property
    def changed(self) -> set[str]:
        """Settings of $LATEST that are not those of the version that is served, if one is."""
        if self.version == LATEST:
            return set()
        return {key for key in _SNAPSHOT[1:] if self.latest.get(key) != self.served.get(key)}

    def follows(self, resource: Json) -> bool:
        """Whether $LATEST has the settings of a function in a template, as far as that can be told: those that are
        references there must not have changed, the plain ones must be the same."""
        if self.changed - {*_PLAIN, "Environment"}:
            return False
        properties = resource["Properties"]
        plain = {name: properties.get(name) for name in _PLAIN}
        variables = properties["Environment"]["Variables"]
        found = (self.latest.get("Environment") or {}).get("Variables") or {}
        return (
            {name: self.latest.get(name) for name in _PLAIN} == plain
            and found.keys() == variables.keys()
            and all(found[name] == value for name, value in variables.items() if isinstance(value, str))
        )

    def serves(self, build: Build) -> bool:
        """Whether it serves that build alone, with the configuration that the template gave it."""
        return (
            self.version != LATEST
            and not self.weights
            and self.build_id == build.id
            and self.latest.get("CodeSha256") == build.sha256
            and self.is_current
        )


class Functions:
    """The functions of a deployment. names: function → its name on AWS."""

    def __init__(self, cloud: Cloud, names: Mapping[str, str], progress: OnProgress) -> None:
        self._cloud, self._names, self._progress = cloud, names, progress

    # ---- what is live

    def live(self, name: str) -> Live | None:
        """A function as it is; None where it, or its alias, is not there."""
        try:
            alias = self._call("get_alias", name, Name=ALIAS)
            version = str(alias["FunctionVersion"])
            latest = self._call("get_function_configuration", name)
            served = self._call("get_function_configuration", name, Qualifier=version)
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise
        weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return Live(name, version, weights, latest, served)

    def all_live(self) -> dict[str, Live | None]:
        """Every function as it is."""
        names = list(self._names)
        return dict(zip(names, each(self.live, names), strict=True))

    # ---- a build onto a function

    def publish(self, name: str, build: Build, bucket: str, key: str) -> str:
        """The published version of the build, with $LATEST's configuration; it is proven to start."""
        latest = self._settled(name)
        if latest.get("CodeSha256") != build.sha256:
            self._say("code", name)
            while_not_yet(lambda: self._call("update_function_code", name, S3Bucket=bucket, S3Key=key), seconds=_UPDATE)
            latest = self._settled(name)
        live = self.live(name)
        if live is not None and live.version != LATEST and live.is_current and live.build_id == build.id:
            return live.version
        try:
            published = while_not_yet(
                lambda: self._call("publish_version", name, CodeSha256=build.sha256, Description=f"{_BUILD}{build.id}"),
                seconds=_UPDATE,
            )
        except AwsError as error:
            if "CodeSHA256" not in error.what and "CodeSha256" not in error.what:
                raise
            raise _overtaken(name) from error
        if published.get("CodeSha256", build.sha256) != build.sha256:
            raise _overtaken(name)
        version = str(published["Version"])
        self._say("publish", f"{name} version {version}, build {build.id}")
        return version

    def _settled(self, name: str) -> Json:
        """$LATEST's configuration, once no update of it is running."""
        deadline = time.monotonic() + _UPDATE
        pause = Pause(most=2.0)
        while True:
            found = self._call("get_function_configuration", name)
            state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
            if state == "Failed" or update == "Failed":
                reason = found.get("StateReason") or found.get("LastUpdateStatusReason") or "no reason was given"
                raise DeployError(
                    f"Lambda could not take the new code or configuration: {reason}",
                    where=f"function {name}",
                    hint="mend that and deploy again",
                )
            if state != "Pending" and update != "InProgress":
                return found
            if time.monotonic() > deadline:
                raise DeployError(
                    "Lambda is still updating it", where=f"function {name}", hint="deploy again: it goes on"
                )
            pause()

    def prove(self, name: str, qualifier: str, build: Build) -> None:
        """Has a version say which build it runs. Raises DeployError with the function's own error."""
        if self._is_stopped(name):
            return
        answer = while_not_yet(
            lambda: self._call(
                "invoke", name, Qualifier=qualifier, Payload=json.dumps({"pys_multi": {"health": True}}).encode()
            ),
            seconds=_START,
            also=_role_is_new,
        )
        try:
            health = json.loads(answer["Payload"])
        except ValueError:
            health = {}
        if not isinstance(health, dict):
            health = {}
        if answer.get("FunctionError") or "build_id" not in health:
            kind, text = health.get("errorType", ""), health.get("errorMessage", "")
            raise DeployError(
                f"the new build does not start: {': '.join(filter(None, (kind, text))) or 'it gave no answer'}",
                where=f"function {name}",
                hint="what served before goes on; see pys-multi logs, and deploy a build that starts",
                detail="".join(health.get("stackTrace") or ()),
            )
        if health["build_id"] != build.id:
            raise DeployError(
                f"it runs build {health['build_id']}, not {build.id}", where=f"function {name}", hint="deploy again"
            )

    def _is_stopped(self, name: str) -> bool:
        """Whether it may not run at all: its reserved concurrency is 0."""
        found = self._call("get_function_concurrency", name)
        return bool(found.get("ReservedConcurrentExecutions") == 0)

    # ---- shifting

    def shift(self, versions: Mapping[str, str], rollout: Rollout) -> None:
        """Points every alias to its version: at once, or in the steps of the rollout, back at errors."""
        before = {name: live for name, live in self.all_live().items() if live is not None and name in versions}
        moving = {name: v for name, v in versions.items() if before[name].version != v or before[name].weights}
        steps = {name: version for name, version in moving.items() if before[name].version not in (LATEST, version)}
        if rollout.steps and steps:
            self._bake(steps, {name: before[name].version for name in steps}, rollout)
        each(lambda item: self.point(*item), list(moving.items()))
        if moving:
            self._say("shift", f"{', '.join(sorted(moving))}: all calls")

    def _bake(self, versions: Mapping[str, str], former: Mapping[str, str], rollout: Rollout) -> None:
        def failures(name: str, version: str, begun: float) -> Failures:
            return telemetry.failures(self._cloud, self._names[name], version, begun)

        canary.bake(
            rollout,
            give=lambda share: each(lambda n: self.point(n, former[n], {versions[n]: share}), versions),
            failures=lambda begun: (
                (name, failures(name, versions[name], begun), failures(name, former[name], begun)) for name in versions
            ),
            back=lambda: each(lambda name: self.point(name, former[name]), former),
            say=self._say,
        )

    def point(self, name: str, version: str, weights: Mapping[str, float] | None = None) -> None:
        """Points the alias of a function to a version."""
        while_not_yet(
            lambda: self._call(
                "update_alias",
                name,
                Name=ALIAS,
                FunctionVersion=version,
                RoutingConfig={"AdditionalVersionWeights": dict(weights or {})},
            ),
            seconds=_UPDATE,
        )

    def has_version(self, name: str, version: str) -> bool:
        """Whether a published version is still there."""
        try:
            self._call("get_function_configuration", name, Qualifier=version)
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            return False
        return True

    def prune(self, name: str, live: str, count: int) -> None:
        """Deletes old versions, as the account's storage for code is limited: all but the newest ``count`` and the
        live one."""
        found = self._cloud.pages("lambda", "list_versions_by_function", "Versions", FunctionName=self._names[name])
        numbers = sorted((int(entry["Version"]) for entry in found if entry["Version"] != LATEST), reverse=True)
        for number in numbers[count:]:
            if str(number) != live:
                self._call("delete_function", name, Qualifier=str(number))

    def _call(self, operation: str, name: str, **arguments: Any) -> Json:
        return self._cloud.call("lambda", operation, FunctionName=self._names[name], **arguments)

    def _say(self, step: str, text: str, fraction: float | None = None) -> None:
        self._progress(Progress(step=step, text=text, fraction=fraction))


def _role_is_new(error: AwsError) -> bool:
    """What Lambda says while a role that was just made is not known everywhere."""
    return "role" in error.what and error.code in (
        "AccessDeniedException",
        "InvalidParameterValueException",
        "KMSAccessDeniedException",
    )


def _overtaken(name: str) -> DeployError:
    return DeployError(
        "another deploy changed the function in the meantime", where=f"function {name}", hint="deploy again"
    )
