"""Tables on Azurite do what they do on this machine, whatever the values, the keys and the others who write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.azure_host.identity import Identity
from tests.support.azurite import Azurite

from pys_multi import App
from pys_multi.errors import ConditionFailed, ResourceError
from pys_multi_providers.azure.calls import Refused
from pys_multi_providers.azure.resources import AzureBackend
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.store import Store

#: One worker of pytest-xdist has Azurite.
pytestmark = pytest.mark.xdist_group("azurite")
CLIENT = "an identity"

app = App("shop")
users = app.table("users", key="id")
readings = app.table("readings", key="sensor", sort="at")


@pytest.fixture(scope="module")
def backend(azurite: Azurite) -> Iterator[AzureBackend]:
    identity = Identity(CLIENT)
    where = {table.name: azurite.make_table(table.name) for table in (users, readings)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYS_MULTI_RESOURCES", json.dumps(where))
        patch.setenv("AZURE_CLIENT_ID", CLIENT)
        patch.setenv("SSL_CERT_FILE", str(azurite.certificate))
        for name, value in identity.environment.items():
            patch.setenv(name, value)
        made = AzureBackend(app)
        yield made
    made._connections.close()
    identity.stop()


@pytest.fixture
def connected(backend: AzureBackend) -> Iterator[AzureBackend]:
    app.backend = backend
    yield backend
    app.backend = None


@pytest.fixture
def both(connected: AzureBackend, tmp_path: Path) -> Iterator[Callable[[], tuple[AzureBackend, LocalBackend]]]:
    """The backend of Azure and that of the local provider."""
    store = Store(tmp_path / "data")
    store.apply(app.service())
    yield lambda: (connected, LocalBackend(store, buckets=tmp_path / "buckets"))
    store.close()


SCALARS = st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, -2.25, 1e300]) | st.sampled_from("abc")
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2)
#: Names that no property of an entity could have.
NAMES = st.sampled_from(["PartitionKey", "item0", "a.b", "#n", "ü"])


def wanted(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What a condition says of one attribute."""
    equal = st.tuples(st.sampled_from(["=", "!="]), values)
    ordered = st.tuples(st.sampled_from(["<", "<=", ">", ">="]), values.filter(lambda value: value is not None))
    return values | equal | ordered


CONDITIONS = st.tuples(
    st.dictionaries(NAMES, wanted(VALUES), max_size=2),
    st.dictionaries(st.just("id"), wanted(st.none() | st.integers(-5, 5) | st.sampled_from("abc"))),
).map(lambda parts: parts[0] | parts[1])
ITEMS = st.dictionaries(NAMES, VALUES, max_size=4)
UPDATES = st.fixed_dictionaries(
    {
        "set": st.dictionaries(st.sampled_from(["PartitionKey", "item0"]), VALUES, max_size=2),
        "add": st.dictionaries(st.sampled_from(["a.b", "#n"]), st.integers(-5, 5), max_size=2),
        "remove": st.lists(st.just("ü"), max_size=1),
    }
)
STEPS = st.one_of(
    st.tuples(st.just("put"), ITEMS, CONDITIONS),
    st.tuples(st.just("update"), UPDATES, CONDITIONS),
    st.tuples(st.just("delete"), st.none(), CONDITIONS),
    st.tuples(st.just("get"), st.none(), st.none()),
)


def outcome(step: Any, key: object) -> Any:
    """What a verb gives or raises."""
    verb, value, condition = step
    try:
        if verb == "put":
            return users.put({"id": key, **value}, condition=condition)
        if verb == "update":
            return users.update(key, condition=condition, **value)
        if verb == "delete":
            return users.delete(key, condition=condition)
        return users.get(key)
    except ConditionFailed:
        return "the condition failed"
    except ValueError:
        return "refused"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=6), number=st.booleans())
def test_a_table_does_what_it_does_on_this_machine(
    both: Callable[[], tuple[AzureBackend, LocalBackend]], steps: list[Any], number: bool
) -> None:
    azure, local = both()
    key: object = uuid4().int >> 66 if number else uuid4().hex
    for step in [*steps, ("get", None, None)]:
        found = []
        for one in (azure, local):
            app.backend = one
            found.append(outcome(step, key))
        assert found[0] == found[1], step


