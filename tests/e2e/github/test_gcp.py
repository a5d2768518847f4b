"""The example on a control plane of Google Cloud: known by the workflow's own token, with printed rights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.github.conftest import Workspace, with_examples
from tests.support.gcp_control import compute
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_control.state import NUMBER, PROJECT, REGION
from tests.support.trust import claims_of, gcp_lets_in

pytestmark = pytest.mark.xdist_group("act")


#: What the workload identity has by the binding of the trust, and the service account itself has not.
BECOME = "iamcredentials.serviceAccounts.generateAccessToken"


#: The permission of a method, where it is called otherwise ("IAM permissions reference"): Firestore's are those of
#: Datastore and a field's those of indexes, a notification is a part of its bucket, and an identity token is had of the
#: service account.
OTHERWISE = {
    "firestore.databases.get": "datastore.databases.getMetadata",
    "firestore.fields.get": "datastore.indexes.get",
    "firestore.fields.list": "datastore.indexes.list",
    "firestore.fields.update": "datastore.indexes.update",
    "storage.notifications.create": "storage.buckets.update",
    "storage.notifications.delete": "storage.buckets.update",
    "storage.notifications.list": "storage.buckets.get",
    "storage.serviceAccount.get": "resourcemanager.projects.get",
    "iamcredentials.serviceAccounts.generateIdToken": "iam.serviceAccounts.getOpenIdToken",
}


class AllBut:
    """What a caller may not: everything but the permissions that roles have. refused: what it was refused."""

    def __init__(self, allowed: set[str]) -> None:
        self.allowed = allowed
        self.refused: list[str] = []

    def __contains__(self, method: str) -> bool:
        permission = OTHERWISE.get(method, method.replace("firestore.", "datastore."))
        if permission not in self.allowed:
            self.refused.append(permission)
        return permission not in self.allowed


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("gcp"), runs=False) as found:
        yield found


def test_the_example_on_google_cloud(
    workspace: Workspace, cloud: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = with_examples(workspace, "gcp", "shop")
    server = workspace.server
    place = ("--project", PROJECT, "--region", REGION)
    printed: dict[str, Any] = {}
    for purpose in ("deploy", "plan"):
        options = ("--stage", "dev", "--account", NUMBER, "--github", "acme/shop", "--for", purpose)
        found = workspace.tool("permissions", "-C", "examples/shop", "--cloud", "gcp", *place, *options)
        assert found.returncode == 0, found.stderr
        printed[purpose] = json.loads(found.stdout)

    # The account is made as it is printed; it has run.routes.invoke, which the control plane knows of one account.
    account = printed["deploy"]["policy"]["service_account"]
    monkeypatch.setattr(compute, "DEPLOYER", f"{account['accountId']}@{PROJECT}.iam.gserviceaccount.com")
    email, name = compute.DEPLOYER, f"projects/{PROJECT}/serviceAccounts/{compute.DEPLOYER}"
    cloud.state.add("accounts", name, {**account["serviceAccount"], "name": name, "email": email, "uniqueId": "1"})

    def run(event: str, payload: Any, name: str, environment: str) -> Any:
        policy, trust = printed[name]["policy"], printed[name]["trust_policy"]
        server.claims = {key: value for key, value in claims_of(environment=environment).items() if key != "aud"}
        server.gcp = lambda claims: gcp_lets_in(trust, claims)
        rights = AllBut({p for role in policy["roles"] for p in role["role"]["includedPermissions"]} | {BECOME})
        cloud.denied = rights  # type: ignore[assignment]  # it is only asked what is in it
        variables = {
            "GCP_WORKLOAD_IDENTITY_PROVIDER": trust["workload_identity_provider"],
            "GCP_SERVICE_ACCOUNT": trust["service_account"],
            "GCP_PROJECT": PROJECT,
            "GCP_REGION": REGION,
        }
        # The token service is beside the server of GitHub, everything else of Google's is the control plane's.
        endpoints = {
            **cloud.endpoints(cloud.url),
            "HTTPS_PROXY": cloud.url,
            "NO_PROXY": "pypi.org,files.pythonhosted.org",
        }
        found = workspace.run(
            event, payload, workflow=f"pys-multi-{name}.yml", variables=variables, environment=endpoints
        )
        assert found.code == 0, f"{found.log}\nrefused: {rights.refused}"
        # Whether the values of secrets differ is not for a pull request to know.
        expected = {"secretmanager.versions.access"} if name == "plan" else set()
        assert set(rights.refused) <= expected, "it needs no other right"
        return found

    deployed = run("push", push, "deploy", "dev")
    assert deployed.output("url").startswith(f"{cloud.url}/run/shop-dev-")
    assert sorted(name.rpartition("/")[2] for name in cloud.state.of("functions")) == [
        "shop-dev-api",
        "shop-dev-hooks",
        "shop-dev-worker",
    ]
    assert server.issued

    event = server.open(7, base=workspace.git("rev-parse", "HEAD"))
    app = workspace.folder / "examples/shop/shop/app.py"
    workspace.commit({"examples/shop/shop/app.py": app.read_text() + '\n\napp.queue("more")\n'})
    cloud.calls.clear()
    run("pull_request", event, "plan", "plan")
    [comment] = server.comments_on(7)
    assert re.search(r"\| `gcp` \| [1-9]\d* \| \d+ \| 0 \| 0 \|", comment), comment
    assert cloud.mutating() == []
    told = deployed.log + comment
    for secret in set(workspace.secrets.values()):
        assert secret not in told.replace(f"add-mask::{secret}", "")
    assert not any(token in told for token in server.issued)
