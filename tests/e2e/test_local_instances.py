"""What happens to instances that crash, hang, eat memory, or talk too much."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.local_stage import Answer, Stage, has_ended, stage_in, wait_for

from pys_multi_providers.local.provider import find_python
from pys_multi_tools.errors import ProviderError

APP = """
import os, sys, time
from pathlib import Path
from pys_multi import App

app = App("shop", public=True)
MARK = Path(os.environ["MARK"])

def wait_for(name):
    while not (MARK / name).exists():
        time.sleep(0.005)

one = app.function("one", timeout=20)
quick = app.function("quick", timeout=0.5)
shared = app.function("shared", timeout=3, concurrency=4)
patient = app.function("patient", timeout=60, concurrency=4)
small = app.function("small", memory=64)
brittle = app.function("brittle")
narrow = app.function("narrow", timeout=20)

@one.get("/pid")
def pid() -> int:
    return {"pid": os.getpid()}

@one.get("/wait/{name}")
def wait(name: str) -> dict:
    (MARK / f"{name}-started").touch()
    wait_for(name)
    return {"pid": os.getpid()}

@patient.post("/interrupt")
def interrupt() -> None:
    raise KeyboardInterrupt

@patient.get("/patient")
def answer() -> str:
    return "here"

@one.post("/crash")
def crash() -> None:
    os._exit(3)

@one.get("/crash-once/{name}")
def crash_once(name: str) -> dict:
    if not (MARK / name).exists():
        (MARK / name).touch()
        os._exit(3)
    return {"pid": os.getpid()}

@quick.get("/hang")
def hang() -> None:
    time.sleep(60)

@quick.get("/quick")
def fine() -> dict:
    return {"pid": os.getpid()}

@shared.get("/shared/hang")
def shared_hang() -> None:
    (MARK / "hanging").touch()
    time.sleep(60)


@shared.get("/shared/wait")
def shared_wait() -> dict:
    (MARK / "shared-started").touch()
    wait_for("shared-go")
    return {"pid": os.getpid()}

@shared.get("/shared/together")
async def together() -> dict:
    import asyncio
    (MARK / f"arrived-{time.monotonic_ns()}").touch()
    while len(list(MARK.glob("arrived-*"))) < 4:
        await asyncio.sleep(0.005)
    return {"pid": os.getpid()}

@small.get("/eat")
def eat() -> None:
    held = []
    while True:
        held.append(bytearray(8_000_000))
        time.sleep(0.01)

@small.get("/small")
def small_fine() -> str:
    return "fine"

@brittle.post("/brittle")
def fall() -> None:
    os.kill(os.getpid(), 11)

@narrow.get("/narrow/{name}")
def narrow_wait(name: str) -> str:
    (MARK / f"{name}-started").touch()
    wait_for(name)
    return name

@one.get("/print")
def talk() -> str:
    print("plain line")
    print("x" * 300_000)
    sys.stderr.write("no end of line")
    sys.stderr.flush()
    for number in range(20_000):
        print("chatter", number)
    return "said"
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("instances")
    with stage_in(root) as stage:
        stage.environment = {"MARK": str(root)}
        stage.settings |= {"backlog": 2}
        stage.deploy(APP)
        yield stage


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def function(stage: Stage, name: str) -> Any:
    return next(function for function in stage.status().functions if function.name == name)


def test_a_crash_is_a_502_and_another_instance_takes_over(stage: Stage) -> None:
    before = stage.get("/pid").json()["pid"]
    answer = stage.post("/crash", body=b"")
    assert answer.status == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    after = stage.get("/pid").json()["pid"]
    assert after != before
    status = function(stage, "one")
    assert status.restarts >= 1
    assert "exited with status 3" in status.reason
    assert stage.wait_log("exited with status 3").level == "error"


def test_an_interrupt_in_a_handler_leaves_nobody_waiting(stage: Stage) -> None:
    assert stage.post("/interrupt").status == 502  # at once, and not after the function's timeout
    assert stage.get("/patient").body == b"here"


def test_a_request_without_effect_is_tried_again_after_a_crash(stage: Stage) -> None:
    assert stage.get("/crash-once/first").status == 200


def test_an_instance_that_is_killed_while_idle_is_replaced(stage: Stage) -> None:
    before = stage.get("/pid").json()["pid"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: (answer := stage.get("/pid")).status == 200 and answer.json()["pid"] != before)


def test_a_handler_past_its_timeout_is_a_504_and_ended(stage: Stage) -> None:
    before = stage.get("/quick").json()["pid"]
    answer = stage.get("/hang")
    assert answer.status == 504
    assert "0.5 s" in answer.json()["detail"]
    after = stage.get("/quick")
    assert after.json()["pid"] != before
    wait_for(lambda: has_ended(before))
    assert function(stage, "quick").state == "serving"


