"""The command line as a process: what goes to stdout and stderr, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import paper_provider

from pys_multi_tools.cli import main

CLI = (sys.executable, "-W", "error", "-m", "pys_multi_tools.cli")
APP = """
from pys_multi import App

app = App("shop")
orders = app.queue("orders")
api = app.function("api", memory=512, uses=[orders.send])

@api.get("/orders/{id}", public=True)
def read(id: int) -> dict: ...

@api.get("/stock")
def stock() -> dict: ...

@api.consume(orders)
def ship(message) -> None: ...
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "pys-multi.toml").write_text('cloud = ["paper"]\n[paper]\nfolder = "../paper"\n')
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    site = paper_provider.install(tmp_path / "site")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYS_MULTI_")}
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        kept.pop(name, None)
    home = tmp_path / "home"
    home.mkdir()
    kept["PYS_MULTI_CACHE_DIR"] = str(tmp_path / "cache")
    return {**kept, "PYTHONPATH": str(site), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def run(root: Path, environment: dict[str, str]) -> Run:
    def call(*arguments: str, cwd: Path = root, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, *arguments],
            cwd=cwd,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    return call


def document(result: subprocess.CompletedProcess[str]) -> Any:
    parsed = json.loads(result.stdout)
    assert parsed["schema_version"] == 1
    return parsed


def deploy_paper(root: Path, build: str = "a" * 16) -> None:
    """What a deploy to the paper provider leaves behind."""
    folder = root.parent / "paper" / "dev"
    folder.mkdir(parents=True, exist_ok=True)
    builds = {"api": build}
    state = {"functions": {"api": {"memory": 512, "build": build}}, "history": [builds]}
    (folder / "state.json").write_text(json.dumps(state))


def test_version_and_help_import_nothing_that_costs_time(run: Run, environment: dict[str, str]) -> None:
    assert re.fullmatch(r"pys-multi \d+\.\d+\.\d+\n", run("--version").stdout)
    listed = run("--help")
    assert listed.returncode == 0
    assert listed.stderr == ""
    for command in ("new", "dev", "check", "show", "openapi", "plan", "render", "bundle", "deploy", "invoke", "logs"):
        assert f"  {command} " in listed.stdout
    assert run().stdout == listed.stdout
    for option in ("--version", "--help"):
        seen = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "pys_multi_tools.cli", option],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for heavy in ("typer", "pydantic", "rich", "jinja2", "uvicorn", "boto3"):
            assert not re.search(rf"\| +{heavy}(\.|$)", seen.stderr, re.MULTILINE), f"{option} imports {heavy}"


def test_every_command_has_help_and_the_table_names_it(run: Run) -> None:
    from pys_multi_tools.cli.table import COMMANDS

    for command in COMMANDS:
        shown = run(command, "--help")
        assert shown.returncode == 0, shown.stderr
        assert f"pys-multi {command}" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("depoly",), ["there is no command 'depoly'", "did you mean 'deploy'?"]),
        (("--verison",), ["there is no option '--verison'"]),
        (("plan", "--stge", "x"), ["there is no option '--stge'", "--stage"]),
        (("plan", "extra"), ["extra"]),
        (("invoke",), ["TARGET"]),
        (("plan", "--stage", "Not Valid"), ["flag --stage", "lower-case"]),
        (("logs", "--since", "yesterday"), ["yesterday", "15m"]),
        (("completion", "show", "tcsh"), ["tcsh", "bash"]),
    ],
)
def test_a_usage_error_is_2_and_names_the_nearest_match(
    run: Run, arguments: tuple[str, ...], messages: list[str]
) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    for message in messages:
        assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_setting_is_2_with_file_and_line(run: Run, root: Path) -> None:
    (root / "pys-multi.toml").write_text('cloud = ["paper"]\n\nstaeg = "prod"\n')
    result = run("check")
    assert result.returncode == 2
    assert "pys-multi.toml:3" in result.stderr
    assert "did you mean 'stage'?" in result.stderr


def test_settings_that_are_ignored_are_said(run: Run, root: Path) -> None:
    (root / "pyproject.toml").write_text('[tool.pys-multi]\nstage = "x"\n')
    result = run("show", "--json")
    assert result.returncode == 0
    assert "[tool.pys-multi] is ignored" in result.stderr
    json.loads(result.stdout)


