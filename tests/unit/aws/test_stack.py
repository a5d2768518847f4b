"""Every state that a stack can be in when a deploy begins; the states are those that no emulator comes to by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pys_multi_providers.aws.client import AwsError
from pys_multi_providers.aws.stack import PREFIX, Stack, Template
from pys_multi_tools import patience
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError, ProviderError

TAGS = {"pys-multi:service": "shop", "pys-multi:stage": "dev"}


class Formation:
    """CloudFormation as far as a stack asks it: states and what operations make of them, as AWS documents them."""

    def __init__(self, status: str, **after: list[str]) -> None:
        """after: operation → the states that follow, one after the other each time it is called."""
        self.status: str | None = status
        self.tags = dict(TAGS)
        self.after = after
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.events: list[dict[str, Any]] = []
        self.pending: list[str | None] = []
        self.change_set: dict[str, Any] = {}

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        assert service == "cloudformation"
        if operation == "describe_stacks":
            if self.pending:
                self._become(self.pending.pop(0))
            if self.status is None:
                raise AwsError("ValidationError", "Stack with id shop-dev does not exist (ValidationError)")
            tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
            return {"Stacks": [{"StackId": "arn:shop-dev", "StackStatus": self.status, "Tags": tags}]}
        if operation == "describe_change_set":
            return self.change_set
        self.asked.append((operation, arguments))
        if operation in self.after:
            states = self.after[operation].pop(0).split()
            self.pending += [None if state == "GONE" else state for state in states]
        return {}

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        if operation == "describe_stack_events":
            yield from self.events[::-1]
        elif operation == "list_stack_resources":
            yield {"LogicalResourceId": "ApiFunction", "ResourceStatus": "UPDATE_FAILED"}
            yield {"LogicalResourceId": "ApiRole", "ResourceStatus": "UPDATE_COMPLETE"}
        elif operation == "describe_change_set":
            yield from self.change_set.get("Changes", ())

    def _become(self, status: str | None) -> None:
        self.status = status
        self.event("shop-dev", status or "DELETE_COMPLETE", "AWS::CloudFormation::Stack")

    def event(self, name: str, status: str, kind: str, reason: str = "") -> None:
        self.events.append(
            {
                "EventId": f"e{len(self.events)}",
                "LogicalResourceId": name,
                "ResourceType": kind,
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
            }
        )

    @property
    def operations(self) -> list[str]:
        return [name for name, _ in self.asked]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience.time, "sleep", lambda _: None)


def _stack(formation: Formation, told: list[Progress] | None = None) -> Stack:
    return Stack(formation, "shop-dev", TAGS, (told if told is not None else []).append)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"]
)
def test_a_stack_at_rest_is_ready(status: str) -> None:
    formation = Formation(status)
    state = _stack(formation).ready()
    assert state is not None
    assert state.is_settled
    assert formation.asked == []


def test_a_stack_that_only_a_change_set_was_made_for_is_as_if_absent() -> None:
    assert _stack(Formation("REVIEW_IN_PROGRESS")).ready() is None


@pytest.mark.parametrize("status", ["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"])
def test_what_never_served_is_deleted_first(status: str) -> None:
    formation = Formation(status, delete_stack=["DELETE_IN_PROGRESS GONE"])
    assert _stack(formation).ready() is None
    assert formation.operations == ["delete_stack"]


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "CREATE_IN_PROGRESS"])
def test_what_somebody_else_runs_is_waited_for(status: str) -> None:
    formation = Formation(status)
    formation.pending = [status, status, "UPDATE_COMPLETE"]
    told: list[Progress] = []
    state = _stack(formation, told).ready()
    assert state is not None
    assert state.status == "UPDATE_COMPLETE"
    assert told[0].step == "wait"
    assert formation.asked == []


def test_a_deletion_that_runs_is_waited_for() -> None:
    formation = Formation("DELETE_IN_PROGRESS")
    formation.pending = ["DELETE_IN_PROGRESS", None]
    assert _stack(formation).ready() is None


def test_a_failed_rollback_is_continued() -> None:
    formation = Formation(
        "UPDATE_ROLLBACK_FAILED",
        continue_update_rollback=["UPDATE_ROLLBACK_IN_PROGRESS UPDATE_ROLLBACK_COMPLETE"],
    )
    state = _stack(formation).ready()
    assert state is not None
    assert state.status == "UPDATE_ROLLBACK_COMPLETE"
    assert "ResourcesToSkip" not in formation.asked[0][1]


def test_a_rollback_that_fails_again_is_continued_without_what_fails() -> None:
    again = "UPDATE_ROLLBACK_IN_PROGRESS UPDATE_ROLLBACK_FAILED"
    formation = Formation(
        "UPDATE_ROLLBACK_FAILED",
        continue_update_rollback=[again, "UPDATE_ROLLBACK_IN_PROGRESS UPDATE_ROLLBACK_COMPLETE"],
    )
    assert _stack(formation).ready() is not None
    assert [arguments.get("ResourcesToSkip") for _, arguments in formation.asked] == [None, ["ApiFunction"]]
    formation = Formation("UPDATE_ROLLBACK_FAILED", continue_update_rollback=[again, again])
    with pytest.raises(DeployError, match="the rollback does not end"):
        _stack(formation).ready()


def test_an_update_that_stopped_halfway_is_rolled_back() -> None:
    formation = Formation("UPDATE_FAILED", rollback_stack=["UPDATE_ROLLBACK_IN_PROGRESS UPDATE_ROLLBACK_COMPLETE"])
    assert _stack(formation).ready() is not None
    assert formation.operations == ["rollback_stack"]


@pytest.mark.parametrize("tags", [{}, {**TAGS, "pys-multi:stage": "prod"}])
def test_the_stack_of_somebody_else_is_left_alone(tags: dict[str, str]) -> None:
    formation = Formation("CREATE_COMPLETE")
    formation.tags = tags
    with pytest.raises(ProviderError, match="not of this service and stage"):
        _stack(formation).ready()
    assert formation.asked == []


def test_a_failure_is_told_with_the_reason_of_what_failed_first() -> None:
    formation = Formation("UPDATE_COMPLETE")
    formation.change_set = {
        "Status": "CREATE_COMPLETE",
        "ExecutionStatus": "AVAILABLE",
        "ChangeSetId": "arn:change-set",
        "StackId": "arn:shop-dev",
    }
    stack = _stack(formation)
    change_set = stack.propose(Template("{}"), {}, state=stack.read())
    assert change_set is not None
    assert formation.asked[0][1]["ChangeSetName"].startswith(PREFIX)
    formation.event("old", "CREATE_FAILED", "AWS::SQS::Queue", "from another time")
    formation.after["execute_change_set"] = ["UPDATE_IN_PROGRESS UPDATE_ROLLBACK_COMPLETE"]
    ask = formation.call

    def call(service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        if operation == "execute_change_set":
            formation.change_set["ExecutionStatus"] = "EXECUTE_FAILED"
            answer = ask(service, operation, **arguments)
            formation.event("B", "UPDATE_FAILED", "AWS::SQS::Queue", "Resource update cancelled")
            formation.event("A", "CREATE_FAILED", "AWS::S3::Bucket", "my-bucket already exists")
            formation.event("C", "CREATE_FAILED", "AWS::IAM::Role", "later")
            return answer
        return ask(service, operation, **arguments)

    formation.call = call  # type: ignore[method-assign]
    with pytest.raises(DeployError) as caught:
        stack.execute(change_set)
    assert "my-bucket already exists" in caught.value.what
    assert "update rollback complete" in caught.value.what
    assert "A (AWS::S3::Bucket)" in caught.value.where
    assert "rename" in caught.value.hint


def test_the_same_change_is_the_same_change_set_and_another_one_is_not() -> None:
    names = []
    for template, parameters in (("{}", {"A": "1"}), ("{}", {"A": "1"}), ("{}", {"A": "2"}), ("[]", {"A": "1"})):
        formation = Formation("CREATE_COMPLETE")
        formation.change_set = {
            "Status": "CREATE_COMPLETE",
            "ExecutionStatus": "AVAILABLE",
            "ChangeSetId": "",
            "StackId": "",
        }
        stack = _stack(formation)
        stack.propose(Template(template), parameters, state=stack.read())
        names.append(formation.asked[0][1]["ChangeSetName"])
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_no_change_is_no_change_set_and_a_refused_one_is_deleted() -> None:
    formation = Formation("CREATE_COMPLETE")
    about = {"Status": "FAILED", "ExecutionStatus": "UNAVAILABLE", "ChangeSetId": "arn:c", "StackId": "arn:shop-dev"}
    formation.change_set = {**about, "StatusReason": "The submitted information didn't contain changes."}
    stack = _stack(formation)
    assert stack.propose(Template("{}"), {}, state=stack.read()) is None
    assert formation.operations == ["create_change_set", "delete_change_set"]
    formation.change_set = {**about, "StatusReason": "Circular dependency"}
    with pytest.raises(DeployError, match="Circular dependency"):
        stack.propose(Template("{}"), {}, state=stack.read())
    assert formation.operations[-1] == "delete_change_set"
