"""Function apps: packages that are published, functions that are indexed then, keys, and calls.

One Deploy: "Deployment technologies in Azure Functions" and the open clients of it (2026-11): ``POST /api/publish``
answers 202 with an id, and 200 also where it failed; ``GET /api/deployments/<id>`` says how it goes, with the numbers
of Kudu's DeployStatus. What runs an app is given from outside; see :class:`Running`.
"""

from __future__ import annotations

import io
import json
import re
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tests.support.arm.data import Blobs, Reply
from tests.support.arm.resources import World

Json = dict[str, Any]

PENDING, BUILDING, DEPLOYING, FAILED, SUCCESS = 0, 1, 2, 3, 4
_BLOB_ROLES = ("Storage Blob Data Owner", "Storage Blob Data Contributor")
_REFERENCE = re.compile(
    r"@Microsoft\.KeyVault\(SecretUri=https://([^./]+)\.vault\.azure\.net/secrets/([^/)]+)(/[^)]*)?\)"
)


class Running(Protocol):
    """An app that runs."""

    #: (name, type of its trigger) of the functions that the worker indexed.
    functions: list[tuple[str, str]]

    def call(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One HTTP call, as Azure's front hands it over; the host has looked at no key."""

    def stop(self) -> None: ...


@dataclass
class Keys:
    """The keys of an app."""

    master: str = field(default_factory=lambda: uuid.uuid4().hex)
    default: str = field(default_factory=lambda: uuid.uuid4().hex)


#: (name of the app, package, settings, keys) → the app that runs them; raises what it says when it cannot.
Launcher = Callable[[str, bytes, Mapping[str, str], Keys], Running]


@dataclass
class Site:
    """One app's package and what runs it."""

    keys: Keys = field(default_factory=Keys)
    package: bytes | None = None
    running: Running | None = None
    settings: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, Json] = field(default_factory=dict)
    latest: str = ""


