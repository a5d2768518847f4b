"""Under act: what strangers name, what must not be told, whom the clouds know, and the end before the end."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from tests.e2e.github.conftest import APP, HOSTILE, SETTINGS, Workspace
from tests.support import paper_provider
from tests.support.act import ACTION, ROOT
from tests.support.local_stage import wait_for
from tests.support.trust import aws_lets_in, claims_of

from pys_multi_tools.github.federation import FEDERATIONS

pytestmark = pytest.mark.xdist_group("act-hostile")

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/deploy"
CHECKOUT = {"uses": "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8"}
#: What a step after the action sees of what the action was given.
AFTER = """
echo "AFTER key=${AWS_SECRET_ACCESS_KEY:-none} google=${GOOGLE_APPLICATION_CREDENTIALS:-none}" \\
  "azure=${AZURE_FEDERATED_TOKEN_FILE:-none}"
"""


def step(inputs: dict[str, str], environment: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """One step of the action."""
    given = {"SHOP_KEY": "${{ secrets.SHOP_KEY }}", **(environment or {})}
    return {"uses": ACTION, "env": given, "with": inputs, **more}


def workflow(workspace: Workspace, *steps: dict[str, Any]) -> str:
    """A workflow of one job with these steps, as JSON, which is YAML."""
    job = {"runs-on": "ubuntu-latest", "environment": "prod", "steps": [CHECKOUT, *steps, {"run": AFTER}]}
    workspace.write({".github/workflows/one.yml": json.dumps({"on": ["push", "pull_request"], "jobs": {"job": job}})})
    workspace.commit()
    return "one.yml"


def test_a_hostile_input_changes_nothing(shop: Workspace, tmp_path: Path) -> None:
    """The corpus as every input: none may do more than fail. One by one the texts are tried where they are read.

    Whatever a shell or the runner makes of an input it makes of all of them at once; what is read before the others has
    a step of its own.
    """
    pwned = tmp_path / "pwned"
    text = "\n".join(text.format(pwned=pwned) for text in HOSTILE)
    known = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    early = ("command", "path", "python-version", "github-token")
    identity = {name for federation in FEDERATIONS for name in federation.inputs}
    given = [
        dict.fromkeys(set(known) - {*early}, text),
        dict.fromkeys(identity, text) | {"command": "status"},
        {"command": text},
        {"command": "check", "path": text},
        {"command": "check", "python-version": text},
        {"command": "affected", "since": text},
    ]
    # A runner evaluates expressions in a workflow's own text; in data they are text, so here they are made by one.
    given = [{name: text.replace("${{", "${{ '${{' }}") for name, text in inputs.items()} for inputs in given]
    steps = [step(inputs, **{"continue-on-error": True}) for inputs in given]
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=workflow(shop, *steps))
    assert not pwned.exists()
    assert run.code == 0, run.log
    assert run.log.count("::error title=pys-multi") >= len(given), run.log
    assert not any(line.startswith(("::error::spoofed", "::set-output name")) for line in run.lines())
    assert "https://evil.example" not in "".join(line for line in run.lines() if "set-output:: url" in line)
    assert shop.stages() == []


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


def test_no_canary_is_told(shop: Workspace) -> None:
    """Neither by code that prints them in every form, nor by code that fails with them in its message."""
    environment = {name: f"${{{{ secrets.{name} }}}}" for name in CANARIES}
    inputs = {"command": "plan", "github-token": "${{ secrets.GITHUB_TOKEN }}"}
    shop.write({"app.py": LEAKY})
    shop.secrets = dict(CANARIES)
    name = workflow(
        shop,
        step(inputs, environment, id="well"),
        step({**inputs, "stage": "other"}, {**environment, "FAIL": "1"}, **{"continue-on-error": True}),
        {"if": "steps.well.outcome == 'failure'", "run": "exit 1"},
    )
    event = shop.server.open(7, base=shop.git("rev-parse", "HEAD"))
    run = shop.run("pull_request", event, workflow=name, insecure=True)
    assert run.code == 0, run.log
    assert run.log.count("app says") >= 4, "the canaries were to be printed"
    assert "cannot do it with" in run.log
    comments = shop.server.comments_on(7)
    assert len(comments) == 2, "one for each stage"
    masks = [line for line in run.log.splitlines() if "add-mask" in line or "⚙  ***" in line]
    log = "\n".join(line for line in run.log.splitlines() if line not in masks and "::add-mask::" not in line)
    for value in (*CANARIES.values(), shop.server.token, shop.server.bearer):
        for form in _forms(value):
            assert not any(form in comment for comment in comments)
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
    inputs = {"command": "deploy", "stage": "prod", "aws-role": ROLE, "aws-region": "eu-central-1"}
    name = workflow(
        shop,
        step(inputs),
        step({**inputs, "aws-role": f"{ROLE}-of-others"}, **{"continue-on-error": True}),
        step(inputs, {"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, **{"continue-on-error": True}),
    )
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name)
    assert run.code == 0, run.log
    assert "session True github False" in run.log
    assert "session False github False" in run.log, "where no cloud is asked, nobody needs them"
    assert "session True github True" not in run.log
    assert "AFTER key=none google=none azure=none" in run.log
    assert "AWS: gives this workflow no credentials: AccessDenied" in run.log
    assert "add `id-token: write` to the job's permissions" in run.log


def test_several_clouds_at_a_time_each_in_its_group(shop: Workspace, tmp_path: Path) -> None:
    site = paper_provider.install(tmp_path / "site")
    shop.write({"pys-multi.toml": SETTINGS + "[paper]\nforgets = true\n"})
    name = workflow(shop, step({"command": "deploy", "cloud": "local, paper"}, {"PYTHONPATH": str(site)}))
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow=name)
    assert run.code != 0
    assert "pys-multi deploy paper" in run.log
    urls = json.loads(run.output("urls"))
    assert list(urls) == ["local"], "one cloud that fails does not keep the other"
    assert urls["local"].startswith("http://127.0.0.1:")
    lines = [line for line in run.lines() if line.startswith(("::group::", "::endgroup::"))]
    assert [line[2:7] for line in lines] == ["group", "endgr"] * (len(lines) // 2), "groups are never in one another"
    assert {"::group::deploy local", "::group::deploy paper"} <= set(lines)


SLOW = (
    APP
    + """
