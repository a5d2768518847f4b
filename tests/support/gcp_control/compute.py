"""Cloud Run functions and the Cloud Run services behind them: builds, revisions, traffic, and what answers calls."""

from __future__ import annotations

import base64
import json
import re
import time
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.support.gcp_control.handlers import answers, has_labels, patched
from tests.support.gcp_control.identity import DEPLOYER, email_of, id_token
from tests.support.gcp_control.runner import Answerer, Host, Process, reason_of
from tests.support.gcp_control.schema import Refusal, Request, invalid
from tests.support.gcp_control.state import NUMBER, PROJECT, REGION, State, now

Json = dict[str, Any]

_ACTIVE_WORK = ("DEPLOYING", "DELETING")
_PARENT = f"projects/{PROJECT}/locations/{REGION}"
#: Runtimes of Python ("Cloud Run functions execution environments").
_RUNTIMES = ("python310", "python311", "python312", "python313", "python314")


class Compute:
    """The part that is no table: revisions and their processes. runs: whether what is deployed really runs."""

    def __init__(self, state: State, url: str, folder: Path, *, runs: bool) -> None:
        self.state, self.url, self.folder, self.runs = state, url, folder, runs
        self.host = Host()
        self.revisions: dict[str, Process | Answerer] = {}
        #: Calls by revision and class of status, and their milliseconds.
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.times: dict[str, list[float]] = {}
        self._turn: Counter[str] = Counter()
        state.compute = self  # type: ignore[attr-defined]

    def stop(self) -> None:
        for revision in self.revisions.values():
            revision.stop()
        self.host.stop()

    # ---- deploying

    def check(self, body: Json) -> None:
        build, service = body.get("buildConfig", {}), body.get("serviceConfig", {})
        if build.get("runtime") not in _RUNTIMES:
            raise invalid(f"Runtime {build.get('runtime')!r} is invalid.")
        source = build.get("source", {}).get("storageSource", {})
        if (source.get("bucket"), source.get("object")) not in self.state.objects:
            raise invalid(f"Source object gs://{source.get('bucket')}/{source.get('object')} does not exist.")
        if "serviceAccountEmail" in service:
            self.state.check_account(service["serviceAccountEmail"])
        if not 1 <= service.get("timeoutSeconds", 60) <= 3600:
            raise invalid("timeoutSeconds must be between 1 and 3600.")
        if not 1 <= service.get("maxInstanceRequestConcurrency", 1) <= 1000:
            raise invalid("maxInstanceRequestConcurrency must be between 1 and 1000.")
        if not re.fullmatch(r"\d+(\.\d+)?(k|M|G|Ki|Mi|Gi)?", service.get("availableMemory", "256M")):
            raise invalid("availableMemory is no quantity.")
        for name in service.get("environmentVariables", {}):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in ("PORT", "K_SERVICE", "FUNCTION_TARGET"):
                raise invalid(f"Environment variable {name} is not allowed.")
        for key, value in body.get("labels", {}).items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise invalid(f"Label {key}={value} is not allowed.")

    def deploy(self, name: str) -> Json:
        """Builds, starts and announces a revision. Raises Refusal for what does not build or start."""
        function = self.state.get("functions", name)
        try:
            self._deploy(function, name)
        except Refusal as refusal:
            function["state"] = "FAILED"
            function["stateMessages"] = [{"severity": "ERROR", "type": "DeployFailed", "message": refusal.message}]
            raise
        function["state"], function["updateTime"] = "ACTIVE", now()
        function.pop("stateMessages", None)
        return function

    def _deploy(self, function: Json, name: str) -> None:
        source = function["buildConfig"]["source"]["storageSource"]
        data = self.state.objects.get((source["bucket"], source["object"]), {}).get("data", b"")
        try:
            files = set(zipfile.ZipFile(BytesIO(data)).namelist())
        except zipfile.BadZipFile:
            files = set()
        main = function["buildConfig"].get("environmentVariables", {}).get("GOOGLE_FUNCTION_SOURCE", "main.py")
        if main not in files:
            raise Refusal(400, "FAILED_PRECONDITION", f"Build failed: missing {main}, see GOOGLE_FUNCTION_SOURCE.")
        id = name.rpartition("/")[2]
        service_name = f"{_PARENT}/services/{id}"
        service = self.state.of("services").get(service_name)
        number = int(service["generation"]) + 1 if service else 1
        revision = f"{id}-{number:05d}-{self.state.number() % 4096:03x}"
        config = function["serviceConfig"]
        environment = {
            **config.get("environmentVariables", {}),
            **self._secrets(config),
            "K_SERVICE": id,
            "K_REVISION": revision,
            "FUNCTION_TARGET": function["buildConfig"]["entryPoint"],
            "FUNCTION_SOURCE": main,
            # Where the function finds the keys of Google's tokens.
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_OAUTH2": self.url,
        }
        self._start(revision, data, environment, function["buildConfig"]["entryPoint"])
        if service is None:
            traffic = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
            service = {"name": service_name, "traffic": traffic, "uri": f"{self.url}/run/{id}", "uid": id}
            self.state.add("services", service_name, service)
        elif config.get("allTrafficOnLatestRevision"):
            service["traffic"] = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
        service |= {
            "generation": str(number),
            "etag": f'"{self.state.number()}"',
            "latestReadyRevision": f"{service_name}/revisions/{revision}",
            "latestCreatedRevision": f"{service_name}/revisions/{revision}",
            "labels": dict(function.get("labels", {})),
        }
        # It builds from a copy, and answers with the copy's name.
        copied = {"bucket": f"gcf-v2-sources-{NUMBER}-{REGION}", "object": f"{id}/function-source.zip"}
        self.state.objects[copied["bucket"], copied["object"]] = {"meta": copied, "data": data}
        function["buildConfig"]["source"] = {"storageSource": copied}
        for entry in config.get("secretEnvironmentVariables", []):
            entry["projectId"] = NUMBER
        function["serviceConfig"] |= {"service": service_name, "uri": service["uri"], "revision": revision}
        function["url"] = service["uri"]
        self.show_traffic(service)

    def _secrets(self, config: Json) -> dict[str, str]:
        found = {}
        for entry in config.get("secretEnvironmentVariables", []):
            name = f"projects/{PROJECT}/secrets/{entry['secret']}"
            account = f"serviceAccount:{config.get('serviceAccountEmail', '')}"
            versions = self.state.of("versions").get(name, {})
            if not versions or not self.state.may(name, "roles/secretmanager.secretAccessor", account):
                text = f"Permission denied on secret: {name}/versions/latest for Revision service account {account}."
                raise Refusal(400, "FAILED_PRECONDITION", text)
            found[entry["key"]] = base64.b64decode(versions[str(len(versions))]).decode()
        return found

    def _start(self, revision: str, data: bytes, environment: dict[str, str], target: str) -> None:
        if not self.runs:
            self.revisions[revision] = Answerer(data, environment)
            return
        try:
            self.revisions[revision] = Process(self.host, self.folder / revision, data, environment, target)
        except RuntimeError as error:
            text = "The user-provided container failed to start and listen on the port defined by PORT=8080"
            raise Refusal(400, "FAILED_PRECONDITION", f"{text}. {reason_of(str(error))}") from None

    def show_traffic(self, service: Json) -> None:
        latest = service["latestReadyRevision"].rpartition("/")[2]
        statuses, used = [], set()
        for target in service["traffic"]:
            revision = target.get("revision") or latest
            used.add(revision)
            status = dict(target)
            if "tag" in target:
                base, _, id = service["uri"].rpartition("/")
                status["uri"] = f"{base}/{target['tag']}---{id}"
            statuses.append(status)
        service["trafficStatuses"] = statuses

    # ---- calls

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """A call of /run/<service>/… or /run/<tag>---<service>/…"""
        _, _, named, rest = path.split("/", 3) if path.count("/") > 2 else (*path.split("/", 2), "")
        tag, _, id = named.rpartition("---")
        service = self.state.of("services").get(f"{_PARENT}/services/{id}")
        if service is None:
            return 404, [], b"no such service"
        if not self._may(service, headers):
            return 403, [], b"<html>Your client does not have permission to get URL from this server.</html>"
        revision = self._revision(service, tag)
        if revision is None or revision not in self.revisions:
            return 404, [], b"no such revision"
        begun = time.perf_counter()
        inner = {**headers, "host": f"{id}.run.app"}
        if email := email_of(headers.get("authorization", "").removeprefix("Bearer "), service["uri"]):
            # The function has its address on Cloud Run, which has a scheme and no path, as its audience.
            inner["authorization"] = f"Bearer {id_token(email, f'https://{id}.run.app')}"
        status, answered, data = self.revisions[revision].ask(method, f"/{rest}", inner, body)
        with self.state.lock:
            self.calls[id, revision, f"{status // 100}xx"] += 1
            self.times.setdefault(id, []).append((time.perf_counter() - begun) * 1000)
        return status, answered, data

    def _may(self, service: Json, headers: dict[str, str]) -> bool:
        if self.state.may(service["name"], "roles/run.invoker", "allUsers"):
            return True
        token = headers.get("authorization", "").removeprefix("Bearer ")
        email = email_of(token, service["uri"]) if token else ""
        if email == DEPLOYER:  # whose role has run.routes.invoke
            return True
        return bool(email) and self.state.may(service["name"], "roles/run.invoker", f"serviceAccount:{email}")

    def _revision(self, service: Json, tag: str) -> str | None:
        latest = service["latestReadyRevision"].rpartition("/")[2]
        if tag:
            return next((t.get("revision") or latest for t in service["traffic"] if t.get("tag") == tag), None)
        # Every hundred calls are shared out exactly.
        turn = self._turn[service["name"]] = self._turn[service["name"]] + 1
        share = (turn * 37) % 100
        for target in service["traffic"]:
            share -= target.get("percent", 0)
            if share < 0:
                return str(target.get("revision") or latest)
        return None


