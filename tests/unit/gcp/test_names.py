"""Names on Google Cloud: within each service's limit, stable, and never the same for two things."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.gcp.names import Names, fit_id

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
NAMES = st.builds(Names, SERVICES, STAGES, st.sampled_from(["acme", "another-project-12"]))

#: "cloudfunctions.create", functionId; "Cloud Run: service names" (49); "serviceAccounts.create", accountId;
#: "Topic.name"; "secrets.create"; "jobs.create"; "databases.create".
FUNCTION = re.compile(r"[a-z][a-z0-9-]{2,47}[a-z0-9]")
ACCOUNT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
TOPIC = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
SECRET = re.compile(r"[A-Za-z0-9_-]{1,255}")
JOB = re.compile(r"[A-Za-z0-9_-]{1,500}")
DATABASE = re.compile(r"[a-z][a-z0-9-]{2,61}[a-z0-9]")
BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")

#: What takes a name → what Google takes, and how it is derived.
FUNCTION_LIMITS: dict[str, tuple[re.Pattern[str], Callable[[Names, str], str]]] = {
    "function": (FUNCTION, Names.function),
    "account": (ACCOUNT, Names.account),
}
RESOURCE_LIMITS: dict[str, tuple[re.Pattern[str], Callable[[Names, str], str]]] = {
    "topic": (TOPIC, Names.topic),
    "dead topic": (TOPIC, Names.dead),
    "secret": (SECRET, Names.secret),
    "bucket": (BUCKET, Names.bucket),
}
TRIGGER_LIMITS: dict[str, tuple[re.Pattern[str], Callable[[Names, str], str]]] = {
    "topic": (TOPIC, Names.trigger),
    "dead topic": (TOPIC, Names.dead_trigger),
    "job": (JOB, Names.job),
}


def takes(allowed: re.Pattern[str], text: str) -> bool:
    """checks.py refuses a service whose name begins with "goog"."""
    return bool(allowed.fullmatch(text)) or text.startswith("goog")


@pytest.mark.parametrize("kind", FUNCTION_LIMITS)
@given(names=NAMES, function=FUNCTIONS)
def test_names_of_functions_are_what_google_takes(kind: str, names: Names, function: str) -> None:
    allowed, derive = FUNCTION_LIMITS[kind]
    assert takes(allowed, derive(names, function))


@pytest.mark.parametrize("kind", RESOURCE_LIMITS)
@given(names=NAMES, resource=RESOURCES)
def test_names_of_resources_are_what_google_takes(kind: str, names: Names, resource: str) -> None:
    allowed, derive = RESOURCE_LIMITS[kind]
    assert takes(allowed, derive(names, resource))


@pytest.mark.parametrize("kind", TRIGGER_LIMITS)
@given(names=NAMES, trigger=TRIGGERS)
def test_names_of_triggers_are_what_google_takes(kind: str, names: Names, trigger: str) -> None:
    allowed, derive = TRIGGER_LIMITS[kind]
    assert takes(allowed, derive(names, trigger))


@given(names=NAMES)
def test_names_of_a_stage_are_what_google_takes(names: Names) -> None:
    assert DATABASE.fullmatch(names.database)
    assert ACCOUNT.fullmatch(names.events_account)
    assert names.email(names.events_account).endswith(f"@{names.project}.iam.gserviceaccount.com")
    for value in names.labels.values():
        assert re.fullmatch(r"[a-z0-9_-]{1,63}", value)


ONE = st.tuples(SERVICES, STAGES, FUNCTIONS)


@given(one=ONE, other=ONE)
def test_two_things_never_have_one_name(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    first, second = Names(*one[:2], "acme"), Names(*other[:2], "acme")
    same = one == other
    for derive in (Names.function, Names.account, Names.topic, Names.secret, Names.bucket):
        assert (derive(first, one[2]) == derive(second, other[2])) is same
    assert (first.database == second.database) is (one[:2] == other[:2])


@given(
    words=st.lists(st.from_regex("[a-z]{1,4}", fullmatch=True), min_size=3, max_size=6),
    cuts=st.lists(st.integers(1, 5), min_size=4, max_size=4),
)
def test_words_can_be_told_apart(words: list[str], cuts: list[int]) -> None:
    """shop-dev + api and shop + dev-api are the same letters."""

    def cut(first: int, second: int) -> tuple[str, str, str]:
        first = min(first, len(words) - 2)
        second = min(max(second, first + 1), len(words) - 1)
        return "-".join(words[:first]), "-".join(words[first:second]), "-".join(words[second:])

    one, other = cut(cuts[0], cuts[1]), cut(cuts[2], cuts[3])
    first, second = Names(*one[:2], "acme"), Names(*other[:2], "acme")
    assert (first.function(one[2]) == second.function(other[2])) is (one == other)


@given(names=NAMES, resource=RESOURCES, trigger=TRIGGERS, function=FUNCTIONS)
def test_what_is_added_meets_nothing_of_the_service_s(names: Names, resource: str, trigger: str, function: str) -> None:
    topics = [
        names.topic(resource),
        names.dead(resource),
        names.trigger(trigger),
        names.dead_trigger(trigger),
    ]
    assert len(set(topics)) == len(topics)
    assert names.account(function) != names.events_account
    assert names.job(trigger) != names.job(trigger, 1)


def test_short_names_stay_as_they_are() -> None:
    names = Names("shop", "dev", "acme")
    assert names.function("api") == "shop-dev-api"
    assert names.account("api") == "shop-dev-api"
    assert names.topic("jobs") == "shop-dev-jobs"
    assert names.dead("jobs") == "shop-dev-jobs.dead"
    assert names.trigger("worker:resize") == "shop-dev.worker.resize"
    assert names.dead_trigger("worker:resize") == "shop-dev.worker.resize.dead"
    assert names.job("worker:nightly") == "shop-dev_worker_nightly"
    assert names.job("worker:nightly", 1) == "shop-dev_worker_nightly-part2"
    assert names.database == "shop-dev"
    assert re.fullmatch("shop-dev-receipts-[0-9a-f]{10}", names.bucket("receipts"))
    assert names.owner == "pys-multi shop/dev"


def test_the_same_bucket_of_two_projects_has_two_names() -> None:
    assert Names("shop", "dev", "one").bucket("files") != Names("shop", "dev", "two").bucket("files")


def test_accounts_of_a_project_of_a_domain() -> None:
    assert Names("shop", "dev", "example.com:old").email("a") == "a@old.example.com.iam.gserviceaccount.com"


@given(text=st.text(LOWER, min_size=1, max_size=80), limit=st.sampled_from([30, 32, 64]))
def test_an_id_fits(text: str, limit: int) -> None:
    assert len(fit_id(text, "whole", limit)) <= limit
    assert fit_id("short", "whole", limit) == "short"


def test_what_is_cut_still_says_which_function_it_is() -> None:
    names = Names("a-service-with-a-rather-long-name-indeed", "production", "p")
    assert names.function("worker").startswith("a-service-with-a-rather-long-name")
    for name in (names.function("worker"), names.account("worker")):
        assert "-worker-" in name
