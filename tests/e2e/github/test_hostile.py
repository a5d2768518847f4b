"""Under act: what strangers name, what must not be told, whom the clouds know, and the end before the end."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.e2e.github.conftest import APP, SECRET, SETTINGS, Workspace
from tests.support import paper_provider
from tests.support.act import ACTION
from tests.support.local_stage import wait_for
from tests.support.trust import aws_lets_in, claims_of

pytestmark = pytest.mark.xdist_group("act-hostile")

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/deploy"
CHECKOUT = {"uses": "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8"}
STEP = """
on: [push, pull_request]
permissions: {{}}
jobs:
  job:
    runs-on: ubuntu-latest
    environment: prod
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8
      - uses: {action}
        id: pys
        env:
{environment}
        with:
{inputs}
      - run: |
          echo "AFTER key=${{AWS_SECRET_ACCESS_KEY:-none}} google=${{GOOGLE_APPLICATION_CREDENTIALS:-none}}"
"""


def workflow(workspace: Workspace, inputs: dict[str, str], environment: dict[str, str] | None = None) -> str:
    """One step with these inputs and variables, as JSON strings, which are YAML."""

    def lines(values: dict[str, str]) -> str:
        return "\n".join(f"          {name}: {json.dumps(value)}" for name, value in values.items())

    given = {"SHOP_KEY": "${{ secrets.SHOP_KEY }}", **(environment or {})}
    text = STEP.format(action=ACTION, environment=lines(given), inputs=lines(inputs))
    workspace.write({".github/workflows/one.yml": text})
    workspace.commit()
    return "one.yml"


HOSTILE = (
    "$(touch {pwned})",
    "`touch {pwned}`",
    "'; touch {pwned}; '",
    '"; touch {pwned}; "',
    "x\ntouch {pwned}",
    "::set-output name=url::https://evil.example",
    "x%0A::error::spoofed",
    "x\n::error::spoofed",
    "##[error]spoofed",
    "${{{{ secrets.SHOP_KEY }}}}",
    "| touch {pwned}",
    "--help",
)


def test_a_hostile_input_changes_nothing(shop: Workspace, tmp_path: Path) -> None:
    """The corpus as every input: none may do more than fail. One by one the texts are tried where they are read."""
    pwned = tmp_path / "pwned"
    texts = [text.format(pwned=pwned) for text in HOSTILE]
    given = [{"command": "affected", "since": "\n".join(texts)}]
    names = ("command", "stage", "path", "cloud", "app", "settings", "ttl", "python-version", "aws-role", "comment")
    given += [{"command": "check", name: "\n".join(texts)} for name in names]
    # A runner evaluates expressions in a workflow's own text; in data they are text, so here they are made by one.
    given = [{name: text.replace("${{", "${{ '${{' }}") for name, text in inputs.items()} for inputs in given]
    steps = [{"uses": ACTION, "continue-on-error": True, "with": inputs} for inputs in given]
    job = {"runs-on": "ubuntu-latest", "env": {"SHOP_KEY": "a-value-for-it"}, "steps": [CHECKOUT, *steps]}
    shop.write({".github/workflows/hostile.yml": json.dumps({"on": "push", "jobs": {"job": job}})})
    shop.commit()
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow="hostile.yml")
    assert not pwned.exists()
    assert run.code == 0, run.log
    # `check` asks no cloud, so it does not look at the role.
    assert run.log.count("::error title=pys-multi") >= len(given) - 1, run.log
    assert not any(line.startswith(("::error::spoofed", "::set-output name")) for line in run.lines())
    assert "https://evil.example" not in "".join(line for line in run.lines() if "set-output:: url" in line)
    assert shop.stages() == []


def test_hostile_names_on_github_change_nothing(shop: Workspace, tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    event = shop.server.open(7, base=shop.git("rev-parse", "HEAD"))
    text = "\n".join(text.format(pwned=pwned) for text in HOSTILE)
    event["pull_request"] |= {"title": text, "body": text, "user": {"login": text}}
    event["pull_request"]["head"]["ref"] = f"$(touch${{IFS}}{pwned})`x`::error::spoofed"
    run = shop.run("pull_request", event, workflow="pys-multi-plan.yml")
    assert run.code == 0, run.log
    assert not pwned.exists()
    assert not any(line.startswith("::error::spoofed") for line in run.lines())


#: As they come: a password, and three that look like what they are.
CANARIES = {
    "SHOP_KEY": "canary&horse/battery=staple+1",
    "DEPLOY_TOKEN": "canary-token-0123456789abcdef",
    "DATABASE_URL": "postgres://shop:canarypassword@db.example/shop",
    "GITHUB_PAT": "ghp_canarycanarycanarycanarycanary123",
}
LEAKY = (
    APP
    + """
import base64, sys, urllib.parse

for name in ("SHOP_KEY", "DEPLOY_TOKEN", "DATABASE_URL", "GITHUB_PAT"):
    value = os.environ.get(name, "")
    data = value.encode()
    for shown in (value, base64.b64encode(b"x" + data).decode(), data.hex(), urllib.parse.quote(value)):
        print("app says", shown, file=sys.stderr)
if os.environ.get("FAIL"):
    raise RuntimeError("cannot do it with " + os.environ["DEPLOY_TOKEN"] + " and " + os.environ["SHOP_KEY"])
