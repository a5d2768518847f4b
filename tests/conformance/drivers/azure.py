"""The Azure provider: its template and its bundle, under Microsoft's own worker library, with Azurite beside it.

The bundle is built as a deploy builds it, for this machine instead of Azure's. The template says which apps, queues,
subscriptions, containers, tables and settings there are; storage is Azurite, and a Functions host, Service Bus and
Event Grid of the suite's own make the invocations that Azure makes.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import urlsplit

import pytest
from tests.conformance.driver import BrokenOff, Fields, Ran, Reply, Settings, Streamed
from tests.conformance.drivers.project import copied
from tests.support.arm.template import Context, Resource, Template
from tests.support.azure_host import front
from tests.support.azure_host.app import FunctionApp, Log
from tests.support.azure_host.event_grid import EventGrid, Subscription
from tests.support.azure_host.front import Front
from tests.support.azure_host.identity import Identity
from tests.support.azure_host.image import NO_WORKER, WORKER_PYTHON, image
from tests.support.azure_host.triggers import Listeners
from tests.support.azurite import WHY_NOT, Azurite, installed
from tests.support.service_bus import Namespace

from pys_multi.http import MAX_BODY_BYTES
from pys_multi.model import Mount, Route
from pys_multi.routing import RouteTable
from pys_multi.routing import Template as Path_
from pys_multi_providers.azure.provider import TEMPLATE, AzureProvider
from pys_multi_providers.azure.view import names_of
from pys_multi_tools import load
from pys_multi_tools.bundle import build
from pys_multi_tools.deployment import Deployment, LogRecord
from pys_multi_tools.target import host_architecture, host_system

UNIQUE = "1a2b3c4d"
#: Of every identity of the template, in the place of one each.
CLIENT = "6ad1fe9e-3c3f-4a0e-a3b0-59dcb1d7c5f5"
_WHERE = Context(
    subscription="7c4be4ab-9a5a-4ce5-8e5a-5e2e6b9df6f1",
    tenant="dd0d0df1-06c3-436c-8034-4b9a153097ce",
    group="probe",
    location="westeurope",
    suffixes={},
    deployer="23657296-5cd5-45b0-a809-d972a7f4dfe1",
)


class AzureDriver:
    name: ClassVar[str] = "azure"
    lacks: ClassVar[Mapping[str, str]] = {}
    max_body: ClassVar[int] = MAX_BODY_BYTES
    #: Minor version of Python that the functions run on.
    python: ClassVar[str] = WORKER_PYTHON

    def start(self, project: Path, settings: Settings, folder: Path) -> None:
        self._environment = mock.patch.dict(
            os.environ, {f"PROBE_{name}": value for name, value in settings.secrets.items()}
        )
        self._environment.start()
        self._logs: list[tuple[str, Log]] = []
        self._apps: dict[str, FunctionApp] = {}
        if installed() is None:
            pytest.skip(WHY_NOT)
        runtime = image(self.python)
        if runtime is None or not runtime.has_worker:
            pytest.skip(NO_WORKER)
        root = copied(project, settings, folder / "project", f'python = "{self.python}"')
        provider = AzureProvider()
        loaded = load(root, settings.stage)
        self._deployment = Deployment(
            service=loaded.service,
            stage=loaded.project.stage,
            project=loaded.project,
            app=loaded.reference,
            settings=loaded.project.provider_settings(provider.name, provider.settings_model),
        )
        # What is built for Azure's glibc need not run here.
        target = replace(
            provider.target(self._deployment), system=host_system(), architecture=host_architecture(), glibc=None
        )
        bundle = build(loaded.project, loaded.reference, loaded.service, target)
        self._build_ids = {name: artefact.build_id for name, artefact in bundle.artefacts.items()}
        self._template = Template(
            json.loads(provider.render(self._deployment)[TEMPLATE]), {"unique": {"value": UNIQUE}}, _WHERE
        )
        self._events = EventGrid()
        self._azurite = Azurite(folder / "azurite", self._events.on_line)
        self._identity = Identity(CLIENT)
        self._namespace = Namespace()
        self._make_resources()
        folders: dict[str, Path] = {}
        for artefact in bundle.artefacts.values():
            if artefact.build_id not in folders:
                folders[artefact.build_id] = folder / artefact.build_id
                artefact.unpacked(folders[artefact.build_id])
        around = {**self._identity.environment, "SSL_CERT_FILE": str(self._azurite.certificate)}
        for site in self._all("Microsoft.Web/sites"):
            app_settings = self._settings(site, settings)
            name = app_settings["PYS_MULTI_FUNCTION"]
            self._apps[name] = FunctionApp(
                site.name,
                runtime,
                folders[self._build_ids[name]],
                app_settings,
                on_log=partial(self._on_log, name),
                environment=around,
            )
        self._fronts = {name: Front(app) for name, app in self._apps.items()}
        self._routes = self._route_table()
        self._listeners = Listeners(self._namespace, list(self._sources()))
        self._events.start(self._azurite, self._namespace, list(self._subscriptions()))

    def stop(self) -> None:
        if hasattr(self, "_listeners"):
            self._listeners.stop()
        for app in self._apps.values():
            app.stop()
        for part in ("_events", "_namespace", "_identity", "_azurite"):
            if hasattr(self, part):
                getattr(self, part).stop()
        self._environment.stop()

    # ---- what the template says

    def _all(self, kind: str) -> list[Resource]:
        return [resource for resource in self._template.resources if resource.type == kind]

    def _body(self, resource: Resource) -> dict[str, Any]:
        return self._template.body(resource, {"reference": _reference})

    def _make_resources(self) -> None:
        for queue in self._all("Microsoft.ServiceBus/namespaces/queues"):
            properties = self._body(queue)["properties"]
            self._namespace.add_queue(
                queue.name.partition("/")[2],
                deliveries=properties["maxDeliveryCount"],
                sessions=properties.get("requiresSession", False),
            )
        for topic in self._all("Microsoft.ServiceBus/namespaces/topics"):
            self._namespace.add_topic(topic.name.partition("/")[2])
        for subscription in self._all("Microsoft.ServiceBus/namespaces/topics/subscriptions"):
            _, topic_name, name = subscription.name.split("/")
            deliveries = self._body(subscription)["properties"]["maxDeliveryCount"]
            self._namespace.add_subscription(topic_name, name, deliveries=deliveries)
        for container in self._all("Microsoft.Storage/storageAccounts/blobServices/containers"):
            self._azurite.make_container(container.name.rpartition("/")[2])
        for table in self._all("Microsoft.Storage/storageAccounts/tableServices/tables"):
            self._azurite.make_table(table.name.rpartition("/")[2])

    def _settings(self, site: Resource, settings: Settings) -> dict[str, str]:
        """The settings of an app, with addresses on loopback and what Key Vault would put in."""
        names = replace(names_of(self._deployment), unique=UNIQUE)
        vault = {names.secret(name): value for name, value in settings.secrets.items()}
        addresses = {
            f"https://{names.storage}.blob.core.windows.net": self._azurite.blob,
            f"https://{names.storage}.table.core.windows.net": self._azurite.table,
            f"https://{names.namespace}.servicebus.windows.net": self._namespace.url,
        }
        found = {}
        for entry in self._body(site)["properties"]["siteConfig"]["appSettings"]:
            value = entry["value"]
            if match := re.fullmatch(r"@Microsoft\.KeyVault\(SecretUri=https://[^/]+/secrets/([^/)]+)\)", value):
                value = vault[match[1]]
            for address, here in addresses.items():
                value = value.replace(address, here)
            found[entry["name"]] = value
        return found

    def _sources(self) -> Iterator[tuple[FunctionApp, str]]:
        for app in self._apps.values():
            for event in json.loads(app.settings.get("PYS_MULTI_EVENTS", "{}")).values():
                if "topic" in event:
                    yield app, f"{event['topic']}/subscriptions/{event['subscription']}"
                elif "queue" in event:
                    yield app, event["queue"]

    def _subscriptions(self) -> Iterator[Subscription]:
        for resource in self._all("Microsoft.EventGrid/systemTopics/eventSubscriptions"):
            properties = self._body(resource)["properties"]
            assert properties["eventDeliverySchema"] == "CloudEventSchemaV1_0"
            destination = properties["deliveryWithResourceIdentity"]["destination"]
            assert destination["endpointType"] == "ServiceBusQueue"
            wanted = properties["filter"]
            assert wanted["isSubjectCaseSensitive"] is True
            yield Subscription(
                tuple(wanted["includedEventTypes"]),
                wanted.get("subjectBeginsWith", ""),
                wanted.get("subjectEndsWith", ""),
                destination["properties"]["resourceId"].rpartition("/")[2],
            )

    def _route_table(self) -> RouteTable:
        table = RouteTable()
        for function in self._deployment.service.functions:
            for trigger in function.triggers:
                if isinstance(trigger, Route):
                    table.add(trigger.method, Path_(trigger.path), function.name)
                elif isinstance(trigger, Mount):
                    table.add("*", Path_(f"{trigger.path}/{{path:path}}"), function.name)
        return table

    def _front(self, method: str, target: str) -> Front:
        """Each function has an address of its own; whoever calls knows which."""
        path = front._kestrel(target.partition("?")[0])
        for wanted in (method, "GET", "POST", "PUT", "PATCH", "DELETE"):
            found = self._routes.find(wanted, path)
            if found is not None:
                return self._fronts[str(found[0])]
        return self._fronts["api"]

    # ---- calls

    def request(self, method: str, target: str, fields: Fields = (), body: bytes = b"") -> Reply:
        if "sig=" in target:
            return self._presigned(method, target, body)
        address = self._front(method, target)
        return _reply(address.call(method, target, fields, body, key=self._key(address)))

    def stranger(self, method: str, target: str) -> Reply:
        return _reply(self._front(method, target).call(method, target))

    @contextmanager
    def stream(self, method: str, target: str, fields: Fields = ()) -> Iterator[Streamed]:
        address = self._front(method, target)
        with address.exchange(method, target, fields, key=self._key(address)) as found:
            yield Streamed(found.status, found.fields, _chunks(found.chunks))

    def _key(self, address: Front) -> str:
        return next(self._apps[name].key for name, known in self._fronts.items() if known is address)

    def _presigned(self, method: str, target: str, body: bytes) -> Reply:
        trusts = ssl.create_default_context(cafile=str(self._azurite.certificate))
        connection = http.client.HTTPSConnection(urlsplit(self._azurite.blob).netloc, timeout=30, context=trusts)
        try:
            # Azure wants to be told of what kind the blob will be.
            fields = {"x-ms-blob-type": "BlockBlob"} if method == "PUT" else {}
            connection.request(method, target, body or None, fields)
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def trigger(self, trigger: str, payload: bytes = b"") -> Ran:
        name = trigger.partition(":")[0]
        [kind] = [t.kind for f in self._deployment.service.functions for t in f.triggers if t.id == trigger]
        envelope: dict[str, Any] = {"event": {"kind": "schedule", "time": time.time()}}
        if kind != "schedule":
            envelope = {"messages": [{"body": payload.decode()}]}
        answer = self._fronts[name].call(
            "POST",
            f"/.pys-multi/events/{trigger}",
            [("content-type", "application/json")],
            json.dumps(envelope).encode(),
            key=self._apps[name].key,
        )
        assert answer.status == 200, answer
        return Ran("; ".join(json.loads(answer.body)["failures"].values()))

    def build_id(self, function: str) -> str:
        return self._build_ids[function]

    def health(self, function: str) -> Mapping[str, Any]:
        answer = self._fronts[function].call("GET", "/.pys-multi/health", key=self._apps[function].key)
        assert answer.status == 200, answer
        found: dict[str, Any] = json.loads(answer.body)
        return found

    # ---- logs and dead letters

    def _on_log(self, function: str, log: Log) -> None:
        self._logs.append((function, log))

    def logs(self) -> Iterable[LogRecord]:
        return [_record(function, log) for function, log in list(self._logs)]

    def dead_letters(self, trigger: str) -> list[bytes]:
        app = self._apps[trigger.partition(":")[0]]
        event = json.loads(app.settings["PYS_MULTI_EVENTS"])[trigger]
        entity = event.get("queue") or f"{event['topic']}/subscriptions/{event['subscription']}"
        dead = self._namespace.queues[entity].dead
        assert dead is not None
        with self._namespace.changed:
            return [message.body for message in dead.messages]

    def wait(self) -> None:
        time.sleep(0.05)


def _reference(id: str, *_: Any) -> dict[str, Any]:
    """What Resource Manager knows of a resource once it is there."""
    return {
        "clientId": CLIENT,
        "principalId": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
        "ConnectionString": "InstrumentationKey=0;IngestionEndpoint=https://127.0.0.1/",
        "defaultHostName": f"{id.rpartition('/')[2]}.azurewebsites.net",
    }


def _reply(answer: front.Answer) -> Reply:
    return Reply(answer.status, answer.fields, answer.body)


def _chunks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except front.BrokenOff as error:
        raise BrokenOff from error


def _record(function: str, log: Log) -> LogRecord:
    try:
        found = json.loads(log.message)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "message" not in found or "time" not in found:
        return LogRecord(time=log.time, level=log.level, function=function, message=log.message)
    known = ("time", "level", "message", "request_id", "function")
    return LogRecord(
        time=found["time"],
        # The host takes it from the record itself.
        level=log.level,
        function=found.get("function", function),
        message=found["message"],
        request_id=found.get("request_id", ""),
        fields={name: value for name, value in found.items() if name not in known},
    )
