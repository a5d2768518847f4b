"""The examples, unchanged, by the commands that a user writes: deployed, deployed again, taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.gcp_control.server import ControlPlane
from tests.support.gcp_control.state import PROJECT, REGION

EXAMPLES = Path(__file__).parents[3] / "examples"
SECRETS = {
    "SHOP_ADMIN_KEY": "canary-admin-1",
    "SHOP_PAYMENT_KEY": "canary-payment-2",
    "SHOP_TOKEN_KEY": "canary, a token key of more than 32 bytes",
}
PLACE = ("--cloud", "gcp", "--stage", "dev", "--project", PROJECT, "--region", REGION)


@pytest.mark.parametrize(("name", "functions"), [("shop", ["api", "hooks", "worker"]), ("fastapi-notes", ["main"])])
def test_an_example_is_deployed_as_it_is(
    name: str, functions: list[str], running: ControlPlane, tmp_path: Path
) -> None:
    # Where it is said by the flags alone.
    place = ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_REGION")
    environment = {key: value for key, value in {**os.environ, **running.environment}.items() if key not in place}
    # The control plane is the proxy of Google's library; what uv asks goes its own way.
    environment |= {**SECRETS, "PYS_MULTI_STATE_DIR": str(tmp_path), "NO_PROXY": "pypi.org,files.pythonhosted.org"}

    def run(*command: str, code: int = 0) -> str:
        arguments = [sys.executable, "-m", "pys_multi_tools.cli", *command, *PLACE]
        found = subprocess.run(
            arguments, cwd=EXAMPLES / name, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == code, found.stderr + found.stdout
        assert "canary" not in found.stdout + found.stderr
        return found.stdout

    try:
        [outputs] = json.loads(run("deploy", "--yes", "--json"))["outputs"]
        assert sorted(outputs["build_ids"]) == functions
        running.calls.clear()
        run("deploy", "--yes")
        assert running.calls
        assert running.mutating() == []
    finally:
        run("destroy", "--yes", "--delete-data")
    left = [
        key for kind in ("functions", "topics", "subscriptions", "jobs", "secrets") for key in running.state.of(kind)
    ]
    assert not [key for key in left if f"/{name.partition('-')[0]}" in key]
