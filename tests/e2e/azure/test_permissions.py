"""What a deploy asks of Azure is what the role that `permissions` prints allows, and nothing beside it."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from tests.support.arm.server import ArmServer
from tests.support.azure_stage import AzureStage

from pys_multi_tools import pipeline
from pys_multi_tools.provider import Purpose

_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


def action_of(method: str, path: str) -> tuple[str, bool]:
    """(the action of Azure's roles that a call of Resource Manager needs, whether it is of the subscription alone)."""
    parts = path.strip("/").split("/")
    is_of_subscription = len(parts) < 4 or parts[2].lower() != "resourcegroups"
    if "providers" not in [part.lower() for part in parts]:
        kind = "Microsoft.Resources/subscriptions/resourceGroups" + ("/resources" if parts[4:] else "")
        return f"{kind}/{_VERBS[method]}", is_of_subscription
    start = len(parts) - 1 - [part.lower() for part in reversed(parts)].index("providers")
    namespace, rest = parts[start + 1] if start + 1 < len(parts) else "", parts[start + 2 :]
    if not rest:
        return "Microsoft.Resources/subscriptions/providers/read", is_of_subscription
    types, last = rest[0::2], rest[-1]
    if method != "POST":
        return f"{namespace}/{'/'.join(types)}/{_VERBS[method]}", is_of_subscription
    if namespace.lower() == "microsoft.web":
        types = [part for part in rest[0::2] if part != last]
    return f"{namespace}/{'/'.join(part for part in types if part != last)}/{last}/action", is_of_subscription


class Asked:
    """Every call of Resource Manager, as actions, and of vaults and containers, as methods."""

    def __init__(self, arm: ArmServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.actions: set[tuple[str, bool]] = set()
        answer = arm._manager

        def heard(method: str, path: str, query: Any, body: Any, base: str) -> Any:
            if not path.startswith("/operationresults/"):
                self.actions.add(action_of(method, path))
            return answer(method, path, query, body, base)

        monkeypatch.setattr(arm, "_manager", heard)


def allowed(stage: AzureStage, purpose: Purpose, asked: Asked) -> list[str]:
    """What was asked and is not allowed."""
    roles = pipeline.permissions(stage.place(), purpose=purpose)["policy"]["roles"]
    group, whole = roles[0]["definition"]["Actions"], roles[1:] and roles[1]["definition"]["Actions"]
    return sorted(
        action
        for action, is_of_subscription in asked.actions
        if not any(
            fnmatch.fnmatchcase(action.lower(), known.lower()) for known in (whole if is_of_subscription else group)
        )
    )


#: The group itself: who may make one has the subscription, so that it is there before ("Who may deploy").
_GROUP = {f"Microsoft.Resources/subscriptions/resourceGroups/{verb}" for verb in ("write", "delete")}


def test_a_whole_life_needs_what_permissions_prints(
    paper: ArmServer, draft: AzureStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(paper, monkeypatch)
    draft.deploy()
    draft.write("two")
    draft.plan()
    draft.deploy()
    draft.status()
    draft.rollback()
    draft.destroy(delete_data=True)
    assert set(allowed(draft, "deploy", asked)) == _GROUP
    assert len(asked.actions) > 20


def test_a_plan_needs_what_permissions_prints_for_plans(
    paper: ArmServer, draft: AzureStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft.deploy()
    asked = Asked(paper, monkeypatch)
    draft.write("two", lambda code: code.replace("timeout=10", "timeout=11"))
    draft.plan(refresh=True)
    assert allowed(draft, "plan", asked) == []
    assert ("Microsoft.Resources/deployments/whatIf/action", False) in asked.actions