class Sites:
    """All apps. outcomes: how the next publishings go, oldest first: "" as they should, "200 and failed", "fails",
    "busy", "nothing indexed", "old code"."""

    def __init__(self, world: World, blobs: Blobs, launch: Launcher) -> None:
        self._world, self._blobs, self._launch = world, blobs, launch
        self._sites: dict[str, Site] = {}
        self.outcomes: list[str] = []
        self.published: list[str] = []
        #: Told of every call of an app: its name, the status, milliseconds.
        self.on_call: Callable[[str, int, float], None] = lambda *_: None
        self._lock = threading.RLock()
        world.watchers.append(self._watch)

    def __getitem__(self, name: str) -> Site:
        return self._sites[name.lower()]

    def kept(self) -> dict[str, Site]:
        """All of it as it is now, to return to."""
        self.wait()
        return {name: replace(site, deployments=dict(site.deployments)) for name, site in self._sites.items()}

    def wait(self) -> None:
        """Until nothing is being published."""
        for site in list(self._sites.values()):
            for record in list(site.deployments.values()):
                record["_done"].wait(30)

    def restore(self, kept: Mapping[str, Site]) -> None:
        self.wait()
        self._sites = {name: replace(site, deployments=dict(site.deployments)) for name, site in kept.items()}

    def stop(self) -> None:
        for site in self._sites.values():
            if site.running is not None:
                site.running.stop()
                site.running = None

    def _watch(self, entry: Json, what: str) -> None:
        if entry["type"].lower() != "microsoft.web/sites":
            return
        name = entry["name"].lower()
        with self._lock:
            if what == "delete":
                site = self._sites.pop(name)
                if site.running is not None:
                    site.running.stop()
                return
            site = self._sites.setdefault(name, Site())
            settings = self.settings_of(entry)
            changed = settings != site.settings
            site.settings = settings
            if site.package is not None and changed:  # a change of settings restarts an app
                self._start(name, site)

    def settings_of(self, entry: Json) -> dict[str, str]:
        given = entry["properties"].get("siteConfig", {}).get("appSettings", ())
        return {item["name"]: self._secret(entry, item["value"]) for item in given}

    def refresh(self, entry: Json) -> None:
        """References to Key Vault, once more."""
        self._watch(entry, "put")

    def _secret(self, entry: Json, value: str) -> str:
        """A reference's secret; the reference itself where the app's identity does not get it, as Azure has it."""
        match = _REFERENCE.fullmatch(value)
        if match is None:
            return value
        vault, name = match.group(1).lower(), match.group(2)
        identity = self._world.get(entry["properties"].get("keyVaultReferenceIdentity", ""))
        [owner] = [e for e in self._world.of_type("Microsoft.KeyVault/vaults") if e["name"].lower() == vault] or [None]
        values = self._world.secrets.get(vault, {}).get(name)
        if identity is None or owner is None or not values:
            return value
        who, place = identity["properties"]["principalId"], f"{owner['id']}/secrets/{name}"
        return values[-1] if self._world.may(who, ("Key Vault Secrets User",), place) else value

    def _start(self, name: str, site: Site) -> None:
        if site.running is not None:
            site.running.stop()
            site.running = None
        assert site.package is not None
        site.running = self._launch(name, site.package, site.settings, site.keys)

    # ---- what the site's own hosts answer

    def scm(
        self, name: str, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Where packages go."""
        site = self._sites.get(name)
        if site is None:
            return 404, {}, b"404 Web Site not found."
        if method == "POST" and path == "/api/publish":
            return self._publish(name, site, query, headers, body)
        if method == "GET" and path.startswith("/api/deployments/"):
            id = path.rpartition("/")[2]
            if path.endswith("/log"):
                id = path.split("/")[-2]
                text = site.deployments.get(id, {}).get("_reason", "")
                return _json(200, [{"log_time": "2026-11-24T10:00:00Z", "id": "1", "message": text, "type": 2}])
            found = site.deployments.get(site.latest if id == "latest" else id)
            return _json(404, {"error": "deployment not found"}) if found is None else self._status(found)
        return 404, {}, b"no such address"

    def _status(self, found: Json) -> Reply:
        shown = {key: value for key, value in found.items() if not key.startswith("_")}
        if found["status"] in (PENDING, BUILDING) and found["_done"].wait(0.02):
            found["status"] = found["_end"]
            found["complete"] = True
        return _json(200, shown)

    def _publish(
        self, name: str, site: Site, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        if query.get("RemoteBuild", "").lower() != "false" or headers.get("content-type") != "application/zip":
            return _json(400, {"Message": "RemoteBuild or Content-Type is not what it must be"})
        with self._lock:
            outcome = self.outcomes.pop(0) if self.outcomes else ""
            if outcome == "busy" or any(not d["_done"].is_set() for d in site.deployments.values()):
                return _json(
                    409, {"Message": "There is a deployment currently in progress. Please try again when it completes."}
                )
            id = str(uuid.uuid4())
            host = f"https://{name}.scm.azurewebsites.net/api/deployments/{id}"
            record: Json = {
                "id": id,
                "status": PENDING,
                "status_text": "",
                "message": "OneDeploy",
                "progress": "",
                "complete": False,
                "active": False,
                "site_name": name,
                "url": host,
                "log_url": f"{host}/log",
                "_done": threading.Event(),
                "_end": SUCCESS,
                "_reason": "",
            }
            site.deployments[id], site.latest = record, id
        if outcome == "200 and failed":
            record |= {"status": FAILED, "complete": True, "_reason": "[KuduSpecializer] unzip failed", "_end": FAILED}
            record["status_text"] = "deployment failed"
            record["_done"].set()
            shown = {key: value for key, value in record.items() if not key.startswith("_")}
            return _json(200, shown)
        threading.Thread(target=self._deploy, args=(name, site, record, body, outcome), daemon=True).start()
        status, found, text = _json(202, id)
        return status, {**found, "location": host}, text

    def _deploy(self, name: str, site: Site, record: Json, body: bytes, outcome: str) -> None:
        try:
            record["status"] = BUILDING
            if outcome == "fails":
                raise ValueError("[KuduSpecializer] Kudu failed to specialize")
            zipfile.ZipFile(io.BytesIO(body)).testzip()
            self._store(name, body)
            with self._lock:
                if outcome != "old code":
                    site.package = body
                    self._start(name, site)
                if outcome == "nothing indexed" and site.running is not None:
                    site.running.functions = []
            self.published.append(name)
        except Exception as error:
            record["_reason"] = record["status_text"] = f"{error}"
            record["_end"] = FAILED
        finally:
            record["_done"].set()

    def _store(self, name: str, body: bytes) -> None:
        """The package goes into the app's container, in the name of the app's identity."""
        [entry] = [e for e in self._world.of_type("Microsoft.Web/sites") if e["name"].lower() == name]
        storage = entry["properties"]["functionAppConfig"]["deployment"]["storage"]
        account, container = re.fullmatch(r"https://([^.]+)\.blob\.core\.windows\.net/(.+)", storage["value"]).groups()
        identity = self._world.get(storage["authentication"]["userAssignedIdentityResourceId"])
        [owner] = [e for e in self._world.of_type("Microsoft.Storage/storageAccounts") if e["name"] == account]
        place = f"{owner['id']}/blobServices/default/containers/{container}"
        blobs = self._blobs.of(account, container)
        if blobs is None or identity is None:
            raise ValueError(f"InaccessibleStorageException: there is no container {container}")
        if not self._world.may(identity["properties"]["principalId"], _BLOB_ROLES, place):
            raise ValueError("InaccessibleStorageException: BlobUploadFailedException: AuthorizationPermissionMismatch")
        blobs["released-package.zip"] = body

    def app(self, name: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """A call of the app."""
        site = self._sites.get(name)
        if site is None:
            return 404, {"content-type": "text/html"}, b"404 Web Site not found."
        if target.startswith("/admin/"):
            if headers.get("x-functions-key") != site.keys.master:
                return 401, {}, b""
            if target.split("?")[0] == "/admin/host/status":
                return _json(200, {"id": name, "state": "Running", "version": "4.1037.0", "errors": []})
            return 404, {}, b""
        if site.running is None:
            return 503, {"content-type": "text/html"}, b"Function host is not running."
        started = time.perf_counter()
        reply = site.running.call(method, target, headers, body)
        self.on_call(name, reply[0], (time.perf_counter() - started) * 1000)
        return reply

    def functions(self, entry: Json) -> list[Json]:
        """The indexed functions as Resource Manager lists them."""
        running = self[entry["name"]].running
        return [
            {
                "id": f"{entry['id']}/functions/{name}",
                "name": f"{entry['name']}/{name}",
                "type": "Microsoft.Web/sites/functions",
                "location": entry.get("location"),
                "properties": {"name": name, "language": "python", "config": {"bindings": [{"type": kind}]}},
            }
            for name, kind in (running.functions if running is not None else ())
        ]


def _json(status: int, value: Any) -> Reply:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()