KEYS = st.integers(-(2**63), 2**63 - 1) | st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("/\\#?%'ab \x00\x7f"), min_size=1, max_size=5
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sorts=st.lists(KEYS, min_size=1, max_size=8, unique=True),
    prefix=st.none() | st.text("ab/", max_size=2),
    limit=st.none() | st.integers(1, 4),
    reverse=st.booleans(),
)
def test_a_query_finds_the_same_in_the_same_order_as_on_this_machine(
    both: Callable[[], tuple[AzureBackend, LocalBackend]],
    sorts: list[Any],
    prefix: str | None,
    limit: int | None,
    reverse: bool,
) -> None:
    sensor = f"/{uuid4().hex}?"
    found = []
    for one in both():
        app.backend = one
        for at in sorts:
            readings.put({"sensor": sensor, "at": at})
        found.append([item["at"] for item in readings.query(sensor, prefix=prefix, limit=limit, reverse=reverse)])
    assert found[0] == found[1]


def test_a_query_goes_on_over_pages_up_to_its_limit(connected: AzureBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi_providers.azure.tables._PAGE", 2)
    sensor = uuid4().hex
    for number in range(7):
        readings.put({"sensor": sensor, "at": f"{number:02d}"})
    every = [f"{number:02d}" for number in range(7)]
    assert [item["at"] for item in readings.query(sensor)] == every
    assert [item["at"] for item in readings.query(sensor, limit=5)] == every[:5]
    assert [item["at"] for item in readings.query(sensor, reverse=True, limit=3)] == every[:-4:-1]
    assert {item["at"] for item in readings.query() if item["sensor"] == sensor} == set(every)


def test_additions_of_many_at_once_are_all_counted(connected: AzureBackend) -> None:
    key = uuid4().hex
    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(lambda _: users.update(key, add={"n": 1})["n"], range(30)))
    assert sorted(counts) == list(range(1, 31))


# ---- answers that are lost


def losing(backend: AzureBackend, monkeypatch: pytest.MonkeyPatch, methods: str, *, done: bool) -> list[str]:
    """Loses the first answer to one of these methods, after the call was done or before."""
    storage, lost = backend._storage, []

    def lossy(what: str, method: str, *rest: Any) -> Any:
        if method in methods and not lost:
            lost.append(method)
            if done:
                storage(what, method, *rest)
            error = Refused(f"{what}: no answer")
            error.is_lost = True
            raise error
        return storage(what, method, *rest)

    monkeypatch.setattr(backend, "_storage", lossy)
    return lost


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_adds_nothing_twice(connected: AzureBackend, monkeypatch: pytest.MonkeyPatch, done: bool) -> None:
    key = uuid4().hex
    for expected, methods in ((1, "POST"), (2, "PUT")):
        with monkeypatch.context() as patch:
            lost = losing(connected, patch, methods, done=done)
            assert users.update(key, add={"n": 1})["n"] == expected
            assert lost == [methods]
    assert users.get(key) == {"id": key, "n": 2}


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_to_a_condition_is_found_out(
    connected: AzureBackend, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    key = uuid4().hex
    with monkeypatch.context() as patch:
        losing(connected, patch, "POST", done=done)
        users.put({"id": key, "n": 1}, condition={"id": None})
    with monkeypatch.context() as patch:
        losing(connected, patch, "DELETE", done=done)
        users.delete(key, condition={"n": 1})
    assert users.get(key) is None


def test_what_others_wrote_in_between_is_not_overwritten(
    connected: AzureBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = uuid4().hex
    users.put({"id": key, "n": 1})
    storage, others = connected._storage, []

    def meanwhile(what: str, method: str, url: str, *rest: Any) -> Any:
        if method == "PUT" and not others:
            others.append(method)
            users.update(key, add={"n": 10})
        return storage(what, method, url, *rest)

    monkeypatch.setattr(connected, "_storage", meanwhile)
    assert users.update(key, add={"n": 1})["n"] == 12


def test_a_table_that_is_not_deployed_is_named(
    backend: AzureBackend, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_physical", {"users": f"{azurite.table}/nowhere"})
    monkeypatch.setattr(app, "backend", backend)
    for verb in (lambda: users.get("a"), lambda: users.put({"id": "a"}), lambda: users.delete("a")):
        with pytest.raises(ResourceError, match="users"):
            verb()
    monkeypatch.setattr(backend, "_physical", {})
    with pytest.raises(ResourceError, match="deploy the service again"):
        users.get("a")


def test_an_entity_of_others_is_an_error_that_names_the_table(connected: AzureBackend, azurite: Azurite) -> None:
    entity = {"PartitionKey": uuid4().hex, "RowKey": "", "name": "x"}
    azurite.call("POST", f"{azurite.table}/users", json.dumps(entity).encode())
    with pytest.raises(ResourceError, match=r"users.*not one that pys-multi wrote"):
        users.get(entity["PartitionKey"])
    azurite.call(
        "DELETE",
        f"{azurite.table}/users(PartitionKey='{entity['PartitionKey']}',RowKey='')",
        fields={"if-match": "*"},
    )
