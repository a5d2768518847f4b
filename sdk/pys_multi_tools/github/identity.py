"""The workflow's own identity: a token that GitHub signs for one audience, good for a few minutes."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from pys_multi_tools.errors import ToolError
from pys_multi_tools.github.web import WebError, fetch

URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 (the name of a variable)


class IdentityError(ToolError):
    """GitHub gives the workflow no token."""


class Identity:
    """Asks GitHub for tokens. environment: of the step."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.url, self.bearer = environment.get(URL, ""), environment.get(TOKEN, "")
        if not self.url or not self.bearer:
            raise IdentityError(
                "the job may not ask for an OIDC token",
                where="permissions",
                hint="add `id-token: write` to the job's permissions; pull requests from forks never have it",
            )

    def address(self, audience: str) -> str:
        """Where a token for an audience is asked for."""
        separator = "&" if urllib.parse.urlsplit(self.url).query else "?"
        return f"{self.url}{separator}{urllib.parse.urlencode({'audience': audience})}"

    def token(self, audience: str) -> str:
        """A token for an audience. Raises IdentityError."""
        try:
            answer = fetch(self.address(audience), headers={"Authorization": f"Bearer {self.bearer}"})
        except WebError as exc:
            hint = "check that the job has `id-token: write`, and run it again"
            raise IdentityError(f"GitHub gives no OIDC token: {exc.what}", where="OIDC", hint=hint) from exc
        token = answer.get("value")
        if not isinstance(token, str) or token.count(".") != 2:
            raise IdentityError("GitHub's answer holds no OIDC token", where="OIDC")
        return token


def claims(token: str) -> dict[str, Any]:
    """What a token says, unverified: for messages alone."""
    try:
        part = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}
