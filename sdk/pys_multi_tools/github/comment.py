"""One comment of a pull request: found again by a hidden marker, kept up to date, cut to GitHub's limit."""

from __future__ import annotations

import hashlib

from pys_multi_tools.github.client import Client, GitHubError, Json
from pys_multi_tools.github.runner import cut

#: GitHub takes 65,536 characters; bytes are at least as many.
LIMIT = 65_000


def marker(*key: str) -> str:
    """The hidden line that tells one comment from another; a key may hold anything."""
    digest = hashlib.sha256("\0".join(key).encode("utf-8", "replace")).hexdigest()[:16]
    return f"<!-- pys-multi {digest} -->"


def keep(client: Client, number: int, mark: str, body: str, *, create: bool = True) -> Json | None:
    """Make ``body`` the text of the one comment with that mark, and return it.

    create: whether to make one where there is none. Of two that two runs made at a time, the older one stays.
    """
    text = cut(f"{mark}\n{body}", LIMIT)
    own = _Own(client)
    found = [comment for comment in client.comments(number) if own.is_own(comment, mark)]
    if not found:
        if not create:
            return None
        made = client.add_comment(number, text)
        found = [comment for comment in client.comments(number) if own.is_own(comment, mark)] or [made]
        if len(found) == 1:
            return made
    first, *others = sorted(found, key=lambda comment: int(comment["id"]))
    kept = client.update_comment(first["id"], text) if first.get("body") != text else first
    for comment in others:
        try:
            client.delete_comment(comment["id"])
        except GitHubError as exc:
            if exc.status != 404:  # the other run was faster
                raise
    return kept


class _Own:
    """Tells our comments from those of others, who may have copied the marker."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._login: str | None = None

    def is_own(self, comment: Json, mark: str) -> bool:
        if not str(comment.get("body") or "").startswith(mark):
            return False
        if self._login is None:
            self._login = self._client.login()
        user = comment.get("user") or {}
        return user.get("login") == self._login if self._login else user.get("type") == "Bot"
