"""A project and its stage on an emulator of AWS, deployed as a user does it, and looked at with boto3 alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.fault_proxy import Answer, Call
from tests.support.ministack import MiniStack

from pys_multi_tools import pipeline
from pys_multi_tools.bundle import Bundle, build
from pys_multi_tools.deployment import Change, Outputs, Plan, Progress, Rollout, Status

APP = """
import json, os
from pys_multi import App

app = App("{service}")
jobs = app.queue("jobs", retries=1)
stock = app.table("stock", key="sku")
key = app.secret("API_KEY")
api = app.function("api", timeout=10, uses=[jobs.send, stock.get, key])
worker = app.function("worker", timeout=10, uses=[stock.put])

@api.get("/hello/{{name}}", public=True)
def hello(name: str) -> dict[str, str]:
    return {{"hello": name, "build": "{mark}"}}

@api.get("/private")
def private() -> dict[str, str]:
    return {{"private": "yes"}}

@api.get("/fails", public=True)
def fails() -> dict[str, str]:
    raise RuntimeError("as wanted")

@api.get("/stock/{{sku}}", public=True)
def of(sku: str) -> dict[str, object]:
    return dict(stock.get(sku))

@api.post("/jobs", public=True, status=202)
def order(sku: str) -> None:
    jobs.send({{"sku": sku}})

@worker.consume(jobs)
def work(message) -> None:
    item = json.loads(message.body)
    if item["sku"] == "bad":
        raise ValueError("a bad one")
    print("worked on", item["sku"])
    stock.put({{"sku": item["sku"], "mark": "{mark}"}})

@worker.schedule("0 4 * * *")
def nightly() -> None:
    print("nightly", "{mark}")
"""
SECRET = "s3cr3t-canary-0123456789"


class AwsStage:
    """A project with one module, ``app.py``, and its stage ``test``."""

    def __init__(self, root: Path, service: str = "shop", stage: str = "test") -> None:
        self.root, self.service, self.stage = root, service, stage
        self.progress: list[Progress] = []
        self.settings = ""
        self._cache = root.parent / "bundle-cache"
        self.write()

    def write(self, mark: str = "one", change: Callable[[str], str] = lambda code: code) -> None:
        """The code of the service; ``mark`` is what its answers show, ``change`` edits it."""
        self.root.mkdir(exist_ok=True)
        code = change(APP.format(service=self.service, mark=mark))
        (self.root / "app.py").write_text(code, encoding="utf-8")
        # The emulator runs the code under its own interpreter, which is of this version.
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        settings = f'[tool.pys-multi]\ncloud = ["aws"]\npython = "{python}"\n'
        settings += '[tool.pys-multi.secrets]\nAPI_KEY = "env:API_KEY"\n'
        (self.root / "pyproject.toml").write_text(settings + self.settings, encoding="utf-8")

    def place(self) -> pipeline.Placement:
        return pipeline.place(pipeline.load(self.root, self.stage))[0]

    def bundle(self, placement: pipeline.Placement) -> Bundle:
        deployment = placement.deployment
        target = placement.provider.target(deployment)
        return build(deployment.project, deployment.app, deployment.service, target, preflight=False, cache=self._cache)

    def deploy(self, rollout: Rollout | None = None, plan: Plan | None = None) -> Outputs:
        placement = self.place()
        self.progress.clear()
        return pipeline.deploy(
            placement, self.progress.append, plan=plan, bundle=self.bundle(placement), rollout=rollout
        ).outputs

    def plan(self, *, refresh: bool = False) -> tuple[Change, ...]:
        return pipeline.plan(self.place(), refresh=refresh).pending

    def rollback(self, build_id: str | None = None) -> Outputs:
        return pipeline.rollback(self.place(), build_id, self.progress.append)

    def destroy(self, *, delete_data: bool = True) -> None:
        pipeline.destroy(self.place(), delete_data=delete_data, progress=self.progress.append)

    def status(self) -> Status:
        return pipeline.status(self.place())

    def told(self) -> str:
        """All progress of the last step, as text."""
        return "\n".join(f"{p.step}: {p.text}" for p in self.progress)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """os.environ with these variables."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# ---- what is there


