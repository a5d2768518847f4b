"""The verbs of queues, topics, buckets, tables and secrets on the local provider's store.

An object's content is a file of its own, written under a new name and on the disk before the transaction that
makes it the object and tells the subscribers. A crash before leaves a file that nobody refers to; `sweep`
removes it. So there is no moment at which a reader finds half an object, or an event without its object.
"""

from __future__ import annotations

import os
from json import dumps, loads

from pys_multi.errors import NotFound, ResourceError
from pys_multi.items import end_of_prefix
from pys_multi.resources import ObjectInfo
from pys_multi_providers.local.tables import PAGE, TableVerbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pys_multi.resources import Outgoing
    from pys_multi_providers.local.store import Store

#: Seconds that a file nobody refers to is left alone: its writer may be about to commit.
_SWEEP_AGE = 3600.0


class LocalBackend(TableVerbs):
    """`pys_multi.resources.Backend` on a store.

    buckets: the folder of the objects' files. base_url: where the front serves presigned URLs, without a trailing
    slash. secrets: values by name, or a function from a name to a value, None for a secret that is not there.
    """

    def __init__(
        self,
        store: Store,
        *,
        buckets: Path,
        base_url: str = "",
        secrets: Mapping[str, str] | Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__(store.database)
        self.store = store
        self._buckets = buckets
        self._base_url = base_url
        self._secret: Callable[[str], str | None] = secrets if callable(secrets) else (secrets or {}).get
        self._presign_key = b""

    # ---- queues, topics, secrets

    def queue_send(self, queue: str, messages: list[Outgoing]) -> list[str]:
        return self.store.send(queue, messages)

    def topic_publish(self, topic: str, message: Outgoing) -> str:
        return self.store.publish(topic, message)

    def secret_value(self, secret: str) -> str:
        value = self._secret(secret)
        if value is None:
            raise NotFound(
                f"secret {secret!r} has no value here; say where it comes from under [tool.pys-multi] secrets, "
                f'for example {secret} = "env:{secret}"'
            )
        return value

    # ---- buckets

    def bucket_put(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        from hashlib import sha256

        with self._database.read() as db:
            _require_bucket(db, bucket)
        etag = sha256(data).hexdigest()[:32]
        path = self._write_file(bucket, key, data)
        # Should the commit fail, the file stays for `sweep`: after a failed fsync nobody knows what a restart finds.
        with self._database.write() as db:
            former = _object(db, bucket, key)
            db.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (bucket, key, path.name, len(data), etag, self.store.clock(), content_type, dumps(dict(metadata))),
            )
            told = self.store.notify(db, "created", bucket, key, {"size": len(data), "etag": etag})
        if former is not None:
            self._path(bucket, former[0]).unlink(missing_ok=True)
        if told:
            self.store.ring()
        return etag

    def bucket_delete(self, bucket: str, key: str) -> None:
        with self._database.write() as db:
            _require_bucket(db, bucket)
            former = _object(db, bucket, key)
            if former is None:
                return
            file, size, etag, _, _ = former
            db.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key))
            told = self.store.notify(db, "deleted", bucket, key, {"size": size, "etag": etag})
        self._path(bucket, file).unlink(missing_ok=True)
        if told:
            self.store.ring()

    def bucket_get(self, bucket: str, key: str) -> bytes:
        former = ""
        while True:
            with self._database.read() as db:
                _require_bucket(db, bucket)
                found = _object(db, bucket, key)
            if found is None:
                raise NotFound(f"bucket {bucket!r} has no object {key!r}")
            try:
                return self._path(bucket, found[0]).read_bytes()
            except FileNotFoundError:
                # Replaced between the two steps: look again. The same name twice is another matter.
                if found[0] == former:
                    raise ResourceError(
                        f"object {key!r} of bucket {bucket!r} has lost its file {found[0]!r} in {self._buckets}; "
                        "somebody else deleted it: put the object again"
                    ) from None
                former = found[0]
            except OSError as error:
                raise ResourceError(f"object {key!r} of bucket {bucket!r} cannot be read: {error}") from error

    def bucket_head(self, bucket: str, key: str) -> ObjectInfo | None:
        with self._database.read() as db:
            _require_bucket(db, bucket)
            found = _object(db, bucket, key)
        return None if found is None else _info(key, *found[1:])

    def bucket_metadata(self, bucket: str, key: str) -> dict[str, str]:
        """What was given as metadata when the object was put. Raises NotFound."""
        with self._database.read() as db:
            row = db.execute("SELECT metadata FROM objects WHERE bucket = ? AND key = ?", (bucket, key)).fetchone()
        if row is None:
            raise NotFound(f"bucket {bucket!r} has no object {key!r}")
        metadata: dict[str, str] = loads(row[0])
        return metadata

    def bucket_list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        with self._database.read() as db:
            _require_bucket(db, bucket)
        return self._objects(bucket, prefix)

    def _objects(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        end, after, comparison = end_of_prefix(prefix), prefix, ">="
        where = "bucket = ? AND key {} ?" + ("" if end is None else " AND key < ?")
        while True:
            with self._database.read() as db:
                rows = db.execute(
                    "SELECT key, size, etag, modified, content_type FROM objects"  # noqa: S608  from constants
                    f" WHERE {where.format(comparison)} ORDER BY key LIMIT {PAGE}",
                    (bucket, after) if end is None else (bucket, after, end),
                ).fetchall()
            for row in rows:
                yield _info(*row)
            if len(rows) < PAGE:
                return
            after, comparison = rows[-1][0], ">"

    def bucket_presign(self, bucket: str, key: str, method: str, expires: int) -> str:
        from urllib.parse import quote

        until = int(self.store.clock()) + expires
        signature = self._signature(method, bucket, key, until)
        path = f"/.pys-multi/buckets/{quote(bucket, safe='')}/{quote(key, safe='/')}"
        return f"{self._base_url}{path}?method={method}&expires={until}&signature={signature}"

    def verify_presigned(self, method: str, bucket: str, key: str, expires: str, signature: str) -> bool:
        """Whether a URL that `bucket_presign` made lets a request in: its method (HEAD counts as GET), the decoded
        bucket and key of its path, and ``expires`` and ``signature`` of its query."""
        from hmac import compare_digest

        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12 and signature.isascii()):
            return False
        until = int(expires)
        wanted = self._signature("GET" if method == "HEAD" else method, bucket, key, until)
        # The comparison comes first, in constant time, so that an old URL is no help in guessing.
        return compare_digest(wanted, signature) and self.store.clock() < until

    def _signature(self, method: str, bucket: str, key: str, until: int) -> str:
        import hmac

        if not self._presign_key:
            with self._database.write() as db:
                db.execute("INSERT OR IGNORE INTO meta VALUES ('presign_key', ?)", (os.urandom(32),))
                (self._presign_key,) = db.execute("SELECT value FROM meta WHERE name = 'presign_key'").fetchone()
        # A list in JSON has one reading; joined texts could be cut at another place.
        text = dumps([method, bucket, key, until]).encode()
        return hmac.new(self._presign_key, text, "sha256").hexdigest()

    def sweep(self) -> int:
        """Removes files without an object that crashed writers left, an hour old or more. Returns how many."""
        from time import time

        oldest = time() - _SWEEP_AGE
        files = [file for file in self._buckets.glob("*/*") if file.stat().st_mtime < oldest]
        # Asked after the files were seen: what refers to one of them was committed long before.
        with self._database.read() as db:
            known = {file for (file,) in db.execute("SELECT file FROM objects").fetchall()}
        left = [file for file in files if file.name not in known]
        for file in left:
            file.unlink(missing_ok=True)
        return len(left)

    def _path(self, bucket: str, file: str) -> Path:
        return self._buckets / bucket / file

    def _write_file(self, bucket: str, key: str, data: bytes) -> Path:
        """Content under a name that was never used, on the disk when this returns."""
        path = self._path(bucket, _file_name(key))
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_directory(self._buckets)
                _sync_directory(self._buckets.parent)
            with open(path, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _sync_directory(path.parent)
        except OSError as error:
            raise ResourceError(f"object {key!r} of bucket {bucket!r} cannot be written: {error}") from error
        return path


def _require_bucket(db: sqlite3.Connection, bucket: str) -> None:
    if db.execute("SELECT 1 FROM buckets WHERE name = ?", (bucket,)).fetchone() is None:
        raise ResourceError(f"there is no bucket {bucket!r} in this stage; deploy the service that defines it")


def _object(db: sqlite3.Connection, bucket: str, key: str) -> tuple[str, int, str, float, str] | None:
    """(file, size, etag, modified, content type)"""
    row: tuple[str, int, str, float, str] | None = db.execute(
        "SELECT file, size, etag, modified, content_type FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
    ).fetchone()
    return row


def _info(key: str, size: int, etag: str, modified: float, content_type: str) -> ObjectInfo:
    return ObjectInfo(key, size, etag=etag, modified=modified, content_type=content_type)


def _file_name(key: str) -> str:
    """A new name that shows people what is in the file: 16 random digits and the last part of the key."""
    shown = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in key.rpartition("/")[2][-80:])
    return f"{os.urandom(8).hex()}-{shown}"


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