def test_a_broken_module_shows_the_user_s_traceback(run: Run, root: Path) -> None:
    (root / "app.py").write_text(APP + "\n1 / 0\n")
    result = run("show")
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert "1 / 0" in result.stderr
    assert "pys_multi_tools" not in result.stderr


def test_a_defect_of_a_provider_is_told_as_one(run: Run, root: Path) -> None:
    with (root / "pys-multi.toml").open("a") as file:
        file.write("broken = true\n")
    result = run("logs")
    assert result.returncode == 1
    assert "RuntimeError: the provider has a defect" in result.stderr


def test_check_lists_problems_and_public_routes(run: Run, root: Path) -> None:
    well = run("check")
    assert well.returncode == 0
    assert "public: GET /orders/{id} (api)" in well.stdout
    assert document(run("check", "--json"))["public_routes"] == [{"function": "api", "route": "GET /orders/{id}"}]
    (root / "app.py").write_text(APP.replace("memory=512", "memory=99999"))
    bad = run("check")
    assert bad.returncode == 1
    assert "error: paper: function api" in bad.stdout
    assert document(run("check", "--json"))["problems"]["paper"][0]["severity"] == "error"


def test_show_prints_the_model(run: Run) -> None:
    text = run("show").stdout
    assert "GET /orders/{id}  public" in text
    assert "GET /stock  private" in text
    assert "may send on orders" in text
    assert document(run("show", "--json"))["name"] == "shop"


def test_plan_says_what_changes_and_exits_with_3_when_asked(run: Run, root: Path) -> None:
    pending = run("plan", "--detailed-exitcode")
    assert pending.returncode == 3
    assert "+ create function api [public]  (new)" in pending.stdout
    assert run("plan").returncode == 0
    [plan] = document(run("plan", "--json"))["plans"]
    assert (plan["cloud"], plan["changes"][0]["action"]) == ("paper", "create")
    deploy_paper(root)
    changed = run("plan", "--detailed-exitcode")
    assert changed.returncode == 3
    assert re.fullmatch(
        r"~ update code api  \(the code or what it depends on differs\)\n    build: 'a{16}' → '[0-9a-f]{16}'\n",
        changed.stdout,
    )
    [plan] = document(run("plan", "--json"))["plans"]
    deploy_paper(root, build=plan["changes"][-1]["properties"][0][2])
    unchanged = run("plan", "--detailed-exitcode")
    assert (unchanged.returncode, unchanged.stdout) == (0, "")


def test_render_writes_files_and_prints_their_paths(run: Run, root: Path) -> None:
    result = run("render", "--stage", "prod", "-o", "out")
    assert result.stdout == "out/paper/prod/paper.json\n"
    assert json.loads((root / "out/paper/prod/paper.json").read_text())["stage"] == "prod"


def test_a_project_is_found_from_a_folder_below_and_by_option(run: Run, root: Path, tmp_path: Path) -> None:
    below = root / "deep" / "er"
    below.mkdir(parents=True)
    assert run("show", "--json", cwd=below).returncode == 0
    assert document(run("show", "--json", "-C", str(root), cwd=tmp_path))["name"] == "shop"


def test_status_logs_and_metrics(run: Run, root: Path) -> None:
    assert "absent" in run("status").stdout
    deploy_paper(root)
    status = run("status").stdout
    assert re.search(r"api +serving +a{16} +1 +0 +12 +0 +1\.2 ms", status)
    assert "1h2m" in status
    assert document(run("status", "--json"))["services"][0]["functions"][0]["build_id"] == "a" * 16
    assert re.search(r"\d\d:\d\d:\d\d\.500  INFO    api  line 1  .*r1", run("logs").stdout)
    lines = [
        json.loads(line) for line in run("logs", "--json", "--function", "api", "--since", "15m").stdout.splitlines()
    ]
    assert [line["message"] for line in lines] == ["line 0", "line 1", "line 2"]
    assert time.time() - 15 * 60 - 60 < lines[0]["fields"]["since"] < time.time() - 15 * 60 + 60
    assert re.search(r"api +12 +1 +0 +1\.2 ms +250 ms", run("metrics").stdout)
    assert document(run("metrics", "--json"))["metrics"]["paper"]["functions"][0]["errors"] == 1
    unknown = run("logs", "--function", "apl")
    assert unknown.returncode == 1
    assert "did you mean 'api'?" in unknown.stderr


