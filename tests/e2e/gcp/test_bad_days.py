"""What goes wrong at Google, and what is said and done then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from tests.support.gcp_control.schema import Refusal, Request
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_control.state import PROJECT, REGION
from tests.support.gcp_stage import GcpStage, inventory, served

from pys_multi_providers.gcp import lease
from pys_multi_tools import pipeline
from pys_multi_tools.deployment import Progress, Rollout
from pys_multi_tools.errors import DeployError, ProviderError


def first(times: int, method: str, refusal: Refusal) -> Callable[[Request], Refusal | None]:
    """Refuses the first calls of a method."""
    left = [times]

    def interfere(request: Request) -> Refusal | None:
        if request.method.id != method or not left[0]:
            return None
        left[0] -= 1
        return refusal

    return interfere


def test_an_api_that_is_not_enabled_is_named_with_the_command(quick: GcpStage, answering: ControlPlane) -> None:
    answering.disabled.add("cloudscheduler")
    with pytest.raises(ProviderError, match=r"cloudscheduler\.googleapis\.com is not enabled") as caught:
        quick.deploy()
    assert caught.value.hint == f"gcloud services enable cloudscheduler.googleapis.com --project {PROJECT}"
    assert answering.state.of("jobs") == {}
    answering.disabled = {"firestore"}
    # Nothing of it is asked for by this service, so nobody has to enable it.
    quick.write(
        change=lambda code: (
            code.replace('stock = app.table("stock", key="sku")\n', "")
            .replace(", stock.get", "")
            .replace(", uses=[stock.put]", "")
        )
    )
    outputs = quick.deploy()
    assert served(answering, quick.service) == outputs.build_ids


#: In the order in which a deploy comes to it.
DENIED = {
    "storage.buckets.create": "permission storage.buckets.create is missing",
    "secretmanager.versions.add": "permission secretmanager.versions.add is missing on projects/",
    "cloudfunctions.functions.create": "permission cloudfunctions.functions.create is missing on projects/",
}


def test_what_may_not_be_done_is_named_with_what_it_is_done_to(quick: GcpStage, answering: ControlPlane) -> None:
    for permission, said in DENIED.items():
        answering.denied = {permission}
        with pytest.raises(ProviderError, match=said) as caught:
            quick.deploy()
        assert "pys-multi permissions --cloud gcp" in caught.value.hint
    answering.denied = set()
    outputs = quick.deploy()
    assert served(answering, quick.service) == outputs.build_ids


def test_accounts_and_names_that_are_not_known_everywhere_yet_are_waited_for(
    quick: GcpStage, answering: ControlPlane
) -> None:
    answering.state.unknown_accounts = 4
    outputs = quick.deploy()
    assert served(answering, quick.service) == outputs.build_ids
    wanted = inventory(answering, quick.service)
    answering.state.hold = 1.5  # as long as a deleted database's name is not free
    try:
        quick.destroy()
        quick.deploy()
    finally:
        answering.state.hold = 0.0
        answering.state.held.clear()
    assert "was deleted a moment ago" in quick.told()
    assert inventory(answering, quick.service) == wanted


def test_a_policy_that_others_write_too_is_read_and_written_again(quick: GcpStage, answering: ControlPlane) -> None:
    other = {"role": "roles/viewer", "members": ["user:someone@example.com"]}

    def interfere(request: Request) -> None:
        # Somebody is faster, once.
        if request.method.id == "cloudresourcemanager.projects.setIamPolicy" and not done:
            done.append(True)
            policy = answering.state.policy(f"projects/{PROJECT}", 3)
            answering.state.set_policy(f"projects/{PROJECT}", {**policy, "bindings": [*policy["bindings"], other]})

    done: list[bool] = []
    answering.interfere = interfere
    quick.deploy()
    assert done
    assert other in answering.state.policy(f"projects/{PROJECT}", 3)["bindings"]
    assert any("datastore" in right for right in inventory(answering, quick.service)["rights"])
    quick.destroy()
    assert answering.state.policies.pop(f"projects/{PROJECT}")["bindings"] == [other]


def test_an_operation_that_ends_with_an_error_says_its_own_words(quick: GcpStage, answering: ControlPlane) -> None:
    def interfere(request: Request) -> Refusal | None:
        if request.method.id == "cloudfunctions.projects.locations.operations.get":
            name = request.parameters["name"]
            operation = answering.state.operations[name]
            if not operation.done:
                operation.done, operation.error = True, {"code": 3, "message": "Build failed: the registry is full"}
                for function in answering.state.of("functions").values():
                    function["state"] = "FAILED"
        return None

    answering.interfere = interfere
    with pytest.raises(DeployError, match="Build failed: the registry is full") as caught:
        quick.deploy()
    assert f"function {quick.service}-test-" in caught.value.where
    answering.interfere = lambda _: None
    outputs = quick.deploy()
    assert served(answering, quick.service) == outputs.build_ids


PASSING = {
    "cloudfunctions.projects.locations.functions.patch": Refusal(409, "ABORTED", "unable to queue the operation"),
    "run.projects.locations.services.patch": Refusal(409, "ABORTED", "Conflict for resource: version mismatch"),
    "pubsub.projects.subscriptions.list": Refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded"),
    "cloudfunctions.projects.locations.operations.get": Refusal(404, "NOT_FOUND", "operation not found"),
}


def test_what_passes_is_ridden_out(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    for number, (method, refusal) in enumerate(PASSING.items()):
        quick.write(f"mark {number}")
        answering.interfere = first(2, method, refusal)
        outputs = quick.deploy()
        assert served(answering, quick.service) == outputs.build_ids
    assert quick.plan() == ()


def test_two_deploys_at_once_come_one_after_the_other(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    other = GcpStage(quick.root.parent / "other", quick.service)
    quick.write("two")
    other.write("three")
    errors: list[BaseException] = []
    active: list[str] = []

    def interfere(request: Request) -> None:
        if request.method.is_mutating and "functions.patch" in request.method.id:
            active.append(request.headers["authorization"])
            time.sleep(0.05)

    answering.interfere = interfere

    def deploy(stage: GcpStage) -> None:
        try:
            stage.deploy()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=deploy, args=(stage,)) for stage in (quick, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(active) == 4
    # The one that was first is told, if the other one is through before it has looked at what serves.
    assert all("it runs build" in str(error) or "is not serving" in str(error) for error in errors), errors
    assert len(errors) < 2
    builds = set(served(answering, quick.service).values())
    assert len(builds) == 1
    assert not [name for _, name in answering.state.objects if name.endswith("lease.json")]


def test_a_lease_that_nobody_renews_is_taken_over(
    quick: GcpStage, answering: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.deploy()
    bucket = next(iter(name for name in answering.state.of("buckets") if name.startswith("pys-multi-")))
    name = f"{quick.service}/test/lease.json"
    data = b'{"who": "ada on elsewhere", "lasts": 1.0, "machine": "another", "process": 1}'
    meta = {"name": name, "bucket": bucket, "generation": "77", "size": str(len(data)), "md5Hash": ""}
    answering.state.objects[bucket, name] = {"meta": meta, "data": data}
    outputs = quick.deploy()  # nothing has to be done, unless that other one still does something
    assert "ada on elsewhere is deploying this stage" in quick.told()
    assert served(answering, quick.service) == outputs.build_ids
    assert (bucket, name) not in answering.state.objects


def test_nothing_is_changed_once_the_lease_is_lost(
    quick: GcpStage, answering: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.deploy()
    quick.write("two")
    before = served(answering, quick.service)
    monkeypatch.setattr(lease, "LASTS", 0.6)
    stolen: list[str] = []

    def interfere(request: Request) -> None:
        # Another deploy takes the lease over while the bundle is uploaded.
        if request.method.id == "storage.objects.insert" and request.parameters["name"].endswith(".zip"):
            for (bucket, name), entry in answering.state.objects.items():
                if name.endswith("lease.json"):
                    entry["meta"]["generation"], entry["data"] = "999999", b'{"who": "ada on elsewhere"}'
                    stolen.append(bucket)
                    answering.state.lock.release()
                    time.sleep(0.8)  # longer than it lasts
                    answering.state.lock.acquire()
                    break

    answering.interfere = interfere
    with pytest.raises(DeployError, match="the lease of this stage was lost"):
        quick.deploy()
    answering.interfere = lambda _: None
    assert served(answering, quick.service) == before
    answering.state.objects.pop((stolen[0], f"{quick.service}/test/lease.json"))
    monkeypatch.undo()
    outputs = quick.deploy()
    assert served(answering, quick.service) == outputs.build_ids


def test_an_interrupt_leaves_nothing_locked(quick: GcpStage, answering: ControlPlane) -> None:
    placement = quick.place()
    bundle = quick.bundle(placement)

    def interrupt(progress: Progress) -> None:
        if progress.step == "shift" or "function" in progress.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.deploy(placement, interrupt, bundle=bundle)
    assert not [name for _, name in answering.state.objects if name.endswith("lease.json")]
    outputs = quick.deploy()
    assert served(answering, quick.service) == outputs.build_ids


def shares(cloud: ControlPlane, service: str) -> dict[str, int]:
    name = f"projects/{PROJECT}/locations/{REGION}/services/{service}-test-api"
    return {t["revision"]: t.get("percent", 0) for t in cloud.state.of("services")[name]["traffic"]}


def test_a_canary_gets_its_share_and_then_everything(quick: GcpStage, answering: ControlPlane) -> None:
    quick.deploy()
    [old] = shares(answering, quick.service)
    seen: list[list[int]] = []

    def interfere(request: Request) -> None:
        if (
            request.method.id == "monitoring.projects.timeSeries.list"
            and "request_count" in request.parameters["filter"]
        ):
            seen.append(sorted(shares(answering, quick.service).values()))

    answering.interfere = interfere
    quick.write("two")
    outputs = quick.deploy(Rollout(steps=(0.1, 0.5), bake=0.2))
    assert [10, 90] in seen
    assert [50, 50] in seen
    new = shares(answering, quick.service)
    assert list(new.values()) == [100]
    assert old not in new
    assert served(answering, quick.service) == outputs.build_ids


def test_a_canary_that_fails_more_than_the_former_build_is_turned_back(
    quick: GcpStage, answering: ControlPlane
) -> None:
    first_outputs = quick.deploy()
    [old] = shares(answering, quick.service)

    def interfere(request: Request) -> None:
        if (
            request.method.id == "monitoring.projects.timeSeries.list"
            and "request_count" in request.parameters["filter"]
        ):
            new = next((name for name in shares(answering, quick.service) if name != old), None)
            if new is not None:
                answering.compute.calls[f"{quick.service}-test-api", new, "5xx"] = 3

    answering.interfere = interfere
    quick.write("two")
    with pytest.raises(DeployError, match=r"the canary failed: 3 of \d+ calls of the new build"):
        quick.deploy(Rollout(steps=(0.2,), bake=0.2))
    assert shares(answering, quick.service) == {old: 100}
    assert served(answering, quick.service) == first_outputs.build_ids
    assert "canary: back to the former build" in quick.told()
    [change] = [change for change in quick.plan() if change.kind == "traffic" and change.name.endswith("api")]
    assert change.properties[0][1] == f"{old} 100%"
