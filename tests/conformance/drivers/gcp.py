"""The Google Cloud provider: its document and its bundle, under functions-framework, beside Google's emulators.

The bundle is built as a deploy builds it, for this machine instead of Google's. The document says which functions,
topics, subscriptions, buckets and notifications there are; one process of functions-framework runs for each function.
Pub/Sub and Firestore are the emulators of the Google Cloud SDK, Storage is fake-gcs-server. What they leave out is the
suite's own: push delivery, Storage's notifications, identity tokens, and Cloud Run's front (see tests/support).
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from tests.conformance.driver import BrokenOff, Fields, Ran, Reply, Settings, Streamed
from tests.conformance.drivers.project import copied
from tests.support import cloud_run
from tests.support.cloud_run import Service
from tests.support.functions_framework import Function, image
from tests.support.gcp_deployed import Document, PushSubscription
from tests.support.gcp_emulators import PROJECT, REGION, Emulators, RestError, lacking
from tests.support.gcp_identity import Identity
from tests.support.push import Pusher, Subscription

from pys_multi.model import Mount, Route, Trigger
from pys_multi.routing import RouteTable, Template
from pys_multi_providers.gcp.journal import record_of
from pys_multi_providers.gcp.provider import DOCUMENT, GcpProvider
from pys_multi_providers.gcp.runtime import MAX_BODY
from pys_multi_tools import load
from pys_multi_tools.bundle import build
from pys_multi_tools.deployment import Deployment, LogRecord
from pys_multi_tools.target import host_architecture, host_system

#: Who deployed it, and may call what is private.
_DEPLOYER = "deployer@example.com"


class GcpDriver:
    name: ClassVar[str] = "gcp"
    lacks: ClassVar[Mapping[str, str]] = {}
    max_body: ClassVar[int] = MAX_BODY
    #: Minor version of Python that the functions run on.
    python: ClassVar[str] = f"{sys.version_info[0]}.{sys.version_info[1]}"

    def start(self, project: Path, settings: Settings, folder: Path) -> None:
        if why := lacking():
            pytest.skip(why)
        self._environment = mock.patch.dict(
            os.environ, {f"PROBE_{name}": value for name, value in settings.secrets.items()}
        )
        self._environment.start()
        self._lines: list[tuple[str, float, str]] = []
        self._functions: dict[str, Function] = {}
        self._pushers: list[Pusher] = []
        self._dead: dict[str, list[bytes]] = {}
        self._stopped = False
        self._emulators = Emulators(folder)
        root = copied(
            project,
            settings,
            folder / "project",
            f'python = "{self.python}"',
            "[tool.pys-multi.gcp]",
            f'project = "{PROJECT}"\nregion = "{REGION}"\ninvokers = ["user:{_DEPLOYER}"]',
        )
        runtime = image(self.python)
        assert runtime is not None, f"there is no Python {self.python} on this machine"
        provider = GcpProvider()
        loaded = load(root, settings.stage)
        self._deployment = Deployment(
            service=loaded.service,
            stage=loaded.project.stage,
            project=loaded.project,
            app=loaded.reference,
            settings=loaded.project.provider_settings(provider.name, provider.settings_model),
        )
        # What is built for Google's processor and glibc need not run here.
        target = replace(
            provider.target(self._deployment), system=host_system(), architecture=host_architecture(), glibc=None
        )
        bundle = build(loaded.project, loaded.reference, loaded.service, target)
        self._build_ids = {name: artefact.build_id for name, artefact in bundle.artefacts.items()}
        self._document = Document(provider.render(self._deployment)[DOCUMENT])
        self._identity = Identity(self._document.events_account)
        self._make_resources()
        folders: dict[str, Path] = {}
        for name, artefact in bundle.artefacts.items():
            if artefact.build_id not in folders:
                folders[artefact.build_id] = folder / artefact.build_id
                artefact.unpacked(folders[artefact.build_id])
            found = self._document.functions[name]
            self._functions[name] = Function(
                runtime,
                folders[artefact.build_id],
                {
                    **found.environment,
                    **{variable: _value(settings, secret) for variable, secret in found.secrets.items()},
                    **self._emulators.environment(),
                    **self._identity.environment(),
                    "CLOUD_RUN_TIMEOUT_SECONDS": str(found.timeout),
                },
                partial(self._on_line, name),
            )
        with ThreadPoolExecutor() as pool:
            list(pool.map(Function.wait_until_it_listens, self._functions.values()))
        self._services = {
            name: Service(
                function.url, f"{name}-123456789012.{REGION}.run.app", self._document.functions[name].invokers
            )
            for name, function in self._functions.items()
        }
        self._routes = [_Routes(function.name, function.triggers) for function in loaded.service.functions]
        for subscription in self._document.subscriptions:
            self._pushers.append(Pusher(self._emulators.pubsub, self._subscription(subscription)))
        self._relay = threading.Thread(target=self._tell_of_objects, daemon=True)
        self._relay.start()

    def stop(self) -> None:
        if not hasattr(self, "_environment"):
            return
        self._stopped = True
        for pusher in self._pushers:
            pusher.stop()
        for function in self._functions.values():
            function.stop()
        if hasattr(self, "_emulators"):
            self._emulators.stop()
        if hasattr(self, "_identity"):
            self._identity.stop()
        self._environment.stop()

    # ---- what the document says

    def _make_resources(self) -> None:
        emulators = self._emulators
        for topic in self._document.topics:
            emulators.pubsub.call("PUT", f"/v1/{topic}", {})
        for name, topic in self._document.kept.items():
            emulators.pubsub.call("PUT", f"/v1/{name}", {"topic": topic})
        for bucket in self._document.buckets:
            emulators.storage.call("POST", f"/storage/v1/b?project={PROJECT}", {"name": bucket})
        self._changes = f"projects/{PROJECT}/subscriptions/object-changes"
        emulators.pubsub.call("PUT", f"/v1/{self._changes}", {"topic": emulators.changes})

    def _subscription(self, found: PushSubscription) -> Subscription:
        """A push subscription to the process of its function."""
        return Subscription(
            name=found.name,
            topic=found.topic,
            deliver=partial(self._deliver, found),
            backoff=found.backoff,
            dead_topic=found.dead_topic,
            attempts=found.attempts,
            ordered=found.ordered,
        )

    def _deliver(self, subscription: PushSubscription, body: bytes, fields: Fields) -> int:
        service = self._services[subscription.function]
        fields = [*fields, self._token(subscription.caller, service)]
        try:
            with cloud_run.called(service, "POST", subscription.path, fields, body) as response:
                return response.status
        except cloud_run.Refused as refused:
            return refused.status

    def _token(self, email: str, service: Service) -> tuple[str, str]:
        """The header field by which somebody calls a service."""
        return "authorization", f"Bearer {self._identity.token(email, f'https://{service.host}')}"

    def _tell_of_objects(self) -> None:
        """Storage's notifications: what fake-gcs-server tells of all buckets, to the topics that ask for it."""
        pubsub = self._emulators.pubsub
        while not self._stopped:
            try:
                found = pubsub.call("POST", f"/v1/{self._changes}:pull", {"maxMessages": 100}, timeout=90)
                for received in found.get("receivedMessages", ()):
                    self._tell(received["message"])
                    pubsub.call("POST", f"/v1/{self._changes}:acknowledge", {"ackIds": [received["ackId"]]})
            except (OSError, http.client.HTTPException, RestError):
                time.sleep(0.2)

    def _tell(self, message: Any) -> None:
        """One change of an object, to the topics that ask for it; with the whole of the object, which fake-gcs-server
        tells only in part."""
        attributes = message["attributes"]
        bucket, name = attributes["bucketId"], attributes["objectId"]
        data = message["data"]
        if attributes["eventType"] == "OBJECT_FINALIZE":
            with suppress(RestError):  # it may be gone already
                found = self._emulators.storage.call("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")
                data = base64.b64encode(json.dumps(found).encode()).decode()
        for wanted in self._document.notifications:
            if wanted.bucket == bucket and attributes["eventType"] in wanted.events and name.startswith(wanted.prefix):
                entry = {"data": data, "attributes": {**attributes, **wanted.attributes}}
                self._emulators.pubsub.call("POST", f"/v1/{wanted.topic}:publish", {"messages": [entry]})

    # ---- calls

    def request(self, method: str, target: str, fields: Fields = (), body: bytes = b"") -> Reply:
        if "X-Goog-Signature=" in target:
            return self._presigned(method, target, body)
        try:
            with self._called(method, target, fields, body) as response:
                return Reply(response.status, response.getheaders(), response.read())
        except cloud_run.Refused as refused:
            return Reply(refused.status, ())

    def stranger(self, method: str, target: str) -> Reply:
        routes, _ = self._find(method, target)
        try:
            with cloud_run.called(self._services[routes.function], method, target) as response:
                return Reply(response.status, response.getheaders(), response.read())
        except cloud_run.Refused as refused:
            return Reply(refused.status, ())

    @contextmanager
    def stream(self, method: str, target: str, fields: Fields = ()) -> Iterator[Streamed]:
        with self._called(method, target, fields) as response:
            yield Streamed(response.status, response.getheaders(), _chunks(response))

    @contextmanager
    def _called(
        self, method: str, target: str, fields: Fields, body: bytes = b""
    ) -> Iterator[http.client.HTTPResponse]:
        routes, is_private = self._find(method, target)
        service = self._services[routes.function]
        if is_private:
            fields = [
                *fields,
                ("authorization", f"Bearer {self._identity.token(_DEPLOYER, f'https://{service.host}')}"),
            ]
        with cloud_run.called(service, method, target, fields, body) as response:
            yield response

    def _find(self, method: str, target: str) -> tuple[_Routes, bool]:
        """Whose routes answer a request best, and whether that route is private."""
        path = unquote(target.partition("?")[0], errors="replace")
        ranked = [(*routes.rank(method, path), routes) for routes in self._routes]
        _, is_private, best = max(ranked, key=lambda found: found[0])
        return best, is_private

    def _presigned(self, method: str, target: str, body: bytes) -> Reply:
        """Storage, with the check of signatures that the emulator leaves out."""
        address = urlsplit(self._emulators.storage_url).netloc
        if not self._is_signed(method, target, address):
            return Reply(403, (), b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            connection.request(method, target, body or None)
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def _is_signed(self, method: str, target: str, host: str) -> bool:
        """Whether a presigned URL is good for a request ("Signatures" and "Canonical requests" of Cloud Storage)."""
        path, _, query = target.partition("?")
        fields = dict(parse_qsl(query, keep_blank_values=True))
        signature, scope = fields.pop("X-Goog-Signature"), fields["X-Goog-Credential"].partition("/")[2]
        started = time.mktime(time.strptime(fields["X-Goog-Date"], "%Y%m%dT%H%M%SZ")) - time.timezone
        if time.time() > started + int(fields["X-Goog-Expires"]):
            return False
        canonical_query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(fields.items()))
        canonical = "\n".join((method, path, canonical_query, f"host:{host}\n", "host", "UNSIGNED-PAYLOAD"))
        digest = sha256(canonical.encode()).hexdigest()
        text = "\n".join(("GOOG4-RSA-SHA256", fields["X-Goog-Date"], scope, digest))
        try:
            return self._identity.is_signed(text.encode(), bytes.fromhex(signature))
        except (ValueError, binascii.Error):
            return False

    def trigger(self, trigger: str, payload: bytes = b"") -> Ran:
        [kind] = [t.kind for f in self._deployment.service.functions for t in f.triggers if t.id == trigger]
        if kind == "schedule":
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            envelope: dict[str, Any] = {"event": {"kind": "schedule", "time": now}}
        else:
            envelope = {"messages": [{"body": payload.decode()}]}
        answer = self.post(trigger, [("content-type", "application/json")], json.dumps(envelope).encode())
        return Ran("; ".join(answer.json()["failures"].values()))

    def post(self, trigger: str, fields: Fields, body: bytes) -> Reply:
        """Posts an event to a trigger, in the name of the stage's account of events."""
        service = self._services[trigger.partition(":")[0]]
        fields = [self._token(self._document.events_account, service), *fields]
        path = f"/.pys-multi/events/{quote(trigger, safe='')}"
        with cloud_run.called(service, "POST", path, fields, body) as response:
            return Reply(response.status, response.getheaders(), response.read())

    def build_id(self, function: str) -> str:
        return self._build_ids[function]

    def health(self, function: str) -> Mapping[str, Any]:
        service = self._services[function]
        fields = [self._token(self._document.events_account, service)]
        with cloud_run.called(service, "GET", "/.pys-multi/health", fields) as response:
            found: dict[str, Any] = json.loads(response.read())
            return found

    # ---- logs and dead letters

    def _on_line(self, function: str, line: str) -> None:
        self._lines.append((function, time.time(), line))

    def logs(self) -> Iterable[LogRecord]:
        services = {function: function for function in self._functions}
        found = [record_of(_entry(*line), services) for line in list(self._lines)]
        return [record for record in found if record is not None]

    def dead_letters(self, trigger: str) -> list[bytes]:
        # What was read once is kept here: to Pub/Sub it is under way until it is acknowledged.
        kept = self._dead.setdefault(trigger, [])
        path, pull = f"/v1/{self._document.dead[trigger]}", {"maxMessages": 100, "returnImmediately": True}
        while found := self._emulators.pubsub.call("POST", f"{path}:pull", pull).get("receivedMessages"):
            kept += [base64.b64decode(received["message"]["data"]) for received in found]
            acknowledged = {"ackIds": [received["ackId"] for received in found]}
            self._emulators.pubsub.call("POST", f"{path}:acknowledge", acknowledged)
        return list(kept)

    def wait(self) -> None:
        time.sleep(0.05)


