"""The rendered document as values: references, order, builds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.gcp.document import (
    BUILD_LABEL,
    DATA_LABEL,
    FUNCTION,
    Document,
    Entry,
    Policy,
    Unknown,
    lookup,
    parse,
    phases,
    resolved,
    with_build,
)

P = "projects/p"
ACCOUNT = "iam.v1.projects.serviceAccounts"
TOPIC, SUBSCRIPTION = "pubsub.v1.projects.topics", "pubsub.v1.projects.subscriptions"
EMAIL = "shop-api@p.iam.gserviceaccount.com"


def entry(id: str, kind: str, name: str, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": kind, "name": name, "body": body or {}, **more}


def document(*resources: dict[str, Any]) -> Document:
    return parse(json.dumps({"resources": resources}))


WHOLE = document(
    entry(
        "subscription:jobs",
        SUBSCRIPTION,
        f"{P}/subscriptions/jobs",
        {
            "topic": f"{P}/topics/jobs",
            "pushConfig": {"pushEndpoint": "${function:api:serviceConfig.uri}/.pys-multi/events/x"},
        },
    ),
    entry("topic:jobs", TOPIC, f"{P}/topics/jobs", {"labels": {}}, holds_data=True),
    entry(
        "function:api",
        FUNCTION,
        f"{P}/locations/r/functions/shop-api",
        {"serviceConfig": {"serviceAccountEmail": EMAIL, "environmentVariables": {"A": "${topic:jobs:name} ${X}"}}},
    ),
    entry("account:api", ACCOUNT, f"{P}/serviceAccounts/{EMAIL}"),
    {
        "id": "iam:1",
        "kind": f"{TOPIC}:iam",
        "name": f"{P}/topics/jobs",
        "role": "roles/pubsub.publisher",
        "members": [f"serviceAccount:{EMAIL}", "serviceAccount:service-${project_number}@agent"],
    },
    {
        "id": "iam:2",
        "kind": "run.v2.projects.locations.services:iam",
        "name": f"{P}/locations/r/services/shop-api",
        "role": "roles/run.invoker",
        "members": ["allUsers"],
    },
)


def test_what_is_needed_comes_first() -> None:
    order = phases(WHOLE)
    before = [[item.id for item in level] for level in order.before]
    assert before[0] == ["topic:jobs", "account:api"]
    assert before[1] == [f"{TOPIC}:iam {P}/topics/jobs"]
    assert [[item.id for item in level] for level in order.functions] == [["function:api"]]
    [after] = order.after
    assert {item.id for item in after} == {
        "subscription:jobs",
        f"run.v2.projects.locations.services:iam {P}/locations/r/services/shop-api",
    }
    [policy] = [item for item in after if isinstance(item, Policy)]
    assert policy.bindings[0].is_public


def test_a_circle_is_no_endless_loop() -> None:
    circle = document(
        entry("topic:a", TOPIC, "a", after=["topic:b"]),
        entry("topic:b", TOPIC, "b", after=["topic:a"]),
    )
    assert [[item.id for item in level] for level in phases(circle).before] == [["topic:a", "topic:b"]]


def test_references_are_filled_in_once_they_are_known() -> None:
    live: dict[str, Any] = {}

    def found(thing: Entry) -> Any:
        return live.get(thing.id)

    look = lookup(WHOLE, found, lambda: "42")
    push = WHOLE.entry("subscription:jobs")
    assert push is not None
    unknown = resolved(WHOLE, push.body, look)["pushConfig"]["pushEndpoint"]
    assert unknown == Unknown("function:api")
    assert str(unknown) == "(known after function:api)"
    live["function:api"] = {"serviceConfig": {"uri": "https://api.run.app"}}
    body = resolved(WHOLE, push.body, look)
    assert body["pushConfig"]["pushEndpoint"] == "https://api.run.app/.pys-multi/events/x"
    assert resolved(WHOLE, list(WHOLE.bindings[0].members), look)[1] == "serviceAccount:service-42@agent"


def test_the_environment_of_a_function_is_the_users_own_words() -> None:
    function = WHOLE.functions()["api"]
    body = resolved(WHOLE, function.body, lambda _: "replaced")
    assert body["serviceConfig"]["environmentVariables"] == {"A": "${topic:jobs:name} ${X}"}


@given(st.text())
def test_text_that_is_no_reference_stays_as_it_is(text: str) -> None:
    if "project_number" not in text:
        assert resolved(WHOLE, text, lambda _: "replaced") == text or "${topic" in text


def test_a_build_is_a_field_like_any_other() -> None:
    built = with_build(WHOLE.functions()["api"], "bucket", "shop/dev/b1.zip", "b1")
    assert built.body["buildConfig"]["source"] == {"storageSource": {"bucket": "bucket", "object": "shop/dev/b1.zip"}}
    assert built.body["labels"] == {BUILD_LABEL: "b1"}
    assert BUILD_LABEL not in WHOLE.functions()["api"].body.get("labels", {})


def test_what_holds_data_says_so_itself() -> None:
    topic = WHOLE.entry("topic:jobs")
    assert topic is not None
    assert topic.body["labels"] == {DATA_LABEL: "kept"}