"""
)


@pytest.mark.parametrize("fails", [False, True])
def test_no_canary_is_told(shop: Workspace, fails: bool) -> None:
    environment = {name: f"${{{{ secrets.{name} }}}}" for name in CANARIES}
    if fails:
        environment["FAIL"] = "1"
    # Given by mistake where no secret belongs: a wrong value is named, and not repeated.
    inputs = {"command": "plan", "github-token": "${{ secrets.GITHUB_TOKEN }}"}
    shop.write({"app.py": LEAKY})
    shop.secrets = dict(CANARIES)
    name = workflow(shop, inputs, environment)
    event = shop.server.open(7, base=shop.git("rev-parse", "HEAD"))
    run = shop.run("pull_request", event, workflow=name, insecure=True)
    assert (run.code != 0) == fails, run.log
    assert run.log.count("app says") >= 4, "the canaries were to be printed"
    [comment] = shop.server.comments_on(7)
    masks = [line for line in run.log.splitlines() if "add-mask" in line or "⚙  ***" in line]
    log = "\n".join(line for line in run.log.splitlines() if line not in masks and "::add-mask::" not in line)
    for value in (*CANARIES.values(), shop.server.token, shop.server.bearer):
        for form in _forms(value):
            assert form not in comment
            assert form not in log, f"{form} was told"


def _forms(value: str) -> list[str]:
    secret = value.partition("://")[2].partition(":")[2].partition("@")[0] or value
    data = secret.encode()
    coded = [base64.b64encode(b"x" * shift + data).decode()[4:-4] for shift in range(3)]
    return [secret, data.hex(), quote(secret, safe=""), *coded]


def test_the_workflow_is_known_by_its_own_token(shop: Workspace) -> None:
    """With the trust that `permissions` prints; and no step that comes after has the credentials."""
    printed = shop.tool(
        *("permissions", "--cloud", "aws", "--stage", "prod", "--account", ACCOUNT, "--github", "acme/shop")
    )
    assert printed.returncode == 0, printed.stderr
    policy = json.loads(printed.stdout)["trust_policy"]
    issuer = "https://token.actions.githubusercontent.com"
    shop.server.claims = {key: value for key, value in claims_of().items() if key not in ("aud", "iss")}
    shop.server.aws = lambda role, claims: (
        role == ROLE and aws_lets_in(policy, {**claims, "iss": issuer}, account=ACCOUNT)
    )
    shop.write({"app.py": APP + 'print("session", bool(os.environ.get("AWS_SESSION_TOKEN")), "github", '
                                'bool(os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")))\n'})  # fmt: skip
    name = workflow(shop, {"command": "deploy", "stage": "prod", "aws-role": ROLE, "aws-region": "eu-central-1"})
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name)
    assert run.code == 0, run.log
    assert "session True github False" in run.log
    assert "session False github False" in run.log, "where no cloud is asked, nobody needs them"
    assert "session True github True" not in run.log
    assert "AFTER key=none google=none" in run.log

    shop.server.claims["sub"] = "repo:evil/shop:environment:prod"
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name)
    assert run.code != 0
    assert "AWS: gives this workflow no credentials: AccessDenied" in run.log
    assert "repo:evil/shop:environment:prod" in run.log

    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name, oidc=False)
    assert run.code != 0
    assert "add `id-token: write` to the job's permissions" in run.log


def test_several_clouds_at_a_time_each_in_its_group(shop: Workspace, tmp_path: Path) -> None:
    site = paper_provider.install(tmp_path / "site")
    name = workflow(shop, {"command": "deploy", "cloud": "local, paper"}, {"PYTHONPATH": str(site)})
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name)
    assert run.code == 0, run.log
    urls = json.loads(run.output("urls"))
    assert urls["paper"] == "http://paper.invalid"
    assert urls["local"].startswith("http://127.0.0.1:")
    lines = [line for line in run.lines() if line.startswith(("::group::", "::endgroup::"))]
    assert [line[2:7] for line in lines] == ["group", "endgr"] * (len(lines) // 2), "groups are never in one another"
    assert {"::group::deploy local", "::group::deploy paper"} <= set(lines)
    settings = SETTINGS + "[paper]\nforgets = true\n"
    shop.commit({"pys-multi.toml": settings})
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name)
    assert run.code != 0
    assert list(json.loads(run.output("urls"))) == ["local"], "one cloud that fails does not keep the other"
    assert "pys-multi deploy paper" in run.log


SLOW = (
    APP
    + """
import pathlib, time

if os.environ.get("SLOW"):
    pathlib.Path(os.environ["SLOW"]).touch()
    while not pathlib.Path(os.environ["SLOW"] + ".go").exists():
        time.sleep(0.01)
"""
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_signal_to_cancel_reaches_the_tool(shop: Workspace, tmp_path: Path, number: int) -> None:
    """As the runner does it: the signal goes to the shell that it started, whose place Python has taken."""
    shop.commit({"app.py": SLOW})
    marker = tmp_path / "begun"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("INPUT_", "GITHUB_"))},
        **shop.server.environment(),
        **shop.environment,
        **shop.secrets,
        "GITHUB_WORKSPACE": str(shop.folder),
        "GITHUB_EVENT_NAME": "push",
        "INPUT_COMMAND": "deploy",
        "SLOW": str(marker),
        "PYS_ACTION_PYTHON": sys.executable,
    }
    script = 'exec "${PYS_ACTION_PYTHON}" -m pys_multi_tools.github'
    with subprocess.Popen(
        ["bash", "-e", "-c", script],
        cwd=shop.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        wait_for(marker.exists, "the deploy to begin")
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "cancelled: nothing is locked" in output
    marker.with_name("begun.go").touch()
    ended = shop.tool("deploy", "--yes", "--stage", "dev")
    assert ended.returncode == 0, ended.stderr


def test_the_secret_of_the_example_is_none_of_the_logs_business(shop: Workspace) -> None:
    name = workflow(shop, {"command": "status"})
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name, insecure=True)
    assert run.code == 0, run.log
    assert "`absent`" in run.log
    assert SECRET not in run.log.replace(f"::add-mask::{SECRET}", "")