import pathlib, time

if os.environ.get("PYS_MULTI_FUNCTION") and not pathlib.Path({marker!r} + ".go").exists():
    pathlib.Path({marker!r}).touch()
    while not pathlib.Path({marker!r} + ".go").exists():
        time.sleep(0.01)
"""
)


def test_the_signal_to_cancel_ends_a_deploy_that_has_begun(shop: Workspace, tmp_path: Path) -> None:
    """The runner signals the process that it started for the step, and after it waits it kills: here that is act.

    act itself kills a step at once when it is cancelled, so the signal is sent in its place, to its own child.
    """
    marker = tmp_path / "begun"
    shop.write({"app.py": SLOW.replace("{marker!r}", repr(str(marker)))})
    name = workflow(shop, step({"command": "deploy", "stage": "prod"}))
    with shop.started("push", {"ref": "refs/heads/main"}, workflow=name) as act:
        wait_for(marker.exists, "an instance of the new build to start")
        [child] = children(act.pid)
        assert "python" in Path(f"/proc/{child}/exe").resolve().name, "Python has taken the place of the shell"
        os.kill(child, signal.SIGINT)
        log = act.communicate(timeout=60)[0].decode()
    assert act.returncode != 0
    assert "cancelled: nothing is locked" in log
    assert "exit status 130" in log
    marker.with_name("begun.go").touch()
    ended = shop.tool("deploy", "--yes", "--stage", "prod")
    assert ended.returncode == 0, ended.stderr
    assert shop.stages() == ["prod"]


def children(process: int) -> list[int]:
    """The processes that a process has started and that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything; what follows is the state and the parent.
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == process and state != "Z":
                found.append(int(entry.parent.name))
    return found


def test_the_other_signal_to_cancel_reaches_the_tool_too(shop: Workspace, tmp_path: Path) -> None:
    """SIGTERM, which the runner sends a moment later, without a runner; the deploy is waited for as well."""
    marker = tmp_path / "begun"
    shop.commit({"app.py": SLOW.replace("{marker!r}", repr(str(marker)))})
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("INPUT_", "GITHUB_"))},
        **shop.server.environment(),
        **shop.environment,
        **shop.secrets,
        "GITHUB_WORKSPACE": str(shop.folder),
        "GITHUB_EVENT_NAME": "push",
        "INPUT_COMMAND": "deploy",
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
        wait_for(marker.exists, "an instance of the new build to start")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "cancelled: nothing is locked" in output
    marker.with_name("begun.go").touch()
    ended = shop.tool("deploy", "--yes", "--stage", "dev")
    assert ended.returncode == 0, ended.stderr
