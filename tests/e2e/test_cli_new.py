"""A new project, from the first command to the last: its tests, dev, and a deploy to this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pys_multi_tools.errors import ToolError
from pys_multi_tools.new_project import FILES, create

CLI = (sys.executable, "-m", "pys_multi_tools.cli")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYS_MULTI_")}
    return {
        **kept,
        "PYS_MULTI_STATE_DIR": str(tmp_path / "state"),
        "PYS_MULTI_CACHE_DIR": str(tmp_path / "cache"),
        "PYS_MULTI_LOCAL_PORT": "0",
    }


@pytest.fixture
def root(tmp_path: Path, environment: dict[str, str]) -> Path:
    made = call("new", "my_notes", cwd=tmp_path, environment=environment)
    assert made.returncode == 0, made.stderr
    assert sorted(made.stdout.split()) == sorted(f"my_notes/{path}" for path in FILES)
    return tmp_path / "my_notes"


def call(*arguments: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def get(url: str, path: str) -> Any:
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_its_own_tests_are_green(root: Path, environment: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout
    assert call("check", cwd=root, environment=environment).returncode == 0
    assert 'name = "my-notes"' in (root / "pyproject.toml").read_text()


def test_what_comes_next_can_be_pasted(tmp_path: Path, environment: dict[str, str]) -> None:
    made = call("new", "my notes", cwd=tmp_path, environment=environment)
    assert made.stderr == "next: cd 'my notes' && pys-multi dev\n"
    (tmp_path / "here").mkdir()
    assert call("new", ".", cwd=tmp_path / "here", environment=environment).stderr == "next: pys-multi dev\n"


@pytest.fixture
def dev(root: Path, environment: dict[str, str]) -> Iterator[tuple[str, list[str], subprocess.Popen[str]]]:
    """``pys-multi dev`` in the project: its url, the lines it has printed, and the process."""
    with subprocess.Popen(
        [*CLI, "dev", "--port", "0"], cwd=root, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or []))
        stream = process.stderr
        first = stream.readline()
        reader.start()
        found = re.match(r"http://[\d.:]+", first)
        assert found, first
        yield found[0], lines, process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        reader.join()


def test_dev_serves_it_and_reloads_an_edit(root: Path, dev: tuple[str, list[str], subprocess.Popen[str]]) -> None:
    url, _, process = dev
    assert get(url, "/?name=Ada") == (200, {"hello": "Ada"})
    app = root / "app.py"
    app.write_text(app.read_text().replace('"hello": name', '"good day": name'))
    deadline = time.monotonic() + 30
    answer = None
    while answer != (200, {"good day": "Ada"}):
        assert time.monotonic() < deadline
        with contextlib.suppress(ConnectionError):  # the worker of before may close while it is called
            answer = get(url, "/?name=Ada")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) in (0, 130)


def test_it_is_deployed_called_observed_and_destroyed(root: Path, environment: dict[str, str]) -> None:
    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call(*arguments, cwd=root, environment=environment)

    assert cli("plan", "--detailed-exitcode").returncode == 3
    deployed = cli("deploy", "--cloud", "local", "--json")
    try:
        assert deployed.returncode == 0, deployed.stderr
        [outputs] = json.loads(deployed.stdout)["outputs"]
        assert get(outputs["url"], "/?name=Ada") == (200, {"hello": "Ada"})
        assert cli("plan", "--detailed-exitcode").returncode == 0

        posted = cli("invoke", "/notes", "-d", '{"id": "n1", "text": "buy milk"}')
        assert posted.returncode == 0, posted.stderr
        deadline = time.monotonic() + 30
        while (answer := cli("invoke", "/notes/n1")).returncode != 0:
            assert time.monotonic() < deadline, answer.stderr
        assert json.loads(answer.stdout) == {"id": "n1", "text": "buy milk"}

        assert cli("invoke", "worker:look_around").returncode == 0
        status = json.loads(cli("status", "--json").stdout)["services"][0]
        assert status["state"] == "serving"
        assert {function["build_id"] for function in status["functions"]} == set(outputs["build_ids"].values())
        messages = [json.loads(line)["message"] for line in cli("logs", "--json").stdout.splitlines()]
        assert "kept note n1" in messages
        assert "all is quiet" in messages
        counted = json.loads(cli("metrics", "--json").stdout)["metrics"]["local"]["functions"]
        assert {function["name"] for function in counted} == {"api", "worker"}
    finally:
        destroyed = cli("destroy", "--yes", "--delete-data")
    assert destroyed.returncode == 0, destroyed.stderr
    assert json.loads(cli("status", "--json").stdout)["services"][0]["state"] == "absent"


def test_an_artefact_is_described_and_compared(root: Path, environment: dict[str, str]) -> None:
    before = call("bundle", cwd=root, environment=environment)
    assert before.returncode == 0, before.stderr
    assert re.search(r"total +- +[\d.]+ MB +[\d.]+ MB", before.stdout)
    [bundle] = json.loads(call("bundle", "--json", cwd=root, environment=environment).stdout)["bundles"]
    [artefact] = bundle["artefacts"]
    assert artefact["functions"] == ["api", "worker"]
    app = root / "app.py"
    app.write_text(app.read_text() + "\nMORE = 1\n")
    changed = call("bundle", "--diff", artefact["path"], cwd=root, environment=environment)
    assert re.search(r"^file +app\.py +- +changed", changed.stdout, re.MULTILINE)
    assert f"build {artefact['build_id']} → " in changed.stderr
    assert "removed" in call("bundle", "--clean", cwd=root, environment=environment).stderr


@pytest.mark.parametrize("name", ["Shop", "1shop", "shop-", "", "a" * 41, 'x"\ny'])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ToolError, match="is not a service name") as caught:
        create(tmp_path / "shop", name)
    assert "--name" in caught.value.hint
    assert not (tmp_path / "shop").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine")
    with pytest.raises(ToolError, match=r"app\.py"):
        create(tmp_path, "shop")
    assert (tmp_path / "app.py").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]


def test_a_new_project_goes_beside_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("mine")
    assert {str(path.relative_to(tmp_path)) for path in create(tmp_path, "shop")} == set(FILES)
