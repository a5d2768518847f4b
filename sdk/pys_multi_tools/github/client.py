"""GitHub's REST API: requests that are safe to repeat are repeated, and every error is ours.

Endpoints and fields are those of GitHub's description of its REST API, version 2022-11-28.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any

from pys_multi_tools.errors import ToolError

Json = dict[str, Any]

API_VERSION = "2022-11-28"
_ATTEMPTS = 4
_REPOSITORY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*/(?!\.{1,2}$)[A-Za-z0-9._-]+")


class GitHubError(ToolError):
    """GitHub refused, or could not be reached. status: of its answer, 0 for none."""

    def __init__(self, what: str, *, status: int = 0, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status


class Client:
    """One repository on GitHub. api: where the API is; token: what to say who asks."""

    def __init__(self, api: str, repository: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        if not _REPOSITORY.fullmatch(repository):
            raise GitHubError("is no repository", where="GITHUB_REPOSITORY", hint="it must be OWNER/NAME")
        if urllib.parse.urlsplit(api).scheme not in ("https", "http"):
            raise GitHubError("is no address", where="GITHUB_API_URL")
        self.repository = repository
        self._api, self._token, self._sleep = api.rstrip("/"), token, sleep

    @classmethod
    def of(cls, environment: Mapping[str, str], token: str) -> Client:
        """The repository that the workflow runs for. Raises GitHubError where there is no token."""
        if not token:
            hint = "give the action its github-token, or set GITHUB_TOKEN"
            raise GitHubError("there is no token to speak to GitHub with", hint=hint)
        api = environment.get("GITHUB_API_URL") or "https://api.github.com"
        return cls(api, environment.get("GITHUB_REPOSITORY", ""), token)

    # ---- pull requests and their comments

    def pull_request(self, number: int) -> Json:
        return self._one("GET", f"/pulls/{number}")

    def comments(self, number: int) -> Iterator[Json]:
        return self._all(f"/issues/{number}/comments")

    def add_comment(self, number: int, body: str) -> Json:
        return self._one("POST", f"/issues/{number}/comments", {"body": body})

    def update_comment(self, comment: int, body: str) -> Json:
        return self._one("PATCH", f"/issues/comments/{comment}", {"body": body})

    def delete_comment(self, comment: int) -> None:
        self._request("DELETE", f"{self._base}/issues/comments/{comment}")

    def login(self) -> str:
        """Who asks; empty for a workflow's own token, which may not ask that."""
        try:
            return str(self._request("GET", f"{self._api}/user")[0].get("login", ""))
        except GitHubError as exc:
            if exc.status in (401, 403, 404):
                return ""
            raise

    # ---- deployments

    def deployments(self, **wanted: str) -> Iterator[Json]:
        return self._all("/deployments", wanted)

    def add_deployment(self, fields: Mapping[str, Any]) -> Json:
        return self._one("POST", "/deployments", fields)

    def statuses(self, deployment: int) -> Iterator[Json]:
        """The statuses of a deployment, the newest first."""
        return self._all(f"/deployments/{deployment}/statuses")

    def add_status(self, deployment: int, fields: Mapping[str, Any]) -> Json:
        return self._one("POST", f"/deployments/{deployment}/statuses", fields)

    # ---- requests

    @property
    def _base(self) -> str:
        return f"{self._api}/repos/{self.repository}"

    def _one(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> Json:
        answer = self._request(method, self._base + path, fields)[0]
        if not isinstance(answer, dict):
            raise GitHubError("the answer is not of the published form", where=f"{method} {path}")
        return answer

    def _all(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[Json]:
        url = f"{self._base}{path}?{urllib.parse.urlencode({**(query or {}), 'per_page': '100'})}"
        while url:
            page, links = self._request("GET", url)
            if not isinstance(page, list):
                raise GitHubError("the answer is not of the published form", where=f"GET {path}")
            yield from page
            match = re.search(r'<([^<>]+)>;\s*rel="next"', links)
            url = match[1] if match and match[1].startswith(self._api + "/") else ""

    def _request(self, method: str, url: str, fields: Mapping[str, Any] | None = None) -> tuple[Any, str]:
        where = f"GitHub, {method} {urllib.parse.urlsplit(url).path}"
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "X-GitHub-Api-Version": API_VERSION,
            "User-Agent": "pys-multi",
        }
        data = None
        if fields is not None:
            data, headers["Content-Type"] = json.dumps(fields).encode(), "application/json"
        for attempt in range(1, _ATTEMPTS + 1):
            request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 (scheme was checked)
            try:
                with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                    text = response.read()
                    return (json.loads(text) if text else {}), response.headers.get("Link", "")
            except urllib.error.HTTPError as exc:
                with exc:
                    error = _refused(exc.code, exc.read(), where)
                    wait = _wait(exc.code, dict(exc.headers.items()), attempt)
                    # A creation that failed half-way may have been done: only what was not begun is begun again.
                    again = wait is not None and (method != "POST" or exc.code in (403, 429))
            except (OSError, HTTPException, ValueError) as exc:
                reason = getattr(exc, "reason", exc)
                error = GitHubError(f"no answer: {reason}", where=where, hint="run it again")
                wait, again = float(attempt), method != "POST"
            if not again or attempt == _ATTEMPTS:
                raise error
            self._sleep(wait or 0.0)
        raise AssertionError("unreachable")


def _wait(status: int, headers: Mapping[str, str], attempt: int) -> float | None:
    """Seconds until the request may be made again; None where that is of no use."""
    headers = {name.lower(): value for name, value in headers.items()}
    if status in (403, 429):  # GitHub's limits, which it tells by one of these two headers
        if (after := headers.get("retry-after", "")).isdigit():
            return min(float(after), 60.0)
        if headers.get("x-ratelimit-remaining") == "0" and (reset := headers.get("x-ratelimit-reset", "")).isdigit():
            wait = float(reset) - time.time()
            return max(wait, 1.0) if wait <= 60 else None
        return None
    return float(attempt) if status in (500, 502, 503, 504) else None


def _refused(status: int, body: bytes, where: str) -> GitHubError:
    try:
        message = str(json.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        message = ""
    hint = ""
    if status in (401, 403, 404):
        hint = "give the job the permission that this needs, such as pull-requests: write or deployments: write"
    return GitHubError(f"{status} {message[:300]}".rstrip(), status=status, where=where, hint=hint)
