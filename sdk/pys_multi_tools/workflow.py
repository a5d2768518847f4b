"""The workflows of a repository: written for its services and clouds, and updated without losing an edit.

Beside each workflow a copy is kept of what was written last. With it an update is a merge of three: what was written,
what a person has made of it, and what would be written now.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pys_multi_tools.affected import services
from pys_multi_tools.errors import ToolError
from pys_multi_tools.git import Repository
from pys_multi_tools.github.federation import FEDERATIONS
from pys_multi_tools.project import Project
from pys_multi_tools.render import render

NAMES = ("plan", "deploy", "preview", "drift", "reap")
#: The tag of the action that follows the versions that are compatible.
ACTION_TAG = "v1"
# actions/checkout v5.0.0. A tag can be moved, a commit cannot.
CHECKOUT = {"uses": "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8", "version": "v5.0.0"}

_PACKAGE = "pys_multi_templates"
_FOLDER = Path(".github", "workflows")
_COPIES = Path(".github", "pys-multi")
_ACTION = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+(?:/[A-Za-z0-9._/-]+)?)@([A-Za-z0-9][A-Za-z0-9._/-]*)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: As the templates write it; they are this tool's own, so that no YAML has to be read.
_USED = re.compile(r'^ +uses: "?([^@\s"]+)@([^\s"]+)"?(?: # (\S+))?$', re.MULTILINE)

State = Literal["new", "updated", "merged", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A workflow. state: "new", "updated" (nobody had edited it), "merged" with what was edited, or "unchanged"."""

    path: Path
    state: State


def generate(
    repository: Repository,
    *,
    path: str | None = None,
    clouds: Sequence[str] = (),
    stage: str | None = None,
    branch: str | None = None,
    action: str | None = None,
) -> dict[str, str]:
    """The workflows by name: "plan", "deploy", "preview", "drift" and "reap".

    path: folder of the only project that they are for; None is every one of the repository.
    stage: that is deployed from the branch; None is the one of the settings. branch: None is the default branch.
    action: "OWNER/REPOSITORY@REF"; None is the one that was written last, else the published one. A REF that is no
    commit is looked up, so that the workflows name a commit. Raises ToolError.
    """
    paths = [path] if path is not None else list(services(repository))
    if not paths:
        hint = "write [tool.pys-multi] into the pyproject.toml of each service, or a pys-multi.toml beside it"
        raise ToolError("there is no service in it", where=str(repository.root), hint=hint)
    projects = [Project.load(repository.root / one, stage, env={}) for one in paths]
    stages = sorted({project.stage for project in projects})
    if len(stages) > 1:
        raise ToolError(f"the services have different stages: {', '.join(stages)}", hint="say which one: --stage NAME")
    used = sorted({cloud for project in projects for cloud in (clouds or project.settings.cloud)})
    inputs = {name: variable for one in FEDERATIONS if {*one.clouds} & {*used} for name, variable in one.inputs.items()}
    secrets = sorted({name for project in projects for name in _environment_of(project)})
    view: dict[str, Any] = {
        "paths": paths,
        "clouds": list(clouds),
        "stage": stages[0],
        "branch": branch or _default_branch(repository),
        "inputs": inputs,
        "secrets": secrets,
        "protected": bool(inputs or secrets),
        "action": _pinned(action or _written_action(repository.root) or published_action()),
        "checkout": CHECKOUT,
    }
    return {name: render(_PACKAGE, f"github/{name}.yml.j2", view) for name in NAMES}