def _compute(state: State) -> Compute:
    found: Compute = state.compute  # type: ignore[attr-defined]
    return found


def _idle(state: State, name: str) -> Json:
    """A function that no operation is running on. Raises Refusal for one that is busy, though not for ever."""
    found = state.get("functions", name)
    if found.get("state") in _ACTIVE_WORK:
        _polled(state)
        raise Refusal(409, "ABORTED", "unable to queue the operation: another operation is in progress")
    return found


@answers("cloudfunctions.projects.locations.functions.create")
def create(state: State, request: Request) -> Json:
    id = request.parameters.get("functionId", "")
    if not re.fullmatch(r"[a-z](?:[-_a-z0-9]{0,61}[a-z0-9])?", id):
        raise invalid(f"Invalid function id: {id}")
    name = f"{request.parameters['parent']}/functions/{id}"
    compute = _compute(state)
    compute.check(request.body)
    times = {"createTime": now(), "updateTime": now()}
    body = {"environment": "GEN_2", **request.body, "name": name, "state": "DEPLOYING", **times}
    body.setdefault("serviceConfig", {})
    defaults = {"availableMemory": "256M", "timeoutSeconds": 60, "maxInstanceRequestConcurrency": 1}
    defaults |= {"ingressSettings": "ALLOW_ALL", "maxInstanceCount": 100}
    body["serviceConfig"] = {**defaults, **body["serviceConfig"]}
    state.add("functions", name, body)
    return state.begin(request.parameters["parent"], lambda: compute.deploy(name))


