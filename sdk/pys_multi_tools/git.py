"""Questions to git about the repository that a folder is in; nothing here changes it but for its worktrees."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from pys_multi_tools.errors import ToolError


class Repository:
    """root: the top folder of the working tree."""

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._environment = environment

    @classmethod
    def around(cls, folder: Path, environment: Mapping[str, str] | None = None) -> Repository:
        """The repository that ``folder`` is in. Raises ToolError where it is in none."""
        if not folder.is_dir():
            raise ToolError("is not a folder", where=str(folder))
        top = cls(folder, environment).run("rev-parse", "--show-toplevel", what="is in no git repository")
        return cls(Path(top.rstrip("\n")), environment)

    def commit(self, ref: str) -> str:
        """The id of the commit that ``ref`` names. Raises ToolError where there is none."""
        # What follows --end-of-options is never taken for an option, whatever it looks like.
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        found = self._run(*arguments)
        if found.returncode:
            hint = "name a branch, tag or commit that is here; a shallow checkout has few: fetch-depth: 0 has all"
            raise ToolError("names no commit of this repository", where="the revision", hint=hint)
        return found.stdout.decode().strip()

    def merge_base(self, commit: str) -> str:
        """Where the present commit and another one part; the other one itself where that is not known."""
        found = self._run("merge-base", commit, "HEAD")
        return found.stdout.decode().strip() if found.returncode == 0 else commit

    def changed(self, since: str) -> tuple[str, ...]:
        """Paths that differ between a commit and the working tree, new ones included; relative to the root."""
        differing = self.run("diff", "--name-only", "--no-renames", "-z", since, "--")
        untracked = self.run("ls-files", "--others", "--exclude-standard", "-z")
        return tuple(sorted({path for path in (differing + untracked).split("\0") if path}))

    def files(self) -> tuple[str, ...]:
        """Every path that git knows or would take in."""
        listed = self.run("ls-files", "--cached", "--others", "--exclude-standard", "-z")
        return tuple(sorted({path for path in listed.split("\0") if path}))

    def read(self, commit: str, path: str) -> str | None:
        """The text of a file at a commit; None where it was not there."""
        found = self._run("cat-file", "blob", f"{commit}:{path}")
        return found.stdout.decode("utf-8", "replace") if found.returncode == 0 else None

    def run(self, *arguments: str, what: str = "") -> str:
        """Standard output of git. Raises ToolError with git's own words."""
        ended = self._run(*arguments)
        if ended.returncode:
            own = ended.stderr.decode("utf-8", "replace").strip()
            raise ToolError(what or f"git {arguments[0]} failed", where=str(self.root), detail=own)
        return ended.stdout.decode("utf-8", "surrogateescape")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = ["git", "-C", str(self.root), *arguments]
        try:
            return subprocess.run(command, capture_output=True, check=False, env=self._environment)
        except FileNotFoundError as exc:
            raise ToolError("git is not installed", hint="install git") from exc
