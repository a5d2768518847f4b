"""Deploying, redeploying, rolling back and destroying a stage of the local provider."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.local_stage import Stage, has_ended, request, stage_in, wait_for

from pys_multi_providers.local import client, provider
from pys_multi_providers.local.state import remove_tree
from pys_multi_providers.local.supervisor import ALREADY_RUNNING
from pys_multi_tools.errors import CheckError, DeployError, ProviderError

APP = """
import os, time
from pathlib import Path
from pys_multi import App

app = App("shop")
orders = app.queue("orders", retries=1)
stock = app.table("stock", key="sku")
key = app.secret("PAYMENT_KEY")
MARK = Path(os.environ["MARK"])
api = app.function("api", uses=[key, orders.send, stock])
worker = app.function("worker", timeout=20)

@api.get("/version", public=True)
def version() -> dict:
    return {"version": VERSION, "pid": os.getpid()}

@api.get("/key")
def use() -> dict:
    return {"key": key.value}

@worker.get("/no-key")
def refused() -> dict:
    from pys_multi.errors import GrantError
    try:
        return {"key": key.value}
    except GrantError as error:
        return {"error": str(error)}

@api.post("/orders")
def order() -> dict:
    return {"id": orders.send({"n": 1})}

@api.post("/stock")
def put() -> None:
    stock.put({"sku": "a", "count": 3})

@api.get("/stock")
def get() -> dict:
    return stock.get("a") or {}

@worker.consume(orders)
def ship(message) -> None:
    print("shipped by", VERSION, message.attempt)
    if message.text == "fail":
        raise ValueError("as asked")

@worker.get("/slow/{name}")
def slow(name: str) -> dict:
    (MARK / f"{name}-started").touch()
    while not (MARK / name).exists():
        time.sleep(0.005)
    return {"version": VERSION}
