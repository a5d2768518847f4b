"""The workflows that are written: what they may do, what others say of them, and how they are updated."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from pys_multi_tools.errors import ToolError
from pys_multi_tools.git import Repository
from pys_multi_tools.workflow import NAMES, generate, published_action, write

ROOT = Path(__file__).parents[3]
ACTION = "org/pys-action@" + "1" * 40
CLOUDS = ("local", "aws", "gcp", "azure", "kubernetes", "amplify")
MIXES = [*((cloud,) for cloud in CLOUDS), *combinations(("local", "aws", "gcp", "azure"), 2), CLOUDS]


def repository(folder: Path, *paths: str) -> Repository:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    for path in paths or (".",):
        (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / path / "pys-multi.toml").write_text('app = "app:app"\n[secrets]\nKEY = "env:SHOP_KEY"\n')
    return Repository(folder)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def texts(found: Repository, **options: Any) -> dict[str, str]:
    return generate(found, **{"action": ACTION, "stage": "prod", **options})


def beside(name: str) -> str:
    """A tool that pip installs beside this interpreter."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def passes(*command: str, cwd: Path) -> None:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository for every mix of clouds, and for some of them below a folder and as a monorepo."""
    base = tmp_path_factory.mktemp("workflows")
    for mix in MIXES:
        kinds = {"one": (".",), "below": ("app",), "mono": ("services/a", "services/b")}
        for kind, paths in kinds.items():
            if kind != "one" and mix not in (("local",), ("aws", "gcp"), CLOUDS):
                continue
            folder = base / f"{kind}-{'-'.join(mix)}"
            found = repository(folder, *paths)
            write(found, texts(found, clouds=mix))
    return base


def workflows(everything: Path) -> list[Path]:
    """One of each text."""
    return list({path.read_text(): path for path in sorted(everything.glob("*/.github/workflows/*.yml"))}.values())


def test_zizmor_has_nothing_to_say(everything: Path) -> None:
    zizmor = beside("zizmor")
    command = (zizmor, "--offline", "--persona=pedantic", "--no-progress", "--collect=all", "--strict-collection")
    passes(*command, str(ROOT / "action.yml"), *map(str, workflows(everything)), cwd=everything)


def test_actionlint_has_nothing_to_say(everything: Path) -> None:
    passes(beside("actionlint"), "-shellcheck=", *map(str, workflows(everything)), cwd=everything)


def test_they_are_of_the_published_form(everything: Path) -> None:
    check = beside("check-jsonschema")
    passes(check, "--builtin-schema", "vendor.github-actions", str(ROOT / "action.yml"), cwd=everything)
    files = map(str, workflows(everything))
    passes(check, "--builtin-schema", "vendor.github-workflows", *files, cwd=everything)


def test_the_projects_own_workflows_too() -> None:
    folder = ROOT / ".github" / "workflows"
    files = [str(path) for path in sorted(folder.glob("*.yml"))]
    assert files
    passes(beside("zizmor"), "--offline", "--persona=pedantic", "--no-progress", *files, cwd=ROOT)
    passes(beside("actionlint"), "-shellcheck=", *files, cwd=ROOT)


@pytest.mark.parametrize("mix", MIXES)
def test_they_may_do_no_more_than_they_must(tmp_path: Path, mix: tuple[str, ...]) -> None:
    written = {name: yaml.safe_load(text) for name, text in texts(repository(tmp_path), clouds=mix).items()}
    federated = bool({*mix} & {"aws", "gcp", "azure", "amplify"})
    identity = {"id-token": "write"} if federated else {}
    assert all(workflow["permissions"] == {} for workflow in written.values())
    jobs = {name: workflow["jobs"][name] for name, workflow in written.items()}
    assert jobs["plan"]["permissions"] == {"contents": "read", "pull-requests": "write", **identity}
    assert jobs["deploy"]["permissions"] == {"contents": "read", **identity}
    assert jobs["drift"]["permissions"] == {"contents": "read", **identity}
    preview = {"contents": "read", "deployments": "write", "pull-requests": "write", **identity}
    assert jobs["preview"]["permissions"] == preview
    assert jobs["reap"]["permissions"] == {**preview, "pull-requests": "read"}
    # Whoever takes part in the identity's subject is named in each job that has one.
    assert [jobs[name]["environment"] for name in NAMES] == ["plan", "prod", "preview", "plan", "preview"]


def test_they_name_what_their_clouds_need(tmp_path: Path) -> None:
    written = yaml.safe_load(texts(repository(tmp_path), clouds=("aws", "azure"))["deploy"])
    step = written["jobs"]["deploy"]["steps"][-1]
    assert step["uses"] == ACTION
    assert step["env"] == {"SHOP_KEY": "${{ secrets.SHOP_KEY }}"}
    assert step["with"] == {
        "command": "deploy",
        "cloud": "aws,azure",
        "stage": "prod",
        "aws-role": "${{ vars.AWS_ROLE }}",
        "aws-region": "${{ vars.AWS_REGION }}",
        "azure-client-id": "${{ vars.AZURE_CLIENT_ID }}",
        "azure-tenant-id": "${{ vars.AZURE_TENANT_ID }}",
        "azure-subscription-id": "${{ vars.AZURE_SUBSCRIPTION_ID }}",
        "azure-resource-group": "${{ vars.AZURE_RESOURCE_GROUP }}",
        "azure-location": "${{ vars.AZURE_LOCATION }}",
    }


