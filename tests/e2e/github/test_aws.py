"""The action on an emulator of AWS, known by the workflow's own token: a plan, a deploy, a preview and its end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.github.conftest import APP, SECRET, Workspace
from tests.support.ministack import MiniStack
from tests.support.trust import aws_lets_in, claims_of

pytestmark = pytest.mark.xdist_group("act-hostile")

ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/deploy"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    emulator = MiniStack(tmp_path_factory.mktemp("ministack"))
    try:
        yield emulator
    finally:
        emulator.stop()


def stacks(cloud: MiniStack) -> list[str]:
    found = cloud.client("cloudformation").describe_stacks()["Stacks"]
    names = [stack["StackName"] for stack in found if not stack["StackStatus"].startswith("DELETE")]
    return sorted(re.sub(r"-[0-9a-f]{8}$", "", name) for name in names)  # what tells shop-pr/7 from shop/pr-7


def test_aws(workspace: Workspace, cloud: MiniStack) -> None:
    settings = 'app = "app:app"\ncloud = ["aws"]\npython = "3.13"\n[secrets]\nKEY = "env:SHOP_KEY"\n'
    workspace.write({"app.py": APP, "pys-multi.toml": settings})
    workspace.workflows("--stage", "prod")
    base = workspace.commit()
    server = workspace.server
    trusts: list[Any] = []
    for environment in ("prod", "preview", "plan"):
        options = ("--stage", "prod", "--account", ACCOUNT, "--github", "acme/shop", "--environment", environment)
        trusts.append(json.loads(workspace.tool("permissions", *options).stdout)["trust_policy"])
    issuer = "https://token.actions.githubusercontent.com"
    server.aws = lambda role, claims: (
        role == ROLE and any(aws_lets_in(trust, {**claims, "iss": issuer}, account=ACCOUNT) for trust in trusts)
    )
    # No keys: what the emulator is asked with comes from the exchange.
    variables = {"AWS_ROLE": ROLE, "AWS_REGION": "eu-central-1"}
    endpoints = {"AWS_ENDPOINT_URL": cloud.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def run(event: str, payload: Any, name: str, environment: str) -> Any:
        claims = claims_of(environment=environment)
        server.claims = {key: value for key, value in claims.items() if key not in ("aud", "iss")}
        found = workspace.run(
            event, payload, workflow=f"pys-multi-{name}.yml", variables=variables, environment=endpoints
        )
        assert found.code == 0, found.log
        return found

    event = server.open(7, base=base)
    run("pull_request", event, "plan", "plan")
    [comment] = server.comments_on(7)
    assert re.search(r"\| `aws` \| [1-9]\d* \| 0 \| 0 \| 0 \|", comment)
    assert stacks(cloud) == []

    deployed = run("push", {"ref": "refs/heads/main"}, "deploy", "prod")
    assert stacks(cloud) == ["shop-prod"]
    assert deployed.output("url").startswith("http")
    assert len(server.issued) == 2
    [function] = [
        name
        for name in (one["FunctionName"] for one in cloud.client("lambda").list_functions()["Functions"])
        if "prod" in name
    ]
    assert "shop" in function

    run("pull_request", event, "preview", "preview")
    assert stacks(cloud) == ["shop-pr-7", "shop-prod"]
    run("pull_request", server.close(7), "preview", "preview")
    assert stacks(cloud) == ["shop-prod"]
    told = deployed.log + "".join(server.comments_on(7))
    assert SECRET not in told.replace(f"add-mask::{SECRET}", "")
    assert not any(token in told for token in server.issued)
    assert Path(deployed.output("summary-path")).suffix == ".md"
