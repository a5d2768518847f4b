"""Names on AWS: within each service's limit, stable, and never the same for two things."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.aws.names import Names, PreviewNames, artefact_bucket, logical

LOWER = string.ascii_lowercase + string.digits + "-"


def name(letters: str, longest: int) -> st.SearchStrategy[str]:
    """Names as an App takes them."""
    first = [letter for letter in letters if letter.isalpha()]
    rest = st.text(letters, max_size=longest - 1)
    return st.builds(str.__add__, st.sampled_from(first), rest).filter(lambda text: not text.endswith("-"))


SERVICES = name(LOWER, 40)
FUNCTIONS = name(LOWER, 40)
RESOURCES = name(string.ascii_letters + string.digits + "-_", 60)
STAGES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
HANDLERS = st.from_regex(r"[A-Za-z_éü][A-Za-z0-9_éü]{0,80}(-[0-9])?", fullmatch=True)
TRIGGERS = st.builds("{}:{}".format, FUNCTIONS, HANDLERS)
NAMES = st.builds(Names, SERVICES, STAGES)

QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}")
#: Kind → what AWS takes, and how it is derived.
LIMITS: dict[str, tuple[re.Pattern[str], Callable[[Names, str], str]]] = {
    "function": (re.compile(r"[A-Za-z0-9_-]{1,64}"), Names.function),
    "role": (re.compile(r"[\w+=,.@-]{1,47}"), Names.role),
    "log group": (re.compile(r"[.\-_/#A-Za-z0-9]{1,512}"), Names.log_group),
}
RESOURCE_LIMITS: dict[str, tuple[re.Pattern[str], Callable[[Names, str], str]]] = {
    "queue": (QUEUE, Names.queue),
    "dead queue": (QUEUE, Names.dead_queue),
    "topic": (re.compile(r"[A-Za-z0-9_-]{1,256}"), Names.topic),
    "table": (re.compile(r"[A-Za-z0-9_.-]{3,255}"), Names.table),
    "secret": (re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}"), Names.secret),
}
TRIGGER_LIMITS: dict[str, tuple[re.Pattern[str], Callable[[Names, str], str]]] = {
    "queue": (QUEUE, Names.trigger_queue),
    "dead queue": (QUEUE, Names.dead_trigger_queue),
    "schedule": (re.compile(r"[0-9a-zA-Z._-]{1,64}"), Names.schedule),
}


@pytest.mark.parametrize("kind", LIMITS)
@given(names=NAMES, function=FUNCTIONS)
def test_names_of_functions_are_what_aws_takes(kind: str, names: Names, function: str) -> None:
    allowed, derive = LIMITS[kind]
    assert allowed.fullmatch(derive(names, function))


@pytest.mark.parametrize("kind", RESOURCE_LIMITS)
@given(names=NAMES, resource=RESOURCES)
def test_names_of_resources_are_what_aws_takes(kind: str, names: Names, resource: str) -> None:
    allowed, derive = RESOURCE_LIMITS[kind]
    assert allowed.fullmatch(derive(names, resource))


@pytest.mark.parametrize("kind", TRIGGER_LIMITS)
@given(names=NAMES, trigger=TRIGGERS)
def test_names_of_triggers_are_what_aws_takes(kind: str, names: Names, trigger: str) -> None:
    allowed, derive = TRIGGER_LIMITS[kind]
    assert allowed.fullmatch(derive(names, trigger))


@given(names=NAMES, resource=RESOURCES)
def test_a_bucket_is_63_lower_case_letters_with_the_longest_region(names: Names, resource: str) -> None:
    text = names.bucket(resource).replace("${AWS::AccountId}", "1" * 12).replace("${AWS::Region}", "r" * 16)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{1,61})[a-z0-9]", text)
    assert "--" not in text


@given(names=NAMES, resource=RESOURCES)
def test_an_ordered_queue_ends_as_aws_wants_it_and_still_fits(names: Names, resource: str) -> None:
    for text in (names.queue(resource, ordered=True), names.dead_queue(resource, ordered=True)):
        assert text.endswith(".fifo")
        assert len(text) <= 80


@given(names=NAMES)
def test_the_names_of_the_stage_itself_are_what_aws_takes(names: Names) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", names.stack)
    assert re.fullmatch(r"[0-9a-zA-Z._-]{1,64}", names.api)
    assert QUEUE.fullmatch(names.dead_schedules)
    assert len(f"{names.scheduler_role}-ap-southeast-1") <= 64
    assert re.fullmatch(r"[.\-_/#A-Za-z0-9]{1,512}", names.api_log_group)


@given(st.lists(st.tuples(NAMES, RESOURCES), min_size=2, max_size=2, unique=True))
def test_two_resources_never_have_one_name(pair: list[tuple[Names, str]]) -> None:
    (one, first), (other, second) = pair
    for _, derive in RESOURCE_LIMITS.values():
        assert derive(one, first) != derive(other, second)
    assert one.bucket(first) != other.bucket(second)


@given(names=NAMES, pair=st.lists(TRIGGERS, min_size=2, max_size=2, unique=True))
def test_two_triggers_never_have_one_name(names: Names, pair: list[str]) -> None:
    for _, derive in TRIGGER_LIMITS.values():
        assert derive(names, pair[0]) != derive(names, pair[1])
    assert names.schedule(pair[0]) != names.schedule(pair[1], 1)


@pytest.mark.parametrize("pair", [("a:é", "a:ü"), ("a:b_c", "a-b:c"), ("a:b", "a:b-2")])
def test_triggers_that_are_alike_differ(pair: tuple[str, str]) -> None:
    names = Names("shop", "dev")
    assert names.trigger_queue(pair[0]) != names.trigger_queue(pair[1])
    assert names.schedule(pair[0]) != names.schedule(pair[1])


@given(names=NAMES, function=FUNCTIONS, resource=RESOURCES, trigger=TRIGGERS)
def test_the_pattern_of_a_stage_fits_all_its_names(names: Names, function: str, resource: str, trigger: str) -> None:
    assert fnmatchcase(names.function(function), names.all(64))
    assert fnmatchcase(names.role(function), names.roles)
    assert fnmatchcase(names.scheduler_role, names.roles)
    for queue in (
        names.queue(resource, ordered=True),
        names.dead_queue(resource),
        names.trigger_queue(trigger),
        names.dead_trigger_queue(trigger),
        names.dead_schedules,
    ):
        assert fnmatchcase(queue, names.all(75))


PREVIEWS = st.integers(1, 9_999_999_999).map("pr-{}".format)


@given(SERVICES, PREVIEWS, FUNCTIONS, RESOURCES, TRIGGERS)
def test_the_patterns_of_previews_fit_the_names_of_every_preview(
    service: str, stage: str, function: str, resource: str, trigger: str
) -> None:
    one, every = Names(service, stage), PreviewNames(service)
    for name, pattern in (
        (one.stack, every.stack),
        (one.api, every.api),
        (one.api_log_group, every.api_log_group),
        (one.function(function), every.all(64)),
        (one.role(function), every.roles),
        (one.scheduler_role, every.roles),
        (one.queue(resource, ordered=True), every.all(75)),
        (one.dead_trigger_queue(trigger), every.all(75)),
        (one.topic(resource), every.all(256)),
        (one.table(resource), every.all(255)),
        (one.secret(resource), every.secret("*")),
        (one.artefact("0" * 16), every.artefact("*")),
        (one.bucket(resource), every.bucket(resource)),
    ):
        assert fnmatchcase(name, pattern), (name, pattern)


@given(st.text(LOWER, min_size=1, max_size=8).map("s{}s".format), STAGES, FUNCTIONS, RESOURCES)
def test_the_patterns_of_previews_fit_no_other_stage(service: str, stage: str, function: str, resource: str) -> None:
    if stage.startswith("pr-"):
        return
    one, every = Names(service, stage), PreviewNames(service)
    assert not fnmatchcase(one.stack, every.stack)
    assert not fnmatchcase(one.api, every.api)
    assert not fnmatchcase(one.function(function), every.all(64))
    assert not fnmatchcase(one.role(function), every.roles)
    assert not fnmatchcase(one.queue(resource), every.all(75))
    assert not fnmatchcase(one.secret(resource), every.secret("*"))
    assert not fnmatchcase(one.artefact("0" * 16), every.artefact("*"))
    assert not fnmatchcase(one.bucket(resource), every.bucket(resource))


SHORT = st.sampled_from(["a", "b", "a-b", "b-a", "a-a", "aa", "a1", "a-1"])
SHORT_RESOURCES = st.sampled_from(["a", "b", "A", "a-b", "a_b", "ab", "dead_a", "for_a_b", "a-1", "a1", "_"]).filter(
    lambda text: text != "_"
)


@given(st.lists(st.tuples(st.builds(Names, SHORT, SHORT), SHORT), min_size=2, max_size=2, unique=True))
def test_names_that_only_differ_in_where_the_words_end_differ(pair: list[tuple[Names, str]]) -> None:
    (one, first), (other, second) = pair
    assert one.function(first) != other.function(second)
    assert one.role(first) != other.role(second)
    if one != other:
        assert one.stack != other.stack
        assert one.api != other.api


@given(names=st.builds(Names, SHORT, SHORT), queue=SHORT_RESOURCES, other=SHORT_RESOURCES, function=SHORT)
def test_what_is_added_is_never_called_like_what_a_service_has(
    names: Names, queue: str, other: str, function: str
) -> None:
    trigger = f"{function}:{other}"
    texts = [
        names.queue(queue),
        names.dead_queue(other),
        names.trigger_queue(trigger),
        names.dead_trigger_queue(trigger),
        names.dead_schedules,
    ]
    assert len(set(texts)) == len(texts)


@given(st.lists(st.one_of(FUNCTIONS, RESOURCES, TRIGGERS, SHORT, SHORT_RESOURCES), unique=True, max_size=8))
def test_logical_ids_are_letters_and_digits_and_differ(texts: list[str]) -> None:
    kinds = ("function", "role", "queue", "dead", "inbox", "bucket")
    ids = [logical(text, kind) for text in texts for kind in kinds]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[A-Za-z0-9]{1,255}", id) for id in ids)


def test_names_stay_what_they_are() -> None:
    """A name that changes with a release would make AWS replace what bears it, with all that is in it."""
    names = Names("shop", "dev")
    assert names.stack == "shop-dev"
    assert Names("shop", "pr-42").stack == "shop-pr-42-32698387"
    assert names.function("api") == "shop_dev_api"
    assert names.queue("placed-orders") == "shop_dev_placed-orders"
    assert names.queue("steps", ordered=True) == "shop_dev_steps.fifo"
    assert names.dead_queue("placed-orders") == "shop_dev__dead_placed-orders"
    assert names.trigger_queue("worker:audit") == "shop_dev__for_worker_audit"
    assert names.bucket("receipts") == "shop-dev-receipts-2385a655-${AWS::AccountId}-${AWS::Region}"
    assert names.table("stock") == "shop_dev_stock"
    assert names.secret("ADMIN_KEY") == "shop/dev/ADMIN_KEY"
    assert names.artefact("0123456789abcdef") == "shop/dev/0123456789abcdef.zip"
    assert Names("s" * 40, "t" * 32).function("f" * 40) == f"{'s' * 40}_{'t' * 14}_35254f33"
    assert logical("api", "function") == "ApiFunction"
    assert logical("placed-orders", "queue") == "PlacedOrdersQueue"
    assert logical("ADMIN_KEY", "secret") == "ADMINKEY96e574f4Secret"
    assert artefact_bucket("123456789012", "eu-central-1") == "pys-multi-123456789012-eu-central-1"
