"""The AWS provider: its template and its bundle, under AWS's own runtime client, with moto's services beside it.

The bundle is built as a deploy builds it, for this machine instead of Lambda's. The template says which functions,
queues, tables, routes and mappings there are; the services stand in an emulator on loopback, and an HTTP API and
event source mappings of the suite's own make the events that AWS makes.
"""

from __future__ import annotations

import hmac
import http.client
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import parse_qsl, quote, urlsplit

from tests.conformance.driver import Fields, Ran, Reply, Settings, Streamed
from tests.conformance.drivers.project import copied
from tests.support.aws_emulator import CREDENTIALS, REGION, Emulator
from tests.support.aws_stack import Stack
from tests.support.event_sources import EventSources, Mapping_
from tests.support.http_api import ApiRoute, HttpApi
from tests.support.lambda_image import image
from tests.support.lambda_rie import RieFunction
from tests.support.lambda_runtime import MAX_PAYLOAD, Function

from pys_multi_providers.aws.provider import TEMPLATE, AwsProvider
from pys_multi_tools import load
from pys_multi_tools.bundle import build
from pys_multi_tools.deployment import Deployment, LogRecord
from pys_multi_tools.target import host_architecture, host_system

#: Of the function whose health is asked for, and of events that are made by hand.
_ENVELOPE = "pys_multi"


