"""The service as it was before a pull request: the base branch's files in a folder of their own."""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pys_multi_tools.errors import ToolError
from pys_multi_tools.git import Repository


@contextlib.contextmanager
def checked_out(folder: Path, path: str, commit: str, environment: Mapping[str, str], token: str) -> Iterator[Path]:
    """The project's folder as it is at a commit; the commit is fetched where a shallow checkout has it not.

    Raises ToolError where it cannot be had, and where the project is not in it.
    """
    variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    repository = Repository.around(folder, variables)
    try:
        repository.commit(commit)
    except ToolError:
        fetching = Repository(repository.root, {**variables, **_authorised(environment, token)})
        fetching.run("fetch", "--quiet", "--no-tags", "--depth=1", "origin", commit)
    with tempfile.TemporaryDirectory(prefix="pys-multi-base-", dir=environment.get("RUNNER_TEMP") or None) as name:
        tree = Path(name) / "tree"
        repository.run("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            project = (tree / path).resolve()
            if not project.is_dir() or not project.is_relative_to(tree.resolve()):
                raise ToolError("the project is new", where=path)
            yield project
        finally:
            repository.run("worktree", "remove", "--force", str(tree))


def _authorised(environment: Mapping[str, str], token: str) -> dict[str, str]:
    """The token for git, by the environment: arguments can be seen by every process of the machine."""
    server = environment.get("GITHUB_SERVER_URL") or "https://github.com"
    if not token:
        return {}
    value = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{server}/.extraheader",
        "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {value}",
    }
