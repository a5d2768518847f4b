"""One step done: a resource made, changed, replaced or deleted, whatever happens to the calls.

A create whose answer was lost may have happened, so what is there is looked at before it is made again; what is there
then, and ours, is changed to what it must be. A name that is taken by nothing one can see was deleted a moment ago, and
is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pys_multi_providers.gcp import operations
from pys_multi_providers.gcp.client import OBJECTS, Cloud
from pys_multi_providers.gcp.difference import Difference, differences, mask_of, masked
from pys_multi_providers.gcp.document import Entry
from pys_multi_providers.gcp.errors import GcpError
from pys_multi_providers.gcp.kinds import BUCKETS, DATABASES, KINDS, LOG_BUCKETS, NOTIFICATIONS, Kind
from pys_multi_providers.gcp.live import Owned, notifications
from pys_multi_providers.gcp.steps import Step, is_paused, short
from pys_multi_tools.errors import DeployError
from pys_multi_tools.patience import Pause, each

Json = dict[str, Any]
Say = Callable[[str, str], None]

#: Seconds that a name is waited for ("Firestore: a deleted database's id is free after 5 minutes").
_FREE = 420.0
#: Seconds that a new service account may be unknown to the other APIs.
_KNOWN = 240.0


class Making:
    """Makes, changes and deletes resources other than functions."""

    def __init__(self, cloud: Cloud, is_owned: Owned, say: Say) -> None:
        self._cloud, self._is_owned, self._say = cloud, is_owned, say

    # ---- make and change

    def make(self, step: Step) -> Json | None:
        """Does a step; returns the resource as it is then, None where it is as it was."""
        if step.entry.kind == NOTIFICATIONS:
            return self._make_notification(step) if step.action == "create" else None
        if step.action == "create":
            return self._create(step.entry, step.body)
        if step.action == "update":
            return self._change(step.entry, step.body, step.live or {})
        if step.action == "replace":
            self._say("replace", f"{KINDS[step.entry.kind].word} {short(step.entry.name)}: {step.reason}")
            self.delete(step)
            return self._create(step.entry, step.body)
        return None

    def _create(self, entry: Entry, body: Mapping[str, Any]) -> Json:
        kind = KINDS[entry.kind]
        what = f"{kind.word} {short(entry.name)}"
        self._say("create", what)
        deadline = time.monotonic() + _FREE
        pause, told = Pause(first=0.3, most=10.0), False
        while True:
            try:
                begun = self._cloud.call(entry.kind, kind.making, **kind.create(self._cloud, entry.name, dict(body)))
                return self._ended(kind, entry, begun)
            except GcpError as error:
                if not self._may_be_there(entry, error):
                    raise
                found = self.look(entry)
                if found is not None:
                    return self._taken_up(entry, body, found)
                if error.code == "INVALID_ARGUMENT" and time.monotonic() > deadline - _FREE + _KNOWN:
                    raise
                if time.monotonic() > deadline:
                    hint = "rename the service or the stage, or wait and deploy again"
                    raise DeployError(f"its name stays taken: {error.what}", where=what, hint=hint) from error
                if error.code == "ALREADY_EXISTS" and not told:
                    told = True
                    self._say("wait", f"{what}: its name is taken, as by one that was deleted a moment ago")
            pause()

    def _may_be_there(self, entry: Entry, error: GcpError) -> bool:
        """Whether it may have been made, or may be made in a moment."""
        if error.maybe or error.code in ("ALREADY_EXISTS", "ABORTED", "UNREACHABLE"):
            return True
        if error.code == "FAILED_PRECONDITION" and ("retry" in error.what.lower() or entry.kind == LOG_BUCKETS):
            return True
        # A service account that was just made.
        return error.code == "INVALID_ARGUMENT" and "does not exist" in error.what and "ccount" in error.what

    def _taken_up(self, entry: Entry, body: Mapping[str, Any], found: Json) -> Json:
        """What is there already, made by a call whose answer was lost, or by another run."""
        if not self._is_owned(entry.kind, found):
            raise foreign(entry)
        if found.get("lifecycleState") == "DELETE_REQUESTED":
            self._cloud.call(entry.kind, "undelete", name=entry.name, body={})
        return self._change(entry, body, found) or found

    def _ended(self, kind: Kind, entry: Entry, begun: Json) -> Json:
        if not kind.operations:
            return begun
        what = f"{kind.word} {short(entry.name)}"
        operations.follow(
            self._cloud, kind.operations, begun, what, lambda s: self._say("wait", f"{what}, {s:.0f} s so far")
        )
        found = self.look(entry)
        if found is None:
            raise DeployError("it was made and is not there", where=what, hint="deploy again")
        return found

    def _change(self, entry: Entry, body: Mapping[str, Any], live: Mapping[str, Any]) -> Json | None:
        kind = KINDS[entry.kind]
        found = differences(body, live)
        if is_paused(entry.kind, live):
            self._say("update", f"{kind.word} {short(entry.name)}: resumed")
            resumed = self._cloud.call(entry.kind, "resume", name=entry.name, body={})
            if not found:
                return resumed
        if not found:
            return None
        self._say("update", f"{kind.word} {short(entry.name)}: {', '.join(path for path, _, _ in found)}")
        arguments = patch_of(kind, entry.name, body, live, found)
        deadline = time.monotonic() + _KNOWN
        pause = Pause(first=0.3, most=5.0)
        while True:
            try:
                begun = self._cloud.call(entry.kind, "patch", **arguments)
                break
            except GcpError as error:
                passing = error.code == "ABORTED" or ("does not exist" in error.what and "ccount" in error.what)
                if not passing or time.monotonic() > deadline:
                    raise
            pause()
        return self._ended(kind, entry, begun)

    def look(self, entry: Entry) -> Json | None:
        """A resource as it is; None where it is not there. Raises DeployError where it is another project's."""
        kind = KINDS[entry.kind]
        try:
            return self._cloud.call(entry.kind, "get", **kind.get(entry.name))
        except GcpError as error:
            if error.is_gone:
                return None
            if error.code == "PERMISSION_DENIED" and entry.kind == BUCKETS:
                raise DeployError(
                    f"the name of bucket {entry.name} is taken by another project",
                    where=f"bucket {entry.name}",
                    hint="rename the bucket, the service or the stage: names of buckets are unique in the world",
                ) from error
            raise

    def _make_notification(self, step: Step) -> Json:
        """Its name is Google's choice, so it is looked for before it is made, and after an answer was lost."""
        bucket, body = step.entry.name, dict(step.body)
        self._say("create", f"event of bucket {bucket}")
        deadline = time.monotonic() + _KNOWN
        pause = Pause(first=0.3, most=5.0)
        while True:
            for found in notifications(self._cloud, bucket):
                if not differences(body, found) and self._is_owned(NOTIFICATIONS, found):
                    return found
            try:
                return self._cloud.call(NOTIFICATIONS, "insert", bucket=bucket, body=body)
            except GcpError as error:
                # Storage may not know yet that it may publish to the topic.
                passing = error.maybe or error.is_passing or "ermission" in error.what or "ervice account" in error.what
                if not passing or time.monotonic() > deadline:
                    raise
            pause()

    # ---- delete

    def delete(self, step: Step) -> None:
        """Deletes a resource, with what is in it; that it is gone already is well."""
        entry = step.entry
        try:
            if entry.kind == NOTIFICATIONS:
                id = str((step.live or {})["id"])
                self._cloud.call(NOTIFICATIONS, "delete", bucket=entry.name, notification=id)
                return
            self._say("delete", f"{KINDS[entry.kind].word} {short(entry.name)}")
            if entry.kind == BUCKETS:
                self._empty(entry.name)
            if entry.kind == DATABASES:
                self._unprotect(entry, step.live or {})
            self._deleted(entry)
        except GcpError as error:
            if not error.is_gone:
                raise

    def _deleted(self, entry: Entry) -> None:
        kind = KINDS[entry.kind]
        deadline = time.monotonic() + _KNOWN
        pause = Pause(first=0.3, most=5.0)
        while True:
            try:
                begun = self._cloud.call(entry.kind, "delete", **kind.delete(entry.name))
                break
            except GcpError as error:
                # An operation of before is still running, or somebody put something into the bucket.
                if error.code not in ("ABORTED", "FAILED_PRECONDITION") or time.monotonic() > deadline:
                    raise
            pause()
        if kind.operations:
            what = f"{kind.word} {short(entry.name)}"
            operations.follow(
                self._cloud, kind.operations, begun, what, lambda s: self._say("wait", f"{what}, {s:.0f} s so far")
            )

    def _unprotect(self, entry: Entry, live: Mapping[str, Any]) -> None:
        if live.get("deleteProtectionState") == "DELETE_PROTECTION_ENABLED":
            body = {"deleteProtectionState": "DELETE_PROTECTION_DISABLED"}
            begun = self._cloud.call(DATABASES, "patch", name=entry.name, body=body, updateMask="deleteProtectionState")
            operations.follow(self._cloud, "firestore", begun, f"database {short(entry.name)}", lambda _: None)

    def _empty(self, bucket: str) -> None:
        """Deletes every version of every object."""
        while True:
            page = self._cloud.call(OBJECTS, "list", bucket=bucket, versions=True, maxResults=1000)
            entries = page.get("items") or ()
            if not entries:
                return
            each(lambda entry: self._delete_object(bucket, entry), entries)

    def _delete_object(self, bucket: str, entry: Mapping[str, Any]) -> None:
        try:
            name, generation = str(entry["name"]), str(entry["generation"])
            self._cloud.call(OBJECTS, "delete", bucket=bucket, object=name, generation=generation)
        except GcpError as error:
            if not error.is_gone:
                raise


def patch_of(kind: Kind, name: str, body: Mapping[str, Any], live: Mapping[str, Any], found: list[Difference]) -> Json:
    """The arguments of a patch that makes the difference; labels of others stay."""
    mask = mask_of(found, kind.depth)
    change = masked(body, mask)
    if "labels" in change:
        change["labels"] = {**(live.get("labels") or {}), **change["labels"]}
    return kind.patch(name, change, mask)


def foreign(entry: Entry) -> DeployError:
    """Something that is not ours has the name that we want."""
    word = KINDS[entry.kind].word
    return DeployError(
        f"{word} {short(entry.name)} is there, and is not of this service and stage",
        where=f"{word} {entry.name}",
        hint="delete it if it is yours, or rename the service or the stage; nothing of it was changed",
    )
