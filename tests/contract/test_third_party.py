"""A provider of somebody else, installed beside pys-multi, is found by its entry point and keeps the contract."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

TOY = Path(__file__).parent / "toy_provider"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy's distribution in it, as an installer puts it into site-packages."""
    source = tmp_path_factory.mktemp("source") / "toy"
    shutil.copytree(TOY, source)
    target = tmp_path_factory.mktemp("site-packages")
    run = subprocess.run(
        [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return target


def run(site: Path, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(site)
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )


def test_it_passes_the_contract(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(TOY / "tests", tmp_path / "tests")
    options = ("-c", os.devnull, "--rootdir", str(tmp_path), "-W", "error", "-p", "no:cacheprovider")
    result = run(installed, "-m", "pytest", "-q", *options, str(tmp_path / "tests"))
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) >= 25


def test_it_is_listed_with_its_distribution_and_what_it_can_do(installed: Path) -> None:
    result = run(installed, "-m", "pys_multi_tools.cli", "providers", "--json")
    assert result.returncode == 0, result.stderr
    found = {entry["name"]: entry for entry in json.loads(result.stdout)["providers"]}
    assert {"local", "toy"} <= set(found)
    assert (found["toy"]["distribution"], found["toy"]["version"]) == ("pys-multi-toy", "1.2.3")
    assert found["toy"]["triggers"] == ["http", "schedule"]
    assert found["toy"]["error"] == ""


def test_what_it_cannot_do_is_refused_by_check(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from pys_multi import App\n"
        'app = App("shop")\n'
        'orders = app.queue("orders")\n\n'
        "@app.consume(orders)\ndef ship(message): ...\n"
    )
    (tmp_path / "pys-multi.toml").write_text("cloud = ['toy']\n")
    result = run(installed, "-m", "pys_multi_tools.cli", "check", cwd=tmp_path)
    assert result.returncode == 1
    assert "toy has no queue" in result.stdout + result.stderr


@pytest.fixture
def broken(installed: Path, tmp_path: Path) -> Path:
    """The same distribution, whose provider imports what is not there."""
    site = tmp_path / "broken"
    shutil.copytree(installed, site)
    module = site / "pys_multi_toy" / "provider.py"
    module.write_text(module.read_text().replace("import json\n", "import json\nimport toy_cloud_sdk\n", 1))
    return site


def test_a_broken_provider_is_told_apart_from_a_missing_one(broken: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pys_multi_tools.errors import ProviderError\n"
        "from pys_multi_tools.provider import load\n"
        "try:\n    load(sys.argv[1])\n"
        "except ProviderError as error:\n    print(error)\n"
    )
    failed = run(broken, "-c", script, "toy").stdout
    assert "'toy' is installed and its own code failed" in failed
    assert "No module named 'toy_cloud_sdk'" in failed
    assert "pys_multi_toy/provider.py" in failed, "the traceback of the provider's own code"
    missing = run(broken, "-c", script, "toi").stdout
    assert "no provider 'toi' is installed" in missing
    assert "did you mean 'toy'?" in missing


def test_a_broken_provider_is_listed_with_its_error_and_hides_no_other(broken: Path) -> None:
    result = run(broken, "-m", "pys_multi_tools.cli", "providers", "--json")
    found = {entry["name"]: entry for entry in json.loads(result.stdout)["providers"]}
    assert "toy_cloud_sdk" in found["toy"]["error"]
    assert found["local"]["error"] == ""
