"""One CloudFormation stack: what state it is in, changed by change sets, followed until it is done.

    CREATE/UPDATE/IMPORT_COMPLETE, UPDATE_ROLLBACK_COMPLETE …   ready for a change set
    REVIEW_IN_PROGRESS                                          a change set was made and nothing else: as if absent
    …_IN_PROGRESS                                               somebody's operation, ours perhaps: waited for
    UPDATE_FAILED                                               rolled back first
    UPDATE_ROLLBACK_FAILED                                      the rollback is continued, at last without what fails
    CREATE_FAILED, ROLLBACK_COMPLETE, ROLLBACK_FAILED           never served: deleted, then created again
    DELETE_FAILED                                               deleted again
("Stack status codes", 2026-11.)
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pys_multi_providers.aws.client import AwsError, Cloud, digest
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError, ProviderError
from pys_multi_tools.patience import Pause

Json = dict[str, Any]
OnProgress = Callable[[Progress], None]

#: Change sets of ours are known by it.
PREFIX = "pys-multi-"
#: Seconds after which a change set that a plan left behind is nobody's any more.
_STALE = 3600.0
#: Longest template that goes with the call itself ("CloudFormation quotas").
MAX_INLINE = 51_200
_NEVER_SERVED = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "IMPORT_ROLLBACK_FAILED")
#: What CloudFormation says of resources that failed only because another one did.
_CONSEQUENCES = ("Resource creation cancelled", "Resource update cancelled", "Resource creation canceled")
#: What a change set that was executed says when that has ended; it may be deleted with its stack.
_ENDED = ("EXECUTE_COMPLETE", "EXECUTE_FAILED", "OBSOLETE", "GONE")
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True, slots=True)
class State:
    """A stack as it is. parameters and outputs by name; times in seconds since the epoch."""

    id: str
    status: str
    reason: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    updated: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether only a change set was made for it."""
        return self.status == "REVIEW_IN_PROGRESS"

    @property
    def never_served(self) -> bool:
        """Whether nothing but remains of a first deploy is there."""
        return self.status in _NEVER_SERVED

    @property
    def is_settled(self) -> bool:
        """Whether a change set can be made for what it has."""
        ends = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
        return self.status.endswith((*ends, "IMPORT_ROLLBACK_COMPLETE"))

    @property
    def is_busy(self) -> bool:
        """Whether an operation runs."""
        return self.status.endswith("_IN_PROGRESS") and not self.is_empty