def test_calls_beside_one_that_times_out_are_answered(stage: Stage, background: ThreadPoolExecutor) -> None:
    hanging = background.submit(stage.get, "/shared/hang")
    wait_for((stage.root / "hanging").exists)
    # It has the same timeout: let it begin so much later that it still runs when the first one is ended.
    started = time.monotonic()
    wait_for(lambda: time.monotonic() - started > 1)
    beside = background.submit(stage.get, "/shared/wait")
    wait_for((stage.root / "shared-started").exists)
    assert hanging.result().status == 504
    # Its instance takes no new calls, and still has this one.
    (stage.root / "shared-go").touch()
    answer = beside.result()
    assert answer.status == 200
    other = stage.get("/shared/wait").json()["pid"]
    assert other != answer.json()["pid"]


def test_concurrency_is_real_for_async_handlers(stage: Stage, background: ThreadPoolExecutor) -> None:
    answers = list(background.map(lambda _: stage.get("/shared/together"), range(4)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json()["pid"] for answer in answers}) == 1


def test_a_function_that_eats_memory_is_ended_and_says_why(stage: Stage) -> None:
    assert stage.get("/small").status == 200
    assert stage.get("/eat").status == 502
    assert "64 MB" in stage.wait_log("of memory").message
    wait_for(lambda: stage.get("/small").status == 200)


def test_repeated_crashes_make_a_function_failing_with_its_reason(stage: Stage) -> None:
    def is_failing() -> bool:
        stage.post("/brittle", body=b"")
        return bool(function(stage, "brittle").state == "failing")

    wait_for(is_failing)
    status = function(stage, "brittle")
    assert "SIGSEGV" in status.reason
    assert stage.status().state == "degraded"
    health = stage.get("/.pys-multi/health")
    assert (health.status, health.json()["functions"]["brittle"]["status"]) == (503, "failing")
    assert stage.get("/pid").status == 200


def test_more_calls_than_may_wait_are_refused(stage: Stage, background: ThreadPoolExecutor) -> None:
    first = background.submit(stage.get, "/narrow/a")
    wait_for((stage.root / "a-started").exists)
    rest: list[Future[Answer]] = [background.submit(stage.get, "/narrow/a") for _ in range(4)]

    def refused() -> list[Answer]:
        return [future.result() for future in rest if future.done()]

    wait_for(lambda: len(refused()) == 2)
    assert {answer.status for answer in refused()} == {503}
    assert int(refused()[0].headers["retry-after"]) >= 1
    (stage.root / "a").touch()
    assert first.result().status == 200
    assert sorted(future.result().status for future in rest) == [200, 200, 503, 503]


def test_whatever_is_printed_is_in_the_log_and_wedges_nothing(stage: Stage) -> None:
    assert stage.get("/print").body == b"said"
    stage.wait_log("chatter 19999")
    records = list(stage.logs(function="one"))
    assert any(record.message == "plain line" for record in records)
    assert any(record.message.startswith("xxx") and len(record.message) <= 64 * 1024 for record in records)
    stage.wait_log("no end of line")
    assert {record.function for record in records} == {"one"}


def test_instances_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with stage_in(tmp_path) as stage, ThreadPoolExecutor(1) as background:
        stage.environment = {"MARK": str(tmp_path)}
        stage.deploy(APP)
        pid = stage.get("/pid").json()["pid"]
        busy = background.submit(stage.get, "/wait/never")
        wait_for((tmp_path / "never-started").exists)
        os.kill(stage.supervisor, signal.SIGKILL)
        assert busy.exception() is not None
        wait_for(lambda: has_ended(pid))


def test_a_function_that_no_longer_starts_says_why_and_comes_back(tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
from pys_multi import App

app = App("shop", public=True)
if Path(os.environ["MARK"], "down").exists():
    raise RuntimeError("the database is down")

@app.get("/pid")
def pid() -> dict:
    return {"pid": os.getpid()}
"""
    with stage_in(tmp_path) as stage:
        stage.environment = {"MARK": str(tmp_path)}
        stage.deploy(code)
        (tmp_path / "down").touch()
        os.kill(stage.get("/pid").json()["pid"], signal.SIGKILL)
        # The stage's own placement imports the module too, and must not: the state is read without it.
        status = wait_for(lambda: (answer := stage.get("/.pys-multi/health")).status == 503 and answer)
        assert status.json()["functions"]["main"]["status"] in ("starting", "failing")
        wait_for(lambda: stage.get("/.pys-multi/health").json()["functions"]["main"]["status"] == "failing")
        (tmp_path / "down").unlink()
        assert "the database is down" in stage.wait_log("Traceback").message
        wait_for(lambda: stage.get("/pid").status == 200)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.14"])
def test_instances_run_on_the_python_of_the_settings(tmp_path: Path, version: str) -> None:
    try:
        find_python(version)
    except ProviderError:
        pytest.skip(f"this machine has no Python {version}")
    code = """
import sys
from pys_multi import App

app = App("shop", public=True)

@app.get("/python")
def python() -> dict:
    return {"version": list(sys.version_info[:2]), "prefix": sys.prefix == sys.base_prefix}
"""
    with stage_in(tmp_path) as stage:
        stage.python = version
        stage.deploy(code)
        assert stage.get("/python").json() == {"version": [int(part) for part in version.split(".")], "prefix": True}
