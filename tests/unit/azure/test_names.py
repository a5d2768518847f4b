"""Names: within Azure's rules, the same every time, and never the same for two things."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.azure.names import UNIQUE, Names, fit, unique

END = "1a2b3c4d"
_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789-"
PLAIN = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
RESOURCE = st.from_regex(r"[A-Za-z]([A-Za-z0-9_-]{0,58}[A-Za-z0-9_])?", fullmatch=True)
STAGE = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
HANDLER = st.text(st.characters(categories=("L", "N", "Pc")), min_size=1, max_size=60)

#: "Naming rules and restrictions for Azure resources" (2026-11).
RULES = {
    "storage": r"[a-z0-9]{3,24}",
    "host_storage": r"[a-z0-9]{3,24}",
    "namespace": r"[A-Za-z](?!.*--)[A-Za-z0-9-]{4,48}[A-Za-z0-9]",
    "vault": r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]",
    "workspace": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "insights": r"[A-Za-z0-9-]{1,260}",
    "system_topic": r"[A-Za-z0-9-]{3,50}",
    "events_identity": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    "deployment": r"[A-Za-z0-9_.()-]{1,64}",
    "releases": r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]",
    "undelivered": r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]",
}
OF_FUNCTIONS = {
    # 60 are allowed; the host tells apps apart by 32 ("Host ID considerations").
    "site": r"[A-Za-z0-9][A-Za-z0-9-]{0,30}[A-Za-z0-9]",
    "plan": r"[A-Za-z0-9-]{1,60}",
    "identity": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    "package_container": r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]",
}
OF_RESOURCES = {
    "queue": r"[A-Za-z0-9]([A-Za-z0-9._~/-]{0,258}[A-Za-z0-9])?",
    "topic": r"[A-Za-z0-9]([A-Za-z0-9._~/-]{0,258}[A-Za-z0-9])?",
    "container": r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]",
    "table": r"(?!(?i:tables)$)[A-Za-z][A-Za-z0-9]{2,62}",
    "secret": r"[A-Za-z0-9-]{1,127}",
}
OF_TRIGGERS = {
    "inbox": r"[A-Za-z0-9]([A-Za-z0-9._~/-]{0,258}[A-Za-z0-9])?",
    "subscription": r"[A-Za-z0-9](?!.*\.)([A-Za-z0-9-]{0,48}[A-Za-z0-9])?",
}


@given(service=PLAIN, stage=STAGE)
def test_names_of_a_service_are_ones_that_azure_takes(service: str, stage: str) -> None:
    names = Names(service, stage, END)
    for kind, rule in RULES.items():
        assert re.fullmatch(rule, getattr(names, kind)), (kind, getattr(names, kind))
    assert names.storage != names.host_storage


@given(service=PLAIN, stage=STAGE, function=PLAIN)
def test_names_of_a_function_are_ones_that_azure_takes(service: str, stage: str, function: str) -> None:
    names = Names(service, stage, END)
    for kind, rule in OF_FUNCTIONS.items():
        name = getattr(names, kind)(function)
        assert re.fullmatch(rule, name), (kind, name)


@given(name=RESOURCE)
def test_names_of_resources_are_ones_that_azure_takes(name: str) -> None:
    names = Names("shop", "dev", END)
    for kind, rule in OF_RESOURCES.items():
        assert re.fullmatch(rule, getattr(names, kind)(name)), (kind, getattr(names, kind)(name))


@given(function=PLAIN, handler=HANDLER)
def test_names_of_triggers_are_ones_that_azure_takes(function: str, handler: str) -> None:
    names = Names("shop", "dev", END)
    for kind, rule in OF_TRIGGERS.items():
        name = getattr(names, kind)(f"{function}:{handler}")
        assert re.fullmatch(rule, name), (kind, name)


@given(one=RESOURCE, other=RESOURCE)
def test_two_resources_have_two_names_in_any_case(one: str, other: str) -> None:
    names = Names("shop", "dev", END)
    if one.lower() != other.lower():
        for kind in OF_RESOURCES:
            assert getattr(names, kind)(one).lower() != getattr(names, kind)(other).lower()


@given(one=st.tuples(PLAIN, HANDLER), other=st.tuples(PLAIN, HANDLER))
def test_two_triggers_have_two_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    names = Names("shop", "dev", END)
    if one != other:
        for kind in OF_TRIGGERS:
            assert getattr(names, kind)(":".join(one)).lower() != getattr(names, kind)(":".join(other)).lower()


def test_names_that_only_look_alike_are_told_apart() -> None:
    words = ("a", "a-b", "a--b", "a_b", "ab", "abc", "tables", "Tables", "pys-multi-releases", "pys-multi-a")
    names = Names("shop", "dev", END)
    for kind in ("container", "table", "secret", "queue"):
        found = [getattr(names, kind)(word).lower() for word in words if word != "Tables"]
        assert len(set(found)) == len(found), (kind, found)
    triggers = ("a:b", "a-b:c", "a:b-c", "a:b_c", "a:bé", "a:be", "a:Be")
    for kind in OF_TRIGGERS:
        found = [getattr(names, kind)(trigger).lower() for trigger in triggers]
        assert len(set(found)) == len(found), (kind, found)


def test_no_bucket_is_one_of_our_own_containers() -> None:
    names = Names("shop", "dev", END)
    own = {names.releases, names.undelivered, names.package_container("api")}
    assert not own & {names.container(name) for name in own}


def test_two_functions_are_never_one_app() -> None:
    parts = ("a", "a-b", "b", "b-c", "c", "a--b", "x" * 40, "x" * 39 + "y", "a-" * 15 + "c")
    found: dict[str, tuple[str, str, str]] = {}
    for service, stage, function in product(parts, ("dev", "dev-a", "a"), parts):
        end = unique("s", "g", service, stage)
        site = Names(service, stage, end).site(function)
        assert found.setdefault(site, (service, stage, function)) == (service, stage, function)


def test_the_end_is_stable_and_one_of_subscription_group_service_and_stage() -> None:
    assert unique("S-1", "Group", "shop", "dev") == unique("s-1", "GROUP", "shop", "dev") == "64f0e89d"
    others = {unique("s-1", "group", "shop", stage) for stage in ("dev", "prod", "pr-1")}
    others |= {
        unique("s-2", "group", "shop", "dev"),
        unique("s-1", "h", "shop", "dev"),
        unique("s-1", "group", "a", "dev"),
    }
    assert len(others) == 6
    assert re.fullmatch("[0-9a-f]{8}", unique("s", "g", "a", "b"))


def test_the_end_stands_for_itself_where_it_is_not_known() -> None:
    names = Names("shop", "dev")
    for known, unknown in (
        (Names("shop", "dev", END).site("api"), names.site("api")),
        (Names("shop", "dev", END).vault, names.vault),
    ):
        assert unknown.replace(UNIQUE, END) == known


@pytest.mark.parametrize(("text", "limit", "fits"), [("abc", 3, "abc"), ("a" * 30, 20, "a" * 11 + "-1b24ee6a")])
def test_what_is_too_long_keeps_its_beginning(text: str, limit: int, fits: str) -> None:
    assert len(fit(text, limit)) <= limit
    assert fit(text, limit).startswith(fits[:11])
