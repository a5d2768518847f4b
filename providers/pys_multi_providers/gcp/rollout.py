"""A build onto its functions: deployed beside what serves, proven, and only then called.

pin      what serves now keeps its calls, whatever is deployed       traffic by the name of the revision
deploy   the function is made or changed: build, revision, start     a long-running operation
prove    the new revision says which build it is                     by a tag of its own, before anybody else calls it
shift    the calls go to it                                          at once, or in steps that errors turn back
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pys_multi_providers.gcp import operations, telemetry
from pys_multi_providers.gcp.client import FUNCTIONS, SERVICES, Cloud
from pys_multi_providers.gcp.difference import differences, mask_of, masked
from pys_multi_providers.gcp.document import BUILD_LABEL, Entry
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.kinds import KINDS
from pys_multi_providers.gcp.live import Owned
from pys_multi_providers.gcp.making import foreign
from pys_multi_providers.gcp.steps import SAID, Step, short, unfinished
from pys_multi_tools import canary
from pys_multi_tools.calling import call
from pys_multi_tools.canary import Failures
from pys_multi_tools.deployment import Invocation, Progress, Rollout
from pys_multi_tools.errors import DeployError, ProviderError
from pys_multi_tools.patience import Pause, each

Json = dict[str, Any]
OnProgress = Callable[[Progress], None]

#: The tag of a revision that is being proven: Cloud Run wants three letters, and 46 at most with the service's name.
TAG = "new"
_TAGGED = 46
_BY_REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_ALL_ON_LATEST, _SOURCE = "serviceConfig.allTrafficOnLatestRevision", "buildConfig.source"
#: Seconds that new rights and a new address may take to be known everywhere; that a start may fail; that a deploy
#: waits for another one's operation.
_KNOWN, _START, _BUSY = 240.0, 30.0, 1800.0
HEALTH = "/.pys-multi/health"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where the calls of a service go. shares: percent by revision; is_pinned: by name, so that nothing moves alone."""

    shares: Mapping[str, int]
    is_pinned: bool
    tagged: Mapping[str, str] = field(default_factory=dict)

    def is_all_on(self, revision: str) -> bool:
        """Whether one revision alone is called, and stays so."""
        return self.is_pinned and dict(self.shares) == {revision: 100} and not self.tagged

    @property
    def main(self) -> str:
        """The revision that gets most calls."""
        return max(self.shares, key=lambda name: self.shares[name], default="")


def traffic_of(service: Mapping[str, Any]) -> Traffic:
    """Where the calls of a service of Cloud Run go."""
    latest = short(str(service.get("latestReadyRevision", "")))
    shares: dict[str, int] = {}
    tagged: dict[str, str] = {}
    is_pinned = bool(service.get("traffic"))
    for target in service.get("traffic") or ({"percent": 100},):
        revision = str(target.get("revision") or latest)
        if target.get("percent"):
            shares[revision] = shares.get(revision, 0) + int(target["percent"])
            is_pinned = is_pinned and bool(target.get("revision"))
        if target.get("tag"):
            tagged[str(target["tag"])] = revision
    return Traffic(shares, is_pinned, tagged)


def revision_of(function: Mapping[str, Any]) -> str:
    """The revision that the last deploy of a function made."""
    return str(function.get("serviceConfig", {}).get("revision", ""))


def build_of(function: Mapping[str, Any]) -> str:
    """The build that a function was deployed with last."""
    return str((function.get("labels") or {}).get(BUILD_LABEL, ""))