@dataclass(frozen=True, slots=True)
class Template:
    """A template as it is handed over: its text, and its address in S3 where it is too long for a call."""

    text: str
    url: str = ""

    @property
    def arguments(self) -> Json:
        """For calls that take a template."""
        return {"TemplateURL": self.url} if self.url else {"TemplateBody": self.text}


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set that is ready. stack: the id of its stack. changes: as AWS describes them."""

    id: str
    stack: str
    changes: tuple[Json, ...]


class Stack:
    """The stack of one service at one stage. tags: what it bears, and how it is known to be ours."""

    def __init__(self, cloud: Cloud, name: str, tags: Mapping[str, str], progress: OnProgress) -> None:
        self.cloud, self.name, self.tags, self._progress = cloud, name, tags, progress

    # ---- reading

    def read(self, id: str | None = None) -> State | None:
        """The state; None where there is no stack of that name. Raises ProviderError where it is not ours."""
        try:
            found = self.cloud.call("cloudformation", "describe_stacks", StackName=id or self.name)["Stacks"]
        except AwsError as error:
            if error.code == "ValidationError" and "does not exist" in error.what:
                return None
            raise
        state = _state(found[0])
        if state.status == "DELETE_COMPLETE" and id is None:
            return None
        self._own(state)
        return state

    def _own(self, state: State) -> None:
        marks = {key: value for key, value in self.tags.items() if key.startswith("pys-multi:")}
        wrong = {key for key, value in marks.items() if state.tags.get(key) != value}
        # A stack that is not made yet may not show its tags.
        if wrong and not (state.is_empty and not state.tags):
            raise ProviderError(
                "a stack of this name is there, and it is not of this service and stage: it lacks the tags "
                + ", ".join(f"{key}={value}" for key, value in sorted(marks.items())),
                where=f"stack {self.name}",
                hint="rename the service or the stage, or use another account or region; nothing was changed",
            )

    def template(self) -> str:
        """The template that the stack was last made or changed with, as it was sent."""
        body = self.cloud.call("cloudformation", "get_template", StackName=self.name, TemplateStage="Original").get(
            "TemplateBody", ""
        )
        if isinstance(body, str):
            return body
        # botocore reads JSON as soon as it looks like it.
        import json

        return json.dumps(body)

    def resources(self) -> list[Json]:
        """LogicalResourceId, PhysicalResourceId, ResourceType and ResourceStatus of everything in it."""
        return list(
            self.cloud.pages("cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=self.name)
        )

    def drift(self) -> list[Json]:
        """What is not as the stack made it ("DescribeStackResourceDrifts")."""
        started = self.cloud.call("cloudformation", "detect_stack_drift", StackName=self.name)
        pause = Pause(most=3.0)
        while True:
            found = self.cloud.call(
                "cloudformation",
                "describe_stack_drift_detection_status",
                StackDriftDetectionId=started["StackDriftDetectionId"],
            )
            if found["DetectionStatus"] != "DETECTION_IN_PROGRESS":
                break
            pause()
        if found["DetectionStatus"] == "DETECTION_FAILED":
            self._say("drift", f"not everything could be looked at: {found.get('DetectionStatusReason', '')}")
        arguments: Json = {"StackName": self.name, "StackResourceDriftStatusFilters": ["MODIFIED", "DELETED"]}
        return list(
            self.cloud.pages("cloudformation", "describe_stack_resource_drifts", "StackResourceDrifts", **arguments)
        )

    # ---- getting ready

    def at_rest(self) -> State | None:
        """The state, once no operation runs."""
        while (state := self.read()) is not None and state.is_busy:
            self._say("wait", f"stack {self.name} is {_words(state.status)}: waiting until that has ended")
            self.follow(state.id, None)
        return state

    def ready(self) -> State | None:
        """Waits for what runs, brings every failed state back to one that can be changed, and returns it.

        None: there is no stack, or nothing but change sets.
        """
        for _ in range(4):
            state = self.at_rest()
            if state is None or state.is_empty:
                return None
            if state.status == "UPDATE_ROLLBACK_FAILED":
                self._continue_rollback(state)
            elif state.status == "UPDATE_FAILED":
                self._say("recover", "the last update failed halfway: rolling it back")
                self._operate(state.id, "rollback_stack")
            elif state.status in _NEVER_SERVED or state.status == "DELETE_FAILED":
                self._say("recover", f"stack {self.name} is {_words(state.status)}: deleting what is left of it")
                self.delete(state)
            else:
                return state
        raise DeployError(
            f"the stack stays {_words(state.status)}: {state.reason}" if state else "the stack does not settle",
            where=f"stack {self.name}",
            hint="look at its events in the CloudFormation console",
        )

    def _continue_rollback(self, state: State) -> None:
        """First all of it; what fails again is left as it is, and the next change set sets it right."""
        self._say("recover", "the last rollback failed: continuing it")
        after = self._operate(state.id, "continue_update_rollback")
        if after is None or after.status != "UPDATE_ROLLBACK_FAILED":
            return
        failed = [r["LogicalResourceId"] for r in self.resources() if r["ResourceStatus"] == "UPDATE_FAILED"]
        self._say("recover", f"continuing the rollback without {', '.join(failed)}")
        after = self._operate(state.id, "continue_update_rollback", ResourcesToSkip=failed)
        if after is not None and after.status == "UPDATE_ROLLBACK_FAILED":
            raise DeployError(
                f"the rollback does not end: {after.reason}",
                where=f"stack {self.name}",
                hint="see what its events say; then deploy again",
            )

    def _operate(self, id: str, operation: str, **arguments: Any) -> State | None:
        seen = self._last_event(id)
        self.cloud.call("cloudformation", operation, StackName=self.name, ClientRequestToken=_token(), **arguments)
        return self.follow(id, seen)

    # ---- change sets

    def propose(
        self,
        template: Template | None,
        parameters: Mapping[str, str],
        *,
        state: State | None,
        adopt: Sequence[Json] = (),
        revert: bool = False,
    ) -> ChangeSet | None:
        """A change set, ready to be executed; None where nothing would change.

        template: None is the one that the stack has. adopt: resources that are there already, which the change set
        takes into the stack and does nothing else ("ResourcesToImport"). revert: whether it also sets right what was
        changed or deleted by hand ("Using drift-aware change sets"). Its name comes from its content, so that a
        run that was killed and the next one make the same change set.
        """
        tags = [{"Key": key, "Value": value} for key, value in sorted(self.tags.items())]
        given = [{"ParameterKey": name, "ParameterValue": value} for name, value in sorted(parameters.items())]
        name = PREFIX + digest(
            template.text if template else "", repr(given), repr(tags), repr(adopt), "revert" * revert
        )
        source: Json = template.arguments if template else {"UsePreviousTemplate": True}
        arguments: Json = {
            "StackName": self.name,
            "ChangeSetName": name,
            "ChangeSetType": "IMPORT" if adopt else "UPDATE" if state else "CREATE",
            "Parameters": given,
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            **source,
            # An import may not touch tags.
            **({"ResourcesToImport": list(adopt)} if adopt else {"Tags": tags}),
            **({"DeploymentMode": "REVERT_DRIFT"} if revert else {}),
        }
        for attempt in (1, 2):
            try:
                self.cloud.call("cloudformation", "create_change_set", ClientToken=_token(), **arguments)
            except AwsError as error:
                if error.code != "AlreadyExistsException":
                    raise
            found = self._described(name)
            if found["Status"] == "CREATE_COMPLETE" and found.get("ExecutionStatus") == "AVAILABLE":
                return ChangeSet(found["ChangeSetId"], found["StackId"], tuple(self._changes(name)))
            reason = str(found.get("StatusReason", ""))
            if found["Status"] == "FAILED" and not any(text in reason for text in _NO_CHANGES):
                reason = self._validation(ChangeSetName=found["ChangeSetId"]) or reason
            self.discard(name)
            if found["Status"] == "FAILED" and any(text in reason for text in _NO_CHANGES):
                return None
            if found["Status"] == "FAILED" or attempt == 2:
                raise DeployError(
                    f"CloudFormation refuses the change: {reason or found['Status']}",
                    where=f"stack {self.name}",
                    hint="nothing was changed",
                )
        raise AssertionError("one of two attempts decides")

    def _described(self, name: str) -> Json:
        pause = Pause()
        while True:
            found = self.cloud.call("cloudformation", "describe_change_set", StackName=self.name, ChangeSetName=name)
            if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS", "DELETE_PENDING", "DELETE_IN_PROGRESS"):
                return found
            pause()

    def _changes(self, name: str) -> Iterator[Json]:
        about: Json = {"StackName": self.name, "ChangeSetName": name, "IncludePropertyValues": True}
        for entry in self.cloud.pages("cloudformation", "describe_change_set", "Changes", **about):
            if "ResourceChange" in entry:
                yield entry["ResourceChange"]

    def discard(self, change_set: str) -> None:
        """Deletes a change set, which may be gone already."""
        try:
            self.cloud.call("cloudformation", "delete_change_set", StackName=self.name, ChangeSetName=change_set)
        except AwsError as error:
            if error.code not in ("ChangeSetNotFound", "ChangeSetNotFoundException"):
                raise

    def discard_stale(self) -> None:
        """Deletes change sets of ours that a killed run left long ago."""
        for entry in self.cloud.pages("cloudformation", "list_change_sets", "Summaries", StackName=self.name):
            age = time.time() - _seconds(entry.get("CreationTime"))
            pending = entry.get("ExecutionStatus") in ("AVAILABLE", "UNAVAILABLE", "OBSOLETE")
            if entry["ChangeSetName"].startswith(PREFIX) and pending and age > _STALE:
                self.discard(entry["ChangeSetId"])

    def execute(self, change_set: ChangeSet) -> State:
        """Executes it and follows it to its end. Raises DeployError with the failing resource's own reason."""
        seen = self._last_event(change_set.stack)
        try:
            self.cloud.call(
                "cloudformation",
                "execute_change_set",
                StackName=self.name,
                ChangeSetName=change_set.id,
                ClientRequestToken=_token(),
            )
        except AwsError as error:
            # A lost answer was asked for again by botocore, and a change set is executed once.
            if not error.code.startswith(("InvalidChangeSetStatus", "ChangeSetNotFound")):
                raise
            if self._execution(change_set) not in ("EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE"):
                raise DeployError(
                    "another deploy changed the stack in the meantime",
                    where=f"stack {self.name}",
                    hint="deploy again: it takes into account what is there now",
                ) from error
        state = self.follow(change_set.stack, seen, lambda: self._execution(change_set) in _ENDED)
        if state is None or not state.status.endswith(("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")):
            raise self._failure(change_set.stack, state, seen)
        return state

    def _execution(self, change_set: ChangeSet) -> str:
        try:
            found = self.cloud.call("cloudformation", "describe_change_set", ChangeSetName=change_set.id)
        except AwsError as error:
            if not error.code.startswith("ChangeSetNotFound"):
                raise
            return "GONE"
        return str(found.get("ExecutionStatus", ""))

    # ---- following

    def _events(self, id: str) -> Iterator[Json]:
        """Newest first."""
        try:
            yield from self.cloud.pages("cloudformation", "describe_stack_events", "StackEvents", StackName=id)
        except AwsError as error:
            if error.code != "ValidationError":  # there are none yet
                raise

    def _last_event(self, id: str) -> str:
        return next((str(event["EventId"]) for event in self._events(id)), "")

    def _events_since(self, id: str, seen: str) -> list[Json]:
        return list(itertools.takewhile(lambda event: event["EventId"] != seen, self._events(id)))[::-1]

    def follow(self, id: str, seen: str | None, has_ended: Callable[[], bool] = lambda: True) -> State | None:
        """Tells what happens until the operation has ended, and returns the state then.

        seen: the last event before the operation, so that the state before it is not taken for its end; None: of an
        operation that somebody else began. has_ended: asked once the stack seems to be at rest.
        """
        pause = Pause(first=0.15, most=2.5)
        told: dict[str, Json] = {}
        grace = time.monotonic() + (20.0 if seen is not None else 0.0)
        while True:
            state = self.read(id)
            for event in self._events_since(id, seen) if seen is not None else ():
                if event["EventId"] not in told:
                    told[event["EventId"]] = event
                    self._progress(_step(event, told.values()))
            begun = any(_is_stack(event) for event in told.values()) or time.monotonic() > grace
            if state is None or (begun and not state.is_busy and has_ended()):
                return state
            pause()

    def _failure(self, id: str, state: State | None, seen: str) -> DeployError:
        """With the reason of the resource that failed first; what failed as a consequence says nothing."""
        where, reason = "", ""
        for event in self._events_since(id, seen):
            text = str(event.get("ResourceStatusReason", ""))
            failed = str(event["ResourceStatus"]).endswith("FAILED")
            if failed and not text.startswith(_CONSEQUENCES) and not _is_stack(event):
                where, reason = f"{event['LogicalResourceId']} ({event['ResourceType']})", text
                break
        reason = reason or self._validation(StackName=id) or (state.reason if state else "the stack is gone")
        after = f"the stack is {_words(state.status)}" if state else "there is no stack"
        return DeployError(
            f"{reason.rstrip('.') or 'no reason was given'}; {after}",
            where=f"stack {self.name}" + (f", {where}" if where else ""),
            hint=_hint(reason) or "mend that and deploy again: it goes on from this state",
        )

    def _validation(self, **about: str) -> str:
        """What CloudFormation found wrong before it began; it stands in events of their own ("DescribeEvents")."""
        try:
            found = self.cloud.call("cloudformation", "describe_events", Filters={"FailedEvents": True}, **about)
        except AwsError:  # an older boto3, or no right to it: then CloudFormation's own reason has to do
            return ""
        for event in found.get("OperationEvents", ()):
            reason = event.get("ValidationStatusReason") or event.get("ResourceStatusReason")
            if reason and event.get("LogicalResourceId"):
                return f"{event['LogicalResourceId']}: {reason}"
        return ""

    def delete(self, state: State) -> None:
        """Deletes the stack and follows that to its end. Raises DeployError for what does not go."""
        seen = self._last_event(state.id)
        self.cloud.call("cloudformation", "delete_stack", StackName=self.name, ClientRequestToken=_token())
        after = self.follow(state.id, seen)
        if after is not None and after.status == "DELETE_FAILED":
            raise self._failure(state.id, after, seen)
        if after is not None and after.status != "DELETE_COMPLETE":
            raise DeployError(
                f"the stack was not deleted: it is {_words(after.status)}", where=f"stack {self.name}", hint="try again"
            )

    def _say(self, step: str, text: str) -> None:
        self._progress(Progress(step=step, text=text))