def inventory(cloud: MiniStack, service: str) -> dict[str, Any]:
    """Everything of a service, by kind; what is the same after every deploy that ended well."""

    def mine(names: Any) -> list[str]:
        return sorted(name for name in names if service in name)

    formation, functions, storage = cloud.client("cloudformation"), cloud.client("lambda"), cloud.client("s3")
    stacks = [s for s in formation.describe_stacks()["Stacks"] if service in s["StackName"]]
    found: dict[str, Any] = {
        "stacks": sorted(s["StackName"] for s in stacks if s["StackStatus"] != "DELETE_COMPLETE"),
        "change sets": [
            entry["ChangeSetName"]
            for stack in stacks
            if stack["StackStatus"] != "DELETE_COMPLETE"
            for entry in formation.list_change_sets(StackName=stack["StackName"])["Summaries"]
            if entry["ExecutionStatus"] == "AVAILABLE"
        ],
        "functions": mine(f["FunctionName"] for f in functions.list_functions()["Functions"]),
        "sources": len(
            [m for m in functions.list_event_source_mappings()["EventSourceMappings"] if service in m["FunctionArn"]]
        ),
        "apis": mine(api["Name"] for api in cloud.client("apigatewayv2").get_apis()["Items"]),
        "queues": mine(cloud.client("sqs").list_queues().get("QueueUrls", ())),
        "tables": mine(cloud.client("dynamodb").list_tables()["TableNames"]),
        "roles": mine(role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]),
        "logs": mine(g["logGroupName"] for g in cloud.client("logs").describe_log_groups()["logGroups"]),
        "secrets": mine(s["Name"] for s in cloud.client("secretsmanager").list_secrets()["SecretList"]),
        "schedules": len(
            [s for s in cloud.client("scheduler").list_schedules()["Schedules"] if service in s["GroupName"]]
        ),
        "buckets": sorted(b["Name"] for b in storage.list_buckets()["Buckets"]),
    }
    found["versions"] = {
        name: [
            (v["Version"], v.get("Description", ""))
            for v in functions.list_versions_by_function(FunctionName=name)["Versions"]
            if v["Version"] != "$LATEST"
        ]
        for name in found["functions"]
    }
    found["live"] = {}
    for name in found["functions"]:
        alias = functions.get_alias(FunctionName=name, Name="live")
        weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights")
        found["live"][name] = (alias["FunctionVersion"], weights or {})
    return found


def served(cloud: MiniStack, service: str, stage: str = "test") -> dict[str, str]:
    """What every function says that it runs, asked through its alias."""
    functions = cloud.client("lambda")
    answers = {}
    for name in ("api", "worker"):
        payload = functions.invoke(
            FunctionName=f"{service}_{stage}_{name}", Qualifier="live", Payload=b'{"pys_multi": {"health": true}}'
        )["Payload"].read()
        answers[name] = json.loads(payload)["build_id"]
    return answers


# ---- AWS's protocols, for the proxy


def name_of(call: Call) -> str:
    """Service and operation of a call of boto3's."""
    service = call.headers.get("authorization", "//// ").partition("Credential=")[2].split("/")[3:4]
    name = service[0] if service else "?"
    if target := call.headers.get("x-amz-target"):
        return f"{name}.{target.rpartition('.')[2]}"
    if b"Action=" in call.body[:2000]:
        action = call.body.partition(b"Action=")[2].partition(b"&")[0].decode()
        return f"{name}.{action}"
    path, _, query = call.path.partition("?")
    if name == "s3":
        kind = "bucket" if path.strip("/").count("/") == 0 else "object"
        asked = query.partition("&")[0].partition("=")[0]
        return f"s3.{call.method} {kind} {asked}".strip()
    parts = [part for part in path.split("/")[2:] if part]
    return f"{name}.{call.method} {'/'.join(parts[:1] + parts[2:])}"


def refusal(code: str, text: str, status: int) -> Callable[[Call], Answer]:
    """An error in the protocol of whoever asks."""

    def answer(call: Call) -> Answer:
        if name_of(call).startswith(("cloudformation.", "sts.")) and "x-amz-target" not in call.headers:
            kind = "Sender" if status < 500 else "Receiver"
            body = (
                f"<ErrorResponse><Error><Type>{kind}</Type><Code>{code}</Code><Message>{text}</Message></Error>"
                "<RequestId>0</RequestId></ErrorResponse>"
            )
            return Answer(status, {"content-type": "text/xml"}, body.encode())
        if name_of(call).startswith("s3."):
            body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
            return Answer(status, {"content-type": "application/xml"}, body.encode())
        document = {"__type": code, "message": text, "Message": text}
        headers = {"content-type": "application/json", "x-amzn-errortype": code}
        return Answer(status, headers, json.dumps(document).encode())

    return answer
