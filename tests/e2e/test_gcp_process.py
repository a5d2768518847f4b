"""How an instance lives under functions-framework and gunicorn: it starts once, where it serves, and ends in order."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.functions_framework import Function, image

from pys_multi_providers.gcp.provider import GcpProvider
from pys_multi_tools import load
from pys_multi_tools.bundle import build
from pys_multi_tools.deployment import Deployment
from pys_multi_tools.target import host_architecture, host_system

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"

#: A mounted application with a lifespan, and a route beside it.
APP = """
import os
from pys_multi import App

app = App("life", public=True)
api = app.function("api", concurrency=4)


async def mounted(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("begins in", os.getpid(), flush=True)
        if os.environ.get("FAILS") == "start":
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("ends in", os.getpid(), flush=True)
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


api.asgi(mounted, "/mounted")


@api.get("/pid")
def pid() -> int:
    return os.getpid()


if os.environ.get("FAILS") == "import":
    raise RuntimeError("no such setting")
"""

Start = Callable[..., tuple[Function, list[str]]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("life")
    (root / "app.py").write_text(APP)
    (root / "pyproject.toml").write_text(
        f'[project]\nname = "life"\nversion = "1"\n[tool.pys-multi]\napp = "app:app"\npython = "{OWN}"\n'
        '[tool.pys-multi.gcp]\nproject = "p"\nregion = "europe-west1"\n'
    )
    loaded, provider = load(root), GcpProvider()
    settings = loaded.project.provider_settings(provider.name, provider.settings_model)
    deployment = Deployment(
        service=loaded.service, stage="dev", project=loaded.project, app=loaded.reference, settings=settings
    )
    target = replace(provider.target(deployment), system=host_system(), architecture=host_architecture(), glibc=None)
    folder = root / "unpacked"
    build(loaded.project, loaded.reference, loaded.service, target).artefacts["api"].unpacked(folder)
    return folder


@pytest.fixture
def start(bundle: Path) -> Iterator[Start]:
    functions: list[Function] = []
    found = image(OWN)
    assert found is not None

    def begin(**environment: str) -> tuple[Function, list[str]]:
        lines: list[str] = []
        functions.append(Function(found, bundle, {"PYS_MULTI_FUNCTION": "api", **environment}, lines.append))
        return functions[-1], lines

    yield begin
    for function in functions:
        function.stop()


def get(function: Function, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", function.port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("threads", ["1", "4"])
def test_it_starts_in_the_process_that_serves_and_ends_there(start: Start, threads: str) -> None:
    function, lines = start(THREADS=threads)
    function.wait_until_it_listens()
    serving = get(function, "/pid")
    assert get(function, "/mounted/") == serving
    assert function.terminate() == 0
    assert [line for line in lines if " in " in line] == [f"begins in {serving}", f"ends in {serving}"]


def test_one_that_cannot_start_ends_and_says_why(start: Start) -> None:
    function, lines = start(FAILS="start")
    assert function.wait() != 0
    found = [json.loads(line) for line in lines if line.startswith('{"severity":"CRITICAL"')]
    assert "no database" in found[0]["exception"]


def test_one_whose_module_cannot_be_imported_ends_with_its_traceback(start: Start) -> None:
    function, lines = start(FAILS="import")
    assert function.wait() != 0
    assert "RuntimeError: no such setting" in lines
    assert any("app.py" in line for line in lines)
