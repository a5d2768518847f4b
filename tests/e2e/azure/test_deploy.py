"""Deploy, deploy again, change, go back and destroy, on a server that runs what is deployed in Microsoft's worker."""

from __future__ import annotations

import json

import pytest
from tests.support.arm.resources import SUBSCRIPTION
from tests.support.arm.server import ArmServer
from tests.support.azure_stage import (
    NOTHING,
    SECRET,
    AzureStage,
    environment,
    inventory,
    is_read,
    name_of,
    served,
)
from tests.support.fault_proxy import FaultProxy

from pys_multi_tools.errors import DeployError, ProviderError


def test_what_is_deployed_answers_and_a_second_deploy_changes_nothing(stage: AzureStage, arm: ArmServer) -> None:
    outputs = stage.deploy()
    assert stage.call(arm, "/hello/ada") == (200, b'{"hello":"ada","build":"one"}')
    assert served(arm, stage.group) == outputs.build_ids
    assert outputs.url == outputs.values["url.api"]
    assert "stack: role assignment" in stage.told()
    # The secret got there before the app started, and into nothing that is kept.
    assert stage.call(arm, "/secret") == (200, json.dumps({"letters": len(SECRET)}, separators=(",", ":")).encode())
    texts = [stage.told(), json.dumps(list(arm.world.bodies.values())), *map(str, arm.blobs.containers.values())]
    assert not any(SECRET in text for text in texts)
    # A private route asks for a key of the app.
    assert stage.call(arm, "/private")[0] == 401
    site = stage.site(arm, "api")
    assert stage.call(arm, "/private", key=arm.sites[site["name"]].keys.default) == (200, b'{"private":"yes"}')

    before = inventory(arm, stage.group)
    with FaultProxy(arm.url, name_of) as proxy:
        stage.url = proxy.url
        stage.write()
        assert stage.deploy() == outputs
        assert [name for name, _ in proxy.calls if not is_read(name)] == []
        proxy.arm()
        assert stage.plan() == ()
        assert stage.plan(refresh=True) == ()
        assert [name for name, _ in proxy.calls if not is_read(name)] == []
        stage.url = arm.url
    assert inventory(arm, stage.group) == before


def test_new_code_goes_past_the_stack_and_back(stage: AzureStage, arm: ArmServer) -> None:
    first = stage.deploy()
    stage.write("two")
    arm.deployments.before = lambda resource: pytest.fail(f"{resource.id} is deployed again")
    try:
        second = stage.deploy()
    finally:
        arm.deployments.before = lambda _: None
    assert second.build_ids != first.build_ids
    assert stage.call(arm, "/hello/ada")[1] == b'{"hello":"ada","build":"two"}'
    # Configuration alone, too, and both come back.
    stage.write("three", lambda code: code.replace('"api", timeout=10', '"api", timeout=11, memory=2048'))
    [change] = [change for change in stage.plan() if change.kind == "function"]
    assert {name: (old, new) for name, old, new in change.properties} == {
        "properties.functionAppConfig.scaleAndConcurrency.instanceMemoryMB": (512, 2048),
        "setting AzureFunctionsJobHost__functionTimeout": ("00:01:40", "00:01:41"),
    }
    stage.deploy()
    assert stage.plan() == ()
    back = stage.rollback(first.build_ids["api"])
    assert back.build_ids == first.build_ids
    assert stage.call(arm, "/hello/ada")[1] == b'{"hello":"ada","build":"one"}'
    assert "stack: function" in stage.told()
    with pytest.raises(ProviderError, match="is not known"):
        stage.rollback("f" * 16)


