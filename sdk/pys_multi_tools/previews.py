"""Preview environments: a stage for each pull request, with an end.

GitHub keeps the record: a deployment of the task below, made before anything is deployed, says which stage on which
clouds there may be, and until when. So whatever happens to a run, what it has begun is found and removed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pys_multi_tools.errors import ToolError
from pys_multi_tools.github.client import Client, GitHubError, Json

TASK = "pys-multi:preview"
SCHEMA_VERSION = 1
#: A preview lives no longer than a month, and the reaper looks twice as far back.
LONGEST = 30 * 86400
_LOOK_BACK = 2 * LONGEST
#: Seconds after which a deploy that was begun and not ended does not run any more.
_RUNS_AT_MOST = 86400.0

_STAGE = re.compile(r"pr-[1-9][0-9]{0,9}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A stage that was deployed for a pull request.

    deployments: of GitHub, the newest first. running: whether a deploy may not have ended. path: of the project in the
    repository. expires, created: seconds since the epoch.
    """

    deployments: tuple[int, ...]
    service: str
    stage: str
    clouds: tuple[str, ...]
    path: str
    number: int
    created: float
    expires: float
    url: str = ""
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """A preview that was over. reason: why; error: what kept it from being removed, empty where it is gone."""

    preview: Preview
    reason: str
    error: str = ""


def stage_of(number: int) -> str:
    """The stage of a pull request."""
    return f"pr-{number}"


def environment_of(service: str, number: int) -> str:
    """The name of the environment on GitHub."""
    return f"{service}-{stage_of(number)}"


def register(
    client: Client, *, service: str, number: int, clouds: Sequence[str], path: str, commit: str, seconds: int
) -> int:
    """Write down that a stage is about to be deployed, and return the deployment that does. Raises GitHubError."""
    payload = {
        "schema_version": SCHEMA_VERSION,
        "service": service,
        "stage": stage_of(number),
        "clouds": list(clouds),
        "path": path,
        "pull_request": number,
        "expires": int(time.time()) + min(seconds, LONGEST),
    }
    made = client.add_deployment(
        {
            "ref": commit,
            "task": TASK,
            "auto_merge": False,
            "required_contexts": [],
            "environment": environment_of(service, number),
            "description": f"preview of pull request {number}",
            "transient_environment": True,
            "production_environment": False,
            "payload": payload,
        }
    )
    deployment = int(made["id"])
    mark(client, deployment, "in_progress")
    return deployment


def mark(client: Client, deployment: int, state: str, *, url: str = "", log: str = "") -> None:
    """Say how a deployment stands: in_progress, success, failure, error or inactive."""
    fields: dict[str, Any] = {"state": state, "auto_inactive": False}
    if re.match(r"https?://", url):
        fields["environment_url"] = url
    if log:
        fields["log_url"] = log
    client.add_status(deployment, fields)


def live(client: Client, environment: str = "") -> Iterator[Preview]:
    """The previews that were not removed, those of one environment or all. Raises GitHubError."""
    wanted = {"task": TASK, **({"environment": environment} if environment else {})}
    groups: dict[str, list[Json]] = {}
    for deployment in client.deployments(**wanted):
        if _seconds(deployment.get("created_at")) < time.time() - _LOOK_BACK:
            break  # the newest come first
        groups.setdefault(str(deployment.get("environment")), []).append(deployment)
    for deployments in groups.values():
        newest = deployments[0]
        status = next(client.statuses(newest["id"]), {})
        preview = _read(deployments, status)
        if preview is not None and status.get("state") != "inactive":
            yield preview


def end(client: Client, preview: Preview) -> None:
    """Write down that a preview is gone."""
    for deployment in preview.deployments:
        if next(client.statuses(deployment), {}).get("state") != "inactive":
            mark(client, deployment, "inactive")


def over(client: Client, preview: Preview) -> str:
    """Why a preview is to be removed; empty where it is not."""
    try:
        request = client.pull_request(preview.number)
    except GitHubError as exc:
        if exc.status != 404:
            raise
        return "its pull request is gone"
    if request.get("state") == "closed":
        return f"pull request {preview.number} is closed"
    return "its time is over" if preview.expires <= time.time() else ""


def reap(client: Client, destroy: Callable[[Preview], None], *, dry_run: bool = False) -> Iterator[Reaped]:
    """Remove every preview whose pull request is closed or whose time is over.

    destroy: removes a stage with its data, and does nothing where there is none. One that cannot be removed does not
    keep the others; it is tried again the next time. Raises GitHubError.
    """
    for preview in live(client):
        reason = over(client, preview)
        if not reason:
            continue
        try:
            if not dry_run:
                destroy(preview)
                # A deploy that still runs may bring it back: then the next round finds its record again.
                if not preview.running:
                    end(client, preview)
            yield Reaped(preview=preview, reason=reason)
        except ToolError as exc:
            yield Reaped(preview=preview, reason=reason, error=str(exc))


def _read(deployments: Sequence[Json], status: Mapping[str, Any]) -> Preview | None:
    """The preview that a deployment is the record of; None for a record that is not ours or not whole."""
    newest = deployments[0]
    payload = newest.get("payload")
    if not isinstance(payload, dict) or payload.get("schema_version") != SCHEMA_VERSION:
        return None
    service, stage, path = (str(payload.get(key, "")) for key in ("service", "stage", "path"))
    clouds = tuple(map(str, payload.get("clouds") or ()))
    number = payload.get("pull_request")
    # What is removed is removed with its data, so a stage that is no preview's is never believed.
    sound = _STAGE.fullmatch(stage) and isinstance(number, int) and stage == stage_of(number)
    if not sound or not all(map(_NAME.fullmatch, (service, *clouds))) or not _inside(path):
        return None
    created = _seconds(newest.get("created_at"))
    return Preview(
        deployments=tuple(int(deployment["id"]) for deployment in deployments),
        service=service,
        stage=stage,
        clouds=clouds,
        path=path,
        number=int(str(number)),
        created=created,
        expires=float(payload.get("expires") or 0),
        url=str(status.get("environment_url") or ""),
        running=status.get("state") in (None, "pending", "queued", "in_progress")
        and created > time.time() - _RUNS_AT_MOST,
    )


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return bool(path) and not parts.is_absolute() and ".." not in parts.parts


def _seconds(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0
