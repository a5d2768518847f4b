"""The bucket of bundles: made once for an account and region, private, encrypted, versioned, owner-checked.

<service>/<stage>/<build id>.zip                 a bundle; its name is its content
<service>/<stage>/templates/<digest>.json        a template that is too long for a call, or that a release had
<service>/<stage>/releases/<time>.json           what a deploy made live: builds, versions, template
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pys_multi_providers.aws.client import AwsError, Cloud, digest
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.patience import each

Json = dict[str, Any]

#: Releases that can be returned to.
KEPT = 20
#: Seconds that what no release names is kept: a deploy that is under way has no release yet.
_IN_USE = 86_400.0
#: Builds that the name of a release says: names of objects are limited to 1,024 bytes ("Naming Amazon S3 objects").
_NAMED = 40


@dataclass(frozen=True, slots=True)
class Build:
    """A bundle as Lambda knows it. id: empty where it is not known. sha256: in base64, of the zip."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """What one deploy made live: by function its build and its published version. template: key in the bucket."""

    time: float
    builds: Mapping[str, Build]
    versions: Mapping[str, str]
    template: str


class Artefacts:
    """The bundles, templates and releases of one service at one stage."""

    def __init__(self, cloud: Cloud, bucket: str, folder: str, *, is_ours: bool) -> None:
        """folder: "<service>/<stage>/". is_ours: whether pys-multi makes the bucket."""
        self._cloud, self.bucket, self._folder, self._is_ours = cloud, bucket, folder, is_ours

    # ---- the bucket

    def ensure(self) -> None:
        """Makes the bucket as it must be; what is right already is left alone. Raises ProviderError."""
        if not self.is_there():
            if not self._is_ours:
                raise ProviderError(
                    f"there is no bucket {self.bucket}",
                    where="aws.artefact_bucket",
                    hint="create it, or remove the setting: deploy then makes one for this account and region",
                )
            self._create()
        if self._is_ours:
            each(self._set, self._settings())

    def is_there(self) -> bool:
        """Whether the bucket is there. Raises ProviderError where it is somebody else's."""
        try:
            self._s3("head_bucket")
        except AwsError as error:
            if error.code in ("404", "NoSuchBucket", "NotFound"):
                return False
            if error.code in ("301", "PermanentRedirect"):
                raise ProviderError(
                    f"the bucket {self.bucket} is in another region than {self._cloud.region}",
                    where="aws.artefact_bucket",
                    hint="name one in the region of the functions: Lambda takes bundles from no other",
                ) from error
            if error.code in ("403", "AccessDenied"):
                raise ProviderError(
                    f"the bucket {self.bucket} belongs to another account, or these credentials may not see it",
                    where="aws.artefact_bucket",
                    hint="name a bucket of your own, or see what pys-multi permissions --cloud aws prints",
                ) from error
            raise
        return True

    def _create(self) -> None:
        region = self._cloud.region
        where: Json = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._cloud.call("s3", "create_bucket", Bucket=self.bucket, **where)
        except AwsError as error:
            if error.code == "BucketAlreadyExists":
                raise ProviderError(
                    f"the name {self.bucket} is taken by another account",
                    where="aws.artefact_bucket",
                    hint="name a bucket of your own",
                ) from error
            if error.code not in ("BucketAlreadyOwnedByYou", "OperationAborted"):  # ours, from a moment ago
                raise

    def _settings(self) -> list[tuple[str, str, str, Any]]:
        """(what to get, key of the answer, what to put, wanted value)."""
        arn = f"arn:{self._cloud.partition}:s3:::{self.bucket}"
        private = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        tls_only = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [arn, f"{arn}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }
        encrypted = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
        tidy = {
            "Rules": [
                {
                    "ID": "tidy",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                }
            ]
        }
        return [
            ("public_access_block", "PublicAccessBlockConfiguration", "PublicAccessBlockConfiguration", private),
            ("bucket_encryption", "ServerSideEncryptionConfiguration", "ServerSideEncryptionConfiguration", encrypted),
            ("bucket_versioning", "Status", "VersioningConfiguration", {"Status": "Enabled"}),
            ("bucket_policy", "Policy", "Policy", json.dumps(tls_only)),
            ("bucket_lifecycle_configuration", "Rules", "LifecycleConfiguration", tidy),
        ]

    def _set(self, setting: tuple[str, str, str, Any]) -> None:
        name, key, argument, wanted = setting
        try:
            found = self._s3(f"get_{name}").get(key)
        except AwsError as error:
            if not error.code.startswith(("NoSuch", "ServerSideEncryptionConfigurationNotFound")):
                raise
            found = None
        if not _satisfies(found, wanted.get(key, wanted) if isinstance(wanted, dict) else wanted):
            self._s3(f"put_{name}", **{argument: wanted})

    # ---- objects

    def key(self, build: str) -> str:
        """The key of a bundle."""
        return f"{self._folder}{build}.zip"

    def put_bundle(self, build: Build, path: Path) -> bool:
        """Uploads a bundle unless it is there; returns whether it did."""
        if self.has_bundle(build.id, path.stat().st_size):
            return False
        self._s3("put_object", Key=self.key(build.id), Body=path.read_bytes(), ChecksumSHA256=build.sha256)
        return True

    def has_bundle(self, build: str, size: int | None = None) -> bool:
        """Whether a bundle is there, which is then wanted: nobody takes it for one that no deploy needs any more."""
        key = self.key(build)
        found = self._head(key)
        if found is None or size not in (None, found["ContentLength"]):
            return False
        if time.time() - found["LastModified"].timestamp() > _IN_USE / 2:
            # Onto itself, which S3 takes only where something changes.
            source = {"CopySource": {"Bucket": self.bucket, "Key": key}, "MetadataDirective": "REPLACE"}
            self._s3("copy_object", Key=key, ExpectedSourceBucketOwner=self._cloud.account, **source)
        return True

    def put_template(self, text: str) -> tuple[str, str]:
        """Uploads a template unless it is there; returns its key and its address."""
        key = f"{self._folder}templates/{digest(text)}.json"
        data = text.encode()
        if (self._head(key) or {}).get("ContentLength") != len(data):
            self._s3("put_object", Key=key, Body=data, ContentType="application/json")
        return key, f"{self._cloud.endpoint('s3')}/{self.bucket}/{key}"

    def template(self, key: str) -> str:
        """The text of a template."""
        body: bytes = self._s3("get_object", Key=key)["Body"]
        return body.decode()

    def _head(self, key: str) -> Json | None:
        try:
            return self._s3("head_object", Key=key)
        except AwsError as error:
            if error.code in ("404", "NoSuchKey", "NotFound"):
                return None
            raise

    # ---- releases

    def builds(self) -> tuple[str, ...]:
        """The builds of the last releases, newest first; the names of the objects say them."""
        keys = self._release_keys()
        return tuple(
            dict.fromkeys(build for key in keys for build in key.removesuffix(".json").split("-")[-1].split("."))
        )

    def releases(self) -> Iterator[Release]:
        """The last releases, newest first; each is read when it is asked for."""
        return map(self._release, self._release_keys())

    def _release_keys(self) -> list[str]:
        return self._all_release_keys()[:KEPT] if self.is_there() else []

    def _all_release_keys(self) -> list[str]:
        return sorted((entry["Key"] for entry in self._listed("releases/")), reverse=True)

    def _listed(self, below: str = "") -> Iterator[Json]:
        about: Json = {"Bucket": self.bucket, "ExpectedBucketOwner": self._cloud.account}
        return self._cloud.pages("s3", "list_objects_v2", "Contents", Prefix=f"{self._folder}{below}", **about)

    def _release(self, key: str) -> Release:
        fields = json.loads(self._s3("get_object", Key=key)["Body"])
        builds = {name: Build(**build) for name, build in fields["builds"].items()}
        return Release(fields["time"], builds, fields["versions"], fields["template"])

    def _release_if_there(self, key: str) -> Release | None:
        try:
            return self._release(key)
        except AwsError as error:
            if error.code != "NoSuchKey":  # another deploy just took it for one that is too old
                raise
            return None

    def put_release(self, builds: Mapping[str, Build], versions: Mapping[str, str], template: str) -> None:
        """Notes what is live now."""
        release = Release(time.time(), dict(builds), dict(versions), template)
        ids = sorted({build.id for build in builds.values()})[:_NAMED]
        # Fixed width, so that the order of keys is the order of time.
        key = f"{self._folder}releases/{int(release.time * 1000):015d}-{'.'.join(ids)}.json"
        self._s3("put_object", Key=key, Body=json.dumps(asdict(release)).encode(), ContentType="application/json")

    # ---- the end

    def prune(self) -> int:
        """Deletes releases beyond those that can be returned to, and what only they name; returns how many objects.

        In a bucket of ours S3 keeps what was deleted for another thirty days.
        """
        keys = self._all_release_keys()
        former = keys[KEPT:]
        if not former:
            return 0
        kept = [release for release in each(self._release_if_there, keys[:KEPT]) if release is not None]
        named = {self.key(build.id) for release in kept for build in release.builds.values()}
        named |= {release.template for release in kept} | set(keys[:KEPT])
        before = time.time() - _IN_USE
        unused = [
            entry["Key"]
            for entry in self._listed()
            if entry["Key"] in former or (entry["Key"] not in named and entry["LastModified"].timestamp() < before)
        ]
        for start in range(0, len(unused), 1000):  # "DeleteObjects"
            objects = [{"Key": key} for key in unused[start : start + 1000]]
            _none_left(self._s3("delete_objects", Delete={"Objects": objects, "Quiet": True}), self.bucket)
        return len(unused)

    def remove(self) -> int:
        """Deletes everything of this stage, and the bucket with it when it is ours and empty then."""
        if not self.is_there():
            return 0
        count = empty(self._cloud, self.bucket, self._folder)
        if self._is_ours:
            try:
                self._s3("delete_bucket")
            except AwsError as error:
                if error.code not in ("BucketNotEmpty", "NoSuchBucket", "OperationAborted"):
                    raise  # other services of the account use it
        return count

    def _s3(self, operation: str, **arguments: Any) -> Json:
        owner = self._cloud.account
        return self._cloud.call("s3", operation, Bucket=self.bucket, ExpectedBucketOwner=owner, **arguments)


def empty(cloud: Cloud, bucket: str, prefix: str = "", say: Callable[[int], None] = lambda _: None) -> int:
    """Deletes every version of every object below a prefix; returns how many there were."""
    count = 0
    while True:
        page = cloud.call("s3", "list_object_versions", Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=cloud.account)
        entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if not entries:
            return count
        objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        answer = cloud.call(
            "s3",
            "delete_objects",
            Bucket=bucket,
            Delete={"Objects": objects, "Quiet": True},
            ExpectedBucketOwner=cloud.account,
        )
        _none_left(answer, bucket)
        count += len(objects)
        say(count)


def _none_left(answer: Json, bucket: str) -> None:
    for error in answer.get("Errors", ()):
        raise AwsError(
            error.get("Code", ""), f"{error.get('Key')} was not deleted: {error.get('Message')}", where=bucket
        )


def build_of(build_id: str, path: Path) -> Build:
    """The build of a bundle on this machine."""
    with path.open("rb") as file:
        return Build(build_id, base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode())


def _satisfies(found: Any, wanted: Any) -> bool:
    """Whether an answer holds what was wanted; AWS adds defaults, and writes policies in its own way."""
    if isinstance(wanted, str) and isinstance(found, str) and wanted.startswith("{"):
        return bool(json.loads(found) == json.loads(wanted))
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_satisfies(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_satisfies, found, wanted))
    return bool(found == wanted)
