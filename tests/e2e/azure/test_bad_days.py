"""What goes wrong around a deploy: each is ridden out or told clearly, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.support.arm.expressions import Refused
from tests.support.arm.server import ArmServer
from tests.support.arm.template import Resource
from tests.support.azure_stage import NOTHING, AzureStage, environment, inventory, name_of, refusal, served
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.local_stage import wait_for

from pys_multi_providers.azure import apps
from pys_multi_tools.errors import DeployError, ProviderError

START = "arm.PUT deployments"


@pytest.fixture
def proxy(paper: ArmServer, draft: AzureStage) -> Iterator[FaultProxy]:
    """Between the deploys of the test and the server."""
    with FaultProxy(paper.url, name_of) as found:
        draft.url = found.url
        draft.write()
        yield found
        draft.url = paper.url
        draft.write()


def _fails_once(arm: ArmServer, kind: str, error: Refused) -> None:
    left = [error]

    def before(resource: Resource) -> None:
        if resource.type.endswith(kind) and left:
            raise left.pop()

    arm.deployments.before = before


@pytest.fixture(autouse=True)
def calm(paper: ArmServer) -> Iterator[None]:
    yield
    paper.deployments.before = lambda _: None
    paper.world.denied.clear()
    paper.world.taken.clear()
    paper.sites.outcomes.clear()


# ---- publishing


@pytest.mark.parametrize(
    ("outcome", "text"),
    [("200 and failed", "unzip failed"), ("fails", "failed to specialize"), ("old code", "it serves not")],
)
def test_a_publishing_that_did_not_end_well_is_no_success(
    outcome: str, text: str, draft: AzureStage, paper: ArmServer
) -> None:
    draft.deploy()
    draft.write("two")
    paper.sites.outcomes = [outcome]
    with pytest.raises(DeployError, match=text) as caught:
        draft.deploy()
    assert caught.value.where.startswith("function ")
    assert caught.value.hint
    outputs = draft.deploy()
    assert served(paper, draft.group) == outputs.build_ids


def test_an_app_without_functions_is_no_success(draft: AzureStage, paper: ArmServer) -> None:
    paper.sites.outcomes = ["nothing indexed"]
    with pytest.raises(DeployError, match="indexed no functions of it"):
        draft.deploy()
    outputs = draft.deploy()
    assert served(paper, draft.group) == outputs.build_ids


def test_another_publishing_is_waited_for(draft: AzureStage, paper: ArmServer) -> None:
    paper.sites.outcomes = ["busy"]
    outputs = draft.deploy()
    assert served(paper, draft.group) == outputs.build_ids
    assert "another publishing is on its way" in draft.told()


def test_a_publishing_of_which_nobody_knows_any_more_is_judged_by_what_serves(
    draft: AzureStage, paper: ArmServer, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "_LOST", 0.2)
    lost = refusal("NotFound", "deployment not found", 404)
    proxy.arm(Fault("scm.GET api /api/deployments", 1, "refuse", times=999, answer=lost))
    outputs = draft.deploy()
    assert proxy.fired
    assert served(paper, draft.group) == outputs.build_ids
    draft.write("two")
    paper.sites.outcomes = ["old code", "old code"]
    proxy.arm(Fault("scm.GET api /api/deployments", 1, "refuse", times=999, answer=lost))
    with pytest.raises(DeployError, match="it serves not"):
        draft.deploy()


def test_rights_that_are_not_known_everywhere_yet_are_waited_for(
    draft: AzureStage, paper: ArmServer, proxy: FaultProxy
) -> None:
    answer = refusal("AuthorizationPermissionMismatch", "This request is not authorized", 403)
    proxy.arm(Fault("blob.PUT zip", 1, "refuse", times=2, answer=answer))
    outputs = draft.deploy()
    assert proxy.fired
    assert draft.told().count("known everywhere") == 1
    draft.write("two")
    text = "InaccessibleStorageException: BlobUploadFailedException"
    proxy.arm(Fault("scm.POST api /api/publish", 1, "refuse", times=2, answer=refusal("x", text, 400)))
    outputs = draft.deploy()
    assert proxy.fired
    assert served(paper, draft.group) == outputs.build_ids


# ---- deployments


@pytest.mark.parametrize("code", ["PrincipalNotFound", "RetryableError"])
def test_what_passes_is_tried_again(code: str, draft: AzureStage, paper: ArmServer) -> None:
    _fails_once(paper, "roleAssignments", Refused(code, "Principal 1 does not exist in the directory 2."))
    outputs = draft.deploy()
    assert "trying again" in draft.told()
    assert served(paper, draft.group) == outputs.build_ids


@pytest.mark.parametrize(
    ("kind", "error", "text", "hint"),
    [
        (
            "storageAccounts",
            Refused("StorageAccountAlreadyTaken", "The storage account named x is already taken.", 409),
            "taken by somebody else",
            "suffix",
        ),
        (
            "serverfarms",
            Refused("SubscriptionIsOverQuotaForSku", "Operation cannot be completed without additional quota."),
            "additional quota",
            "--location",
        ),
    ],
)
def test_what_azure_refuses_is_told_with_its_own_reason(
    kind: str, error: Refused, text: str, hint: str, draft: AzureStage, paper: ArmServer
) -> None:
    _fails_once(paper, kind, error)
    with pytest.raises(DeployError, match=text) as caught:
        draft.deploy()
    assert hint in caught.value.hint
    assert error.code in str(caught.value) or "Conflict" in error.code
    outputs = draft.deploy()
    assert served(paper, draft.group) == outputs.build_ids


def test_what_the_deployer_may_not_do_is_told_with_the_command_that_says_what_it_needs(
    draft: AzureStage, paper: ArmServer
) -> None:
    paper.world.denied = {"Microsoft.Authorization/roleAssignments/write"}
    with pytest.raises(
        DeployError, match=r"may not Microsoft.Authorization/roleAssignments/write on /subscr"
    ) as caught:
        draft.deploy()
    assert "pys-multi permissions --cloud azure" in caught.value.hint
    paper.world.denied = {"Microsoft.Resources/deployments/write"}
    with pytest.raises(ProviderError, match=r"may not Microsoft\.Resources/deployments/write"):
        draft.deploy()
    paper.world.denied = set()
    outputs = draft.deploy()
    assert served(paper, draft.group) == outputs.build_ids


def test_another_deployment_is_waited_for(draft: AzureStage, paper: ArmServer) -> None:
    go, begun = threading.Event(), threading.Event()

    def before(resource: Resource) -> None:
        begun.set()
        assert go.wait(20)

    paper.deployments.before = before
    ends: list[object] = []

    def run(stage: AzureStage) -> None:
        try:
            ends.append(stage.deploy())
        except DeployError as error:
            ends.append(error)

    others = AzureStage(draft.root.parent / "other", draft.url, group=draft.group)
    others.write("two")
    first = threading.Thread(target=run, args=(draft,))
    first.start()
    assert begun.wait(20)
    second = threading.Thread(target=run, args=(others,))
    second.start()
    wait_for(lambda: any("another deployment" in p.text for p in others.progress), "that it waits")
    paper.deployments.before = lambda _: None
    go.set()
    for thread in (first, second):
        thread.join(60)
    # Both may end well, one after the other; one may be told that the other's code serves.
    assert len(ends) == 2
    assert all(end.hint for end in ends if isinstance(end, DeployError))
    outputs = others.deploy()
    assert served(paper, draft.group) == outputs.build_ids
    assert others.plan() == ()


def test_a_start_whose_answer_was_lost_is_not_done_twice(
    draft: AzureStage, paper: ArmServer, proxy: FaultProxy
) -> None:
    proxy.arm()
    names = {name for name, _ in _calls_of(draft, proxy)}
    [start] = [name for name in names if name.startswith("arm.PUT deployments")]
    draft.destroy()
    proxy.arm(Fault(start, 1, "drop"))
    outputs = draft.deploy()
    assert proxy.fired
    assert served(paper, draft.group) == outputs.build_ids


def _calls_of(stage: AzureStage, proxy: FaultProxy) -> list[tuple[str, int]]:
    stage.deploy()
    return list(proxy.calls)


def test_throttling_is_ridden_out(draft: AzureStage, paper: ArmServer, proxy: FaultProxy) -> None:
    answer = refusal(
        "TooManyRequests", "Number of requests exceeded", 429, {"retry-after-ms": "10", "retry-after": "0"}
    )
    for name in ("arm.GET resources filtered", "scm.POST api /api/publish", "arm.GET sites/worker/functions"):
        proxy.arm(Fault(name, 1, "refuse", times=3, answer=answer))
        draft.deploy()
        assert proxy.fired, (name, proxy.calls)
        draft.write(name)
    assert served(paper, draft.group) != {}


def test_an_app_without_an_instance_for_a_moment_serves_still(
    draft: AzureStage, paper: ArmServer, proxy: FaultProxy
) -> None:
    draft.deploy()
    for status in (429, 503):
        proxy.arm(Fault("app.GET api /.pys-multi/health", 1, "refuse", times=2, answer=refusal("x", "not now", status)))
        assert draft.status().state == "serving"
        assert proxy.fired


# ---- vaults


def test_a_deleted_vault_is_taken_up_again(draft: AzureStage, paper: ArmServer) -> None:
    draft.deploy()
    [vault] = inventory(paper, draft.group)["vaults"]
    paper.world.denied = {"Microsoft.KeyVault/locations/deletedVaults/purge/action"}
    draft.destroy()
    assert "purging it is not allowed" in draft.told()
    assert inventory(paper, draft.group) == {**NOTHING, "deleted vaults": [vault]}
    outputs = draft.deploy()
    assert f"recovering {vault}" in draft.told()
    assert served(paper, draft.group) == outputs.build_ids
    paper.world.denied = set()
    draft.destroy()
    assert inventory(paper, draft.group) == NOTHING


def test_a_protected_vault_stays_deleted(draft: AzureStage, paper: ArmServer) -> None:
    draft.settings = "[tool.pys-multi.azure]\npurge_protection = true\n"
    text = (draft.root / "pyproject.toml").read_text(encoding="utf-8")
    (draft.root / "pyproject.toml").write_text(
        text.replace("[tool.pys-multi.azure]\n", "[tool.pys-multi.azure]\npurge_protection = true\n"), encoding="utf-8"
    )
    draft.deploy()
    draft.destroy()
    assert "purge protection" in draft.told()
    assert len(inventory(paper, draft.group)["deleted vaults"]) == 1


def test_a_vault_of_others_that_still_has_the_name_is_told(draft: AzureStage, paper: ArmServer) -> None:
    draft.deploy()
    [vault] = inventory(paper, draft.group)["vaults"]
    draft.destroy()
    place = "/subscriptions/x/resourceGroups/theirs/providers/Microsoft.KeyVault/vaults"
    paper.world.deleted_vaults[vault] = {
        "id": f"{place}/{vault}",
        "name": vault,
        "location": "westeurope",
        "properties": {},
    }
    with pytest.raises(DeployError, match="of another group still has the name") as caught:
        draft.deploy()
    assert "suffix" in caught.value.hint
    del paper.world.deleted_vaults[vault]


# ---- the way there


def test_no_way_to_azure_is_told(draft: AzureStage, paper: ArmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from pys_multi_providers.azure import client

    monkeypatch.setattr(client, "_retries", lambda: {"retry_total": 0})
    draft.url = "http://127.0.0.1:9"
    draft.write()
    with pytest.raises(ProviderError, match="not reached"):
        draft.status()
    [wrong] = [f for f in draft.place().provider.doctor(draft.place().deployment) if not f.ok]
    assert "endpoints" in wrong.hint


def test_tokens_go_without_tls_to_this_machine_only(draft: AzureStage) -> None:
    draft.url = "http://10.0.0.1:80"
    draft.write()
    with pytest.raises(ProviderError, match="no address of this machine"):
        draft.status()


def test_no_credentials_are_told(draft: AzureStage) -> None:
    with environment({"IDENTITY_HEADER": "wrong"}), pytest.raises(ProviderError, match="credentials") as caught:
        draft.status()
    assert "az login" in caught.value.hint


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "operations"), (signal.SIGTERM, "/api/publish")])
def test_an_interrupted_deploy_ends_soon_and_the_next_one_goes_on(
    name: str, number: signal.Signals, draft: AzureStage, paper: ArmServer, proxy: FaultProxy
) -> None:
    known = next(call for call, _ in _calls_of(draft, proxy) if name in call)
    draft.destroy()
    proxy.arm(Fault(known, 1, "delay", seconds=20))
    command = ["deploy", "-C", str(draft.root), "-s", "test", "--yes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pys_multi_tools.cli", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_for(lambda: proxy.fired or process.poll() is not None, name)
    process.send_signal(number)
    _, said = process.communicate(timeout=7)
    assert process.returncode == (130 if number == signal.SIGINT else 143), said
    assert "interrupted" in said
    proxy.arm()
    outputs = draft.deploy()
    assert served(paper, draft.group) == outputs.build_ids