"""
CANARY = "canary-7f3a9c-do-not-write-me"


def version(number: int, more: str = "") -> str:
    return f"VERSION = {number}\n{APP}\n{more}"


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("THE_KEY", CANARY)
    with stage_in(tmp_path) as stage:
        stage.environment = {"MARK": str(tmp_path)}
        stage.secrets = {"PAYMENT_KEY": "env:THE_KEY"}
        yield stage


def test_the_first_deploy_answers_and_the_second_changes_nothing(stage: Stage) -> None:
    stage.write(version(1))
    first = stage.plan()
    assert {change.action for change in first.changes} == {"create"}
    assert [change.name for change in first.changes if change.public] == ["api:GET /version"]
    assert stage.status().state == "absent"
    stage.deploy()
    pid = stage.get("/version").json()["pid"]
    assert stage.outputs is not None
    assert set(stage.outputs.build_ids) == {"api", "worker"}
    assert stage.plan().pending == ()
    stage.deploy()
    assert stage.get("/version").json() == {"version": 1, "pid": pid}
    assert stage.progress[-1].step == "unchanged"
    status = stage.status()
    assert status.state == "serving"
    assert {function.build_id for function in status.functions} == set(status.builds)


def test_a_redeploy_under_load_drops_no_request(stage: Stage) -> None:
    stage.settings["instances"] = {"api": 2}
    url = stage.deploy(version(1))
    stop = threading.Event()

    def ask() -> list[tuple[int, int]]:
        seen = []
        while not stop.is_set():
            answer = request(url, "GET", "/version")
            seen.append((answer.status, answer.json().get("version")))
        return seen

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        for number in (2, 3, 4):
            stage.deploy(version(number))
            # From the moment that deploy returns, the new build answers.
            assert stage.get("/version").json()["version"] == number
        stop.set()
        seen = [entry for asker in askers for entry in asker.result()]
    assert {status for status, _ in seen} == {200}
    assert {1, 4} <= {number for _, number in seen}


def test_what_runs_is_finished_by_the_build_that_began_it(stage: Stage) -> None:
    stage.deploy(version(1))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stage.get, "/slow/a")
        wait_for((stage.root / "a-started").exists)
        stage.deploy(version(2))
        assert stage.get("/version").json()["version"] == 2
        (stage.root / "a").touch()
        assert slow.result().json() == {"version": 1}


def test_a_build_that_does_not_start_never_replaces_the_one_that_serves(stage: Stage) -> None:
    stage.deploy(version(1))
    pid = stage.get("/version").json()["pid"]
    # It imports on the machine that deploys and not in an instance.
    broken = 'if os.environ.get("PYS_MULTI_FUNCTION") == "worker":\n    raise RuntimeError("no database here")\n'
    with pytest.raises(DeployError) as caught:
        stage.deploy(version(2, broken))
    text = str(caught.value)
    assert "function worker" in text
    assert "RuntimeError: no database here" in text
    assert 'raise RuntimeError("no database here")' in text
    assert "the former build serves on" in text
    assert stage.get("/version").json() == {"version": 1, "pid": pid}
    assert stage.status().state == "serving"
    stage.deploy(version(3))
    assert stage.get("/version").json()["version"] == 3


def test_an_instance_that_dies_at_its_start_shows_what_it_said(stage: Stage) -> None:
    dies = 'if "PYS_MULTI_BUILD_ID" in os.environ:\n    print("last words"); os._exit(7)\n'
    with pytest.raises(DeployError) as caught:
        stage.deploy(version(1, dies))
    assert "exited with status 7" in str(caught.value)
    assert "last words" in str(caught.value)
    assert stage.status().state in ("absent", "degraded")


def test_rollback_returns_to_the_former_build_or_to_a_named_one(stage: Stage) -> None:
    stage.deploy(version(1))
    assert stage.outputs is not None
    first = stage.outputs.build_ids["api"]
    with pytest.raises(ProviderError, match="no former build"):
        stage.rollback()
    stage.deploy(version(2))
    stage.deploy(version(3))
    assert stage.rollback().build_ids["api"] == stage.status().functions[0].build_id
    assert stage.get("/version").json()["version"] == 2
    assert stage.rollback(first).build_ids["api"] == first
    assert stage.get("/version").json()["version"] == 1
    with pytest.raises(ProviderError, match="is not known"):
        stage.rollback("0" * 16)


def test_only_the_last_builds_are_kept(stage: Stage) -> None:
    for number in range(7):
        stage.deploy(version(number))
    assert len(list(stage.state.builds.iterdir())) == 5
    assert len(stage.status().builds) == 5


def test_settings_are_part_of_the_plan_and_take_effect(stage: Stage) -> None:
    stage.deploy(version(1))
    stage.settings["instances"] = {"api": 3}
    stage.environment["LEVEL"] = "high"
    changes = {(change.kind, change.name): change for change in stage.plan().pending}
    assert set(changes) == {("function", "api"), ("function", "worker")}
    assert ("instances", 1, 3) in changes["function", "api"].properties
    stage.deploy()
    assert len(next(f for f in stage.status().functions if f.name == "api").instances) == 3
    assert stage.plan().pending == ()


def test_a_function_that_did_not_change_is_not_restarted(stage: Stage) -> None:
    stage.deploy(version(1))
    before = {f.name: f.instances[0].id for f in stage.status().functions}
    stage.settings["instances"] = {"worker": 2}
    stage.deploy()
    after = {f.name: {instance.id for instance in f.instances} for f in stage.status().functions}
    assert after["api"] == {before["api"]}
    assert len(after["worker"]) == 2


def test_secrets_reach_those_who_were_granted_them_and_nothing_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.deploy(version(1))
    assert stage.get("/key").json() == {"key": CANARY}
    assert "not granted" in stage.get("/no-key").json()["error"]
    written = [path for path in stage.root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert written == []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if b"PYS_MULTI_FUNCTION" in text or process.name == str(stage.supervisor):
            assert CANARY.encode() not in text, process
    monkeypatch.setenv("THE_KEY", "another")
    assert [(change.kind, change.name) for change in stage.plan().pending] == [("secret", "PAYMENT_KEY")]
    assert CANARY not in repr(stage.plan())
    stage.deploy()
    assert stage.get("/key").json() == {"key": "another"}
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(CheckError, match="THE_KEY is not set"):
        stage.plan()


def test_a_port_that_is_taken_is_a_clear_error(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stage.settings["port"] = taken.getsockname()[1]
        with pytest.raises(DeployError, match=r"port \d+ cannot be used"):
            stage.deploy(version(1))


def test_the_port_is_remembered_and_can_be_changed_while_it_serves(stage: Stage) -> None:
    first = stage.deploy(version(1))
    stage.close()
    assert stage.deploy() == first
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stage.settings["port"] = port
    assert stage.deploy() == f"http://127.0.0.1:{port}"
    assert stage.get("/version").status == 200
    with pytest.raises(ConnectionError):  # refused, or reset while the old port closes
        wait_for(lambda: request(first, "GET", "/version") and False)


def test_a_killed_supervisor_locks_nothing(stage: Stage) -> None:
    url = stage.deploy(version(1))
    os.kill(stage.supervisor, signal.SIGKILL)
    wait_for(lambda: stage.status().state == "stopped")
    assert {change.kind for change in stage.plan().pending} == {"supervisor"}
    assert stage.deploy() == url
    assert stage.get("/version").json()["version"] == 1
    os.kill(stage.supervisor, signal.SIGKILL)
    wait_for(lambda: stage.status().state == "stopped")
    stage.deploy(version(2))
    assert stage.rollback().url == url
    assert stage.get("/version").json()["version"] == 1


def test_a_supervisor_killed_in_the_middle_of_a_deploy(stage: Stage) -> None:
    stage.deploy(version(1))
    waits = 'if os.environ.get("PYS_MULTI_FUNCTION"):\n    (MARK / "starting").touch()\n    time.sleep(1000)\n'
    with ThreadPoolExecutor(1) as pool:
        deploy = pool.submit(stage.deploy, version(2, waits))
        wait_for((stage.root / "starting").exists)
        os.kill(stage.supervisor, signal.SIGKILL)
        assert isinstance(deploy.exception(), DeployError)
    stage.deploy(version(3))
    assert stage.get("/version").json()["version"] == 3


def test_two_supervisors_of_one_stage_cannot_run(stage: Stage) -> None:
    stage.deploy(version(1))
    command = [sys.executable, "-m", "pys_multi_providers.local.supervisor", str(stage.state.root)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == ALREADY_RUNNING
    assert "runs already" in second.stderr
    assert stage.get("/version").status == 200


def test_two_deploys_at_once_are_refused(stage: Stage) -> None:
    stage.write(version(1))
    placement = stage.placement()
    stage.state.create()
    with client.exclusive(stage.state, "deploy"), pytest.raises(ProviderError, match="another command"):
        stage.deploy()
    assert placement


def test_a_supervisor_of_another_version_is_replaced(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.deploy(version(1))
    before = stage.supervisor
    for module in (client, provider):
        monkeypatch.setattr(module, "own_version", lambda: "9.9")
    assert any(change.kind == "supervisor" for change in stage.plan().pending)
    stage.deploy()
    assert stage.supervisor != before
    assert stage.get("/version").json()["version"] == 1
    wait_for(lambda: has_ended(before))


def test_sigterm_finishes_what_runs(stage: Stage) -> None:
    stage.deploy(version(1))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stage.get, "/slow/a")
        wait_for((stage.root / "a-started").exists)
        os.kill(stage.supervisor, signal.SIGTERM)
        (stage.root / "a").touch()
        assert slow.result().json() == {"version": 1}
    wait_for(lambda: stage.status().state == "stopped")


def test_messages_are_handled_and_survive_a_stop(stage: Stage) -> None:
    stage.deploy(version(1))
    assert stage.post("/orders", body=b"").status == 200
    stage.wait_log("shipped by 1")
    wait_for(lambda: all(queue.waiting == queue.in_flight == 0 for queue in stage.status().queues))
    stage.deploy(version(2))
    stage.post("/orders", body=b"")
    stage.wait_log("shipped by 2")


def test_destroy_keeps_data_unless_told_otherwise(stage: Stage) -> None:
    stage.deploy(version(1))
    stage.post("/stock", body=b"")
    supervisor = stage.supervisor
    stage.destroy(delete_data=False)
    assert any(step.step == "keep" for step in stage.progress)
    assert [path.name for path in stage.state.root.iterdir()] == ["data"]
    assert stage.status().state == "absent"
    wait_for(lambda: has_ended(supervisor))
    stage.deploy()
    assert stage.get("/stock").json() == {"sku": "a", "count": 3}
    stage.destroy(delete_data=True)
    assert not stage.state.root.exists()
    stage.deploy()
    assert stage.get("/stock").json() == {}
    stage.destroy(delete_data=True)
    stage.destroy(delete_data=True)


def test_invoke_calls_routes_and_hands_events_to_triggers(stage: Stage) -> None:
    stage.deploy(version(1))
    call = stage.invoke(path="/version")
    assert (call.status, json.loads(call.body)["version"]) == (200, 1)
    assert call.request_id
    alone = stage.invoke(function="api", path="/version?a=1")
    assert (alone.status, json.loads(alone.body)["version"]) == (200, 1)
    assert stage.invoke(function="worker", path="/version").status == 404
    event = stage.invoke(trigger="worker:ship", body=b'{"n": 2}')
    assert (event.status, event.error) == (200, "")
    stage.wait_log("shipped by 1")
    assert stage.invoke(trigger="worker:ship", body=b"fail").status == 500
    stage.close()
    with pytest.raises(ProviderError, match="nothing runs"):
        stage.invoke(path="/version")


def test_a_state_folder_with_a_very_long_path_works(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYS_MULTI_STATE_DIR", str(stage.root / ("long" * 20) / ("path" * 20)))
    stage.deploy(version(1))
    assert stage.get("/version").status == 200
    stage.close()


def test_doctor_says_how_the_stage_is(stage: Stage) -> None:
    stage.write(version(1))
    placement = stage.placement()
    findings = {finding.subject: finding for finding in placement.provider.doctor(placement.deployment)}
    assert all(finding.ok for finding in findings.values()), findings
    stage.deploy()
    stage.close()
    findings = {finding.subject: finding for finding in placement.provider.doctor(placement.deployment)}
    assert not findings["local supervisor"].ok
    assert "deploy" in findings["local supervisor"].hint


def test_a_supervisor_whose_socket_was_removed_is_reached_again(stage: Stage) -> None:
    stage.deploy(version(1))
    supervisor = stage.supervisor
    stage.state.socket.unlink()
    stage.deploy(version(2))
    assert stage.supervisor == supervisor
    assert stage.get("/version").json()["version"] == 2
    stage.state.socket.unlink()
    stage.destroy(delete_data=True)
    wait_for(lambda: has_ended(supervisor))


def test_a_supervisor_ends_when_its_folder_is_removed(stage: Stage) -> None:
    stage.deploy(version(1))
    supervisor = stage.supervisor
    remove_tree(stage.state.root)
    wait_for(lambda: has_ended(supervisor))
    stage.deploy(version(2))
    assert stage.get("/version").json()["version"] == 2
