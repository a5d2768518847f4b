"""checkov looks at templates. It has requirements that exclude ours, so it runs on its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.aws_service import deployment
from uv import find_uv_bin

from pys_multi import App
from pys_multi_providers.aws.provider import AwsProvider
from pys_multi_tools import load, place, render
from pys_multi_tools.deployment import Deployment

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


#: What is left of it with the options that cost: a key, a network and a limit of one's own.
LEFT = {"CKV_AWS_18", "CKV_AWS_116"}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Template → id of a check that failed → what it is. One run for all, as checkov takes long to start."""
    folder = tmp_path_factory.mktemp("templates")
    for name in ("shop", "fastapi-notes"):
        (placement,) = place(load(ROOT / "examples" / name, env={}), ["aws"])
        (folder / f"{name}.json").write_text(render(placement)["template.json"])
    (folder / "hardened.json").write_text(AwsProvider().render(hardened())["template.json"])
    assert not any("checkov" in file.read_text() for file in folder.iterdir()), "something is suppressed in a template"
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
        [
            *command,
            "--directory",
            str(folder),
            "--framework",
            "cloudformation",
            "--compact",
            "--quiet",
            "--output",
            "json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(run.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["skipped"] == 0
    assert report["summary"]["passed"] > 0
    found: dict[str, dict[str, str]] = {file.stem: {} for file in folder.iterdir()}
    for check in report["results"]["failed_checks"]:
        what = f"{check['check_name']} ({check['resource']})"
        found[Path(check["file_path"]).stem][check["check_id"]] = what
    return found


def hardened() -> Deployment:
    """One of everything, with the options that cost."""
    app = App("hardened")
    jobs, news, key = app.queue("jobs"), app.topic("news"), app.secret("KEY")
    files, items = app.bucket("files"), app.table("items", key="id")
    options = {
        "reserved_concurrency": 5,
        "vpc": {"subnets": ["subnet-0123456789abcdef0"], "security_groups": ["sg-0123456789abcdef0"]},
    }
    main = app.function("main", uses=[jobs, news, files, items, key], aws=options)
    main.get("/")(lambda: None)
    main.consume(jobs)(lambda message: None)
    main.subscribe(news)(lambda message: None)
    main.created(files)(lambda event: None)
    main.every("1 hour")(lambda: None)
    arn = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    return deployment(app, secrets={"KEY": "env:KEY"}, kms_key=arn)


@pytest.mark.parametrize("name", ["shop", "fastapi-notes"])
def test_checkov_finds_nothing_that_is_not_accepted(name: str, failed: dict[str, dict[str, str]]) -> None:
    assert {id: text for id, text in failed[name].items() if id not in ACCEPTED} == {}
    assert {ACCEPTED[id][0] for id in failed[name]} <= {"INFO", "LOW", "MEDIUM"}


def test_with_the_options_that_cost_hardly_anything_is_left(failed: dict[str, dict[str, str]]) -> None:
    assert failed["hardened"].keys() <= LEFT
    assert {ACCEPTED[id][0] for id in LEFT} == {"INFO", "LOW"}