class Functions:
    """Deploys and shifts. events: e-mail of the account that events come from, which every function lets pass."""

    def __init__(self, cloud: Cloud, is_owned: Owned, events: str, progress: OnProgress) -> None:
        self._cloud, self._is_owned, self._events, self._progress = cloud, is_owned, events, progress

    # ---- deploy

    def deploy(self, step: Step) -> Json:
        """Makes or changes a function; returns it as it is then, active, though nobody calls the new revision yet."""
        entry, body = step.entry, dict(step.body)
        what = f"function {short(entry.name)}"
        found = self.settled(entry) if step.live is not None else None
        deadline = time.monotonic() + _BUSY
        known = time.monotonic() + _KNOWN
        pause = Pause(first=0.3, most=10.0)
        # An interrupted deploy may have ended well by now.
        forced = bool(step.reason) and (step.live or {}).get("state") != "DEPLOYING"
        while True:
            try:
                if found is None:
                    begun = self._create(entry, body, what)
                else:
                    if not self._is_owned(FUNCTIONS, found):
                        raise foreign(entry)
                    differing = differences(body, found, ignored=SAID)
                    if not differing and not unfinished(found) and not forced:
                        return found
                    begun = self._change(entry, body, found, what)
            except GcpError as error:
                if not _may_pass(error) or time.monotonic() > (known if error.code == "INVALID_ARGUMENT" else deadline):
                    raise
                pause()
                found = self.settled(entry)
                continue
            if self._followed(begun, what, known):
                forced = False
                found = self.settled(entry)
                if found is not None and not unfinished(found):
                    return found
                if found is not None:
                    raise _failed(what, unfinished(found))
            else:
                pause()
                found = self.settled(entry)
                forced = True

    def _create(self, entry: Entry, body: Json, what: str) -> Json:
        self._say("create", what)
        kind = KINDS[FUNCTIONS]
        return self._cloud.call(FUNCTIONS, "create", **kind.create(self._cloud, entry.name, _held(body)))

    def _change(self, entry: Entry, body: Json, found: Json, what: str) -> Json:
        differing = differences(body, found, ignored=SAID)
        paths = mask_of(differing, KINDS[FUNCTIONS].depth)
        if not differing or build_of(found) != build_of(body):
            # The same source builds again where nothing else differs, as after a build that failed.
            paths = f"{paths},{_SOURCE}".lstrip(",")
        self._say("update", f"{what}: {paths.replace(',', ', ').replace(_SOURCE, 'code')}")
        self._pin(found)
        mask = f"{paths},{_ALL_ON_LATEST}"
        change = masked(_held(body), mask)
        if "labels" in change:
            change["labels"] = {**(found.get("labels") or {}), **change["labels"]}
        # Asked twice it would be refused as already running, so that is looked into here.
        return self._cloud.call(FUNCTIONS, "patch", again=False, name=entry.name, body=change, updateMask=mask)

    def _followed(self, begun: Json, what: str, known: float) -> bool:
        """Whether the operation ended well; False where it may do so if it is tried once more."""

        def say(seconds: float) -> None:
            self._say("wait", f"{what} is built and started, {seconds:.0f} s so far")

        try:
            operations.follow(self._cloud, "cloudfunctions", begun, what, say)
        except GcpError as error:
            if error.maybe:
                return True  # its end is looked at
            # Rights that were given a moment ago are not known everywhere.
            if "ermission denied on secret" in error.what and time.monotonic() < known:
                return False
            raise _failed(what, error.what) from error
        return True

    def settled(self, entry: Entry) -> Json | None:
        """A function once nothing is done to it any more; None where it is not there."""
        deadline = time.monotonic() + _BUSY
        pause, told = Pause(first=0.1, most=5.0), False
        while True:
            try:
                found = self._cloud.call(FUNCTIONS, "get", name=entry.name)
            except GcpError as error:
                if error.is_gone:
                    return None
                raise
            if found.get("state") not in ("DEPLOYING", "DELETING") or time.monotonic() > deadline:
                return found
            if not told:
                told = True
                self._say("wait", f"function {short(entry.name)} is {str(found['state']).lower()}")
            pause()

    # ---- traffic

    def service(self, function: Mapping[str, Any]) -> Json:
        """The service of Cloud Run behind a function; empty where it has none."""
        name = function.get("serviceConfig", {}).get("service")
        if not name:
            return {}
        try:
            return self._cloud.call(SERVICES, "get", name=name)
        except GcpError as error:
            if error.is_gone:
                return {}
            raise

    def _pin(self, function: Mapping[str, Any]) -> None:
        """Before anything is deployed: what serves now goes on, whatever is the latest revision then."""
        service = self.service(function)
        if not service or not service.get("latestReadyRevision"):
            return
        traffic = traffic_of(service)
        if not traffic.is_pinned:
            self.point(service, traffic.shares)

    def point(self, service: Mapping[str, Any], shares: Mapping[str, int], tagged: str = "") -> Json:
        """Gives revisions their shares of the calls, and one a tag; returns the service as it is then."""
        name = str(service["name"])
        traffic: list[Json] = [
            {"type": _BY_REVISION, "revision": revision, "percent": percent} for revision, percent in shares.items()
        ]
        if tagged:
            target = next((t for t in traffic if t["revision"] == tagged), None)
            if target is None:
                traffic.append({"type": _BY_REVISION, "revision": tagged, "tag": TAG})
            else:
                target["tag"] = TAG
        deadline = time.monotonic() + _KNOWN
        pause = Pause(first=0.2, most=5.0)
        while True:
            try:
                begun = self._cloud.call(SERVICES, "patch", name=name, body={"traffic": traffic}, updateMask="traffic")
                operations.follow(self._cloud, "run", begun, f"service {short(name)}", lambda _: None)
                return self._cloud.call(SERVICES, "get", name=name)
            except GcpError as error:
                if error.code != "ABORTED" or time.monotonic() > deadline:
                    raise
            pause()

    def shift(self, functions: Mapping[str, Json], builds: Mapping[str, str], rollout: Rollout) -> None:
        """Has every function's last revision called, once it says that it runs its build."""
        names = list(functions)
        services = dict(zip(names, each(lambda name: self.service(functions[name]), names), strict=True))
        revisions = {name: revision_of(functions[name]) for name in names}
        moving = {n: s for n, s in services.items() if not traffic_of(s).is_all_on(revisions[n])}
        former = {n: t.main for n, s in moving.items() if (t := traffic_of(s)).main != revisions[n]}

        def prove(name: str) -> None:
            if name not in former:
                self.prove(name, str(services[name]["uri"]), builds[name], services[name])
            elif len(short(str(services[name]["name"]))) + len(TAG) <= _TAGGED:
                shown = self.point(services[name], {former[name]: 100}, tagged=revisions[name])
                self.prove(name, _tag_address(shown), builds[name], shown)

        each(prove, list(moving))
        if rollout.steps and former:
            self._bake({n: services[n] for n in former}, revisions, former, rollout)
        each(lambda name: self.point(services[name], {revisions[name]: 100}), list(moving))
        if moving:
            self._say("shift", f"{', '.join(sorted(moving))}: all calls")

    def _bake(
        self,
        services: Mapping[str, Json],
        revisions: Mapping[str, str],
        former: Mapping[str, str],
        rollout: Rollout,
    ) -> None:
        def give(share: float) -> None:
            percent = min(max(round(share * 100), 1), 99)
            each(lambda n: self.point(services[n], {former[n]: 100 - percent, revisions[n]: percent}), former)

        def failures(begun: float) -> Iterator[tuple[str, Failures, Failures]]:
            for name, service in services.items():
                found = telemetry.failures(self._cloud, short(str(service["name"])), begun)
                yield name, found.get(revisions[name], Failures()), found.get(former[name], Failures())

        def back() -> None:
            each(lambda n: self.point(services[n], {former[n]: 100}), former)

        canary.bake(rollout, give=give, failures=failures, back=back, say=self._say)

    # ---- proof

    def prove(self, name: str, address: str, build: str, service: Mapping[str, Any]) -> None:
        """Has a revision say which build it runs. Raises DeployError."""
        began = time.monotonic()
        pause = Pause(first=0.2, most=5.0)
        while True:
            status, found = self._health(address, str(service["uri"]))
            if status == 200 and found.get("build_id") == build:
                return
            passed = time.monotonic() - began
            # Rights, addresses and traffic of a moment ago are not known everywhere; a start may take its time.
            limit = _KNOWN if status in (401, 403, 404) else _START
            if passed > limit or (status == 200 and "build_id" not in found):
                raise self._unproven(name, address, build, status, found)
            pause()

    def token(self, audience: str) -> str:
        """An identity token for a function: the deployer's own; where that has none, as of federation without a service
        account, that of the events' account."""
        try:
            own = self._cloud.identity_token(audience)
            return own or self._cloud.identity_token(audience, self._events)
        except GcpError as error:
            if error.code not in ("PERMISSION_DENIED", "NOT_FOUND", "SERVICE_DISABLED"):
                raise
            return ""

    def _health(self, address: str, audience: str) -> tuple[int, Json]:
        token = self.token(audience)
        headers = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            answer = call(address, Invocation(path=HEALTH, headers=headers), timeout=60)
        except ProviderError:
            return 503, {}
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = {}
        return answer.status, found if isinstance(found, dict) else {}

    def _unproven(self, name: str, address: str, build: str, status: int, found: Json) -> DeployError:
        where = f"function {name}"
        if status in (401, 403):
            hint = (
                "the deployer needs run.routes.invoke on it: see pys-multi permissions --cloud gcp; then deploy again"
            )
            return DeployError(f"it may not be asked which build it runs (HTTP {status})", where=where, hint=hint)
        if found.get("build_id"):
            hint = "somebody else deployed, or changed it by hand; deploy again"
            return DeployError(f"it runs build {found['build_id']}, not {build}", where=where, hint=hint)
        return DeployError(
            f"the new build does not answer: HTTP {status} from {address}{HEALTH}",
            where=where,
            hint="what served before goes on; see pys-multi logs, and deploy a build that starts",
        )

    def _say(self, step: str, text: str, fraction: float | None = None) -> None:
        self._progress(Progress(step=step, text=text, fraction=fraction))


def _held(body: Json) -> Json:
    """The body of a deploy that moves no calls."""
    return {**body, "serviceConfig": {**body.get("serviceConfig", {}), "allTrafficOnLatestRevision": False}}


def _tag_address(service: Mapping[str, Any]) -> str:
    found = next((t.get("uri") for t in service.get("trafficStatuses") or () if t.get("tag") == TAG), None)
    return str(found or service["uri"])


def _may_pass(error: GcpError) -> bool:
    """Another operation on the function is running, the answer was lost, or its account is not known yet."""
    if error.maybe or error.code in ("ALREADY_EXISTS", "ABORTED"):
        return True
    return error.code == "INVALID_ARGUMENT" and "ccount" in error.what and "does not exist" in error.what


def _failed(what: str, text: str) -> DeployError:
    return DeployError(
        f"the new build does not start: {text}",
        where=what,
        hint="what served before goes on; see pys-multi logs, and deploy a build that starts",
    )
