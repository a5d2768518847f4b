"""The bucket of bundles: made once for a project and region, private, and without a memory of what was deleted.

<service>/<stage>/<build id>.zip                 a bundle; its name is its content
<service>/<stage>/documents/<digest>.json        a document that a release had
<service>/<stage>/releases/<time>-<builds>.json  what a deploy made live: builds, revisions, document
<service>/<stage>/lease.json                     who deploys this stage now (lease.py)

A function takes its bundle from here by that name, so that nothing is uploaded twice, a former build can be returned
to, and "what runs" is a field like any other: with ``generateUploadUrl`` the same code has another name every time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pys_multi_providers.gcp.client import OBJECTS, Cloud
from pys_multi_providers.gcp.difference import differences
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.kinds import BUCKETS
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.patience import each

Json = dict[str, Any]

#: Releases that can be returned to.
KEPT = 20
#: Builds that the name of a release says: names of objects are limited to 1,024 bytes ("Object naming requirements").
_NAMED = 40


@dataclass(frozen=True, slots=True)
class Release:
    """What one deploy made live: by function its build and its revision. document: name of an object."""

    time: float
    builds: Mapping[str, str]
    revisions: Mapping[str, str]
    document: str


class Artefacts:
    """The bundles, documents and releases of one service at one stage."""

    def __init__(self, cloud: Cloud, bucket: str, folder: str, *, is_ours: bool) -> None:
        """folder: "<service>/<stage>/". is_ours: whether pys-multi makes the bucket."""
        self._cloud, self.bucket, self.folder, self._is_ours = cloud, bucket, folder, is_ours

    # ---- the bucket

    def is_there(self) -> bool:
        """Whether the bucket is there. Raises ProviderError where it is somebody else's."""
        return self._read() is not None

    def _read(self) -> Json | None:
        try:
            return self._cloud.call(BUCKETS, "get", bucket=self.bucket)
        except GcpError as error:
            if error.is_gone:
                return None
            if error.code == "PERMISSION_DENIED":
                raise ProviderError(
                    f"the bucket {self.bucket} belongs to another project, or these credentials may not see it",
                    where="gcp.artefact_bucket",
                    hint=f"name a bucket of your own, or see pys-multi permissions --cloud gcp ({error.what})",
                ) from error
            raise

    def ensure(self) -> None:
        """Makes the bucket as it must be; what is right already is left alone. Raises ProviderError."""
        live = self._read()
        if live is None:
            if not self._is_ours:
                raise ProviderError(
                    f"there is no bucket {self.bucket}",
                    where="gcp.artefact_bucket",
                    hint="create it, or remove the setting: deploy then makes one for this project and region",
                )
            self._create()
        elif self._is_ours and (found := differences(self._settings(), live)):
            change = {path.partition(".")[0] for path, _, _ in found} - {"location"}
            body = {name: value for name, value in self._settings().items() if name in change}
            if body:
                self._cloud.call(BUCKETS, "patch", bucket=self.bucket, body=body)

    def _create(self) -> None:
        body = {**self._settings(), "name": self.bucket}
        try:
            self._cloud.call(BUCKETS, "insert", project=self._cloud.project, body=body)
        except GcpError as error:
            if error.maybe or error.code == "ALREADY_EXISTS":
                try:
                    if self.is_there():
                        return  # made by a call whose answer was lost, or by another deploy a moment ago
                except ProviderError:
                    raise ProviderError(
                        f"the name {self.bucket} is taken by another project",
                        where="gcp.artefact_bucket",
                        hint="name a bucket of your own",
                    ) from error
            raise

    def _settings(self) -> Json:
        return {
            "location": self._cloud.region.upper(),
            "storageClass": "STANDARD",
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": True},
                "publicAccessPrevention": "enforced",
            },
            # What is deleted here is deleted on purpose, and would be paid for a week longer.
            "softDeletePolicy": {"retentionDurationSeconds": "0"},
            "labels": {"pys-multi": "artefacts"},
        }

    @property
    def lease(self) -> str:
        """The name of the lease."""
        return f"{self.folder}lease.json"

    def is_leased(self) -> bool:
        """Whether somebody changes this stage, or was killed while doing so."""
        return self._look(self.lease) is not None

    # ---- bundles and documents

    def name(self, build: str) -> str:
        """The name of a bundle."""
        return f"{self.folder}{build}.zip"

    def put_bundle(self, build: str, path: Path) -> bool:
        """Uploads a bundle unless it is there; returns whether it did."""
        return self._put(self.name(build), path.read_bytes(), "application/zip")

    def has_bundle(self, build: str) -> bool:
        """Whether a bundle is there."""
        return self._look(self.name(build)) is not None

    def put_document(self, text: str) -> str:
        """Uploads a document unless it is there; returns its name."""
        name = f"{self.folder}documents/{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        self._put(name, text.encode(), "application/json")
        return name

    def document(self, name: str) -> str:
        """The text of a document."""
        return self._cloud.download(self.bucket, name).decode()

    def _put(self, name: str, data: bytes, kind: str) -> bool:
        """Uploads what is not there with the same bytes; a cut upload is not there at all."""
        live = self._look(name)
        wanted = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        if live is not None and live.get("md5Hash") == wanted:
            return False
        try:
            generation = int(live["generation"]) if live is not None else 0
            self._cloud.upload(self.bucket, name, data, generation=generation, kind=kind)
        except GcpError as error:
            live = self._look(name) if error.code == "CONDITION_NOT_MET" else None
            if live is None or live.get("md5Hash") != wanted:
                raise
        return True

    def _look(self, name: str) -> Json | None:
        try:
            return self._cloud.call(OBJECTS, "get", bucket=self.bucket, object=name)
        except GcpError as error:
            if error.is_gone:
                return None
            raise

    # ---- releases

    def builds(self) -> tuple[str, ...]:
        """The builds of the last releases, newest first; the names of the objects say them."""
        names = self._release_names()
        return tuple(
            dict.fromkeys(build for name in names for build in name.removesuffix(".json").split("-")[-1].split("."))
        )

    def releases(self) -> Iterator[Release]:
        """The last releases, newest first; each is read when it is asked for."""
        return map(self._release, self._release_names())

    def last(self) -> Release | None:
        """The last release."""
        return next(self.releases(), None)

    def _release_names(self) -> list[str]:
        return sorted(self._listed(f"{self.folder}releases/"), reverse=True)[:KEPT]

    def _release(self, name: str) -> Release:
        return Release(**json.loads(self._cloud.download(self.bucket, name)))

    def put_release(self, builds: Mapping[str, str], revisions: Mapping[str, str], document: str) -> None:
        """Notes what is live now, unless it is what was noted last."""
        last = self.last()
        if last is not None and (last.builds, last.revisions, last.document) == (
            dict(builds),
            dict(revisions),
            document,
        ):
            return
        at = max(time.time(), last.time + 0.001 if last is not None else 0.0)
        release = Release(at, dict(builds), dict(revisions), document)
        ids = sorted(set(builds.values()))[:_NAMED]
        # Fixed width, so that the order of names is the order of time.
        name = f"{self.folder}releases/{int(at * 1000):015d}-{'.'.join(ids)}.json"
        self._put(name, json.dumps(asdict(release)).encode(), "application/json")

    # ---- the end

    def remove(self, *, but: str = "") -> None:
        """Deletes everything of this stage but one object."""
        names = [name for name in self._listed(self.folder) if name != but]
        each(lambda name: self.delete(name), names)

    def remove_bucket(self) -> None:
        """Deletes the bucket when it is ours, and empty."""
        if self._is_ours:
            try:
                self._cloud.call(BUCKETS, "delete", bucket=self.bucket)
            except GcpError as error:
                if not error.is_gone and error.code != "ALREADY_EXISTS":  # 409: others of the project use it
                    raise

    def delete(self, name: str) -> None:
        """Deletes an object, if it is there."""
        try:
            self._cloud.call(OBJECTS, "delete", bucket=self.bucket, object=name)
        except GcpError as error:
            if not error.is_gone:
                raise

    def _listed(self, prefix: str) -> list[str]:
        try:
            return [
                str(entry["name"]) for entry in self._cloud.pages(OBJECTS, "items", bucket=self.bucket, prefix=prefix)
            ]
        except GcpError as error:
            if error.is_gone:
                return []
            raise
