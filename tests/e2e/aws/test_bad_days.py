"""What goes wrong around a deploy: each is ridden out or told clearly, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import pytest
from tests.support.aws_stage import SECRET, AwsStage, environment, inventory, name_of, refusal, served
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.local_stage import wait_for
from tests.support.ministack import MiniStack

from pys_multi_tools.deployment import Rollout
from pys_multi_tools.errors import DeployError, ProviderError

INVOKE, CODE = "lambda.POST functions/invocations", "lambda.PUT functions/code"
PUBLISH, SHIFT = "lambda.POST functions/versions", "lambda.PUT functions/aliases/live"


@pytest.fixture
def proxy(cloud: MiniStack, credentials: None) -> Iterator[FaultProxy]:
    """Between the deploys of the test and the emulator."""
    with FaultProxy(cloud.url, name_of) as found, environment({"AWS_ENDPOINT_URL": found.url}):
        yield found


@pytest.fixture(scope="module")
def shared(cloud: MiniStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStage]:
    with environment({**cloud.environment, "API_KEY": SECRET}):
        found = AwsStage(tmp_path_factory.mktemp("standing") / "project", service=f"b{uuid.uuid4().hex[:8]}")
        yield found
        found.destroy()


@pytest.fixture
def standing(shared: AwsStage, credentials: None) -> AwsStage:
    """A stage that serves; what tests before did to it is set right, which is part of the test."""
    shared.write(uuid.uuid4().hex)
    shared.deploy()
    shared.write(uuid.uuid4().hex)
    return shared


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for(
    stage: AwsStage, cloud: MiniStack, proxy: FaultProxy
) -> None:
    text = "The role defined for the function cannot be assumed by Lambda."
    answer = refusal("AccessDeniedException", text, 403)
    proxy.arm(Fault(INVOKE, 1, "refuse", times=3, answer=answer))
    outputs = stage.deploy()
    assert proxy.fired
    assert served(cloud, stage.service) == outputs.build_ids


def test_a_function_that_is_still_updating_is_waited_for(
    standing: AwsStage, cloud: MiniStack, proxy: FaultProxy
) -> None:
    text = "The operation cannot be performed at this time. An update is in progress for resource"
    answer = refusal("ResourceConflictException", text, 409)
    for mark, name in (("two", CODE), ("three", PUBLISH), ("four", SHIFT)):
        standing.write(mark)
        proxy.arm(Fault(name, 1, "refuse", times=2, answer=answer))
        outputs = standing.deploy()
        assert proxy.fired
        assert served(cloud, standing.service) == outputs.build_ids


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


def test_two_deploys_at_once_end_with_one_of_them_serving(standing: AwsStage, cloud: MiniStack) -> None:
    runs = []
    for mark in ("two", "three"):
        standing.write(mark)
        placement = standing.place()
        plan = placement.provider.plan(placement.deployment)
        runs.append((placement, plan, standing.bundle(placement)))
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
    live = served(cloud, standing.service)["api"]
    good = [end for end in ends.values() if isinstance(end, str)]
    errors = [end for end in ends.values() if isinstance(end, DeployError)]
    # Both may end well, one after the other; then the later one serves.
    assert not good or live in good
    assert all(error.hint for error in errors)
    outputs = standing.deploy()
    assert served(cloud, standing.service) == outputs.build_ids
    assert standing.plan() == ()


def _command(stage: AwsStage, *options: str) -> subprocess.Popen[str]:
    command = ["deploy", "-C", str(stage.root), "-s", "test", "--yes", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "pys_multi_tools.cli", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "cloudformation.ExecuteChangeSet"), (signal.SIGTERM, PUBLISH)]
)
def test_an_interrupted_deploy_ends_soon_and_the_next_one_goes_on(
    name: str, number: signal.Signals, standing: AwsStage, cloud: MiniStack, proxy: FaultProxy
) -> None:
    proxy.arm(Fault(name, 1, "delay", seconds=120))
    process = _command(standing)
    wait_for(lambda: proxy.fired or process.poll() is not None, name)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 143), said
    assert "interrupted" in said
    proxy.arm()
    outputs = standing.deploy()
    assert served(cloud, standing.service) == outputs.build_ids


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


def test_a_canary_gets_its_shares_and_then_all_calls(standing: AwsStage, cloud: MiniStack, proxy: FaultProxy) -> None:
    outputs = standing.deploy(Rollout(steps=(0.1, 0.5), bake=1))
    shifts = [name for name, _ in proxy.calls if name == SHIFT]
    assert len(shifts) == 2 * 3  # two functions: a tenth, a half, all
    assert "canary: 10% of the calls" in standing.told()
    assert "canary: 50% of the calls" in standing.told()
    assert all(weights == {} for _, weights in inventory(cloud, standing.service)["live"].values())
    assert served(cloud, standing.service) == outputs.build_ids


def test_a_canary_that_fails_goes_back(standing: AwsStage, cloud: MiniStack) -> None:
    serves, live = served(cloud, standing.service), inventory(cloud, standing.service)["live"]
    function = f"{standing.service}_test_api"
    version = int(live[function][0])
    _errors(cloud, function, str(version), 0)
    _errors(cloud, function, str(version + 1), 3)
    with pytest.raises(DeployError, match="the canary failed: 3 of 20 calls"):
        standing.deploy(Rollout(steps=(0.1,), bake=1))
    assert served(cloud, standing.service) == serves
    assert inventory(cloud, standing.service)["live"] == live
    assert standing.status().functions[0].build_id == serves["api"]


def test_a_canary_that_is_interrupted_goes_back(standing: AwsStage, cloud: MiniStack) -> None:
    live = inventory(cloud, standing.service)["live"]
    process = _command(standing, "--canary", "10%", "--bake", "5m")
    wait_for(
        lambda: (
            process.poll() is not None
            or all(weights for _, weights in inventory(cloud, standing.service)["live"].values())
        ),
        "the canary",
    )
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert inventory(cloud, standing.service)["live"] == live


# ---- what was done by hand


def test_what_was_changed_by_hand_is_drift_and_set_right(standing: AwsStage, cloud: MiniStack) -> None:
    functions, name = cloud.client("lambda"), f"{standing.service}_test_api"
    builds = standing.deploy().build_ids
    for timeout, and_more in ((7, False), (8, True)):
        functions.update_function_configuration(FunctionName=name, Timeout=timeout)
        [change] = [change for change in standing.plan(refresh=True) if change.reason == "changed by hand"]
        assert (change.kind, [name for name, _, _ in change.properties]) == ("function", ["Timeout"])
        if and_more:
            standing.settings = "[tool.pys-multi.aws]\nlog_retention_days = 7\n"
            standing.write(uuid.uuid4().hex)
        outputs = standing.deploy()
        assert and_more == (outputs.build_ids != builds)
        for qualifier in ("$LATEST", "live"):
            assert functions.get_function_configuration(FunctionName=name, Qualifier=qualifier)["Timeout"] == 10
    assert served(cloud, standing.service) == outputs.build_ids
    assert standing.plan(refresh=True) == ()


def test_an_alias_that_was_moved_by_hand_is_set_right(standing: AwsStage, cloud: MiniStack) -> None:
    name = f"{standing.service}_test_api"
    former = inventory(cloud, standing.service)["live"][name][0]
    outputs = standing.deploy()
    cloud.client("lambda").update_alias(FunctionName=name, Name="live", FunctionVersion=former)
    assert served(cloud, standing.service) != outputs.build_ids
    assert standing.deploy().build_ids == outputs.build_ids
    assert served(cloud, standing.service) == outputs.build_ids


def test_a_stack_that_was_deleted_by_hand_is_made_again(standing: AwsStage, cloud: MiniStack) -> None:
    formation = cloud.client("cloudformation")
    formation.delete_stack(StackName=f"{standing.service}-test")
    wait_for(lambda: inventory(cloud, standing.service)["stacks"] == [], "the stack is gone")
    outputs = standing.deploy()
    assert served(cloud, standing.service) == outputs.build_ids


def test_a_function_that_was_deleted_by_hand_is_made_again(standing: AwsStage, cloud: MiniStack) -> None:
    name = f"{standing.service}_test_api"
    before = standing.deploy()
    cloud.client("lambda").delete_function(FunctionName=name)
    assert standing.status().state == "degraded"
    outputs = standing.deploy()
    assert outputs.build_ids == before.build_ids
    assert f"{name} changed or deleted by hand" in standing.told()
    assert served(cloud, standing.service) == outputs.build_ids
    assert standing.plan(refresh=True) == ()