def test_every_input_they_use_is_one_of_the_action(everything: Path) -> None:
    known = set(yaml.safe_load((ROOT / "action.yml").read_text())["inputs"])
    jobs = chain.from_iterable(yaml.safe_load(path.read_text())["jobs"].values() for path in workflows(everything))
    used = {key for job in jobs for step in job["steps"] if step["uses"] == ACTION for key in step["with"]}
    assert used <= known


def test_hostile_folders_and_branches_stay_values(tmp_path: Path) -> None:
    name = "a'\"$(touch x)`x` ${{ github.token }}: #"
    found = repository(tmp_path, f"services/{name}")
    written = yaml.safe_load(texts(found, branch="main: '\n- x")["deploy"])
    assert written[True]["push"]["branches"] == ["main: '\n- x"]
    assert written["jobs"]["deploy"]["steps"][-1]["with"]["path"] == f"services/{name}"


def test_an_update_keeps_what_was_edited(tmp_path: Path) -> None:
    found = repository(tmp_path)
    states = {one.path.stem: one.state for one in write(found, texts(found, clouds=("local",)))}
    assert set(states.values()) == {"new"}
    assert {one.state for one in write(found, texts(found, clouds=("local",)))} == {"unchanged"}
    deploy = tmp_path / ".github/workflows/pys-multi-deploy.yml"
    deploy.write_text(deploy.read_text().replace("ubuntu-latest", "my-runner # ours"))
    assert {one.state for one in write(found, texts(found, clouds=("local",)))} == {"unchanged"}
    states = {one.path.stem: one.state for one in write(found, texts(found, clouds=("aws",)))}
    assert states["pys-multi-deploy"] == "merged"
    assert states["pys-multi-plan"] == "updated"
    text = deploy.read_text()
    assert "runs-on: my-runner # ours" in text
    assert "aws-role:" in text
    assert {one.state for one in write(found, texts(found, clouds=("aws",)))} == {"unchanged"}


def test_edits_of_a_person_and_those_of_an_update_come_together(tmp_path: Path) -> None:
    """What a team really does: another time, a step and a job of its own, another limit, a comment."""
    found = repository(tmp_path)
    write(found, texts(found, clouds=("local",)))
    folder = tmp_path / ".github" / "workflows"

    def edit(name: str, old: str, new: str) -> None:
        path = folder / f"pys-multi-{name}.yml"
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))

    edit("drift", 'cron: "17 5 * * 1-5"', 'cron: "3 4 * * *" # before the day begins')
    own = '      - name: Tell the team\n        run: "true"\n'
    edit("drift", "      - name: Compare what is deployed", own + "      - name: Compare what is deployed")
    edit("plan", "cancel-in-progress: true", "cancel-in-progress: false # the runner is our own")
    edit("plan", "timeout-minutes: 20", "timeout-minutes: 5")
    job = "  after:\n    name: After\n    needs: deploy\n    runs-on: ubuntu-latest\n    timeout-minutes: 5\n"
    job += '    permissions: {}\n    steps:\n      - name: Say so\n        run: "true"\n'
    (folder / "pys-multi-deploy.yml").write_text((folder / "pys-multi-deploy.yml").read_text() + job)

    # A new version of the action, two clouds more, another branch, and a secret that a service has now.
    (tmp_path / "pys-multi.toml").write_text('app = "app:app"\n[secrets]\nKEY = "env:SHOP_KEY"\nB = "env:B_KEY"\n')
    newer = texts(found, clouds=("aws", "gcp"), action="org/pys-action@" + "2" * 40, branch="trunk")
    states = {one.path.stem.removeprefix("pys-multi-"): one.state for one in write(found, newer)}
    assert states == {"plan": "merged", "deploy": "merged", "drift": "merged", "preview": "updated", "reap": "updated"}
    written = {name: yaml.safe_load((folder / f"pys-multi-{name}.yml").read_text()) for name in NAMES}
    assert written["drift"][True]["schedule"] == [{"cron": "3 4 * * *"}]
    assert "# before the day begins" in (folder / "pys-multi-drift.yml").read_text()
    names = [step["name"] for step in written["drift"]["jobs"]["drift"]["steps"]]
    assert names == ["Check out", "Tell the team", "Compare what is deployed with what should be"]
    assert written["plan"]["jobs"]["plan"]["timeout-minutes"] == 5
    assert written["plan"]["concurrency"]["cancel-in-progress"] is False
    assert list(written["deploy"]["jobs"]) == ["deploy", "after"]
    assert written["deploy"][True]["push"]["branches"] == ["trunk"]
    for name in ("plan", "deploy", "preview", "drift"):
        step = written[name]["jobs"][name]["steps"][-1]
        assert step["uses"].endswith("2" * 40)
        assert {"aws-role", "gcp-service-account"} <= step["with"].keys()
        assert set(step["env"]) == {"SHOP_KEY", "B_KEY"}
    passes(beside("actionlint"), "-shellcheck=", *map(str, sorted(folder.glob("*.yml"))), cwd=tmp_path)
    assert {one.state for one in write(found, newer)} == {"unchanged"}


