"""What goes wrong around a deploy: each is ridden out or told clearly, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.support.aws_stage import AwsStage, environment, inventory, name_of, refusal, served
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.local_stage import wait_for
from tests.support.ministack import MiniStack

from pys_multi_tools.deployment import Rollout
from pys_multi_tools.errors import DeployError, ProviderError

INVOKE, CODE = "lambda.POST functions/invocations", "lambda.PUT functions/code"
PUBLISH, SHIFT = "lambda.POST functions/versions", "lambda.PUT functions/aliases/live"


@pytest.fixture
def proxy(cloud: MiniStack, stage: AwsStage) -> Iterator[FaultProxy]:
    """Between the deploys of the test and the emulator."""
    with FaultProxy(cloud.url, name_of) as found, environment({"AWS_ENDPOINT_URL": found.url}):
        yield found


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for(
    stage: AwsStage, cloud: MiniStack, proxy: FaultProxy
) -> None:
    text = "The role defined for the function cannot be assumed by Lambda."
    answer = refusal("AccessDeniedException", text, 403)
    proxy.arm(Fault(INVOKE, 1, "refuse", times=3, answer=answer))
    outputs = stage.deploy()
    assert proxy.fired
    assert served(cloud, stage.service) == outputs.build_ids


def test_a_function_that_is_still_updating_is_waited_for(stage: AwsStage, cloud: MiniStack, proxy: FaultProxy) -> None:
    stage.deploy()
    text = "The operation cannot be performed at this time. An update is in progress for resource"
    answer = refusal("ResourceConflictException", text, 409)
    for mark, name in (("two", CODE), ("three", PUBLISH), ("four", SHIFT)):
        stage.write(mark)
        proxy.arm(Fault(name, 1, "refuse", times=2, answer=answer))
        outputs = stage.deploy()
        assert proxy.fired
        assert served(cloud, stage.service) == outputs.build_ids


@pytest.mark.parametrize(
    ("code", "text", "hint"),
    [
        ("ExpiredToken", "credentials have expired", "sign in again"),
        ("AccessDenied", "not authorized to perform", "permissions"),
        ("InvalidClientTokenId", "does not know these credentials", "doctor"),
    ],
)
def test_credentials_that_end_are_told_and_the_next_run_goes_on(
    code: str, text: str, hint: str, stage: AwsStage, cloud: MiniStack, proxy: FaultProxy
) -> None:
    answer = refusal(code, "User is not authorized to perform: cloudformation:ExecuteChangeSet", 403)
    proxy.arm(Fault("cloudformation.ExecuteChangeSet", 1, "refuse", times=99, answer=answer))
    with pytest.raises(ProviderError, match=text) as caught:
        stage.deploy()
    assert hint in caught.value.hint
    proxy.arm()
    outputs = stage.deploy()
    assert served(cloud, stage.service) == outputs.build_ids
    assert inventory(cloud, stage.service)["change sets"] == []


def test_no_way_to_aws_is_told(stage: AwsStage) -> None:
    with environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}):
        with pytest.raises(ProviderError, match="not reached"):
            stage.status()
        [wrong] = [f for f in stage.place().provider.doctor(stage.place().deployment) if not f.ok]
    assert "AWS_ENDPOINT_URL" in wrong.hint


def test_two_deploys_at_once_end_with_one_of_them_serving(stage: AwsStage, cloud: MiniStack) -> None:
    stage.deploy()
    runs = []
    for mark in ("two", "three"):
        stage.write(mark)
        placement = stage.place()
        plan = placement.provider.plan(placement.deployment)
        runs.append((placement, plan, stage.bundle(placement)))
    ends: dict[int, str | DeployError] = {}

    def run(number: int) -> None:
        placement, plan, bundle = runs[number]
        try:
            outputs = placement.provider.deploy(plan, bundle, lambda _: None)
            ends[number] = outputs.build_ids["api"]
        except DeployError as error:
            ends[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 2
    live = served(cloud, stage.service)["api"]
    good = [end for end in ends.values() if isinstance(end, str)]
    errors = [end for end in ends.values() if isinstance(end, DeployError)]
    # Both may end well, one after the other; then the later one serves.
    assert not good or live in good
    assert all(error.hint for error in errors)
    outputs = stage.deploy()
    assert served(cloud, stage.service) == outputs.build_ids
    assert stage.plan() == ()


@pytest.mark.parametrize("name", ["cloudformation.ExecuteChangeSet", PUBLISH])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_deploy_ends_soon_and_the_next_one_goes_on(
    name: str, number: signal.Signals, stage: AwsStage, cloud: MiniStack, proxy: FaultProxy
) -> None:
    proxy.arm(Fault(name, 1, "delay", seconds=20))
    process = subprocess.Popen(
        [sys.executable, "-m", "pys_multi_tools.cli", "deploy", "-C", str(stage.root), "-s", "test", "--yes"],
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
    outputs = stage.deploy()
    assert served(cloud, stage.service) == outputs.build_ids


# ---- canaries


def _errors(cloud: MiniStack, function: str, version: str, errors: int) -> None:
    """What Lambda itself would write: the emulator counts no calls by version."""
    dimensions = {"FunctionName": function, "Resource": f"{function}:live", "ExecutedVersion": version}
    named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    cloud.client("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {"MetricName": "Invocations", "Dimensions": named, "Value": 20, "Unit": "Count"},
            {"MetricName": "Errors", "Dimensions": named, "Value": errors, "Unit": "Count"},
        ],
    )


def test_a_canary_gets_its_shares_and_then_all_calls(stage: AwsStage, cloud: MiniStack, proxy: FaultProxy) -> None:
    stage.deploy()
    stage.write("two")
    proxy.arm()
    outputs = stage.deploy(Rollout(steps=(0.1, 0.5), bake=1))
    shifts = [name for name, _ in proxy.calls if name == SHIFT]
    assert len(shifts) == 2 * 3
    assert "canary: 10% of the calls" in stage.told()
    assert "canary: 50% of the calls" in stage.told()
    found = inventory(cloud, stage.service)
    assert all(weights == {} for _, weights in found["live"].values())
    assert served(cloud, stage.service) == outputs.build_ids


def test_a_canary_that_fails_goes_back(stage: AwsStage, cloud: MiniStack) -> None:
    first = stage.deploy()
    stage.write("two")
    _errors(cloud, f"{stage.service}_test_api", "1", 0)
    _errors(cloud, f"{stage.service}_test_api", "2", 3)
    with pytest.raises(DeployError, match="the canary failed: 3 of 20 calls"):
        stage.deploy(Rollout(steps=(0.1,), bake=1))
    assert served(cloud, stage.service) == first.build_ids
    assert all(live == ("1", {}) for live in inventory(cloud, stage.service)["live"].values())
    assert stage.status().functions[0].build_id == first.build_ids["api"]


def test_a_canary_that_is_interrupted_goes_back(stage: AwsStage, cloud: MiniStack, proxy: FaultProxy) -> None:
    first = stage.deploy()
    stage.write("two")
    command = ["deploy", "-C", str(stage.root), "-s", "test", "--yes", "--canary", "10%", "--bake", "5m"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pys_multi_tools.cli", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_for(
        lambda: (
            process.poll() is not None
            or all(weights for _, weights in inventory(cloud, stage.service)["live"].values())
        ),
        "the canary",
    )
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=7)
    assert process.returncode == 143, said
    assert all(live == ("1", {}) for live in inventory(cloud, stage.service)["live"].values())
    assert served(cloud, stage.service) == first.build_ids


# ---- what was done by hand


def test_what_was_changed_by_hand_is_drift(stage: AwsStage, cloud: MiniStack) -> None:
    stage.deploy()
    cloud.client("lambda").update_function_configuration(FunctionName=f"{stage.service}_test_api", Timeout=7)
    [change] = [change for change in stage.plan(refresh=True) if change.kind == "function"]
    assert change.reason == "changed by hand"
    assert [name for name, _, _ in change.properties] == ["Timeout"]


def test_an_alias_that_was_moved_by_hand_is_set_right(stage: AwsStage, cloud: MiniStack) -> None:
    stage.deploy()
    stage.write("two")
    second = stage.deploy()
    cloud.client("lambda").update_alias(FunctionName=f"{stage.service}_test_api", Name="live", FunctionVersion="1")
    assert served(cloud, stage.service) != second.build_ids
    assert stage.deploy().build_ids == second.build_ids
    assert served(cloud, stage.service) == second.build_ids


def test_a_stack_that_was_deleted_by_hand_is_made_again(stage: AwsStage, cloud: MiniStack) -> None:
    stage.deploy()
    formation = cloud.client("cloudformation")
    formation.delete_stack(StackName=f"{stage.service}-test")
    wait_for(lambda: inventory(cloud, stage.service)["stacks"] == [], "the stack is gone")
    outputs = stage.deploy()
    assert served(cloud, stage.service) == outputs.build_ids
