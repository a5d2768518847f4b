"""Both examples go to AWS as they are, answer, and leave nothing."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.aws_stage import environment
from tests.support.local_stage import wait_for
from tests.support.ministack import MiniStack

from pys_multi_tools import pipeline
from pys_multi_tools.deployment import Invocation

EXAMPLES = Path(__file__).parents[3] / "examples"
SECRETS = {
    "SHOP_ADMIN_KEY": "admin-1",
    "SHOP_PAYMENT_KEY": "payment-2",
    "SHOP_TOKEN_KEY": "a token key of more than 32 bytes",
}


@contextmanager
def deployed(name: str, cloud: MiniStack, folder: Path) -> Iterator[pipeline.Placement]:
    """A copy of an example, for the interpreter and the processor that the emulator runs functions on."""
    root = folder / name
    shutil.copytree(EXAMPLES / name, root, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    with (root / "pyproject.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'\n[tool.pys-multi.aws]\narchitecture = "{machine}"\n')
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with environment({**cloud.environment, **SECRETS, "PYS_MULTI_PYTHON": python, "PYS_MULTI_CLOUD": "aws"}):
        [placement] = pipeline.place(pipeline.load(root, "dev"))
        pipeline.deploy(placement)
        yield placement
        pipeline.destroy(placement, delete_data=True)
    assert cloud.client("cloudformation").list_stack_resources(StackName=f"{name}-dev")["StackResourceSummaries"] == []


def call(placement: pipeline.Placement, path: str, body: object = None, method: str = "GET", **headers: str) -> Any:
    fields = [("content-type", "application/json"), *((k.replace("_", "-"), v) for k, v in headers.items())]
    data = b"" if body is None else json.dumps(body).encode()
    result = pipeline.invoke(placement, Invocation(method=method, path=path, headers=tuple(fields), body=data))
    assert result.status < 300, result
    return json.loads(result.body or b"null")


def test_the_shop_sells(cloud: MiniStack, tmp_path: Path) -> None:
    with deployed("shop", cloud, tmp_path) as shop:
        article = {"sku": "apple", "name": "Apple", "price": 50, "available": 10}
        call(shop, "/stock/apple", article, "PUT", x_api_key=SECRETS["SHOP_ADMIN_KEY"])
        assert call(shop, "/stock/apple") == {**article, "tags": []}
        command = [sys.executable, "-m", "shop.sign_in", "ada"]
        token = subprocess.run(command, cwd=tmp_path / "shop", capture_output=True, text=True, check=True).stdout
        known = f"Bearer {token.strip()}"
        order = call(shop, "/orders", {"lines": [{"sku": "apple", "count": 3}]}, "POST", authorization=known)
        wait_for(lambda: call(shop, f"/orders/{order['id']}", authorization=known)["status"] == "shipped", "shipping")
        assert pipeline.invoke(shop, Invocation(trigger="worker:report")).error == ""


def test_the_notes_are_kept(cloud: MiniStack, tmp_path: Path) -> None:
    with deployed("fastapi-notes", cloud, tmp_path) as notes:
        assert call(notes, "/notes", {"text": "buy milk"}, "POST") == {"id": 1, "text": "buy milk", "tags": []}
        assert "/notes" in call(notes, "/openapi.json")["paths"]
