"""A what-if becomes a plan of what a deploy changes, without the noise that Azure's documentation warns of."""

from __future__ import annotations

from typing import Any

from pys_multi_providers.azure import changes, grants
from pys_multi_providers.azure.changes import About
from pys_multi_tools.deployment import Change

Json = dict[str, Any]
GROUP = "/subscriptions/1/resourceGroups/g"
SITE = f"{GROUP}/providers/Microsoft.Web/sites/shop-dev-api-1"
QUEUE = f"{GROUP}/providers/Microsoft.ServiceBus/namespaces/ns/queues/jobs"


def _about(old: Json | None, new: Json, public: str = "") -> About:
    low = [{id.lower(): {"properties": p} for id, p in (r or {}).items()} for r in (old, new)]
    return About(None if old is None else low[0], low[1], "1", frozenset([public]), frozenset(["releases"]))


def _modified(id: str, *delta: Json) -> Json:
    return {"properties": {"changes": [{"resourceId": id, "changeType": "Modify", "delta": list(delta)}]}}


def _only(found: tuple[Change, ...]) -> Change:
    [change] = found
    return change


def test_what_the_template_says_otherwise_is_a_change() -> None:
    delta = {"path": "properties.maxDeliveryCount", "propertyChangeType": "Modify", "before": 1, "after": 2}
    about = _about({QUEUE: {"maxDeliveryCount": 1}}, {QUEUE: {"maxDeliveryCount": 2}})
    change = _only(changes.foreseen(_modified(QUEUE, delta), about))
    assert (change.action, change.kind, change.name, change.reason) == ("update", "queue", "jobs", "")
    assert change.properties == (("properties.maxDeliveryCount", 1, 2),)


def test_noise_is_left_out_and_named() -> None:
    noise = (
        {"path": "properties.status", "propertyChangeType": "Delete", "before": "Active"},
        {"path": "properties.hidden", "propertyChangeType": "Create", "after": "x"},
        {"path": "properties.id", "propertyChangeType": "Modify", "before": "1", "after": "[reference('x').id]"},
        {"path": "properties.same", "propertyChangeType": "NoEffect", "before": 1, "after": 2},
    )
    same = {QUEUE: {"hidden": "x", "id": "[reference('x').id]"}}
    change = _only(changes.foreseen(_modified(QUEUE, *noise), _about(same, same)))
    assert change.action == "unchanged"
    assert "properties.hidden, properties.id, properties.same, properties.status" in change.reason


def test_what_somebody_changed_by_other_means_is_told_as_such() -> None:
    delta = {"path": "properties.maxDeliveryCount", "propertyChangeType": "Modify", "before": 99, "after": 2}
    same = {QUEUE: {"maxDeliveryCount": 2}}
    change = _only(changes.foreseen(_modified(QUEUE, delta), _about(same, same)))
    assert (change.action, change.reason) == ("update", "changed by other means since the last deploy")
    gone = {"changes": [{"resourceId": QUEUE, "changeType": "Create", "after": {}}]}
    assert _only(changes.drifted(gone, _about(same, same))).reason == "deleted by other means"
    assert _only(changes.drifted(_modified(QUEUE, delta), _about(same, same))).properties[0][1:] == (99, 2)


def test_settings_of_an_app_are_told_one_by_one() -> None:
    def site(**settings: str) -> Json:
        return {SITE: {"siteConfig": {"appSettings": [{"name": n, "value": v} for n, v in settings.items()]}}}

    delta = {"path": "properties.siteConfig.appSettings", "propertyChangeType": "Create", "after": []}
    about = _about(site(A="1", B="2", C="3"), site(A="1", B="4", D="5"), public="shop-dev-api-1")
    change = _only(changes.foreseen(_modified(SITE, delta), about))
    assert change.properties == (("setting B", "2", "4"), ("setting C", "3", None), ("setting D", None, "5"))
    assert change.reason == ""
    assert change.public
    same = site(A="1")
    assert _only(changes.foreseen(_modified(SITE, delta), _about(same, same))).action == "unchanged"
    # As they will be, not as a template must write them.
    hostile = site(A="[[[x]]", B="[concat('https://x-', parameters('unique'), '/it''s')]")
    change = _only(changes.foreseen(_modified(SITE, delta), _about(same, hostile)))
    assert change.properties == (("setting A", "1", "[[x]]"), ("setting B", None, "https://x-1/it's"))


def test_a_role_assignment_says_who_becomes_what_on_what() -> None:
    id = f"{QUEUE}/providers/Microsoft.Authorization/roleAssignments/1-2-3"
    who = (
        "resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', concat('shop-dev-api-', parameters('unique')))"
    )
    after = {
        "properties": {
            "roleDefinitionId": f"/subscriptions/1/providers/x/roleDefinitions/{grants.BUS_SENDER}",
            "principalId": f"[reference({who}, '2024-11-30').principalId]",
        }
    }
    result = {"changes": [{"resourceId": id, "changeType": "Create", "after": after}]}
    change = _only(changes.foreseen(result, _about(None, {})))
    assert (change.kind, change.name) == ("role assignment", "shop-dev-api-1 on queue jobs")
    assert change.reason == "it becomes bus sender"
    delta = {"path": "properties.principalId", "propertyChangeType": "Modify", "before": "1", "after": "[reference()]"}
    assert _only(changes.foreseen(_modified(id, delta), _about({}, {}))).action == "unchanged"


def test_what_is_no_longer_defined_says_whether_it_holds_data() -> None:
    containers = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers"
    found = changes.surplus([QUEUE, SITE, f"{containers}/files", f"{containers}/releases"], _about({}, {}))
    assert {(c.kind, c.name, c.data) for c in found} == {
        ("queue", "jobs", True),
        ("function", "shop-dev-api-1", False),
        ("bucket", "files", True),
        ("container", "releases", False),
    }
    assert all(c.action == "delete" and not c.public for c in found)


def test_what_azure_foresees_nothing_of_is_told_unless_it_is_the_same() -> None:
    entry = {"resourceId": QUEUE, "changeType": "Unsupported", "unsupportedReason": "because"}
    result = {"changes": [entry, {"resourceId": f"{GROUP}/providers/a/b/c", "changeType": "Ignore"}]}
    same = {QUEUE: {"x": 1}}
    assert _only(changes.foreseen(result, _about(same, same))).action == "unchanged"
    change = _only(changes.foreseen(result, _about(same, {QUEUE: {"x": 2}})))
    assert (change.action, change.reason) == ("update", "Azure foresees nothing of it: because")