class AwsDriver:
    name: ClassVar[str] = "aws"
    lacks: ClassVar[Mapping[str, str]] = {
        "streaming": "AWS's managed Python has no response streaming, so streams are joined",
    }
    max_body: ClassVar[int] = MAX_PAYLOAD
    #: Minor version of Python that the functions run on.
    python: ClassVar[str] = f"{sys.version_info[0]}.{sys.version_info[1]}"
    #: What runs a function: a Runtime API of the tests' own, or AWS's emulator of one.
    runs: ClassVar[type[Function | RieFunction]] = Function

    def start(self, project: Path, settings: Settings, folder: Path) -> None:
        self._environment = mock.patch.dict(
            os.environ, {f"PROBE_{name}": value for name, value in settings.secrets.items()}
        )
        self._environment.start()
        self._lines: list[tuple[str, float, str]] = []
        self._functions: dict[str, Function | RieFunction] = {}
        root = copied(project, settings, folder / "project", f'python = "{self.python}"')
        runtime = image(self.python)
        assert runtime is not None, f"there is no Python {self.python} on this machine"
        provider = AwsProvider()
        loaded = load(root, settings.stage)
        self._deployment = Deployment(
            service=loaded.service,
            stage=loaded.project.stage,
            project=loaded.project,
            app=loaded.reference,
            settings=loaded.project.provider_settings(provider.name, provider.settings_model),
        )
        # What is built for Lambda's processor and glibc need not run here.
        target = replace(
            provider.target(self._deployment), system=host_system(), architecture=host_architecture(), glibc=None
        )
        bundle = build(loaded.project, loaded.reference, loaded.service, target)
        template = json.loads(provider.render(self._deployment)[TEMPLATE])
        self._emulator = Emulator()
        self._stack = Stack(self._emulator, template, _secrets(template, settings))
        self._build_ids = {name: artefact.build_id for name, artefact in bundle.artefacts.items()}
        folders: dict[str, Path] = {}
        for name, artefact in bundle.artefacts.items():
            if artefact.build_id not in folders:
                folders[artefact.build_id] = folder / artefact.build_id
                artefact.unpacked(folders[artefact.build_id])
            properties = _function(template, name)
            self._functions[name] = self.runs(
                name,
                runtime,
                folders[artefact.build_id],
                timeout=properties["Timeout"],
                environment={
                    **self._stack.value(properties["Environment"]["Variables"]),
                    **CREDENTIALS,
                    "AWS_REGION": REGION,
                    "AWS_DEFAULT_REGION": REGION,
                    "AWS_ENDPOINT_URL": self._emulator.url,
                    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(properties["MemorySize"]),
                    "AWS_LAMBDA_FUNCTION_VERSION": "1",
                },
                on_line=partial(self._on_line, name),
            )
        self._api = HttpApi(list(self._routes(template)))
        self._sources = EventSources(self._emulator, list(self._mappings(template)))

    def stop(self) -> None:
        if hasattr(self, "_sources"):
            self._sources.stop()
        for function in self._functions.values():
            function.stop()
        if hasattr(self, "_emulator"):
            self._emulator.stop()
        self._environment.stop()

    # ---- what the template says

    def _routes(self, template: Any) -> Iterator[ApiRoute]:
        resources = template["Resources"]
        for _, route in self._stack.all("AWS::ApiGatewayV2::Route"):
            integration = resources[route["Target"]["Fn::Sub"].removeprefix("integrations/${").rstrip("}")]
            function = self._of_alias(template, integration["Properties"]["IntegrationUri"])
            asks = route["AuthorizationType"]
            yield ApiRoute(route["RouteKey"], function.invoke, iam=asks == "AWS_IAM", jwt=asks == "JWT")

    def _mappings(self, template: Any) -> Iterator[Mapping_]:
        for _, source in self._stack.all("AWS::Lambda::EventSourceMapping"):
            assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
            queue = template["Resources"][source["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]["QueueName"]
            yield Mapping_(
                queue,
                self._stack.value({"Ref": source["EventSourceArn"]["Fn::GetAtt"][0]}),
                source["BatchSize"],
                source.get("MaximumBatchingWindowInSeconds", 0),
                self._of_alias(template, source["FunctionName"]).invoke,
            )

    def _of_alias(self, template: Any, reference: Any) -> Function | RieFunction:
        alias = template["Resources"][reference["Ref"]]["Properties"]
        properties = template["Resources"][alias["FunctionName"]["Ref"]]["Properties"]
        return self._functions[properties["Environment"]["Variables"]["PYS_MULTI_FUNCTION"]]

    # ---- calls

    def request(self, method: str, target: str, fields: Fields = (), body: bytes = b"") -> Reply:
        if "X-Amz-Signature=" in target:
            return self._presigned(method, target, body)
        answer = self._api.call(method, target, fields, body)
        return Reply(answer.status, answer.fields, answer.body)

    def stranger(self, method: str, target: str) -> Reply:
        answer = self._api.call(method, target, known=False)
        return Reply(answer.status, answer.fields, answer.body)

    @contextmanager
    def stream(self, method: str, target: str, fields: Fields = ()) -> Iterator[Streamed]:
        raise AssertionError("not asked for: the driver lacks it")
        yield

    def _presigned(self, method: str, target: str, body: bytes) -> Reply:
        """S3, with the check of signatures that the emulator leaves out."""
        address = urlsplit(self._emulator.url).netloc
        if not _is_signed(method, target, address):
            return Reply(403, (), b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            connection.request(method, target, body or None)
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def trigger(self, trigger: str, payload: bytes = b"") -> Ran:
        function = self._functions[trigger.partition(":")[0]]
        [kind] = [t.kind for f in self._deployment.service.functions for t in f.triggers if t.id == trigger]
        envelope: dict[str, Any] = {"trigger": trigger}
        if kind == "schedule":
            envelope["event"] = {"kind": "schedule", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        else:
            envelope["messages"] = [{"body": payload.decode()}]
        result = function.invoke({_ENVELOPE: envelope})
        if result.error is not None:
            return Ran(f"{result.error['errorType']}: {result.error['errorMessage']}")
        return Ran("; ".join(result.payload["failures"].values()))

    def build_id(self, function: str) -> str:
        return self._build_ids[function]

    def health(self, function: str) -> Mapping[str, Any]:
        found: dict[str, Any] = self._functions[function].invoke({_ENVELOPE: {"health": True}}).payload
        return found

    # ---- logs and dead letters

    def _on_line(self, function: str, line: str) -> None:
        self._lines.append((function, time.time(), line))

    def logs(self) -> Iterable[LogRecord]:
        return [_record(*line) for line in list(self._lines)]

    def dead_letters(self, trigger: str) -> list[bytes]:
        variables = [
            (properties["Environment"]["Variables"], properties)
            for _, properties in self._stack.all("AWS::Lambda::Function")
        ]
        [name] = [
            queue
            for environment, _ in variables
            for queue, id in json.loads(environment.get("PYS_MULTI_QUEUES", "{}")).items()
            if id == trigger
        ]
        [policy] = [p["RedrivePolicy"] for _, p in self._stack.all("AWS::SQS::Queue") if p["QueueName"] == name]
        url = self._stack.value({"Ref": policy["deadLetterTargetArn"]["Fn::GetAtt"][0]})
        sqs = self._emulator.client("sqs")
        bodies: list[bytes] = []
        while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1).get("Messages"):
            bodies += [message["Body"].encode() for message in found]
        return bodies

    def wait(self) -> None:
        time.sleep(0.05)


def _function(template: Any, name: str) -> Any:
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            properties = resource["Properties"]
            if properties["Environment"]["Variables"]["PYS_MULTI_FUNCTION"] == name:
                return properties
    raise LookupError(name)


def _secrets(template: Any, settings: Settings) -> dict[str, str]:
    """Logical id of a secret → its value, by the last word of the name that it has."""
    return {
        id: settings.secrets[resource["Properties"]["Name"].rpartition("/")[2]]
        for id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::SecretsManager::Secret"
    }


def _record(function: str, when: float, line: str) -> LogRecord:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "message" not in found:
        return LogRecord(time=when, level="INFO", function=function, message=line)
    known = ("time", "level", "message", "request_id", "function")
    return LogRecord(
        time=found["time"],
        level=found["level"],
        function=found.get("function", function),
        message=found["message"],
        request_id=found.get("request_id", ""),
        fields={name: value for name, value in found.items() if name not in known},
    )


def _is_signed(method: str, target: str, host: str) -> bool:
    """Whether a presigned URL is good for a request ("Signature Version 4: query parameters" of the S3 API)."""
    path, _, query = target.partition("?")
    fields = dict(parse_qsl(query, keep_blank_values=True))
    signature, scope = fields.pop("X-Amz-Signature"), fields["X-Amz-Credential"].partition("/")[2]
    started = time.mktime(time.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ")) - time.timezone
    if time.time() > started + int(fields["X-Amz-Expires"]):
        return False
    canonical_query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(fields.items()))
    canonical = "\n".join((method, path, canonical_query, f"host:{host}\n", "host", "UNSIGNED-PAYLOAD"))
    digest = sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", fields["X-Amz-Date"], scope, digest))
    key = f"AWS4{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature)
