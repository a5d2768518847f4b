"""Where the local provider keeps a stage on disk, and the builds that are unpacked there.

<state>/local/<service>/<stage>/        0700
    supervisor.lock                     held by the running supervisor
    supervisor.json, supervisor.log     where it listens; what it has to say
    releases.json                       what was deployed, the newest last
    key                                 makes fingerprints of secrets; no secret itself
    port                                the port of last time
    builds/<build id>/                  unpacked bundles, read-only
    logs/<function>.log, metrics.jsonl
    scratch/<instance>/                 HOME and TMPDIR of an instance
    data/                               queues, tables, buckets
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pys_multi_tools.errors import ProviderError

#: Builds that are kept for a rollback, the present one included.
KEPT_BUILDS = 5
# sun_path holds 104 bytes on macOS and 108 on Linux (unix(4), unix(7)), with a zero at its end.
_LONGEST_SOCKET_PATH = 103


@dataclass(frozen=True, slots=True)
class State:
    """The paths of one stage."""

    root: Path

    @classmethod
    def of(cls, service: str, stage: str, environment: Mapping[str, str] = os.environ) -> State:
        """The stage's folder, which need not exist. Raises ProviderError for a name that is no folder name."""
        for name in (service, stage):
            if not name or name.startswith(".") or "/" in name or "\0" in name:
                raise ProviderError(f"{name!r} cannot be a folder name", where="local state")
        return cls(_base(environment) / "local" / service / stage)

    def create(self) -> None:
        """Makes the folders. Raises ProviderError where they cannot be made or written."""
        try:
            for folder in (self.root, self.builds, self.logs, self.scratch, self.data):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as error:
            hint = "set PYS_MULTI_STATE_DIR to a folder that you can write"
            raise ProviderError(f"cannot be made: {error.strerror}", where=str(self.root), hint=hint) from error

    @property
    def builds(self) -> Path:
        return self.root / "builds"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def lock(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def log(self) -> Path:
        return self.root / "supervisor.log"

    @property
    def socket(self) -> Path:
        """Where the control socket is: a short path in the temporary folder where this one is too long."""
        path = self.root / "control.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        folder = Path("/tmp") / f"pys-multi-{os.getuid()}"  # noqa: S108  (made 0700 and its owner checked, below)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            hint = "remove it, or set PYS_MULTI_STATE_DIR to a shorter path"
            raise ProviderError("belongs to somebody else, or others may enter it", where=str(folder), hint=hint)
        return folder / (hashlib.sha256(os.fsencode(self.root)).hexdigest()[:24] + ".sock")

    # ---- releases

    def releases(self) -> list[dict[str, Any]]:
        """What was deployed, the newest last; empty where nothing was, or where the file is damaged."""
        try:
            found = json.loads((self.root / "releases.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []

    def write_releases(self, releases: list[dict[str, Any]]) -> None:
        write_atomically(self.root / "releases.json", json.dumps(releases, indent=1).encode())

    def fingerprint(self, value: str) -> str:
        """What tells two values of a secret apart without telling them."""
        path = self.root / "key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = os.urandom(32)
            write_atomically(path, key)
        return hmac.new(key, value.encode(), "sha256").hexdigest()[:16]

    # ---- builds

    def unpack(self, archive: Path, build_id: str) -> Path:
        """The folder of a build, unpacked where it is not there yet. Raises ProviderError."""
        target = self.builds / build_id
        if target.is_dir():
            return target
        unpacking = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=self.builds))
        try:
            with zipfile.ZipFile(archive) as bundle:
                for entry in bundle.infolist():
                    _extract(bundle, entry, unpacking)
            _make_read_only(unpacking)
            try:
                unpacking.rename(target)
            except OSError:
                # Somebody else was faster, with the same content.
                if not target.is_dir():
                    raise
        except (OSError, zipfile.BadZipFile) as error:
            raise ProviderError(f"cannot be unpacked: {error}", where=str(archive)) from error
        finally:
            remove_tree(unpacking)
        return target

    def prune(self, keep: set[str]) -> None:
        """Removes builds that are not to be kept, and what a killed deploy has left."""
        for folder in self.builds.iterdir():
            if folder.name not in keep:
                remove_tree(folder)


def _base(environment: Mapping[str, str]) -> Path:
    if own := environment.get("PYS_MULTI_STATE_DIR"):
        return Path(own).absolute()
    if shared := environment.get("XDG_STATE_HOME"):
        return Path(shared).absolute() / "pys-multi"
    return Path.home() / ".local" / "state" / "pys-multi"


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file (0600) that is there whole or not at all, also after a loss of power."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_tree(path: Path) -> None:
    """Removes a folder, read-only ones inside included; nothing where there is none."""
    for folder, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def _extract(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    path = (target / entry.filename).resolve()
    if not path.is_relative_to(target.resolve()):
        raise zipfile.BadZipFile(f"{entry.filename!r} would be outside of the build")
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = (entry.external_attr >> 16) & 0o777
    with bundle.open(entry) as source, path.open("wb") as file:
        shutil.copyfileobj(source, file)
        os.fchmod(file.fileno(), 0o500 if mode & 0o100 else 0o400)


def _make_read_only(root: Path) -> None:
    """As on the clouds: code that writes beside itself fails here already."""
    for folder, _, _ in os.walk(root):
        if folder != str(root):  # macOS wants to write a folder that is renamed
            os.chmod(folder, 0o500)
