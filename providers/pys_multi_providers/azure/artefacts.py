"""The container of releases in the stage's own storage account: what a rollback goes back to.

<build id>.zip             a bundle; its name is its content
templates/<digest>.json    a template that a release had
releases/<time>-<builds>   what a deploy made live: the builds of the functions, and the template
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from pys_multi_providers.azure.client import Answer, Cloud, digest
from pys_multi_providers.azure.errors import AzureError, told_once
from pys_multi_tools.patience import patiently

#: Releases that can be returned to.
KEPT = 20
#: Builds that the name of a release says: names of blobs are limited to 1,024 characters.
_NAMED = 40
#: The version of the interface; from this one on a single call takes 5,000 MiB ("Put Blob").
_VERSION = "2023-11-03"
#: Seconds that a right to the blobs may take to be known everywhere; ten minutes at worst ("Troubleshoot Azure RBAC"),
#: which nobody wants to wait who simply has none.
_KNOWN = 180.0


@dataclass(frozen=True, slots=True)
class Release:
    """What one deploy made live. builds: by function. template: name of a blob."""

    time: float
    builds: Mapping[str, str]
    template: str


class Artefacts:
    """The bundles, templates and releases of one service at one stage."""

    def __init__(self, cloud: Cloud, host: str, container: str) -> None:
        """host: of the account's blobs."""
        self._cloud, self._host, self._container = cloud, host, container

    def put_bundle(self, build: str, path: Path, tell: Callable[[str], None]) -> bool:
        """Uploads a bundle unless it is there; returns whether it did. Waits for the right to do so."""

        def put() -> bool:
            if self._size(f"{build}.zip") == path.stat().st_size:
                return False
            self._put(f"{build}.zip", path.read_bytes())
            return True

        return patiently(put, AzureError, told_once(_is_new, tell), seconds=_KNOWN)

    def has_bundle(self, build: str) -> bool:
        """Whether a bundle is there."""
        return self._size(f"{build}.zip") is not None

    def bundle(self, build: str) -> bytes:
        """A bundle's bytes."""
        return self._call("GET", f"{build}.zip", timeout=600).body

    def put_template(self, text: str) -> str:
        """Uploads a template unless it is there; returns its name."""
        name, data = f"templates/{digest(text)}.json", text.encode()
        if self._size(name) != len(data):
            self._put(name, data)
        return name

    def template(self, name: str) -> str:
        """The text of a template."""
        return self._call("GET", name).body.decode()

    # ---- releases

    def releases(self) -> Iterator[Release]:
        """The last releases, newest first; each is read when it is asked for."""
        for name in self._names("releases/")[:KEPT]:
            fields = json.loads(self._call("GET", name).body)
            yield Release(fields["time"], fields["builds"], fields["template"])

    def builds(self) -> tuple[str, ...]:
        """The builds of the last releases, newest first; the names of the blobs say them."""
        found = (name.partition("-")[2].split(".") for name in self._names("releases/")[:KEPT])
        return tuple(dict.fromkeys(build for builds in found for build in builds))

    def put_release(self, builds: Mapping[str, str], template: str) -> None:
        """Notes what is live now, and deletes what no release goes back to any more."""
        release = Release(time.time(), dict(builds), template)
        ids = sorted(set(builds.values()))[:_NAMED]
        # Fixed width, so that the order of names is the order of time.
        self._put(f"releases/{int(release.time * 1000):015d}-{'.'.join(ids)}", json.dumps(asdict(release)).encode())
        names = self._names("releases/")
        if len(names) > KEPT:
            self._tidy(names)

    def _tidy(self, names: list[str]) -> None:
        kept = list(self.releases())
        used = {f"{build}.zip" for release in kept for build in release.builds.values()}
        used |= {release.template for release in kept}
        for name in (*names[KEPT:], *(n for n in self._names("") if not n.startswith("releases/") and n not in used)):
            self._call("DELETE", name, may=(404,))

    # ---- blobs

    def _names(self, prefix: str) -> list[str]:
        """In falling order; none where there is no container."""
        found: list[str] = []
        marker = ""
        while True:
            query = f"?restype=container&comp=list&prefix={quote(prefix, safe='')}"
            answer = self._call("GET", query + (f"&marker={quote(marker, safe='')}" if marker else ""), may=(404,))
            if answer.status == 404:
                return []
            page = ElementTree.fromstring(answer.body)  # noqa: S314  (Azure's own answer)
            found += [name.text or "" for name in page.iterfind("Blobs/Blob/Name")]
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return sorted(found, reverse=True)

    def _put(self, name: str, data: bytes) -> None:
        self._call("PUT", name, {"x-ms-blob-type": "BlockBlob"}, data, timeout=600)

    def _size(self, name: str) -> int | None:
        answer = self._call("HEAD", name, may=(404,))
        return int(answer.headers["content-length"]) if answer.status == 200 else None

    def _call(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        may: tuple[int, ...] = (),
        timeout: float = 60.0,
    ) -> Answer:
        path = f"{self._container}{name}" if name.startswith("?") else f"{self._container}/{quote(name)}"
        named = {"x-ms-version": _VERSION, "x-ms-date": formatdate(usegmt=True), **(headers or {})}
        return self._cloud.call(
            "blob", method, f"https://{self._host}/{path}", headers=named, body=body, may=may, timeout=timeout
        )


def _is_new(error: AzureError) -> bool:
    """Whether a right may only be unknown as yet. A HEAD has no body that says why, so any 403 of it is one."""
    codes = ("403", "AuthorizationPermissionMismatch", "AuthorizationFailure", "InsufficientAccountPermissions")
    return error.is_denied and error.code in codes