def test_a_contradiction_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    found = repository(tmp_path)
    write(found, texts(found, stage="prod"))
    deploy = tmp_path / ".github/workflows/pys-multi-deploy.yml"
    deploy.write_text(deploy.read_text().replace('environment: "prod"', 'environment: "mine"'))
    before = {path: path.read_text() for path in tmp_path.rglob("*.yml")}
    with pytest.raises(ToolError, match="is changed by the update too") as caught:
        write(found, texts(found, stage="live"))
    assert "<<<<<<< yours" in caught.value.detail
    assert {path: path.read_text() for path in tmp_path.rglob("*.yml")} == before


def test_a_workflow_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    found = repository(tmp_path)
    own = tmp_path / ".github/workflows/pys-multi-plan.yml"
    own.parent.mkdir(parents=True)
    own.write_text("on: push\n")
    with pytest.raises(ToolError, match="no copy of what it wrote"):
        write(found, texts(found))
    assert own.read_text() == "on: push\n"
    assert len(list(own.parent.iterdir())) == 1


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    found = repository(tmp_path)
    assert {one.state for one in write(found, texts(found), dry_run=True)} == {"new"}
    assert not (tmp_path / ".github").exists()


def test_a_tag_of_the_action_becomes_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = tmp_path / "server" / "acme" / "action"
    repository(upstream)
    git(upstream, "commit", "-q", "--allow-empty", "-m", "x")
    git(upstream, "tag", "-a", "v1", "-m", "x")
    commit = git(upstream, "rev-parse", "HEAD")
    monkeypatch.setenv("GITHUB_SERVER_URL", (tmp_path / "server").as_uri())
    text = texts(repository(tmp_path / "shop"), action="acme/action@v1")["plan"]
    assert f'uses: "acme/action@{commit}" # v1\n' in text
    text = texts(repository(tmp_path / "other"), action="acme/action@v9")["plan"]
    assert 'uses: "acme/action@v9"\n' in text


def test_the_action_is_the_repository_of_this_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", tmp_path.as_uri())  # nobody to look a tag up at
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = project["urls"]["Repository"].removeprefix("https://github.com/")
    assert published_action() == f"{name}@v1"
    assert f'uses: "{name}@v1"' in texts(repository(tmp_path), action=None)["deploy"]
    assert f"uses: {name}@v1" in (ROOT / "docs" / "github-action.md").read_text()
    named = {
        found
        for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        for found in re.findall(r"[\w.-]+/pys-action@\S+", path.read_text())
    }
    assert named == {f"{name}@v1"}, "the docs name another one"


@pytest.mark.parametrize("ref", ["v1", "1" * 40])
def test_an_update_stays_with_the_action_that_was_named(tmp_path: Path, ref: str) -> None:
    found = repository(tmp_path)
    write(found, texts(found, action=f"acme/copy@{ref}"))
    assert {one.state for one in write(found, texts(found, action=None))} == {"unchanged"}
    write(found, texts(found, action="acme/other@v2"))
    assert "acme/other@v2" in texts(found, action=None)["preview"]


def test_an_update_looks_up_where_the_tag_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = tmp_path / "server" / "acme" / "action"
    repository(upstream)
    monkeypatch.setenv("GITHUB_SERVER_URL", (tmp_path / "server").as_uri())
    found = repository(tmp_path / "shop")
    for message in ("one", "two"):
        git(upstream, "commit", "-q", "--allow-empty", "-m", message)
        git(upstream, "tag", "-f", "-a", "v1", "-m", message)
        write(found, texts(found, action="acme/action@v1" if message == "one" else None))
        commit = git(upstream, "rev-parse", "HEAD")
        assert f'"acme/action@{commit}" # v1' in (found.root / ".github/workflows/pys-multi-plan.yml").read_text()


@pytest.mark.parametrize("action", ["acme", "acme/action", "acme/action@$(x)", "acme/action@v1\nx: y", "-x/y@z"])
def test_what_names_no_action_is_refused(tmp_path: Path, action: str) -> None:
    with pytest.raises(ToolError, match="must be OWNER/REPOSITORY@REF"):
        texts(repository(tmp_path), action=action)


def test_a_repository_without_a_service(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(ToolError, match="there is no service in it"):
        texts(Repository(tmp_path))


def test_the_command(tmp_path: Path) -> None:
    repository(tmp_path)
    command = [sys.executable, "-m", "pys_multi_tools.cli", "workflow", "--action", ACTION, "--stage", "prod"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("--check").returncode == 3
    written = run("--json")
    assert written.returncode == 0, written.stderr
    assert [one["state"] for one in json.loads(written.stdout)["workflows"]] == ["new"] * 5
    assert run("--check").returncode == 0
