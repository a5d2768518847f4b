"""A provider whose cloud's library is not installed says what to install, whatever is asked of it first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: What the SDKs of the clouds are on top of what pys-multi itself needs.
MISSING = "boto3 botocore google googleapiclient azure"
FLAGS = {
    "aws": ["--region", "eu-central-1"],
    "azure": ["--resource-group", "g", "--location", "westeurope"],
    "gcp": ["--project", "p-123456", "--region", "europe-west1"],
}
#: A finder in front of all others for which they do not exist.
WITHOUT = f"""
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING.split()!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
from pys_multi_tools.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["plan", "status", "doctor"])
@pytest.mark.parametrize("cloud", sorted(FLAGS))
def test_what_to_install_is_said(cloud: str, command: str) -> None:
    example = ROOT / "examples" / "fastapi-notes"
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, command, "-C", str(example), "--cloud", cloud, *FLAGS[cloud]],
        capture_output=True,
        text=True,
        check=False,
    )
    output = run.stdout + run.stderr
    assert run.returncode == 1, output
    assert f"pip install 'pys-multi[{cloud}]'" in output
    assert "defect" not in output
    assert "Traceback" not in output