@answers("cloudfunctions.projects.locations.functions.patch")
def patch(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    live = _idle(state, name)
    found = patched(live, request, request.body, request.parameters.get("updateMask", ""), "Function")
    _compute(state).check(found)
    found["state"] = "DEPLOYING"
    state.of("functions")[name] = found
    return state.begin(name.partition("/functions/")[0], lambda: _compute(state).deploy(name))


@answers("cloudfunctions.projects.locations.functions.delete")
def delete(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    _idle(state, name)["state"] = "DELETING"

    def work() -> Json:
        state.remove("functions", name)
        service = f"{_PARENT}/services/{name.rpartition('/')[2]}"
        state.of("services").pop(service, None)
        state.policies.pop(service, None)
        copied = f"{name.rpartition('/')[2]}/function-source.zip"
        state.objects.pop((f"gcf-v2-sources-{NUMBER}-{REGION}", copied), None)
        return {}

    return state.begin(name.partition("/functions/")[0], work)


def _polled(state: State) -> None:
    """Operations go on whether somebody asks for them or not."""
    for operation in list(state.operations.values()):
        operation.poll()


@answers("cloudfunctions.projects.locations.functions.get")
def get(state: State, request: Request) -> Json:
    found = json.loads(json.dumps(state.get("functions", request.parameters["name"])))
    if found["state"] in _ACTIVE_WORK:
        _polled(state)
    return found


@answers("cloudfunctions.projects.locations.functions.list")
def list_(state: State, request: Request) -> Json:
    parent = request.parameters["parent"].replace("/locations/-", "/locations/")
    found = [f for name, f in sorted(state.of("functions").items()) if name.startswith(parent)]
    shown = [
        f
        for f in found
        if has_labels(
            f, request.parameters.get("filter", "") if "labels" in request.parameters.get("filter", "") else ""
        )
    ]
    return state.shown(json.loads(json.dumps(shown)), request.parameters, "functions")


@answers(
    "cloudfunctions.projects.locations.operations.get",
    "run.projects.locations.operations.get",
    "firestore.projects.databases.operations.get",
)
def operation(state: State, request: Request) -> Json:
    found = state.operations.get(request.parameters["name"])
    if found is None:
        raise Refusal(404, "NOT_FOUND", "operation not found")
    return found.poll()


@answers("cloudfunctions.projects.locations.list")
def locations(state: State, request: Request) -> Json:
    return {"locations": [{"name": _PARENT, "locationId": REGION}]}


# ---- Cloud Run


@answers("run.projects.locations.services.get")
def get_service(state: State, request: Request) -> Json:
    return state.get("services", request.parameters["name"])


@answers("run.projects.locations.services.list")
def list_services(state: State, request: Request) -> Json:
    return state.shown(list(state.of("services").values()), request.parameters, "services")


@answers("run.projects.locations.services.patch")
def patch_service(state: State, request: Request) -> Json:
    name = request.parameters["name"]
    service = state.get("services", name)
    if request.parameters.get("updateMask") != "traffic":
        raise invalid("this server changes traffic alone")
    if request.body.get("etag", service["etag"]) != service["etag"]:
        raise Refusal(409, "ABORTED", "Conflict for resource: version mismatch")
    traffic = request.body.get("traffic", [])
    if sum(target.get("percent", 0) for target in traffic) != 100:
        raise invalid("traffic: percents must sum up to 100")
    revisions = _compute(state).revisions
    for target in traffic:
        named = target.get("type", "") == "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
        if named and target.get("revision") not in revisions:
            raise invalid(f"traffic: revision {target.get('revision')} does not exist")
        tag = target.get("tag")
        if tag and (not re.fullmatch(r"[a-z][a-z0-9-]+[a-z0-9]", tag) or len(tag) + len(service["uid"]) > 46):
            raise invalid("Combined traffic tag and service name cannot exceed 46 characters.")
    service |= {"traffic": traffic, "etag": f'"{state.number()}"'}
    _compute(state).show_traffic(service)
    return state.begin(name.partition("/services/")[0], lambda: service)