def test_a_build_goes_on_while_the_settings_of_the_next_one_know_a_trigger_less(
    stage: AzureStage, arm: ArmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pys_multi_providers.azure.apps import Apps

    def fails(*_: object) -> None:
        raise ProviderError("the network broke")

    built = stage.deploy().build_ids["worker"]
    stage.write("less", lambda code: code.replace('@worker.schedule("0 4 * * *")', ""))
    with monkeypatch.context() as broken:
        broken.setattr(Apps, "publish", fails)
        with pytest.raises(ProviderError, match="broke"):
            stage.deploy()
    assert served(arm, stage.group)["worker"] == built
    assert stage.deploy().build_ids["worker"] == served(arm, stage.group)["worker"] != built


def test_an_app_without_functions_is_no_success(stage: AzureStage, arm: ArmServer) -> None:
    first = stage.deploy()
    stage.write("two", lambda code: code + '\nimport os\nif "AZURE_CLIENT_ID" in os.environ: 1 / 0\n')
    with pytest.raises(DeployError, match="indexed no functions of it") as caught:
        stage.deploy()
    assert "function " in caught.value.where
    assert "division by zero" in caught.value.detail
    assert f"api serves the former build {first.build_ids['api']} again" in caught.value.what
    assert f"worker serves the former build {first.build_ids['worker']} again" in stage.told()
    assert [f.state for f in stage.status().functions] == ["serving", "serving"]
    assert served(arm, stage.group) == first.build_ids


def test_a_first_build_that_does_not_start_says_why(stage: AzureStage) -> None:
    stage.write("one", lambda code: code + '\nimport os\nif "AZURE_CLIENT_ID" in os.environ: 1 / 0\n')
    with pytest.raises(DeployError, match="indexed no functions of it") as caught:
        stage.deploy()
    assert "division by zero" in caught.value.detail
    assert "former" not in caught.value.what
    stage.write("two")
    assert set(stage.deploy().build_ids) == {"api", "worker"}


def test_what_the_service_no_longer_has_is_deleted(draft: AzureStage, paper: ArmServer) -> None:
    draft.deploy()
    plan = draft.place().provider.plan(draft.place().deployment)

    def smaller(code: str) -> str:
        code = code.replace('jobs = app.queue("jobs", retries=1)', 'tasks = app.queue("tasks", retries=1)')
        code = code.replace("jobs.send", "tasks.send").replace("consume(jobs)", "consume(tasks)")
        return code.replace("tasks.send, stock.get, key", "tasks.send, key")

    draft.write("two", smaller)
    lost = [change for change in draft.plan() if change.action == "delete"]
    assert [(change.kind, change.name, change.data) for change in lost] == [("queue", "jobs", True)]
    # The plan is of before the change: what it does not say is not done.
    with pytest.raises(DeployError, match="this would delete queue jobs"):
        draft.deploy(plan=type(plan)(deployment=draft.place().deployment, changes=plan.changes, config=_config(draft)))
    assert inventory(paper, draft.group)["queues"] == ["jobs"]
    roles = len(inventory(paper, draft.group)["roleAssignments"])
    outputs = draft.deploy()
    left = inventory(paper, draft.group)
    assert left["queues"] == ["tasks"]
    assert len(left["roleAssignments"]) == roles - 1  # reading the table; sending and receiving moved along
    assert served(paper, draft.group) == outputs.build_ids
    with FaultProxy(paper.url, name_of) as proxy:
        draft.url = proxy.url
        draft.write("two", smaller)
        draft.deploy()
        assert [name for name, _ in proxy.calls if not is_read(name)] == []
        draft.url = paper.url


def _config(stage: AzureStage) -> dict[str, str]:
    placement = stage.place()
    return placement.provider.render(placement.deployment)


def test_destroy_leaves_data_and_nothing_else_until_it_is_asked(draft: AzureStage, paper: ArmServer) -> None:
    draft.deploy()
    draft.destroy(delete_data=False)
    left = inventory(paper, draft.group)
    assert set(left) == {"storageAccounts", "blobServices", "tables", "namespaces", "queues", *NOTHING}
    assert len(left["storageAccounts"]) == 1
    assert (left["tables"], left["queues"]) == (["stock"], ["jobs"])
    assert "keep: table stock" in draft.told()
    outputs = draft.deploy()
    assert served(paper, draft.group) == outputs.build_ids
    draft.destroy()
    assert inventory(paper, draft.group) == NOTHING
    draft.destroy()  # of what is not there


def test_a_group_of_others_stays(draft: AzureStage, paper: ArmServer) -> None:
    paper.world.groups[draft.group] = {
        "id": f"/subscriptions/x/resourceGroups/{draft.group}",
        "name": draft.group,
        "location": "westeurope",
    }
    draft.location = ""
    draft.write()
    draft.deploy()
    place = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{draft.group}"
    other = f"{place}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/theirs"
    paper.world.put(other, "2024-11-30", {"location": "westeurope"})
    draft.destroy()
    left = inventory(paper, draft.group)
    assert left == {"userAssignedIdentities": ["theirs"], **NOTHING, "group": True}
    paper.world.delete(other)


def test_without_a_place_for_a_new_group_nothing_begins(draft: AzureStage, paper: ArmServer) -> None:
    draft.location = ""
    draft.write()
    with pytest.raises(ProviderError, match="there is no resource group") as caught:
        draft.deploy()
    assert "az group create" in caught.value.hint
    assert inventory(paper, draft.group) == NOTHING


def test_a_secret_that_was_changed_reaches_the_app(stage: AzureStage, arm: ArmServer) -> None:
    stage.deploy()
    with environment({"API_KEY": "another"}):
        [change] = stage.plan()
        assert (change.kind, change.action, change.properties) == ("secret value", "update", ())
        stage.deploy()
        assert stage.call(arm, "/secret")[1] == b'{"letters":7}'
        assert stage.plan() == ()
