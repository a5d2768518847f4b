"""The example on an ARM server: known by the workflow's own token, and with the rights that `permissions` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.github.conftest import Workspace, with_examples
from tests.support.arm.resources import SUBSCRIPTION, TENANT
from tests.support.arm.server import ArmServer
from tests.support.azure_rights import AzureRightsProxy
from tests.support.azure_stage import KINDS, LOCATION, OnPaper, is_read, server
from tests.support.trust import azure_lets_in, claims_of

pytestmark = pytest.mark.xdist_group("act")

CLIENT = "00000000-0000-4000-8000-00000000000c"
GROUP = "shop"


@pytest.fixture(scope="module")
def cloud() -> Iterator[ArmServer]:
    found = server(OnPaper)  # what runs there is in tests/e2e/azure
    try:
        yield found
    finally:
        found.stop()


def test_the_example_on_azure(workspace: Workspace, cloud: ArmServer) -> None:
    github = workspace.server
    place = ("--subscription", SUBSCRIPTION, "--resource-group", GROUP, "--location", LOCATION)
    with AzureRightsProxy(cloud.url, []) as proxy:
        endpoints = "".join(f'{kind} = "{proxy.url}"\n' for kind in KINDS)
        push = with_examples(workspace, "azure", "shop", settings=f"\n[tool.pys-multi.azure.endpoints]\n{endpoints}")
        printed: dict[str, Any] = {}
        for purpose in ("deploy", "plan"):
            options = ("--stage", "dev", "--github", "acme/shop", "--for", purpose)
            found = workspace.tool("permissions", "-C", "examples/shop", "--cloud", "azure", *place, *options)
            assert found.returncode == 0, found.stderr
            printed[purpose] = json.loads(found.stdout)

        def run(event: str, payload: Any, name: str, environment: str) -> Any:
            github.claims = {key: value for key, value in claims_of(environment=environment).items() if key != "aud"}
            github.azure = lambda client, claims: (
                client == CLIENT and azure_lets_in(printed[name]["trust_policy"], claims)
            )
            proxy.roles = printed[name]["policy"]["roles"]
            proxy.arm()
            variables = {
                "AZURE_CLIENT_ID": CLIENT,
                "AZURE_TENANT_ID": TENANT,
                "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
                "AZURE_RESOURCE_GROUP": GROUP,
                "AZURE_LOCATION": LOCATION,
            }
            # Microsoft's library speaks to Entra by https alone; with what it asks is in test_federation. Its tokens
            # for the ARM server come from the server.
            found = workspace.run(
                event, payload, workflow=f"pys-multi-{name}.yml", variables=variables, environment=cloud.environment
            )
            assert found.code == 0, f"{found.log}\nrefused: {proxy.refused}"
            # Whether the values of secrets differ is not for a pull request to know.
            expected = {"Microsoft.KeyVault/vaults/secrets/getSecret/action"} if name == "plan" else set()
            assert set(proxy.refused) <= expected, "it needs no other right"
            return found

        # The role is for a group that is there.
        cloud._group("PUT", GROUP, {"location": LOCATION})
        deployed = run("push", push, "deploy", "dev")
        assert re.match(r"https://shop-dev-api-\w+\.azurewebsites\.net", deployed.output("url"))
        assert len(list(cloud.world.of_type("Microsoft.Web/sites"))) == 3
        assert github.issued

        base = workspace.git("rev-parse", "HEAD")
        app = workspace.folder / "examples/shop/shop/app.py"
        workspace.commit({"examples/shop/shop/app.py": app.read_text() + '\n\napp.queue("more")\n'})
        run("pull_request", github.open(7, base=base), "plan", "plan")
        [comment] = github.comments_on(7)
        assert re.search(r"\| `azure` \| [1-9]\d* \| \d+ \| 0 \| 0 \|", comment), comment
        assert [name for name, _ in proxy.calls if not is_read(name)] == []
    told = deployed.log + comment
    for secret in set(workspace.secrets.values()):
        assert secret not in told.replace(f"add-mask::{secret}", "")
    assert not any(token in told for token in github.issued)