class _Routes:
    """The routes of one function, each with whether it is private."""

    def __init__(self, function: str, triggers: Iterable[Trigger]) -> None:
        self.function = function
        self._table: RouteTable = RouteTable()
        self._count = 0
        for trigger in triggers:
            if isinstance(trigger, Route | Mount):
                self._count += 1
                is_private = not trigger.public and not trigger.auth
                if isinstance(trigger, Route):
                    self._table.add(trigger.method, Template(trigger.path), is_private)
                    continue
                self._table.add("*", Template(f"{trigger.path}/{{rest:path}}"), is_private)
                self._table.add("*", Template(trigger.path or "/"), is_private)

    def rank(self, method: str, path: str) -> tuple[tuple[int, int], bool]:
        """How well they answer a request: by their route, by one of another method or slash, or not at all."""
        for score, (verb, place) in enumerate(((method, path), ("GET", path), (method, _other(path)))):
            found = self._table.find(verb, place)
            if found is not None:
                return (3 - score, self._count), bool(found[0])
        return (
            1 if any(self._table.find(verb, path) for verb in ("POST", "PUT", "PATCH", "DELETE")) else 0,
            self._count,
        ), False


def _value(settings: Settings, secret: str) -> str:
    """The value of a secret that Secret Manager knows by another name."""
    [value] = [value for name, value in settings.secrets.items() if secret.endswith(name)]
    return value


def _other(path: str) -> str:
    """The path with the other form of its end."""
    return path.rstrip("/") if path.endswith("/") else f"{path}/"


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read1(65536):
            yield chunk
    except (http.client.HTTPException, OSError) as error:
        raise BrokenOff from error


def _entry(service: str, when: float, line: str) -> dict[str, Any]:
    """What Cloud Logging makes of a line ("Structured logging", special fields)."""
    entry: dict[str, Any] = {"resource": {"labels": {"service_name": service}}}
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {**entry, "textPayload": line, "timestamp": datetime.fromtimestamp(when, UTC).isoformat()}
    for field, name in (("severity", "severity"), ("time", "timestamp"), ("labels", "labels"), ("trace", "trace")):
        special = field if field in ("severity", "time") else f"logging.googleapis.com/{field}"
        if special in found:
            entry[name] = found.pop(special)
    return {**entry, "jsonPayload": found}
