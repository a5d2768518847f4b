"""The action's commands on a provider that only writes down what it is told, without a runner around them."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from tests.support import paper_provider
from tests.support.github_server import GitHub

from pys_multi_tools.github.__main__ import run as run_action
from pys_multi_tools.github.federation import FEDERATIONS, Federation
from pys_multi_tools.github.inputs import InputError, Inputs
from pys_multi_tools.github.redaction import Redactor, secrets_of
from pys_multi_tools.github.runner import Runner
from pys_multi_tools.previews import register

APP = (
    'from pys_multi import App\napp = App("shop")\napi = app.function("api")\n@api.get("/")\ndef hello() -> dict: ...\n'
)
ROOT = Path(__file__).parents[3]


class Step:
    """One step of a workflow on a project of its own."""

    def __init__(self, root: Path, server: GitHub) -> None:
        self.root, self.server = root, server
        self.folder = root / "workspace"
        self.folder.mkdir()
        self.write(APP)
        (self.folder / "pys-multi.toml").write_text(
            'app = "app:app"\ncloud = ["paper"]\n[paper]\nfolder = "../paper"\n'
        )
        files = {name: str(root / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "PYS_MULTI_"))}
        self.environment = {
            **kept,
            **server.environment(),
            **files,
            "GITHUB_WORKSPACE": str(self.folder),
            "GITHUB_EVENT_NAME": "push",
            "RUNNER_TEMP": str(root),
            "PYTHONPATH": str(paper_provider.install(root / "site")),
            "PYS_MULTI_CACHE_DIR": str(root / "cache"),
            "INPUT_GITHUB_TOKEN": server.token,
        }
        self.log = ""

    def write(self, app: str) -> None:
        (self.folder / "app.py").write_text(app)

    def event(self, payload: dict[str, Any]) -> None:
        path = self.root / "event.json"
        path.write_text(json.dumps(payload))
        self.environment |= {"GITHUB_EVENT_PATH": str(path), "GITHUB_EVENT_NAME": "pull_request"}

    def run(self, command: str, **inputs: str) -> int:
        given = {f"INPUT_{name.upper()}": value for name, value in {"command": command, **inputs}.items()}
        for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
            Path(self.environment[name]).write_text("")
        environment = {**self.environment, **given}
        stream = io.StringIO()
        runner = Runner(environment, Redactor(secrets_of(environment)), stream)
        code = run_action(environment, runner)
        self.log = stream.getvalue()
        return code

    @property
    def summary(self) -> str:
        return Path(self.environment["GITHUB_STEP_SUMMARY"]).read_text()

    def output(self, name: str) -> str:
        text = Path(self.environment["GITHUB_OUTPUT"]).read_text()
        return text.partition(f"{name}<<")[2].split("\n")[1]

    def deployed(self) -> list[str]:
        base = self.root / "paper"
        return sorted(path.name for path in base.iterdir()) if base.exists() else []


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def step(tmp_path: Path, server: GitHub, monkeypatch: pytest.MonkeyPatch) -> Step:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Step(tmp_path, server)


def test_check_annotates_and_fails(step: Step) -> None:
    assert step.run("check") == 0
    step.write(APP.replace('"api")', '"api", timeout=10_000)'))
    assert step.run("check") == 1
    assert "::error title=pys-multi,file=app.py,line=3::paper: function api: timeout is at most 900 s" in step.log
    assert "| `paper` | error | `function api` |" in step.summary
    groups = [line for line in step.log.splitlines() if line.startswith("::group::")]
    assert groups == ["::group::check"], "the service is imported once for it"


def test_deploy_status_drift_and_destroy(step: Step) -> None:
    assert step.run("status") == 0
    assert "| `paper` | `absent` |" in step.summary
    assert step.run("plan", fail_on_changes="true") == 1
    assert step.run("deploy", stage="prod") == 0
    assert step.deployed() == ["prod"]
    assert (step.output("changed"), step.output("url")) == ("true", "http://paper.invalid")
    assert step.run("status", stage="prod") == 0
    assert step.output("build-id")
    assert step.run("drift", stage="prod") == 0
    step.write(APP + "\n# a change\n")
    assert step.run("drift", stage="prod") == 1
    assert "code" in step.summary
    assert step.run("drift", stage="prod", fail_on_changes="false") == 0
    assert step.run("destroy", stage="prod") == 0
    assert step.deployed() == []


def test_drift_asks_a_provider_that_can_tell(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "paper_provider", raising=False)
    own = """
    def drift(self, deployment):
        return (Change(action="update", kind="function", name="api", reason="somebody changed it"),)

    def check("""
    path = step.root / "site" / "paper_provider.py"
    path.write_text(path.read_text().replace("\n    def check(", own, 1))
    assert step.run("deploy") == 0
    assert step.run("plan") == 0
    assert step.output("changed") == "false"
    assert step.run("drift") == 1
    assert "somebody changed it" in step.summary
    monkeypatch.delitem(sys.modules, "paper_provider", raising=False)


PRICED = """
    def prices(self, deployment):
        from decimal import Decimal
        from pys_multi_tools.cost import Meter, PriceList

        memory = {function.name: Decimal(function.memory) for function in deployment.service.functions}
        return PriceList(
            as_of="2026-05", place="<b>Paper|town", source="https://x", step_ms=1, minimum_ms=0, cold_starts=True,
            meters=(Meter(name="MB-seconds", usd=Decimal("0.01"), by_second=memory),),
        )

    def check("""


@pytest.mark.parametrize("fork", [False, True])
def test_a_plan_says_what_a_month_costs(step: Step, monkeypatch: pytest.MonkeyPatch, fork: bool) -> None:
    path = step.root / "site" / "paper_provider.py"
    path.write_text(path.read_text().replace("\n    def check(", PRICED, 1))
    settings = step.folder / "pys-multi.toml"
    settings.write_text(settings.read_text() + "[profile.api]\ncalls = 1000\nduration_ms = 100\n")
    other = 'other = app.function("other")\n'
    step.write(APP + other)
    git(step.folder, "init", "-q")
    base = commit(step.folder)
    step.write(APP.replace('"api")', '"api", memory=512)') + other)
    commit(step.folder)
    step.event(step.server.open(7, base=base, fork=fork))
    assert step.run("plan") == 0, step.log
    # 1,000 calls of 0.1 s with 256 MB are 25,600 MB-s, for 256.00; with 512 MB twice that.
    assert "| `paper` | 512.00 USD (+256.00) | `MB-seconds 512.00` | `2026-05, <b>Paper\\|town` |" in step.summary
    assert "no profile: `other`" in step.summary
    if not fork:
        [plan] = json.loads(step.output("plan"))["plans"]
        assert plan["cost"]["usd"] == 512.0
    [comment] = step.server.comments_on(7)
    assert "512.00 USD" in comment


def test_a_plan_without_a_profile_says_nothing_of_cost(step: Step) -> None:
    assert step.run("plan") == 0
    assert "USD" not in step.summary
    assert "::group::cost" not in step.log


def test_what_loses_data_is_refused(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (step.root / "site" / "paper_provider.py").read_text()
    change = 'Change(action="delete", kind="table", name="stock", data=True), *'
    source = source.replace("changes=tuple(changes)", f"changes=({change}changes,)")
    (step.root / "site" / "paper_provider.py").write_text(source)
    assert step.run("plan") == 0
    assert "**Data would be lost**\n- `paper`: delete `table` `stock`" in step.summary
    assert step.run("plan", fail_on_destructive="true") == 1
    assert step.run("deploy") == 1
    assert "data would be lost: paper: table stock" in step.log
    assert step.deployed() == []
    assert step.run("deploy", fail_on_destructive="false") == 0


def test_a_large_plan_is_cut_in_its_output(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi_tools.github.commands._OUTPUT_LIMIT", 10)
    assert step.run("plan") == 0
    plan = json.loads(step.output("plan"))
    assert plan["cut"] is True
    assert plan["plans"][0]["changes"] == [{"action": "create", "kind": "function", "name": "api"}]


def test_a_preview_of_no_pull_request(step: Step) -> None:
    assert step.run("preview") == 2
    assert "preview is for events of a pull request" in step.log


def test_a_preview_that_fails_stays_on_record(step: Step) -> None:
    step.event(step.server.open(7))
    step.write(APP + "\nraise RuntimeError('no')\n")
    assert step.run("preview") == 1
    step.write(APP)
    (step.folder / "pys-multi.toml").write_text('app = "app:app"\ncloud = ["paper"]\n[paper]\nforgets = true\n')
    assert step.run("preview") == 1
    [deployment] = step.server.deployments
    assert step.server.state_of(deployment["id"]) == "failure"


def test_a_missing_permission_for_comments_is_a_warning(step: Step) -> None:
    step.event(step.server.open(7))
    step.environment["INPUT_GITHUB_TOKEN"] = step.server.fork_token
    assert step.run("plan") == 0
    assert "::warning title=" not in step.log
    assert "::warning::there is no comment" in step.log
    assert "pull-requests: write" in step.log


@pytest.mark.parametrize("value", ["not json", "[]", '{"pull_request": 3}', '{"pull_request": {"number": "x"}}'])
def test_an_event_that_is_none(step: Step, value: str) -> None:
    path = step.root / "event.json"
    path.write_text(value)
    step.environment["GITHUB_EVENT_PATH"] = str(path)
    assert step.run("check") in (0, 1)
    assert "defect of pys-multi" not in step.log


def test_settings_are_handed_on(step: Step) -> None:
    assert step.run("deploy", settings="paper.folder = ../other") == 0
    assert (step.root / "other").exists()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "percent": lambda text: quote(text, safe=""),
}
INPUTS = [name for name in yaml.safe_load((ROOT / "action.yml").read_text())["inputs"] if name != "command"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_canary_in_every_input_and_in_the_environment_is_never_told(step: Step, encoding: str) -> None:
    canary = "Canary+horse/battery&staple=7"
    shown = ENCODINGS[encoding](canary)
    step.environment["DEPLOY_PASSWORD"] = canary
    step.event(step.server.open(7))
    taken = {}
    for name in INPUTS:
        given = {name.replace("-", "_"): shown}
        try:
            Inputs.read({"GITHUB_WORKSPACE": str(step.folder), f"INPUT_{name.upper().replace('-', '_')}": shown})
        except InputError:
            pass
        else:  # one run for all that are not refused at once
            taken |= given
            given = {} if name != INPUTS[-1] else taken
        if not given:
            continue
        step.run("check", **given)
        told = "".join((step.log, step.summary, Path(step.environment["GITHUB_OUTPUT"]).read_text()))
        told = "\n".join(line for line in told.splitlines() if not line.startswith("::add-mask::"))
        for form in ENCODINGS.values():
            assert form(canary)[4:-4] not in told, name
    assert step.server.comments == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("federation", FEDERATIONS, ids=lambda federation: federation.name)
def test_a_canary_in_what_a_cloud_is_told_is_never_told(step: Step, encoding: str, federation: Federation) -> None:
    """What says who and where: by a command that asks the cloud for credentials, and by one that only looks."""
    canary = "Canary+horse/battery&staple=7"
    step.environment["DEPLOY_PASSWORD"] = canary
    step.event(step.server.open(7))
    given = dict.fromkeys((name.replace("-", "_") for name in federation.inputs), ENCODINGS[encoding](canary))
    for command in ("status", "check"):
        assert step.run(command, cloud=federation.clouds[0], **given) != 0
        assert "input " in step.log or "PYS_MULTI_" in step.log, "which one is wrong is said"
        told = "".join((step.log, step.summary, Path(step.environment["GITHUB_OUTPUT"]).read_text()))
        told = "\n".join(line for line in told.splitlines() if not line.startswith("::add-mask::"))
        for form in ENCODINGS.values():
            assert form(canary)[4:-4] not in told


def test_the_reaper_as_a_command(step: Step) -> None:
    from pys_multi_tools.github.client import Client

    step.event(step.server.open(7))
    assert step.run("preview") == 0
    assert step.deployed() == ["pr-7"]
    client = Client(f"{step.server.url}/api", "acme/shop", step.server.token)
    register(client, service="other", number=7, clouds=["paper"], path="gone", commit="a" * 40, seconds=60)
    environment = {**step.environment, "GITHUB_TOKEN": step.server.token}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pys_multi_tools.cli", "previews", *arguments],
            cwd=step.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    listed = json.loads(command("list", "--json").stdout)["previews"]
    assert sorted(preview["service"] for preview in listed) == ["other", "shop"]
    step.server.close(7)
    dry = command("reap", "--dry-run")
    assert dry.returncode == 0
    assert step.deployed() == ["pr-7"]
    assert "would remove shop, stage pr-7: pull request 7 is closed" in dry.stderr
    reaped = command("reap")
    assert reaped.returncode == 1, reaped.stderr
    assert "removed shop, stage pr-7" in reaped.stderr
    assert "cannot remove other, stage pr-7" in reaped.stderr
    assert step.deployed() == []
    environment.pop("GITHUB_TOKEN")
    assert "there is no token to speak to GitHub with" in command("list").stderr
