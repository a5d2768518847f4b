"""What the workflow asks for: the inputs of action.yml, which it hands on as INPUT_* variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pys_multi_tools.errors import ToolError
from pys_multi_tools.suggest import did_you_mean

COMMANDS = ("check", "plan", "deploy", "destroy", "preview", "drift", "status", "affected", "reap")

_CLOUD = re.compile(r"[a-z][a-z0-9-]{0,39}")
_SETTING = re.compile(r"[a-z][a-z0-9_]*(?:[.-][a-z][a-z0-9_]*)*")
_UNITS = {"m": 60, "h": 3600, "d": 86400}
#: Inputs that say where something is, and the setting of the provider that they are.
_PLACES = {
    "aws-region": "AWS_REGION",
    "gcp-project": "GCP_PROJECT",
    "gcp-region": "GCP_REGION",
    "azure-subscription-id": "AZURE_SUBSCRIPTION",
    "azure-resource-group": "AZURE_RESOURCE_GROUP",
    "azure-location": "AZURE_LOCATION",
}


class InputError(ToolError):
    """An input is wrong. No message repeats what was given: it may be a secret that went to the wrong place."""

    exit_code = 2

    def __init__(self, name: str, what: str, hint: str = "") -> None:
        super().__init__(what, where=f"input {name}", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of one step. folder: of the project, inside the repository; path: the same, relative to it.

    settings: variables for the processes of pys-multi. time_to_live: of a preview, in seconds.
    """

    command: str
    folder: Path
    path: str
    clouds: tuple[str, ...] = ()
    stage: str = ""
    since: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    comment: bool = True
    github_token: str = ""
    fail_on_changes: bool = False
    fail_on_destructive: bool = True
    delete_data: bool = False
    time_to_live: int = 72 * 3600
    aws_role: str = ""
    aws_region: str = ""
    gcp_provider: str = ""
    gcp_service_account: str = ""
    gcp_project: str = ""
    azure_client: str = ""
    azure_tenant: str = ""
    azure_subscription: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Inputs:
        """The inputs, checked. Raises InputError, which names the input."""
        values = {
            name.removeprefix("INPUT_").lower().replace("_", "-"): value.strip()
            for name, value in environment.items()
            if name.startswith("INPUT_")
        }

        def get(name: str) -> str:
            return values.get(name, "")

        command = get("command") or "plan"
        if command not in COMMANDS:
            raise InputError("command", "is no command", did_you_mean("", COMMANDS))
        workspace = Path(environment.get("GITHUB_WORKSPACE") or ".").resolve()
        folder = _folder(workspace, get("path") or ".")
        return cls(
            command=command,
            folder=folder,
            path=folder.relative_to(workspace).as_posix(),
            clouds=_clouds(get("cloud")),
            stage=_stage(get("stage")),
            since=get("since"),
            settings={**_settings(get("settings")), **_app(get("app")), **_places(get)},
            comment=_flag("comment", get("comment"), True),
            github_token=get("github-token"),
            fail_on_changes=_flag("fail-on-changes", get("fail-on-changes"), command == "drift"),
            fail_on_destructive=_flag("fail-on-destructive", get("fail-on-destructive"), command == "deploy"),
            delete_data=_flag("delete-data", get("delete-data"), False),
            time_to_live=_seconds("ttl", get("ttl") or "72h"),
            aws_role=get("aws-role"),
            aws_region=get("aws-region"),
            gcp_provider=get("gcp-workload-identity-provider"),
            gcp_service_account=get("gcp-service-account"),
            gcp_project=get("gcp-project"),
            azure_client=get("azure-client-id"),
            azure_tenant=get("azure-tenant-id"),
            azure_subscription=get("azure-subscription-id"),
        )


def _folder(workspace: Path, path: str) -> Path:
    try:
        folder = (workspace / path).resolve()
        there = folder.is_relative_to(workspace) and folder.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        raise InputError("path", "is no folder of the repository", "name the project's folder, such as services/shop")
    return folder


def _clouds(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(re.split(r"[\s,]+", text.strip()))) if text.strip() else ()
    if not all(map(_CLOUD.fullmatch, names)):
        raise InputError("cloud", "must be names of providers", "separate several by commas or lines")
    return names


def _stage(text: str) -> str:
    if text and not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", text):
        hint = "write up to 32 lower-case letters, digits and hyphens, with no hyphen at its ends"
        raise InputError("stage", "is no name of a stage", hint)
    return text


def _app(text: str) -> dict[str, str]:
    if text and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", text):
        raise InputError("app", "must be of the form module:attribute")
    return {"PYS_MULTI_APP": text} if text else {}


def _places(get: Callable[[str], str]) -> dict[str, str]:
    """Where on a cloud, as settings: what only looks at the project needs them too, and its provider checks them."""
    return {f"PYS_MULTI_{setting}": get(name) for name, setting in _PLACES.items() if get(name)}


def _settings(text: str) -> dict[str, str]:
    """Lines of "key = value" as the variables that pys-multi reads settings from."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.partition("=")
        key = key.strip()
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not equals or not _SETTING.fullmatch(key):
            raise InputError("settings", f"line {number} is no setting", "write lines such as: bundle.max_mb = 80")
        found["PYS_MULTI_" + re.sub(r"[.-]", "_", key).upper()] = value.strip().strip("\"'")
    return found


def _flag(name: str, text: str, default: bool) -> bool:
    if text and text.lower() not in ("true", "false"):
        raise InputError(name, "must be true or false")
    return text.lower() == "true" if text else default


def _seconds(name: str, text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhd])", text)
    if match is None:
        raise InputError(name, "must be a time such as 90m, 72h or 7d")
    return int(match[1]) * _UNITS[match[2]]
