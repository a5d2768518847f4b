"""From what must be and what is there to what is done, and what a plan says of it."""

from __future__ import annotations

import json
from typing import Any

from pys_multi_providers.gcp.client import FUNCTIONS, PROJECTS, SERVICES
from pys_multi_providers.gcp.document import Document, lookup, parse
from pys_multi_providers.gcp.kinds import ACCOUNTS, BUCKETS, JOBS, NOTIFICATIONS, SUBSCRIPTIONS, TOPICS, owned
from pys_multi_providers.gcp.live import Live
from pys_multi_providers.gcp.steps import Steps, changes, compare, losses

LABELS = {"pys-multi-service": "shop", "pys-multi-stage": "dev"}
TOPIC, SUBSCRIPTION = "projects/p/topics/t", "projects/p/subscriptions/s"


def document(*resources: dict[str, Any]) -> Document:
    return parse(json.dumps({"resources": resources}))


def topic(**body: Any) -> dict[str, Any]:
    return {"id": "topic:t", "kind": TOPICS, "name": TOPIC, "body": {"labels": LABELS, **body}}


def subscription(*, holds: bool = False, **body: Any) -> dict[str, Any]:
    body = {"topic": TOPIC, "labels": LABELS, **body}
    return {"id": "subscription:s", "kind": SUBSCRIPTIONS, "name": SUBSCRIPTION, "body": body, "holds_data": holds}


def live(*things: tuple[str, str, dict[str, Any]]) -> Live:
    found = Live()
    for kind, name, body in things:
        found.things[kind, name] = body
        if owned(kind, body, "pys-multi shop/dev", LABELS, "shop-dev"):
            found.ours.add((kind, name))
    return found


def steps(wanted: Document, found: Live) -> Steps:
    return compare(wanted, found, lookup(wanted, found.get, lambda: "42"))


def test_what_is_not_there_is_made_and_what_is_there_is_left() -> None:
    wanted = document(topic(), subscription(ackDeadlineSeconds=60))
    found = steps(wanted, live((TOPICS, TOPIC, {"name": TOPIC, "labels": LABELS})))
    assert {id: step.action for id, step in found.resources.items()} == {
        "topic:t": "unchanged",
        "subscription:s": "create",
    }
    assert found.pending


def test_a_field_is_changed_in_place_or_not_at_all() -> None:
    there = {"topic": TOPIC, "labels": LABELS, "ackDeadlineSeconds": 10, "state": "ACTIVE"}
    wanted = document(subscription(ackDeadlineSeconds=60))
    [change] = changes(steps(wanted, live((SUBSCRIPTIONS, SUBSCRIPTION, there))))
    assert (change.action, change.properties) == ("update", (("ackDeadlineSeconds", 10, 60),))
    wanted = document(subscription(enableMessageOrdering=True, ackDeadlineSeconds=10, holds=True))
    there = {**there, "labels": {**LABELS, "pys-multi-data": "kept"}}
    [change] = changes(steps(wanted, live((SUBSCRIPTIONS, SUBSCRIPTION, there))))
    assert (change.action, change.data) == ("replace", True)
    assert change.reason == "enableMessageOrdering cannot change in place"
    assert losses([change]) == {("replace", "subscription", "s")}


def test_names_of_others_are_refused() -> None:
    found = steps(document(topic()), live((TOPICS, TOPIC, {"labels": {"team": "x"}})))
    assert [step.entry.id for step in found.foreign()] == ["topic:t"]
    [change] = changes(found)
    assert "somebody else" in change.reason


def test_what_nobody_wants_goes_unless_it_holds_data() -> None:
    kept = {**LABELS, "pys-multi-data": "kept"}
    found = steps(
        document(),
        live(
            (TOPICS, TOPIC, {"labels": LABELS}),
            (SUBSCRIPTIONS, SUBSCRIPTION, {"labels": kept}),
            (BUCKETS, "b", {"labels": LABELS}),
            (TOPICS, "projects/p/topics/other", {"labels": {}}),
        ),
    )
    assert {(c.action, c.kind, c.name, c.data) for c in changes(found)} == {
        ("delete", "topic", "t", False),
        ("unchanged", "subscription", "s", True),
        ("unchanged", "bucket", "b", True),
    }


