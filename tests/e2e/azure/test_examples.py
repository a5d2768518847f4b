"""Both examples go to Azure with the command that their readers type, and run in Microsoft's worker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.arm.server import ArmServer
from tests.support.azure_stage import KINDS, NOTHING, PYTHON, inventory

EXAMPLES = Path(__file__).parents[3] / "examples"
SECRETS = {
    "SHOP_ADMIN_KEY": "admin-1",
    "SHOP_PAYMENT_KEY": "payment-2",
    "SHOP_TOKEN_KEY": "a token key of more than 32 bytes",
}


def _command(root: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "pys_multi_tools.cli", *arguments],
        cwd=root,
        env={**os.environ, **SECRETS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    assert not any(value in result.stderr + result.stdout for value in SECRETS.values())
    return result.stdout


@pytest.mark.parametrize(
    ("name", "path", "answer"),
    [("shop", "/.pys-multi/health", '"function":"api"'), ("fastapi-notes", "/openapi.json", '"/notes/{id}"')],
)
def test_it_is_deployed_answers_and_leaves_nothing(
    name: str, path: str, answer: str, arm: ArmServer, tmp_path: Path
) -> None:
    root = tmp_path / name
    shutil.copytree(EXAMPLES / name, root, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    # The example as it is, but for where Azure is and which Python this is.
    with (root / "pyproject.toml").open("a", encoding="utf-8") as settings:
        settings.write("[tool.pys-multi.azure.endpoints]\n" + "".join(f'{kind} = "{arm.url}"\n' for kind in KINDS))
    os.environ["PYS_MULTI_PYTHON"] = PYTHON
    group = f"group-{name}"
    where = ["--cloud", "azure", "--stage", "dev", "--resource-group", group, "--location", "westeurope"]
    try:
        _command(root, "deploy", *where, "--yes")
        called = json.loads(_command(root, "invoke", path, *where, "--json"))
        assert answer in called["body"], called
        _command(root, "destroy", *where, "--yes", "--delete-data")
        assert inventory(arm, group) == NOTHING
    finally:
        del os.environ["PYS_MULTI_PYTHON"]
