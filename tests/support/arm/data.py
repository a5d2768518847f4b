"""The data planes that a deploy speaks to: blobs of a storage account, secrets of a vault."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.support.arm.resources import World

Json = dict[str, Any]
#: Status, headers, body.
Reply = tuple[int, dict[str, str], bytes]


class Blobs:
    """Blob storage by Entra tokens alone ("Blob service REST API"): keys are switched off."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.containers: dict[str, dict[str, bytes]] = {}
        world.watchers.append(self._watch)

    def _watch(self, entry: Json, what: str) -> None:
        if entry["type"].lower().endswith("/blobservices/containers"):
            if what == "put":
                self.containers.setdefault(entry["id"].lower(), {})
            else:
                self.containers.pop(entry["id"].lower(), None)

    def of(self, account: str, container: str) -> dict[str, bytes] | None:
        for entry in self._world.of_type("Microsoft.Storage/storageAccounts"):
            if entry["name"] == account:
                return self.containers.get(f"{entry['id']}/blobServices/default/containers/{container}".lower())
        return None

    def answer(
        self, account: str, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        if headers.get("x-ms-version", "") < "2017-11-09":
            return _xml(403, "AuthenticationFailed", "tokens need x-ms-version 2017-11-09 or later")
        if "x-ms-date" not in headers:
            return _xml(400, "MissingRequiredHeader", "x-ms-date")
        container, _, name = unquote(path.lstrip("/")).partition("/")
        blobs = self.of(account, container)
        if blobs is None:
            return _xml(404, "ContainerNotFound", "The specified container does not exist.")
        if query.get("restype") == "container":
            return self._container(method, query, blobs)
        if query:
            return _xml(400, "InvalidQueryParameterValue", f"{dict(query)} is not known here")
        return self._blob(method, name, headers, body, blobs)

    def _container(self, method: str, query: Mapping[str, str], blobs: dict[str, bytes]) -> Reply:
        if (
            method != "GET"
            or query.get("comp") != "list"
            or set(query) - {"restype", "comp", "prefix", "marker", "maxresults"}
        ):
            return _xml(400, "InvalidQueryParameterValue", f"{method} {dict(query)} is not known here")
        names = sorted(name for name in blobs if name.startswith(query.get("prefix", "")))
        names = [name for name in names if name >= query.get("marker", "")]
        # Small pages, so that whoever lists follows them.
        page, rest = names[:5], names[5:6]
        entries = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{len(blobs[name])}</Content-Length>"
            "</Properties></Blob>"
            for name in page
        )
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{entries}</Blobs>'
            f"<NextMarker>{escape(rest[0]) if rest else ''}</NextMarker></EnumerationResults>"
        )
        return 200, {"content-type": "application/xml"}, b"\xef\xbb\xbf" + text.encode()

    def _blob(self, method: str, name: str, headers: Mapping[str, str], body: bytes, blobs: dict[str, bytes]) -> Reply:
        if method == "PUT":
            if headers.get("x-ms-blob-type") != "BlockBlob":
                return _xml(400, "MissingRequiredHeader", "x-ms-blob-type")
            if headers.get("if-none-match") == "*" and name in blobs:
                return _xml(409, "BlobAlreadyExists", "The specified blob already exists.")
            blobs[name] = body
            return 201, {"etag": f'"{hashlib.md5(body).hexdigest()}"'}, b""
        if name not in blobs:
            return _xml(404, "BlobNotFound", "The specified blob does not exist.")
        if method == "DELETE":
            del blobs[name]
            return 202, {}, b""
        found = {"content-type": "application/octet-stream", "content-length": str(len(blobs[name]))}
        if method == "HEAD":
            return 200, found, b""
        if method == "GET":
            return 200, found, blobs[name]
        return _xml(405, "UnsupportedHttpVerb", method)


class Vaults:
    """Secrets of Key Vaults ("Key Vault REST API", 7.4 and later)."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, vault: str, method: str, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        if not any(entry["name"].lower() == vault for entry in self._world.of_type("Microsoft.KeyVault/vaults")):
            return _json(404, {"error": {"code": "VaultNotFound", "message": f"there is no vault {vault}"}})
        if query.get("api-version", "") < "7.4":
            return _json(400, {"error": {"code": "BadParameter", "message": "api-version"}})
        if "secrets" in self._world.denied:
            inner = {"code": "ForbiddenByRbac"}
            text = "Caller is not authorized to perform action on resource. Assignment: (not found)"
            return _json(403, {"error": {"code": "Forbidden", "message": text, "innererror": inner}})
        secrets = self._world.secrets.setdefault(vault, {})
        parts = [part for part in path.split("/") if part]
        if method == "GET" and parts == ["secrets"]:
            ids = [{"id": f"https://{vault}.vault.azure.net/secrets/{name}"} for name in sorted(secrets)]
            return _json(200, {"value": ids, "nextLink": None})
        if len(parts) != 2 or parts[0] != "secrets":
            return _json(400, {"error": {"code": "BadParameter", "message": f"{method} {path} is not known here"}})
        name = parts[1]
        if method == "PUT":
            value = json.loads(body).get("value")
            if not isinstance(value, str):
                return _json(400, {"error": {"code": "BadParameter", "message": "value"}})
            secrets.setdefault(name, []).append(value)
        elif name not in secrets:
            text = f"A secret with (name/id) {name} was not found in this key vault."
            return _json(404, {"error": {"code": "SecretNotFound", "message": text}})
        elif method == "DELETE":
            del secrets[name]
            return _json(200, {"id": f"https://{vault}.vault.azure.net/secrets/{name}"})
        elif method != "GET":
            return _json(405, {"error": {"code": "MethodNotAllowed", "message": method}})
        return _json(200, {"value": secrets[name][-1], "id": f"https://{vault}.vault.azure.net/secrets/{name}"})


def _xml(status: int, code: str, message: str) -> Reply:
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
    )
    return status, {"content-type": "application/xml", "x-ms-error-code": code}, body.encode()


def _json(status: int, value: Any) -> Reply:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()
