"""The examples as their readers meet them: their own tests are green, and the README's commands work on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRETS = {
    "SHOP_ADMIN_KEY": "admin-1",
    "SHOP_PAYMENT_KEY": "payment-2",
    "SHOP_TOKEN_KEY": "a token key of more than 32 bytes",
}


class Example:
    """A copy of an example, and the command line in it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.root = folder / name
        shutil.copytree(EXAMPLES / name, self.root, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYS_MULTI_"))},
            **SECRETS,
            "PYS_MULTI_STATE_DIR": str(folder / "state"),
        }
        self.url = ""

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        result = self.python("-m", "pys_multi_tools.cli", *arguments)
        assert result.returncode == 0, result.stderr + result.stdout
        return result.stdout

    def deploy(self) -> None:
        self.run("deploy", "--cloud", "local", "--yes")
        self.url = json.loads(self.run("status", "--json"))["services"][0]["url"]

    def call(self, path: str, body: object = None, method: str | None = None, **headers: str) -> object:
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    example = Example(request.param, tmp_path)
    yield example
    if example.url:
        example.run("destroy", "--cloud", "local", "--yes", "--delete-data")


@pytest.mark.parametrize("example", ["shop", "fastapi-notes"], indirect=True)
def test_its_own_tests_are_green(example: Example) -> None:
    result = example.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout[-5000:]


@pytest.mark.parametrize("example", ["shop", "fastapi-notes"], indirect=True)
def test_it_is_checked_shown_and_documented(example: Example) -> None:
    example.run("check")
    model = json.loads(example.run("show", "--json"))
    assert model["name"] == example.root.name
    assert json.loads(example.run("openapi"))["openapi"].startswith("3.1")


@pytest.mark.parametrize("example", ["shop"], indirect=True)
def test_the_shop_sells_when_it_is_deployed(example: Example) -> None:
    example.deploy()
    article = {"sku": "apple", "name": "Apple", "price": 50, "available": 10}
    example.call("/stock/apple", article, "PUT", x_api_key=SECRETS["SHOP_ADMIN_KEY"])
    assert example.call("/stock/apple") == {**article, "tags": []}
    token = example.python("-m", "shop.sign_in", "ada").stdout.strip()
    order = example.call("/orders", {"lines": [{"sku": "apple", "count": 3}]}, authorization=f"Bearer {token}")
    assert isinstance(order, dict)

    def shipped() -> bool:
        found = example.call(f"/orders/{order['id']}", authorization=f"Bearer {token}")
        return isinstance(found, dict) and found["status"] == "shipped"

    deadline = time.monotonic() + 20
    while not shipped():
        assert time.monotonic() < deadline, "the worker does not ship"
        time.sleep(0.05)
    example.run("invoke", "worker:report")
    assert f"order {order['id']} placed" in example.run("logs")
    metrics = json.loads(example.run("metrics", "--json"))
    assert metrics["schema_version"]


@pytest.mark.parametrize("example", ["fastapi-notes"], indirect=True)
def test_the_notes_are_kept_when_they_are_deployed(example: Example) -> None:
    example.deploy()
    assert example.call("/notes", {"text": "buy milk"}) == {"id": 1, "text": "buy milk", "tags": []}
    assert example.call("/notes/1") == {"id": 1, "text": "buy milk", "tags": []}