def test_invoke_calls_routes_and_triggers(run: Run, root: Path) -> None:
    (root / "order.json").write_text('{"sku": "a"}')
    result = run("invoke", "/orders", "-d", "@order.json", "-H", "X-Trace: 1")
    answer = json.loads(result.stdout)
    assert (answer["method"], answer["body"]) == ("POST", '{"sku": "a"}')
    assert answer["headers"] == {"X-Trace": "1", "content-type": "application/json"}
    assert result.stderr.startswith("200 ")
    assert run("invoke", "/absent").returncode == 1
    assert run("invoke", "ship", "-d", "{}").returncode == 0
    assert json.loads(document(run("invoke", "/orders/1", "--json"))["body"])["method"] == "GET"
    wrong = run("invoke", "api:shp")
    assert wrong.returncode == 1
    assert "api:ship" in wrong.stderr
    assert run("invoke", "/x", "-H", "nonsense").returncode == 2
    assert "order.jsn" in run("invoke", "/x", "-d", "@order.jsn").stderr


def test_destroy_asks_and_nobody_to_ask_is_an_error(run: Run, root: Path) -> None:
    deploy_paper(root)
    refused = run("destroy")
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert (root.parent / "paper" / "dev").exists()
    done = run("destroy", "--yes")
    assert done.returncode == 0
    assert not (root.parent / "paper" / "dev").exists()


def test_deploy_verifies_what_serves_and_says_where(run: Run, root: Path) -> None:
    first = run("deploy")
    assert first.returncode == 0, first.stderr
    assert re.search(r"shop serves on paper, stage dev, build [0-9a-f]{16}\n", first.stderr)
    assert "url     http://paper.invalid\n" in first.stdout
    [outputs] = document(run("deploy", "--stage", "prod", "--json"))["outputs"]
    assert (outputs["stage"], list(outputs["build_ids"])) == ("prod", ["api"])
    (root / "app.py").write_text(APP + "\nMORE = 1\n")
    assert run("deploy").returncode == 0
    assert "stage dev, build " + outputs["build_ids"]["api"] in run("rollback").stderr
    with (root / "pys-multi.toml").open("a") as file:
        file.write("forgets = true\n")
    wrong = run("deploy")
    assert wrong.returncode == 1
    assert "the new build is not serving: api serves 0000000000000000" in wrong.stderr


def test_deploy_asks_before_something_is_deleted(run: Run, root: Path) -> None:
    (root / "app.py").write_text(APP + "\napp.function('old').every('1 hour')(lambda: None)\n")
    assert run("deploy").returncode == 0
    (root / "app.py").write_text(APP)
    refused = run("deploy")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "- delete function old  (not defined any more)" in refused.stderr
    assert "--yes" in refused.stderr
    assert "delete function old" in run("plan").stdout
    assert run("deploy", "--yes").returncode == 0
    assert run("plan", "--detailed-exitcode").returncode == 0


def test_rollback_says_why_it_cannot(run: Run, root: Path) -> None:
    deploy_paper(root)
    result = run("rollback")
    assert result.returncode == 1
    assert "there is no former build" in result.stderr


def test_providers_and_doctor(run: Run) -> None:
    listed = document(run("providers", "--json"))["providers"]
    assert "paper" in [info["name"] for info in listed]
    assert re.search(r"paper +pys-multi-paper 1\.2", run("providers").stdout)
    well = run("doctor")
    assert well.returncode == 0, well.stdout
    assert "ok     paper: a pencil" in well.stdout
    wrong = run("doctor", "--cloud", "absent")
    assert wrong.returncode == 1
    assert "absent" in wrong.stdout


def test_an_unknown_cloud_lists_what_is_installed(run: Run) -> None:
    result = run("plan", "--cloud", "papr")
    assert result.returncode == 1
    assert "paper" in result.stderr


def test_colours_follow_the_environment(run: Run) -> None:
    assert "\x1b[" not in run("show").stdout
    assert "\x1b[" in run("show", FORCE_COLOR="1").stdout
    assert "\x1b[" not in run("show", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_a_reader_that_stops_early_is_no_error(root: Path, environment: dict[str, str]) -> None:
    command = subprocess.list2cmdline([*CLI, "logs"])
    for _ in range(3):
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{command} | true"],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")