def test_a_notification_is_known_by_what_it_says() -> None:
    body = {"topic": "//pubsub.googleapis.com/x", "event_types": ["OBJECT_FINALIZE"], "custom_attributes": LABELS}
    wanted = document({"id": "n", "kind": NOTIFICATIONS, "name": "b", "body": body})
    there = live()
    there.notifications["b"] = [{**body, "id": "1"}, {**body, "id": "2", "object_name_prefix": "x/"}]
    found = steps(wanted, there)
    assert found.resources["n"].action == "unchanged"
    assert [step.live["id"] for step in found.deletions if step.live is not None] == ["2"]


def test_public_ends_are_called_out() -> None:
    name = "projects/p/locations/r/services/f"
    binding = {"id": "i", "kind": f"{SERVICES}:iam", "name": name, "role": "roles/run.invoker", "members": ["allUsers"]}
    function = {"id": "function:f", "kind": FUNCTIONS, "name": name.replace("services", "functions"), "body": {}}
    found = list(changes(steps(document(function, binding), live())))
    [public] = [change for change in found if change.public]
    assert public.name == "roles/run.invoker on f for allUsers"
    there = live()
    there.policies[SERVICES, name] = {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}
    closed = document(function)
    there.ours.add((FUNCTIONS, function["name"]))
    there.things[FUNCTIONS, str(function["name"])] = {}
    taken = [change for change in changes(steps(closed, there)) if change.kind == "permission"]
    assert [(change.action, change.name) for change in taken] == [("delete", "roles/run.invoker on f for allUsers")]


def test_rights_in_the_project_are_those_of_our_accounts() -> None:
    email = "shop-dev-api@p.iam.gserviceaccount.com"
    account = (ACCOUNTS, f"projects/p/serviceAccounts/{email}", {"description": "pys-multi shop/dev: api"})
    there = live(account)
    members = [f"serviceAccount:{email}", "allUsers", "serviceAccount:other@p.iam.gserviceaccount.com"]
    there.policies[PROJECTS, "projects/p"] = {"bindings": [{"role": "roles/x", "members": members}]}
    found = steps(document(), there)
    [permission] = found.permissions.values()
    assert [grant.member for grant in permission.surplus] == [f"serviceAccount:{email}"]


def test_owners_are_told_apart_by_the_whole_of_their_words() -> None:
    def ours(text: str) -> bool:
        return owned(JOBS, {"description": text}, "pys-multi shop/dev", LABELS, "shop-dev")

    assert ours("pys-multi shop/dev")
    assert ours("pys-multi shop/dev: nightly")
    assert not ours("pys-multi shop/dev2: nightly")
    assert not ours("")


def test_a_plan_names_the_part_of_an_environment_that_differs() -> None:
    def function(**variables: str) -> dict[str, Any]:
        return {"labels": LABELS, "serviceConfig": {"environmentVariables": variables}}

    name = "projects/p/locations/l/functions/f"
    was = function(A="1", B='{"x": 1}', PYS_MULTI_EVENTS='{"caller": "c", "attempts": {"f:a": 3, "f:b": 4}}')
    is_ = function(A="1", B='{"x": 2}', PYS_MULTI_EVENTS='{"caller": "c", "attempts": {"f:a": 5}}', C="é")
    wanted = document({"id": "function:f", "kind": FUNCTIONS, "name": name, "body": is_})
    [change] = changes(steps(wanted, live((FUNCTIONS, name, was))))
    variables = "serviceConfig.environmentVariables"
    assert change.properties == (
        (f"{variables}.B", '{"x": 1}', '{"x": 2}'),
        (f"{variables}.C", None, "é"),
        (f"{variables}.PYS_MULTI_EVENTS.attempts.f:a", 3, 5),
        (f"{variables}.PYS_MULTI_EVENTS.attempts.f:b", 4, None),
    )