def _state(found: Json) -> State:
    return State(
        id=found["StackId"],
        status=found["StackStatus"],
        reason=str(found.get("StackStatusReason", "")),
        tags={tag["Key"]: tag["Value"] for tag in found.get("Tags", ())},
        parameters={p["ParameterKey"]: p.get("ParameterValue", "") for p in found.get("Parameters", ())},
        outputs={o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", ())},
        updated=_seconds(found.get("LastUpdatedTime") or found.get("CreationTime")),
    )


def _is_stack(event: Json) -> bool:
    return bool(event["ResourceType"] == "AWS::CloudFormation::Stack")


def _step(event: Json, told: Iterable[Json]) -> Progress:
    """An event as a step, with how many of the resources that were begun have ended."""
    status, reason = str(event["ResourceStatus"]), str(event.get("ResourceStatusReason", ""))
    text = f"{event['LogicalResourceId']} {_words(status)}"
    if status.endswith("FAILED") and reason:
        text += f": {reason}"
    resources = [entry for entry in told if not _is_stack(entry)]
    begun = {entry["LogicalResourceId"] for entry in resources}
    ended = {e["LogicalResourceId"] for e in resources if not e["ResourceStatus"].endswith("_IN_PROGRESS")}
    return Progress(step="stack", text=text, fraction=len(ended) / len(begun) if begun else None)


def _hint(reason: str) -> str:
    if "already exists" in reason:
        return (
            "something of that name is there and does not belong to this stack: delete it if it is yours, or rename "
            "the service, the stage or the resource"
        )
    if "custom-named resource requires replacing" in reason:
        return "what changed cannot change in place: give the resource another name, and move its data"
    if "not authorized" in reason or "AccessDenied" in reason:
        return "pys-multi permissions --cloud aws prints the policy that the deployer needs"
    return ""


def _words(status: str) -> str:
    return status.lower().replace("_", " ")


def _seconds(time_: Any) -> float:
    return float(time_.timestamp()) if time_ is not None else 0.0


def _token() -> str:
    return f"pys-multi-{uuid.uuid4()}"
