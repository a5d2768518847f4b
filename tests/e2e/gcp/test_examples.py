"""Both examples go to Google Cloud as they are, by the command that the documentation names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_control.state import PROJECT, REGION
from tests.support.gcp_stage import left

EXAMPLES = Path(__file__).parents[3] / "examples"
SECRETS = {
    "SHOP_ADMIN_KEY": "admin-1",
    "SHOP_PAYMENT_KEY": "payment-2",
    "SHOP_TOKEN_KEY": "a token key of more than 32 bytes",
}


@pytest.mark.parametrize(("name", "path"), [("shop", "/orders/1"), ("fastapi-notes", "/notes")])
def test_an_example_is_deployed_called_and_removed(
    name: str, path: str, running: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("example") / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    plain = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "PYS_MULTI_", "GOOGLE_", "CLOUDSDK_"))}
    environment = {**plain, **running.environment, **SECRETS}
    # What an example depends on comes from where it always does.
    environment |= {n: v for n, v in plain.items() if n == "HTTPS_PROXY"} or {"NO_PROXY": "pypi.org,.pythonhosted.org"}
    del environment["GOOGLE_CLOUD_PROJECT"], environment["GOOGLE_CLOUD_REGION"]

    def run(*words: str) -> str:
        where = ["--cloud", "gcp", "--stage", "dev", "--project", PROJECT, "--region", REGION]
        command = [sys.executable, "-m", "pys_multi_tools.cli", *words, *where]
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        return ran.stdout

    outputs = json.loads(run("deploy", "--yes", "--json"))["outputs"][0]
    assert outputs["url"]
    running.calls.clear()
    assert json.loads(run("deploy", "--yes", "--json"))["outputs"][0] == outputs
    assert running.mutating() == []
    answer = json.loads(run("invoke", path, "--json")) if name != "shop" else {}
    assert answer.get("status", 200) == 200, answer
    run("destroy", "--yes", "--delete-data")
    assert left(running, f"{name}-dev") == {}