def write(repository: Repository, texts: Mapping[str, str], *, dry_run: bool = False) -> tuple[Written, ...]:
    """Write workflows that ``generate`` made, keeping what was edited since they were written last.

    dry_run: say what would be done, and do nothing. Raises ToolError, before anything is written, where an edit and
    an update contradict each other, and for a workflow of that name that pys-multi did not write.
    """
    merged = [(name, text, *_merged(repository.root, name, text)) for name, text in texts.items()]
    found: list[Written] = []
    for name, text, result, state in merged:
        found.append(Written(path=_workflow(repository.root, name), state=state))
        copy = repository.root / _COPIES / f"{name}.yml"
        if dry_run or (state == "unchanged" and copy.is_file() and copy.read_text("utf-8") == text):
            continue
        for file, content in ((_workflow(repository.root, name), result), (copy, text)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    return tuple(found)


def _workflow(root: Path, name: str) -> Path:
    return root / _FOLDER / f"pys-multi-{name}.yml"


def _merged(root: Path, name: str, text: str) -> tuple[str, State]:
    workflow, copy = _workflow(root, name), root / _COPIES / f"{name}.yml"
    if not workflow.exists():
        return text, "new"
    present = workflow.read_text("utf-8")
    if present == text:
        return text, "unchanged"
    if not copy.exists():
        hint = f"move it away, or write what pys-multi wrote last into {copy.relative_to(root)}"
        raise ToolError("is there, and pys-multi has no copy of what it wrote", where=_shown(workflow, root), hint=hint)
    former = copy.read_text("utf-8")
    if present == former:
        return text, "updated"
    if former == text:
        return present, "unchanged"
    result = _merge(present, former, text, _shown(workflow, root))
    return result, "unchanged" if result == present else "merged"


def _merge(present: str, former: str, text: str, where: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("yours", "before", "new")]
        for file, content in zip(files, (present, former, text), strict=True):
            file.write_text(content, encoding="utf-8")
        labels = [part for label in ("yours", "before", "new") for part in ("-L", label)]
        command = ["git", "merge-file", "--stdout", "--diff3", *labels, *map(str, files)]
        ended = subprocess.run(command, capture_output=True, check=False)
    result = ended.stdout.decode("utf-8", "replace")
    if ended.returncode:
        hint = "change the lines below by hand as you want them, and in the copy as they are new; then run it again"
        raise ToolError("what you changed is changed by the update too", where=where, hint=hint, detail=result)
    return result


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _environment_of(project: Project) -> list[str]:
    """The variables that the project's secrets are read from."""
    parts = [reference.partition(":") for reference in project.settings.secrets.values()]
    return [name for scheme, _, name in parts if scheme == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]


def _default_branch(repository: Repository) -> str:
    for arguments in (("symbolic-ref", "--short", "refs/remotes/origin/HEAD"), ("symbolic-ref", "--short", "HEAD")):
        try:
            return repository.run(*arguments).strip().removeprefix("origin/")
        except ToolError:
            continue
    return "main"


def published_action() -> str:
    """The action that belongs to this tool: the repository that its distribution names. Raises ToolError for none."""
    urls = dict(url.split(", ", 1) for url in metadata("pys-multi").get_all("Project-URL") or ())
    name = urlsplit(urls.get("Repository", "")).path.strip("/").removesuffix(".git")
    if not name:
        raise ToolError("this pys-multi names no repository", hint="say which action: --action OWNER/REPOSITORY@REF")
    return f"{name}@{ACTION_TAG}"


def _written_action(root: Path) -> str | None:
    """The action that the workflows name which were written last, by the ref that a person reads."""
    for name in NAMES:
        copy = root / _COPIES / f"{name}.yml"
        for action, ref, version in _USED.findall(copy.read_text("utf-8")) if copy.is_file() else ():
            if f"{action}@{ref}" != CHECKOUT["uses"]:
                return f"{action}@{version or ref}"
    return None


def _pinned(action: str) -> dict[str, str]:
    """The action by a commit, where it can be looked up, with the ref as what a person reads."""
    match = _ACTION.fullmatch(action)
    if match is None:
        raise ToolError("must be OWNER/REPOSITORY@REF", where="--action")
    name, ref = match.groups()
    if _COMMIT.fullmatch(ref):
        return {"uses": action, "version": ""}
    owner, repository = name.split("/")[:2]
    server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
    commit = _look_up(f"{server}/{owner}/{repository}", ref)
    if commit and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", ref):
        return {"uses": f"{name}@{commit}", "version": ref}
    return {"uses": action, "version": ""}


def _look_up(url: str, ref: str) -> str:
    """The commit that a tag or branch names; empty where nobody answers."""
    command = ["git", "ls-remote", "--exit-code", url, f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = {name: commit for commit, _, name in (line.partition("\t") for line in ended.stdout.splitlines())}
    names = (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}")  # an annotated tag's commit comes first
    return next((found[name] for name in names if name in found), "")