WAITING = (
    APP
    + """
import pathlib, time
pathlib.Path("started").touch()
while True:
    time.sleep(0.01)
"""
)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_it_without_a_traceback(
    root: Path, environment: dict[str, str], number: signal.Signals, code: int
) -> None:
    (root / "app.py").write_text(WAITING)
    with subprocess.Popen([*CLI, "show"], cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not (root / "started").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors == "interrupted\n"


def completions(environment: dict[str, str], root: Path, words: str) -> list[str]:
    result = subprocess.run(
        CLI,
        cwd=root,
        env={
            **environment,
            "_PYS_MULTI_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


def test_completion_knows_commands_options_and_providers(root: Path, environment: dict[str, str]) -> None:
    assert completions(environment, root, "pys-multi de") == ["dev", "deploy", "destroy", "dead"]
    assert completions(environment, root, "pys-multi deploy --cl") == ["--cloud"]
    assert "paper" in completions(environment, root, "pys-multi deploy --cloud p")


def test_completion_is_shown_and_installed(run: Run, environment: dict[str, str]) -> None:
    assert "complete_bash" in run("completion", "show", "bash").stdout
    assert run("completion", "install", "bash").returncode == 0
    home = Path(environment["HOME"])
    assert "pys-multi.sh" in (home / ".bashrc").read_text()
    assert "complete_bash" in (home / ".bash_completions" / "pys-multi.sh").read_text()


def test_a_question_is_asked_in_a_terminal(root: Path, environment: dict[str, str]) -> None:
    deploy_paper(root)
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*CLI, "destroy"], cwd=root, env=environment, stdin=child, stdout=child, stderr=child
    ) as process:
        os.close(child)
        os.write(parent, b"n\n")
        seen = b""
        while True:
            try:
                seen += os.read(parent, 4096)
            except OSError:  # how Linux ends a terminal whose other side is closed
                break
        os.close(parent)
    assert process.returncode == 1
    assert b"destroy shop, stage dev, on paper?" in seen
    assert (root.parent / "paper" / "dev").exists()


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["show"], ["show", "--json"]])
def test_a_full_disk_behind_the_output_is_an_error_of_one_line(
    root: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*CLI, *arguments], cwd=root, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error:")
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["show"]])
def test_a_reader_that_is_gone_and_an_output_that_is_closed_are_no_error(
    root: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    unbuffered = {**environment, "PYTHONUNBUFFERED": "1"}
    command = [*CLI, *arguments]
    gone = subprocess.run(command, cwd=root, env=unbuffered, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=root, env=environment, stderr=subprocess.PIPE, check=False
    )
    for ended in (gone, closed):
        assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False)


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(run: Run, root: Path) -> None:
    (root / "file").write_text("")
    for ended in (
        run("bundle", PYS_MULTI_CACHE_DIR=str(root / "file")),
        run("render", "--output", str(root / "file" / "out")),
        run("status", "--cloud", "local", PYS_MULTI_STATE_DIR=str(root / "file")),
    ):
        assert "defect" not in ended.stderr
    assert "set PYS_MULTI_CACHE_DIR" in run("bundle", PYS_MULTI_CACHE_DIR=str(root / "file")).stderr
    deploy = run("deploy", "--cloud", "local", "--yes", PYS_MULTI_STATE_DIR=str(root / "file"))
    assert (deploy.returncode, "set PYS_MULTI_STATE_DIR" in deploy.stderr) == (1, True)


def test_ctrl_c_before_the_command_itself_can_say_so(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("pys_multi_tools.cli.help_text", interrupt)
    assert main(["--help"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_what_is_live_is_seen_and_removed_while_the_code_does_not_import(run: Run, root: Path) -> None:
    (root / "app.py").write_text(APP + "\nbroken =")
    assert run("status").returncode == 1  # nothing was deployed from here
    (root / "app.py").write_text(APP)
    assert run("deploy").returncode == 0
    (root / "app.py").write_text(APP + "\nbroken =")
    assert "there is no former build" in run("rollback").stderr  # the provider's own word
    for command in (["status"], ["logs"], ["metrics"], ["invoke", "/orders"], ["destroy", "--yes"]):
        ended = run(*command)
        assert ended.returncode == 0, ended.stderr
        assert "note: app.py:17: importing 'app' failed: SyntaxError" in ended.stderr
        assert "this is the service as it was deployed last" in ended.stderr
    assert run("plan").returncode == 1
    assert run("status", "--stage", "prod").returncode == 1
