"""The example on an emulator of AWS: each job known by its own token, and with the rights that `permissions` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.github.conftest import Workspace, with_examples
from tests.support.aws_rights import RightsProxy
from tests.support.ministack import ACCOUNT, MiniStack
from tests.support.trust import ISSUER, aws_lets_in, claims_of

pytestmark = pytest.mark.xdist_group("act-hostile")

ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
#: What a job is there for → the environment of the job that has the rights for it.
PURPOSES = {"deploy": "dev", "preview": "preview", "plan": "plan"}


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


def test_the_example_on_aws(workspace: Workspace, cloud: MiniStack) -> None:
    push = with_examples(workspace, "aws", "shop")
    server = workspace.server
    printed: dict[str, Any] = {}
    for purpose in PURPOSES:
        options = ("--stage", "dev", "--account", ACCOUNT, "--github", "acme/shop", "--for", purpose)
        found = workspace.tool("permissions", "-C", "examples/shop", "--cloud", "aws", *options)
        assert found.returncode == 0, found.stderr
        printed[purpose] = json.loads(found.stdout)
    # Each role lets in the workflows of its environment, and no other.
    server.aws = lambda role, claims: aws_lets_in(
        printed[role.removeprefix(ROLE)]["trust_policy"], {**claims, "iss": ISSUER}, account=ACCOUNT
    )
    secrets = workspace.secrets

    def run(event: str, payload: Any, name: str) -> Any:
        purpose = name if name in PURPOSES else "plan"
        claims = claims_of(environment=PURPOSES[purpose])
        server.claims = {key: value for key, value in claims.items() if key not in ("aud", "iss")}
        proxy.policy = printed[purpose]["policy"]
        # No keys: what the emulator is asked with comes from the exchange.
        variables = {"AWS_ROLE": ROLE + purpose, "AWS_REGION": "eu-central-1"}
        endpoints = {"AWS_ENDPOINT_URL": proxy.url, "AWS_EC2_METADATA_DISABLED": "true"}
        found = workspace.run(
            event, payload, workflow=f"pys-multi-{name}.yml", variables=variables, environment=endpoints
        )
        assert found.code == 0, f"{found.log}\nrefused: {proxy.refused}"
        return found

    with RightsProxy(cloud.url) as proxy:
        deployed = run("push", push, "deploy")
        assert stacks(cloud) == ["shop-dev"]
        assert deployed.output("url").startswith("http")
        assert proxy.refused == [], "a deploy needs no other right"

        base = workspace.git("rev-parse", "HEAD")
        app = workspace.folder / "examples/shop/shop/app.py"
        workspace.commit({"examples/shop/shop/app.py": app.read_text() + '\n\napp.table("more", key="id")\n'})
        event = server.open(7, base=base)
        run("pull_request", event, "plan")
        [comment] = server.comments_on(7)
        assert re.search(r"\| `aws` \| 1 \| \d+ \| 0 \| 0 \|", comment), comment
        assert {what.partition(" on ")[0] for what in proxy.refused} <= {"secretsmanager:GetSecretValue"}
        assert stacks(cloud) == ["shop-dev"]

        proxy.refused.clear()
        run("pull_request", event, "preview")
        assert stacks(cloud) == ["shop-dev", "shop-pr-7"]
        run("pull_request", server.close(7), "preview")
        assert stacks(cloud) == ["shop-dev"]
        assert proxy.refused == [], "previews need no other right"
    told = deployed.log + "".join(server.comments_on(7))
    for secret in set(secrets.values()):
        assert secret not in told.replace(f"add-mask::{secret}", "")
    assert not any(token in told for token in server.issued)
    assert Path(deployed.output("summary-path")).suffix == ".md"
