"""The generated workflows, unchanged, under act: push, pull requests, forks, previews, schedules, a monorepo."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.github.conftest import APP, SECRET, SETTINGS, Workspace
from tests.support.github_server import Request

# One worker runs them: the action is installed once for it.
pytestmark = pytest.mark.xdist_group("act")

MORE = '\n@api.get("/more", public=True)\ndef more() -> dict:\n    return {"more": stock.get(id="1")}\n'


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.loads(response.read())


def test_a_push_deploys_and_the_outputs_say_what(shop: Workspace) -> None:
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
    again = shop.run("push", {"ref": "refs/heads/main"}, workflow="pys-multi-deploy.yml")
    assert again.code == 0, again.log
    assert again.output("changed") == "false"
    assert again.output("build-id") == run.output("build-id")

    drift = shop.run("schedule", workflow="pys-multi-drift.yml")
    assert drift.code == 0, drift.log
    shop.commit({"app.py": APP + MORE})
    drift = shop.run("schedule", workflow="pys-multi-drift.yml")
    assert drift.code == 1
    assert drift.output("changed") == "true"


def test_a_pull_request_has_one_comment_that_is_kept_up_to_date(shop: Workspace) -> None:
    base = shop.git("rev-parse", "HEAD")
    shop.git("checkout", "-q", "-b", "change")
    shop.commit({"app.py": (APP + MORE).replace("stock.read", "stock")})
    event = shop.server.open(7, base=base)
    run = shop.run("pull_request", event, workflow="pys-multi-plan.yml")
    assert run.code == 0, run.log
    [comment] = shop.server.comments_on(7)
    assert "pys-multi plan `shop`, stage `prod`" in comment
    assert "| `local` | 7 | 0 | 0 | 0 |" in comment
    assert "**Public endpoints**\n- `+` `GET /more (api)`" in comment
    assert "- `+` `api may put on stock`" in comment
    assert "| bundle | zip | unpacked | import |" in comment
    assert shop.stages() == []

    shop.commit({"app.py": APP + "\n\n@api.get('/{id}')\ndef wrong(other: str) -> dict: ...\n"})
    run = shop.run("pull_request", shop.server.event(7, "synchronize"), workflow="pys-multi-plan.yml")
    assert run.code == 1
    line = len(APP.splitlines()) + 3
    assert f"file=app.py,line={line}::" in run.log
    [comment] = shop.server.comments_on(7)
    assert "api:GET /{id}" in comment

    shop.commit({"app.py": APP + "\nimport nothing_of_that_name\n"})
    run = shop.run("pull_request", shop.server.event(7, "synchronize"), workflow="pys-multi-plan.yml")
    assert run.code == 1
    assert f"file=app.py,line={len(APP.splitlines()) + 2}::" in run.log
    [comment] = shop.server.comments_on(7)
    assert "nothing_of_that_name" in comment


def test_a_fork_gets_a_plan_without_credentials(shop: Workspace) -> None:
    shop.git("checkout", "-q", "-b", "change")
    base = shop.git("rev-parse", "HEAD")
    shop.commit({"app.py": APP + MORE})
    event = shop.server.open(8, fork=True, base=base)
    run = shop.run("pull_request", event, fork=True, workflow="pys-multi-plan.yml")
    assert run.code == 0, run.log
    assert "`GET /more (api)`" in run.log
    assert "no cloud was asked" in run.log
    assert "a fork's token may not comment" in run.log
    assert run.output("changed") == "true"
    assert shop.server.comments_on(8) == []
    assert shop.server.issued == []
    preview = shop.run("pull_request", event, fork=True, workflow="pys-multi-preview.yml")
    assert preview.code == 0
    assert shop.stages() == []
    assert shop.server.deployments == []


def test_a_preview_lives_as_long_as_its_pull_request(shop: Workspace) -> None:
    event = shop.server.open(7, base=shop.git("rev-parse", "HEAD"))
    for action in ("opened", "synchronize"):
        run = shop.run("pull_request", {**event, "action": action}, workflow="pys-multi-preview.yml")
        assert run.code == 0, run.log
    assert shop.stages() == ["pr-7"]
    former, last = shop.server.deployments
    assert (last["environment"], shop.server.state_of(last["id"])) == ("shop-pr-7", "success")
    assert shop.server.state_of(former["id"]) == "inactive"
    status = shop.server.statuses[last["id"]][-1]
    assert get(status["environment_url"] + "/") == {"key": len(SECRET)}
    [comment] = shop.server.comments_on(7)
    assert status["environment_url"] in comment
    assert "72 hours" in comment

    shop.commit({"app.py": APP + "raise RuntimeError('whatever the last push has broken')\n"})
    run = shop.run("pull_request", shop.server.close(7), workflow="pys-multi-preview.yml")
    assert run.code == 0, run.log
    assert shop.stages() == []
    assert {shop.server.state_of(one["id"]) for one in shop.server.deployments} == {"inactive"}
    [comment] = shop.server.comments_on(7)
    assert "It is removed." in comment


def test_a_close_that_overtakes_the_deploy_leaves_nothing(shop: Workspace) -> None:
    event = shop.server.open(7, base=shop.git("rev-parse", "HEAD"))

    def close_meanwhile(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("/deployments"):
            shop.server.pulls[7]["state"] = "closed"

    shop.server.before = close_meanwhile
    run = shop.run("pull_request", event, workflow="pys-multi-preview.yml")
    assert run.code == 0, run.log
    assert shop.stages() == []
    assert {shop.server.state_of(one["id"]) for one in shop.server.deployments} == {"inactive"}


def test_the_reaper_removes_what_was_orphaned(shop: Workspace) -> None:
    event = shop.server.open(7, base=shop.git("rev-parse", "HEAD"))
    assert shop.run("pull_request", event, workflow="pys-multi-preview.yml").code == 0
    kept = shop.run("schedule", workflow="pys-multi-reap.yml")
    assert kept.code == 0, kept.log
    assert shop.stages() == ["pr-7"]
    shop.server.close(7)
    reaped = shop.run("schedule", workflow="pys-multi-reap.yml")
    assert reaped.code == 0, reaped.log
    assert "pull request 7 is closed" in reaped.log
    assert shop.stages() == []
    assert shop.server.state_of(shop.server.deployments[0]["id"]) == "inactive"


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


@pytest.mark.parametrize("example", ["shop", "fastapi-notes"])
def test_the_examples_deploy(workspace: Workspace, example: str) -> None:
    source = Path(__file__).parents[3] / "examples" / example
    shutil.copytree(source, workspace.folder / "app", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    workspace.secrets = dict.fromkeys(("SHOP_ADMIN_KEY", "SHOP_PAYMENT_KEY", "SHOP_TOKEN_KEY"), "0123456789")
    workspace.workflows("--project", "app", "--stage", "dev", "--cloud", "local")
    workspace.commit()
    run = workspace.run("push", {"ref": "refs/heads/main"}, workflow="pys-multi-deploy.yml")
    assert run.code == 0, run.log
    assert get(run.output("url") + "/.pys-multi/health")["status"] == "ok"
    assert workspace.tool("destroy", "--yes", "--delete-data", "--project", "app", "--stage", "dev").returncode == 0
