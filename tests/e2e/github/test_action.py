"""The generated workflows, unchanged, under act: push, pull requests, forks, previews, schedules, a monorepo.

A run of act costs some seconds of a processor, so each of these is a whole story, and what needs no runner is in
``tests/unit/github/test_commands.py``.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.github.conftest import APP, HOSTILE, SECRET, SETTINGS, Workspace, with_examples

from pys_multi_tools import previews
from pys_multi_tools.github.client import Client

# One worker runs them: the action is installed once for it.
pytestmark = pytest.mark.xdist_group("act")

MORE = '\n@api.get("/more", public=True)\ndef more() -> dict:\n    return {"more": stock.get(id="1")}\n'


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.loads(response.read())


def test_a_push_deploys_and_drift_finds_what_is_not_deployed(shop: Workspace) -> None:
    run = shop.run("push", {"ref": "refs/heads/main"}, workflow="pys-multi-deploy.yml")
    assert run.code == 0, run.log
    url = run.output("url")
    assert get(url + "/") == {"key": len(SECRET)}
    assert json.loads(run.output("urls")) == {"local": url}
    assert run.output("changed") == "true"
    assert get(url + "/.pys-multi/health")["functions"]["api"]["build_id"] == run.output("build-id")
    assert json.loads(run.output("outputs"))["local"]["stage"] == "prod"
    plan = json.loads(run.output("plan"))
    assert {"create"} == {change["action"] for change in plan["plans"][0]["changes"]}
    assert "### pys-multi deploy `shop`, stage `prod`" in run.log
    shop.commit({"app.py": APP + MORE})
    drift = shop.run("schedule", workflow="pys-multi-drift.yml")
    assert drift.code == 1
    assert drift.output("changed") == "true"


def test_a_pull_request_has_one_comment_that_is_kept_up_to_date(shop: Workspace, tmp_path: Path) -> None:
    """Whatever its branch, title and author are called."""
    base = shop.git("rev-parse", "HEAD")
    shop.git("checkout", "-q", "-b", "change")
    shop.commit({"app.py": (APP + MORE).replace("stock.read", "stock")})
    pwned = tmp_path / "pwned"
    text = "\n".join(hostile.format(pwned=pwned) for hostile in HOSTILE)
    event = shop.server.open(7, base=base)
    event["pull_request"] |= {"title": text, "body": text, "user": {"login": text}}
    event["pull_request"]["head"]["ref"] = f"$(touch${{IFS}}{pwned})`x`::error::spoofed"
    run = shop.run("pull_request", event, workflow="pys-multi-plan.yml")
    assert run.code == 0, run.log
    assert not pwned.exists()
    assert not any(line.startswith("::error::spoofed") for line in run.lines())
    [comment] = shop.server.comments_on(7)
    assert "pys-multi plan `shop`, stage `prod`" in comment
    assert "| `local` | 7 | 0 | 0 | 0 |" in comment
    assert "**Public endpoints**\n- `+` `GET /more (api)`" in comment
    assert "- `+` `api may put on stock`" in comment
    assert "| bundle | zip | unpacked | import |" in comment
    assert shop.stages() == []

    shop.commit({"app.py": APP + "\nimport nothing_of_that_name\n"})
    run = shop.run("pull_request", shop.server.event(7, "synchronize"), workflow="pys-multi-plan.yml")
    assert run.code == 1
    assert f"file=app.py,line={len(APP.splitlines()) + 2}::" in run.log
    [comment] = shop.server.comments_on(7)
    assert "nothing_of_that_name" in comment


def test_a_fork_gets_a_plan_without_credentials_and_no_preview(shop: Workspace) -> None:
    shop.git("checkout", "-q", "-b", "change")
    base = shop.git("rev-parse", "HEAD")
    shop.commit({"app.py": APP + MORE})
    event = shop.server.open(8, fork=True, base=base)
    run = shop.run("pull_request", event, fork=True)  # every workflow that a pull request starts
    assert run.code == 0, run.log
    assert "pys-multi plan/" in run.log
    assert "`GET /more (api)`" in run.log
    assert "no cloud was asked" in run.log
    assert "a fork's token may not comment" in run.log
    assert run.output("changed") == "true"
    assert shop.server.comments_on(8) == []
    assert shop.server.issued == []
    assert shop.stages() == []
    assert shop.server.deployments == []


def test_a_preview_lives_as_long_as_its_pull_request_and_an_orphan_until_the_reaper_comes(shop: Workspace) -> None:
    server = shop.server
    event = server.open(7, base=shop.git("rev-parse", "HEAD"))
    for action in ("opened", "synchronize"):
        run = shop.run("pull_request", {**event, "action": action}, workflow="pys-multi-preview.yml")
        assert run.code == 0, run.log
    assert shop.stages() == ["pr-7"]
    former, last = server.deployments
    assert (last["environment"], server.state_of(last["id"])) == ("shop-pr-7", "success")
    assert server.state_of(former["id"]) == "inactive"
    status = server.statuses[last["id"]][-1]
    assert get(status["environment_url"] + "/") == {"key": len(SECRET)}
    [comment] = server.comments_on(7)
    assert status["environment_url"] in comment
    assert "72 hours" in comment

    # As a run leaves it that was killed: the stage, its record, and nobody who saw the pull request closed.
    server.open(9)
    client = Client(f"{server.url}/api", "acme/shop", server.token)
    previews.register(client, service="shop", number=9, clouds=["local"], path=".", commit="a" * 40, seconds=3600)
    previews.mark(client, server.deployments[-1]["id"], "success")
    assert shop.tool("deploy", "--yes", "--stage", "pr-9").returncode == 0
    assert shop.stages() == ["pr-7", "pr-9"]
    server.close(9)
    reaped = shop.run("schedule", workflow="pys-multi-reap.yml")
    assert reaped.code == 0, reaped.log
    assert "pull request 9 is closed" in reaped.log
    assert shop.stages() == ["pr-7"]
    assert server.state_of(server.deployments[-1]["id"]) == "inactive"

    shop.commit({"app.py": APP + "raise RuntimeError('whatever the last push has broken')\n"})
    run = shop.run("pull_request", server.close(7), workflow="pys-multi-preview.yml")
    assert run.code == 0, run.log
    assert shop.stages() == []
    assert {server.state_of(one["id"]) for one in server.deployments} == {"inactive"}
    [comment] = server.comments_on(7)
    assert "It is removed." in comment


def test_in_a_monorepo_only_what_a_change_touches_is_planned(workspace: Workspace) -> None:
    for name in ("one", "two"):
        app = APP.replace('"shop"', f'"{name}"')
        workspace.write({f"services/{name}/app.py": app, f"services/{name}/pys-multi.toml": SETTINGS})
    workspace.workflows("--stage", "prod")
    base = workspace.commit()
    workspace.git("checkout", "-q", "-b", "change")
    workspace.commit({"services/two/app.py": APP.replace('"shop"', '"two"') + MORE})
    run = workspace.run("pull_request", workspace.server.open(7, base=base), workflow="pys-multi-plan.yml")
    assert run.code == 0, run.log
    assert json.loads(run.output("affected")) == ["services/two"]
    [comment] = workspace.server.comments_on(7)
    assert "`two`, stage `prod`, `services/two`" in comment
    workspace.commit({"README.md": "nothing that is deployed"})
    base = workspace.git("rev-parse", "HEAD~1")
    run = workspace.run("pull_request", workspace.server.open(9, base=base), workflow="pys-multi-plan.yml")
    assert run.code == 0, run.log
    assert workspace.server.comments_on(9) == []


def test_the_examples_deploy_as_a_monorepo(workspace: Workspace) -> None:
    event = with_examples(workspace, "local", "shop", "fastapi-notes")
    run = workspace.run("push", event, workflow="pys-multi-deploy.yml")
    assert run.code == 0, run.log
    urls = run.outputs("url")
    assert len(urls) == 2, "a job for each"
    services = {get(url + "/.pys-multi/health")["service"] for url in urls}
    assert services == {"shop", "fastapi-notes"}
