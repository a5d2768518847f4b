"""The cache of finished folders, each under the hash of what it was made from.

A folder is made beside and renamed into place, so that a reader sees all of it or nothing, also after
``kill -9``. Locks are the kernel's (flock) and end with their process. Whoever builds holds the cache's lock
shared; cleaning and sweeping take it alone, so that nothing is removed under a build.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pys_multi_tools.errors import BundleError

#: Bytes that a sweep leaves behind; the least recently used go first.
MAX_BYTES = 2 * 1024**3
#: Seconds after its last use in which a folder is never swept: a deploy may be uploading it.
KEEP_SECONDS = 3600

_CONTENT = ".content"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed: number of folders, bytes, and where the cache is."""

    folders: int
    bytes: int
    path: Path


def default_path() -> Path:
    """PYS_MULTI_CACHE_DIR, else pys-multi in XDG_CACHE_HOME, else in ~/.cache."""
    own = os.environ.get("PYS_MULTI_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pys-multi"


class Cache:
    """Folders by kind and key under one root."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_path()).absolute()
        self.added = False

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a build reads and adds. Sweeps afterwards where something was added. Raises BundleError."""
        try:
            # For its owner only: what was resolved may hold the password of an index.
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("tmp", "locks", "objects"):
                (self.root / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            hint = "set PYS_MULTI_CACHE_DIR to a folder that you can write"
            raise BundleError(f"cannot be made: {error.strerror}", where=str(self.root), hint=hint) from error
        with _lock(self.root / "lock", fcntl.LOCK_SH):
            yield
        if self.added:
            self._sweep()

    def path(self, kind: str, key: str) -> Path | None:
        """The finished folder, or None; counts as a use of it."""
        folder = self.root / kind / key
        try:
            os.utime(folder)
        except FileNotFoundError:
            return None
        if not _is_whole(folder):
            self._discard(folder)  # a disk that was full, or somebody's hand: it can be made again
            return None
        return folder

    def get(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The finished folder; ``make`` fills it once, whatever number of processes ask at the same time."""
        found = self.path(kind, key)
        if found:
            return found
        with _lock(self.root / "locks" / f"{kind}-{key}", fcntl.LOCK_EX):
            found = self.path(kind, key)
            if found:
                return found
            with self.scratch() as folder:
                content = folder / "content"
                content.mkdir()
                make(content)
                return self._publish(content, self.root / kind / key)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the cache's file system, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.root / "tmp", ignore_cleanup_errors=True) as name:
            yield Path(name)

    def read_object(self, key: str) -> bytes | None:
        """The small value stored under a key, or None."""
        try:
            stored = self._object(key).read_bytes()
        except FileNotFoundError:
            return None
        digest, data = stored[:32], stored[32:]
        return data if sha256(data).digest() == digest else None

    def write_object(self, key: str, data: bytes) -> None:
        """Stores a small value; whoever writes the same key writes the same bytes."""
        path = self._object(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.root / "tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(sha256(data).digest() + data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        self.added = True

    def clean(self) -> Cleaned:
        """Removes everything, once no build is running."""
        if not self.root.is_dir():
            return Cleaned(0, 0, self.root)
        with _lock(self.root / "lock", fcntl.LOCK_EX):
            folders = list(self._folders())
            size = sum(folder[1] for folder in folders)
            for entry in list(self.root.iterdir()):
                if entry.name == "lock":
                    continue
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        return Cleaned(len(folders), size, self.root)

    def _object(self, key: str) -> Path:
        name = sha256(key.encode()).hexdigest()
        return self.root / "objects" / name[:2] / name[2:]

    def _publish(self, content: Path, final: Path) -> Path:
        size = 0
        for folder, _, names in os.walk(content):
            for name in names:
                path = os.path.join(folder, name)
                size += os.lstat(path).st_size
        sizes = {entry.name: entry.stat().st_size for entry in content.iterdir() if entry.is_file()}
        (content / _CONTENT).write_text(json.dumps({"bytes": size, "files": sizes}))
        # The files at the top are what the rest can be made from again: they must survive a power cut.
        for entry in content.iterdir():
            if entry.is_file():
                with entry.open("rb") as file:
                    os.fsync(file.fileno())
        final.parent.mkdir(parents=True, exist_ok=True)
        content.rename(final)
        self.added = True
        return final

    def _folders(self) -> Iterator[tuple[float, int, Path]]:
        """Last use, size and path of every finished folder and every object."""
        for kind in self.root.iterdir():
            if not kind.is_dir() or kind.name in ("tmp", "locks"):
                continue
            for folder in kind.iterdir():
                if kind.name == "objects":
                    for item in folder.iterdir():
                        status = item.stat()
                        yield status.st_mtime, status.st_size, item
                    continue
                try:
                    size = json.loads((folder / _CONTENT).read_text())["bytes"]
                except (OSError, ValueError):
                    size = 0
                yield folder.stat().st_mtime, size, folder

    def _discard(self, folder: Path) -> None:
        """Renamed first, so that whoever is killed here leaves no half folder under a valid key."""
        with self.scratch() as scratch, suppress(FileNotFoundError):  # another process was faster
            folder.rename(scratch / "gone")

    def _sweep(self) -> None:
        try:
            with _lock(self.root / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                # Alone in here: what still lies in tmp and locks belongs to processes that are gone.
                for folder in (self.root / "tmp", self.root / "locks"):
                    for left in folder.iterdir():
                        if left.is_dir():
                            shutil.rmtree(left, ignore_errors=True)
                        else:
                            left.unlink()
                entries = sorted(self._folders())
                total = sum(entry[1] for entry in entries)
                for used, size, path in entries:
                    if total <= MAX_BYTES or used > time.time() - KEEP_SECONDS:
                        break
                    total -= size
                    if path.is_dir():
                        self._discard(path)
                    else:
                        path.unlink()
        except BlockingIOError:
            return  # another build is running; its own end sweeps


def _is_whole(folder: Path) -> bool:
    """Whether the files at the top are there and as long as they were."""
    try:
        files = json.loads((folder / _CONTENT).read_text())["files"]
        return all(os.stat(folder / name).st_size == size for name, size in files.items())
    except (OSError, ValueError):
        return False


@contextmanager
def _lock(path: Path, how: int) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, how)
        yield
