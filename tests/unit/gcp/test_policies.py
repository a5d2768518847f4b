"""Policies of IAM: ours is added and taken away, and what is others' stays."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.gcp.document import Binding
from pys_multi_providers.gcp.policies import Grant, _changed, grants, missing_and_surplus, wanted

OURS = frozenset({"shop-api@p.iam.gserviceaccount.com"})
API = "serviceAccount:shop-api@p.iam.gserviceaccount.com"
CONDITION = {"title": "one database", "expression": 'resource.name == "x"'}


def policy(*bindings: tuple[str, list[str], dict[str, str] | None]) -> dict[str, Any]:
    found = [{"role": r, "members": m, **({"condition": c} if c else {})} for r, m, c in bindings]
    return {"version": 3, "etag": "abc", "bindings": found}


def changed(before: dict[str, Any], must: set[Grant], *, on_ours: bool = False) -> dict[str, Any]:
    missing, surplus = missing_and_surplus(before, must, OURS, on_ours=on_ours)
    return _changed(before, missing, surplus)


def test_a_right_is_added_to_what_others_gave() -> None:
    before = policy(("roles/viewer", ["user:ada@example.com"], None))
    must = wanted([Binding("i", "k", "n", "roles/datastore.user", (API,), CONDITION)])
    after = changed(before, must)
    assert after["etag"] == "abc"
    assert after["version"] == 3
    assert after["bindings"] == [
        {"role": "roles/viewer", "members": ["user:ada@example.com"]},
        {"role": "roles/datastore.user", "condition": CONDITION, "members": [API]},
    ]
    assert missing_and_surplus(after, must, OURS, on_ours=False) == (set(), set())


def test_what_was_ours_goes_also_when_its_account_is_deleted() -> None:
    gone = f"deleted:{API}?uid=123"
    before = policy(("roles/a", [API, gone, "group:x@example.com"], None), ("roles/b", [API], CONDITION))
    assert changed(before, set())["bindings"] == [{"role": "roles/a", "members": ["group:x@example.com"]}]
    assert changed(before, set())["version"] == 3, "the last condition goes with the version that it came with"


def test_everybody_is_put_out_of_what_is_ours_alone() -> None:
    before = policy(("roles/run.invoker", ["allUsers"], None))
    assert changed(before, set(), on_ours=True)["bindings"] == []
    assert missing_and_surplus(before, set(), OURS, on_ours=False) == (set(), set())


ROLES, MEMBERS = (
    st.sampled_from(["roles/a", "roles/b"]),
    st.sampled_from([API, "user:a@b.c", "allUsers", "group:g@b.c"]),
)
GRANTS = st.sets(
    st.builds(Grant, ROLES, MEMBERS, st.sampled_from(["", '{"expression": "e", "title": "t"}'])), max_size=6
)


@given(GRANTS, GRANTS)
def test_one_change_is_enough_and_nothing_of_others_is_lost(there: set[Grant], must: set[Grant]) -> None:
    before = _changed({"version": 1, "bindings": []}, there, set())
    after = set(grants(changed(before, must)))
    assert must <= after
    assert {grant for grant in there if grant.member != API} <= after
    assert {grant for grant in after if grant.member == API} <= must
