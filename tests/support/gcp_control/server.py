"""A control plane of Google Cloud on loopback: REST, strict by Google's own schemas, and what is deployed to it runs.

with ControlPlane(folder) as cloud:
    … os.environ with cloud.environment …
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.gcp_control import databases, identity, messaging, storage, telemetry  # noqa: F401  (they register)
from tests.support.gcp_control.compute import Compute
from tests.support.gcp_control.handlers import HANDLERS
from tests.support.gcp_control.schema import Refusal, Request, check_body, check_query, find
from tests.support.gcp_control.state import NUMBER, PROJECT, REGION, State

Json = dict[str, Any]

APIS = ("cloudfunctions", "run", "pubsub", "cloudscheduler", "storage", "iam", "secretmanager", "firestore")
APIS += ("cloudresourcemanager", "logging", "monitoring", "iamcredentials", "serviceusage")


class ControlPlane:
    """Listens on loopback until it is left. runs: whether functions really run, or only say which build they are."""

    def __init__(self, folder: Path, *, runs: bool = True) -> None:
        self.state = State()
        self.folder = folder
        #: APIs that are not enabled, and permissions that the caller does not have.
        self.disabled: set[str] = set()
        self.denied: set[str] = set()
        #: Every call: (method, whether it changes something).
        self.calls: list[tuple[str, bool]] = []
        #: Is asked before every call; what it returns is the answer: a Refusal, or None.
        self.interfere: Callable[[Request], Refusal | None] = lambda _: None
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: plane._serve(self)
                raise AttributeError(name)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.compute = Compute(self.state, self.url, folder, runs=runs)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> ControlPlane:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = self.folder / "deployer.json"
        key.write_text(json.dumps(identity.credentials_file(f"{self.url}/token")), encoding="utf-8")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        self.compute.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a user would export: credentials, project, region, and the endpoints."""
        return {**self.endpoints(self.url), **self.identity}

    @property
    def identity(self) -> dict[str, str]:
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.folder / "deployer.json"),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "GOOGLE_CLOUD_REGION": REGION,
            # google-auth looks up beside all calls in which regions an account may be used, at Google's own address.
            "HTTPS_PROXY": self.url,
        }

    @staticmethod
    def endpoints(url: str) -> dict[str, str]:
        return {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"{url}/" for api in APIS}

    def snapshot(self) -> Any:
        """Everything there is, for ``restore``."""
        with self.state.lock:
            return copy.deepcopy(self._parts()), dict(self.compute.revisions)

    def restore(self, found: Any) -> None:
        """What was there when the snapshot was taken, once what is asked now is answered."""
        parts, revisions = copy.deepcopy(found[0]), found[1]
        with self.state.lock:
            for name, value in parts.items():
                setattr(self.state, name, value)
            self.state.operations.clear()
            self.compute.revisions = dict(revisions)

    def _parts(self) -> Json:
        return {name: getattr(self.state, name) for name in ("things", "policies", "objects", "messages")}

    # ---- serving

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        length = int(headers.get("content-length") or 0)
        body = handler.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client went away amid its request")
        if parts.path.startswith("/run/"):
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            inner = {k: v for k, v in headers.items() if k not in ("host", "connection", "content-length")}
            status, answered, data = self.compute.answer(handler.command, target, inner, body)
            _write(handler, status, dict(answered), data)
            return
        try:
            found = self._answer(handler.command, parts.path, parts.query, headers, body)
        except Refusal as refusal:
            _write(handler, refusal.code, {"content-type": "application/json"}, json.dumps(_error(refusal)).encode())
            return
        if isinstance(found, bytes):
            _write(handler, 200, {"content-type": "application/octet-stream"}, found)
        elif found is None:
            _write(handler, 204, {}, b"")
        else:
            _write(handler, 200, {"content-type": "application/json"}, json.dumps(found).encode())

    def _answer(self, verb: str, path: str, query: str, headers: dict[str, str], data: bytes) -> Any:
        if path == "/token":
            form = dict(parse_qsl(data.decode()))
            if "assertion" not in form:
                raise Refusal(400, "INVALID_ARGUMENT", "invalid_request")
            return identity.granted(form)
        if path == "/oauth2/v3/certs":
            return identity.key_set()
        matched = find(verb, path)
        if matched is None:
            raise Refusal(404, "NOT_FOUND", f"The requested URL {verb} {path} was not found on this server.")
        method, parameters = matched
        caller = headers.get("authorization", "").removeprefix("Bearer access-") or "anonymous"
        parameters |= check_query(method, parse_qsl(query, keep_blank_values=True))
        body: Json = {}
        if method.request and not method.is_upload:
            try:
                raw = json.loads(data or b"{}")
            except ValueError:
                raise Refusal(400, "INVALID_ARGUMENT", "Invalid JSON payload received.") from None
            body = check_body(method, raw, numbers="enum-encoding=int" in parameters.get("$alt", ""))
        request = Request(method, parameters, body, data, headers, caller)
        with self.state.lock:
            self.calls.append((method.id, method.is_mutating))
            self._check(request)
            if method.id not in HANDLERS:
                raise Refusal(501, "UNIMPLEMENTED", f"{method.id} is not part of this server")
            return (
                json.loads(json.dumps(found))
                if not isinstance(found := HANDLERS[method.id](self.state, request), bytes)
                else found
            )

    def _check(self, request: Request) -> None:
        method = request.method
        if method.api in self.disabled:
            api = f"{method.api}.googleapis.com"
            text = f"{api} API has not been used in project {NUMBER} before or it is disabled."
            info = {"reason": "SERVICE_DISABLED", "domain": "googleapis.com", "metadata": {"service": api}}
            raise Refusal(
                403, "PERMISSION_DENIED", text, [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info}]
            )
        if method.permission in self.denied:
            resource = next(iter(request.parameters.values()), "")
            text = f"Permission '{method.permission}' denied on resource '{resource}' (or it may not exist)."
            if method.api == "storage":
                text = f"{request.caller} does not have {method.permission} access to the Google Cloud Storage bucket."
                raise storage.refusal(403, "forbidden", text)
            metadata = {"permission": method.permission, "resource": resource}
            info = {"reason": "IAM_PERMISSION_DENIED", "domain": "iam.googleapis.com", "metadata": metadata}
            raise Refusal(
                403, "PERMISSION_DENIED", text, [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info}]
            )
        if (refusal := self.interfere(request)) is not None:
            raise refusal

    def mutating(self) -> list[str]:
        """The calls that change something."""
        return [name for name, changes in self.calls if changes]


def _error(refusal: Refusal) -> Json:
    error: Json = {"code": refusal.code, "message": refusal.message}
    if refusal.status:
        error["status"] = refusal.status
        error |= {"details": refusal.details} if refusal.details else {}
    else:
        error["errors"] = refusal.details
    return {"error": error}


def _write(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
            handler.send_header(name, value)
    if status != 204:
        handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
