"""checkov looks at the templates of the examples. It has requirements that exclude ours, so it runs on its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from pys_multi_tools import load, place, render

ROOT = Path(__file__).parents[2]

#: What fails, how grave checkov's maker says that it is, and why it stays. checkov itself gives severities only to
#: customers; these are of the maker's published policy reference ("AWS Policies", general, S3 and serverless, 2025).
ACCEPTED = {
    "CKV_AWS_18": ("INFO", "an access log of a bucket needs a second bucket, and costs"),
    "CKV_AWS_27": ("MEDIUM", "it asks for a KMS key; the queues are encrypted with SQS's (SqsManagedSseEnabled)"),
    "CKV_AWS_115": ("LOW", "reserved concurrency takes its share from all others of the account: it is an option"),
    "CKV_AWS_116": ("LOW", "failed runs go to a queue by the alias's OnFailure, which it does not look at"),
    "CKV_AWS_117": ("LOW", "a function in a network of one's own loses the internet: it is an option"),
    "CKV_AWS_119": ("LOW", "it asks for a key of one's own; the tables are encrypted under AWS's key for DynamoDB"),
    "CKV_AWS_149": ("MEDIUM", "it asks for a key of one's own; the secrets are encrypted under AWS's key"),
    "CKV_AWS_158": ("LOW", "it asks for a key of one's own; CloudWatch Logs encrypts under its own keys"),
    "CKV_AWS_173": ("LOW", "no secret is in an environment, which Lambda encrypts under AWS's key"),
}


@pytest.mark.parametrize("name", ["shop", "fastapi-notes"])
def test_checkov_finds_nothing_that_is_not_accepted(name: str, tmp_path: Path) -> None:
    (placement,) = place(load(ROOT / "examples" / name, env={}), ["aws"])
    text = render(placement)["template.json"]
    assert "checkov" not in text, "nothing is suppressed in the template"
    file = tmp_path / "template.json"
    file.write_text(text)
    command = [
        find_uv_bin(),
        "tool",
        "run",
        "--quiet",
        "--python",
        sys.executable,
        "--from",
        "checkov>=3.3,<4",
        "checkov",
    ]
    run = subprocess.run(
        [*command, "--file", str(file), "--framework", "cloudformation", "--compact", "--quiet", "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(run.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["skipped"] == 0
    assert report["summary"]["passed"] > 0
    failed = {
        check["check_id"]: f"{check['check_name']} ({check['resource']})"
        for check in report["results"]["failed_checks"]
    }
    assert {id: text for id, text in failed.items() if id not in ACCEPTED} == {}
    assert {ACCEPTED[id][0] for id in failed} <= {"INFO", "LOW", "MEDIUM"}
