"""The function apps of a stage: what they serve, and how a package gets into one and is proven.

A green deployment says little here: One Deploy answers 200 also where it failed, and an app whose code Azure could not
index runs, with no functions. So its body and status are read to the end, then the functions that Azure lists must be
the ones that the bundle has, and the build that answers must be the one that was sent.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pys_multi.runtime import HEALTH_PATH
from pys_multi_providers.azure.client import Answer, Cloud
from pys_multi_providers.azure.errors import AzureError, reason_of, refusal
from pys_multi_providers.azure.kinds import KINDS, VERSIONS
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError
from pys_multi_tools.patience import Pause, each

Json = dict[str, Any]

#: Seconds until a package that was taken must be what answers, with its functions indexed.
PATIENCE = 240.0
#: Seconds that one publishing may take, with the rights of a new identity on its way.
_PUBLISHING = 900.0
#: Seconds that a publishing may not be known while the app's machine is another one.
_LOST = 60.0
_ID = re.compile(r"[0-9A-Fa-f-]{8,}")
#: Kudu's DeployStatus.
_FAILED, _SUCCESS = (3, 5, 6), 4
#: What Kudu says while an app's identity may not write its package yet.
_NOT_YET = (
    "InaccessibleStorage",
    "AuthorizationPermissionMismatch",
    "AuthorizationFailure",
    "Failed to access storage",
)


@dataclass(frozen=True, slots=True)
class App:
    """An app as Azure has it. host: where it is called; scm: where its packages go."""

    id: str
    name: str
    host: str
    scm: str
    state: str


@dataclass(frozen=True, slots=True)
class Live:
    """What an app serves. build_id: empty where nothing of ours answers, and reason says what does."""

    app: App | None
    build_id: str = ""
    reason: str = ""


class Apps:
    """The apps of the functions of a service. names: function → name of its app."""

    def __init__(self, cloud: Cloud, names: Mapping[str, str], progress: Callable[[Progress], None]) -> None:
        self._cloud, self._names, self._progress = cloud, names, progress
        self._keys: dict[tuple[str, str], str] = {}

    # ---- looking

    def all(self) -> dict[str, App | None]:
        """By function."""
        found = {}
        for entry in self._cloud.pages(f"providers/{KINDS['site']}", VERSIONS["site"]):
            properties = entry.get("properties") or {}
            scm = [h["name"] for h in properties.get("hostNameSslStates") or () if h.get("hostType") == "Repository"]
            host = str(properties.get("defaultHostName") or "")
            name = entry["name"].lower()
            state = str(properties.get("state", ""))
            found[name] = App(entry["id"], entry["name"], host, scm[0] if scm else _scm(host), state)
        return {function: found.get(name.lower()) for function, name in self._names.items()}

    def all_live(self) -> dict[str, Live]:
        """What each function serves, side by side."""
        apps = self.all()
        return dict(zip(apps, each(self.live, apps.values()), strict=True))

    def live(self, app: App | None) -> Live:
        """What an app serves now."""
        if app is None:
            return Live(None, reason="it is not there; deploy")
        if app.state and app.state != "Running":
            return Live(app, reason=f"it is {app.state.lower()}")
        pause = Pause(first=0.2, most=1.0)
        try:
            for _ in range(_LOOKS):
                answer = self._health(app)
                if answer.status not in _NOT_NOW:
                    break
                pause()
        except AzureError as error:
            return Live(app, reason=error.what)
        try:
            said = answer.json() if answer.status == 200 else None
        except ValueError:
            said = None
        if isinstance(said, dict) and said.get("build_id"):
            return Live(app, build_id=str(said["build_id"]))
        if answer.status == 404:
            return Live(app, reason="Azure has indexed no functions of it")
        return Live(app, reason=f"its health is answered with {answer.status}")

    def _health(self, app: App) -> Answer:
        """Without a key, and with one where that is asked for."""
        url = f"https://{app.host}{HEALTH_PATH}"
        answer = self._cloud.call("app", "GET", url, may=_ANY, timeout=100, once=True)
        if answer.status in (401, 403):
            headers = {"x-functions-key": self.key(app)}
            answer = self._cloud.call("app", "GET", url, headers=headers, may=_ANY, timeout=100, once=True)
        return answer

    def key(self, app: App, kind: str = "default") -> str:
        """The app's key that opens all of its functions ("default"), or the one that opens all of it ("master")."""
        if (app.id, kind) not in self._keys:
            found = self._cloud.arm("POST", f"{app.id}/host/default/listkeys", VERSIONS["site"])
            self._keys[app.id, "master"] = str(found.get("masterKey", ""))
            self._keys[app.id, "default"] = str((found.get("functionKeys") or {}).get("default", ""))
        return self._keys[app.id, kind]

    def indexed(self, app: App) -> set[str]:
        """The names of the functions that Azure lists."""
        found = self._cloud.pages(f"{app.id}/functions", VERSIONS["site"])
        return {entry["name"].rpartition("/")[2] for entry in found}

    # ---- publishing

    def publish(self, function: str, app: App, build: str, package: Callable[[], bytes]) -> None:
        """Sends a package and follows that to its end. Raises DeployError with Azure's reason."""
        deadline, pause = time.monotonic() + _PUBLISHING, Pause(first=0.3, most=10.0)
        body = package()
        while True:
            self._say("publish", f"{function}: {build}, {len(body) / 1e6:.1f} MB")
            reason = self._attempt(function, app, body)
            if not reason:
                return
            passes = any(text in reason for text in (*_NOT_YET, _BUSY))
            if not passes or time.monotonic() > deadline:
                raise DeployError(
                    f"Azure did not take its package: {reason}",
                    where=f"function {function}",
                    hint="see the deployments of the app in the portal, and deploy again",
                )
            self._say("publish", f"{function}: {reason}: trying again")
            pause()

    def _attempt(self, function: str, app: App, body: bytes) -> str:
        """One publishing. Returns why it failed; nothing where it did not."""
        headers = {"Content-Type": "application/zip", "Cache-Control": "no-cache"}
        url = f"https://{app.scm}/api/publish?RemoteBuild=false&Deployer=pys-multi"
        answer = self._cloud.call("scm", "POST", url, headers=headers, body=body, may=_ANY, timeout=600)
        if answer.status == 409:
            return _BUSY
        if answer.status >= 400:
            code, message = reason_of(answer.body, answer.status)
            if any(text in message for text in _NOT_YET):
                return message
            raise refusal(code, message, status=answer.status, asked=f"POST {app.scm}/api/publish")
        said = _parsed(answer)
        if isinstance(said, dict) and said.get("status") in _FAILED:
            return self._reason(app, said)
        id = str(said.get("id", "")) if isinstance(said, dict) else str(said or "")
        if not _ID.fullmatch(id):
            id = urlsplit(answer.headers.get("location", "")).path.rpartition("/")[2] or "latest"
        return self._followed(function, app, id)

    def _followed(self, function: str, app: App, id: str) -> str:
        deadline, pause = time.monotonic() + _PUBLISHING, Pause(first=0.1, most=3.0)
        told, lost = "", deadline
        url = f"https://{app.scm}/api/deployments/{id}"
        while True:
            answer = self._cloud.call("scm", "GET", url, may=_ANY)
            if answer.status in (401, 403):
                code, message = reason_of(answer.body, answer.status)
                raise refusal(code, message, status=answer.status, asked=f"GET {app.scm}/api/deployments")
            said = _parsed(answer) if answer.status == 200 else None
            if isinstance(said, dict):
                if said.get("status") == _SUCCESS:
                    return ""
                if said.get("status") in _FAILED:
                    return self._reason(app, said)
                text = str(said.get("progress") or said.get("status_text") or "")
                if text and text != told:
                    told = text
                    self._say("publish", f"{function}: {text}")
                lost = deadline
            elif lost == deadline:
                lost = time.monotonic() + _LOST
            if time.monotonic() > lost:
                if lost != deadline:
                    return ""  # nobody knows of it any more: what serves decides
                return f"its end was not told in {_PUBLISHING:.0f} s"
            pause()

    def _reason(self, app: App, said: Json) -> str:
        """Why a publishing failed: what its status says, and its log."""
        texts = [str(said.get(name) or "") for name in ("status_text", "message", "progress")]
        path = urlsplit(str(said.get("log_url") or "")).path
        if path:
            answer = self._cloud.call("scm", "GET", f"https://{app.scm}{path}", may=_ANY)
            log = _parsed(answer) if answer.status == 200 else None
            texts += [str(entry.get("message") or "") for entry in log or () if isinstance(entry, dict)]
        known = ("OneDeploy", "")
        return (
            "; ".join(dict.fromkeys(text.strip() for text in texts if text.strip() not in known)) or "no reason given"
        )

    # ---- proving

    def prove(self, function: str, app: App, build: str, expected: set[str]) -> None:
        """Waits until the build answers with its functions indexed. Raises DeployError. No false green."""
        deadline, pause = time.monotonic() + PATIENCE, Pause(first=0.1, most=5.0)
        while True:
            live = self.live(app)
            found = self.indexed(app)
            if live.build_id == build and found == expected:
                self._say("verify", f"{function} serves {build}, {len(found)} functions")
                return
            if time.monotonic() > deadline:
                raise self._unproven(function, live, build, found, expected)
            pause()

    def _unproven(self, function: str, live: Live, build: str, found: set[str], expected: set[str]) -> DeployError:
        where, hint = f"function {function}", f"pys-multi logs --function {function} has what its start said"
        if not found:
            what = f"its package was taken, and Azure indexed no functions of it ({_list(expected)} should be there)"
            return DeployError(what, where=where, hint=hint)
        if live.build_id != build:
            served = live.build_id or live.reason
            hint = f"somebody else deployed, or its start failed: {hint}"
            return DeployError(f"it serves not {build}: {served}", where=where, hint=hint)
        missing, others = _list(expected - found) or "none", _list(found - expected) or "none"
        what = f"Azure indexed other functions than the bundle has: missing {missing}, too much {others}"
        return DeployError(what, where=where, hint="deploy again; if it stays so, report it")

    def refresh(self, app: App) -> None:
        """Has an app read its secrets again, which it otherwise does once a day ("Use Key Vault references")."""
        self._cloud.arm("POST", f"{app.id}/config/configreferences/appsettings/refresh", VERSIONS["site"])

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))


_ANY = range(400, 600)
#: What the platform answers while no instance is ready, which is no word of the app: it is asked again.
_NOT_NOW, _LOOKS = (429, 502, 503, 504), 3
_BUSY = "another publishing is on its way"


def _scm(host: str) -> str:
    name, _, rest = host.partition(".")
    return f"{name}.scm.{rest}"


def _parsed(answer: Answer) -> Any:
    try:
        return answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return answer.body.decode("utf-8", "replace").strip()


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
