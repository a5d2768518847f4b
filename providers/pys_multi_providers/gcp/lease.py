"""The lease of a stage: whoever changes it holds an object in Storage, so that two deploys do not mix.

take     the object is made where there is none (generation 0), or taken over where its holder is gone: a process of
         this machine that ended, or one that did not renew it for its whole length, by our own clock
renew    every third of its length, under the generation that we wrote last
require  before every change: time enough must be left of what was last renewed, else nothing more is changed
release  the object is deleted, under that generation
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pys_multi_providers.gcp.client import OBJECTS, Cloud
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_tools.errors import DeployError
from pys_multi_tools.patience import Pause

Json = dict[str, Any]

#: Seconds that it lasts without being renewed, that must be left for a change to begin, and that another deploy is
#: waited for.
LASTS, _ENOUGH, _WAIT = 60.0, 15.0, 900.0


class Lease:
    """Of one stage, at one object. Used as a context; ``require`` is for in between."""

    def __init__(self, cloud: Cloud, bucket: str, name: str, say: Callable[[str], None]) -> None:
        self._cloud, self._bucket, self._name, self._say = cloud, bucket, name, say
        self._token = os.urandom(8).hex()
        self._generation = 0
        self._until = 0.0
        self._lost = False
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Lease:
        self._take()
        self._renewer = threading.Thread(target=self._renew_for_ever, daemon=True)
        self._renewer.start()
        self._cloud.before_change = self.require
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._cloud.before_change = lambda: None
        # Else what other threads are still about to change is not changed any more.
        self._ended.set()
        with self._lock:
            if self._lost:
                return
            self._lost = True
            try:
                self._delete(self._generation)
            except GcpError as error:
                # It ends by itself; what was done is done.
                self._say(f"the lease could not be given back, and lasts {LASTS:.0f} seconds more: {error.what}")

    def require(self) -> None:
        """Raises DeployError where it is no longer held, or too short for a call."""
        if self._lost or time.monotonic() > self._until - _ENOUGH * LASTS / 60.0:
            raise DeployError(
                "the lease of this stage was lost: Google was not reached, or another deploy took it over",
                where=f"gs://{self._bucket}/{self._name}",
                hint="deploy again: it goes on where it stopped",
            )

    # ---- taking

    def _take(self) -> None:
        deadline = time.monotonic() + _WAIT
        pause = Pause(first=0.2, most=2.0)
        seen, since = "", time.monotonic()
        while True:
            begun = time.monotonic()
            found = self._read()
            if found is None:
                if self._write(0, begun):
                    return
                continue
            generation, holder = found
            if generation != seen:
                seen, since = generation, time.monotonic()
                self._say(f"{holder.get('who', 'somebody')} is deploying this stage; waiting for it")
            is_over = _is_dead(holder) or time.monotonic() - since > float(holder.get("lasts", LASTS))
            if is_over and self._write(int(generation), time.monotonic()):
                return
            if time.monotonic() > deadline:
                raise DeployError(
                    f"{holder.get('who', 'somebody')} is deploying this stage since {holder.get('since', 'a while')}",
                    where=f"gs://{self._bucket}/{self._name}",
                    hint="wait for it to end, and deploy again",
                )
            pause()

    def _read(self) -> tuple[str, Json] | None:
        try:
            generation = str(self._cloud.call(OBJECTS, "get", bucket=self._bucket, object=self._name)["generation"])
            holder = json.loads(self._cloud.download(self._bucket, self._name))
        except GcpError as error:
            if not error.is_gone:
                raise
            return None
        except ValueError:
            holder = {}
        return generation, holder if isinstance(holder, dict) else {}

    def _write(self, generation: int, begun: float) -> bool:
        """Writes our name under a generation; False where somebody else was faster."""
        data = json.dumps({**_self(), "token": self._token}).encode()
        try:
            found = self._cloud.upload(
                self._bucket, self._name, data, generation=generation, kind="application/json", guarded=False
            )
        except GcpError as error:
            if error.code != "CONDITION_NOT_MET":
                raise
            # Ours, where the answer to it was lost.
            now = self._read()
            if now is None or now[1].get("token") != self._token:
                return False
            found = {"generation": now[0]}
        self._generation = int(found["generation"])
        self._until = begun + LASTS
        return True

    # ---- holding

    def _renew_for_ever(self) -> None:
        while not self._ended.wait(LASTS / 3):
            with self._lock:
                if self._lost:
                    return
                try:
                    if not self._write(self._generation, time.monotonic()):
                        self._lost = True
                except GcpError:
                    pass  # it is tried again; what is left of it counts down

    def _delete(self, generation: int) -> None:
        try:
            self._cloud.call(
                OBJECTS,
                "delete",
                guarded=False,
                bucket=self._bucket,
                object=self._name,
                ifGenerationMatch=str(generation),
            )
        except GcpError as error:
            if not error.is_gone and error.code != "CONDITION_NOT_MET":
                raise


# ---- who holds it


def _self() -> Json:
    return {
        "who": f"{os.environ.get('GITHUB_ACTOR') or os.environ.get('USER') or 'somebody'} on {socket.gethostname()}",
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "lasts": LASTS,
        "machine": _machine(),
        "process": os.getpid(),
        "started": _started(os.getpid()),
    }


def _machine() -> str:
    """What tells machines, their boots and their containers apart; empty where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """When a process of this machine started, as its system counts; empty where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_dead(holder: Json) -> bool:
    """Whether it was a process of this machine, and is no more."""
    here = _machine()
    if not here or holder.get("machine") != here:
        return False
    return _started(int(holder.get("process") or 0)) != holder.get("started")
