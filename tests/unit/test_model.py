"""The neutral model: from an App, through JSON and back, and its published JSON Schema."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import CORS, App, DefinitionError
from pys_multi import model as m
from pys_multi_tools import service_schema

VALIDATOR = jsonschema.Draft202012Validator(service_schema.service_schema())

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=5,
)
OPTIONS = st.dictionaries(TEXT, st.dictionaries(TEXT, JSON, max_size=2), max_size=2)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TRIGGERS = st.one_of(
    st.builds(m.Route, auth=st.dictionaries(TEXT, JSON, max_size=2)),
    st.builds(m.Mount, auth=st.dictionaries(TEXT, JSON, max_size=2)),
    st.builds(m.Schedule),
    st.builds(m.Consume, window=NUMBERS),
    st.builds(m.Subscribe),
    st.builds(m.ObjectEvent),
)
RESOURCES = st.one_of(
    st.builds(m.Queue, options=OPTIONS, visibility=st.none() | NUMBERS),
    *(st.builds(kind, options=OPTIONS) for kind in (m.Topic, m.Bucket, m.Table, m.Secret)),
)
FUNCTIONS = st.builds(
    m.Function,
    timeout=NUMBERS,
    triggers=st.lists(TRIGGERS, max_size=4).map(tuple),
    options=OPTIONS,
    environment=st.dictionaries(TEXT, TEXT, max_size=2),
)
SERVICES = st.builds(
    m.Service,
    name=TEXT,
    functions=st.lists(FUNCTIONS, max_size=3).map(tuple),
    resources=st.lists(RESOURCES, max_size=4).map(tuple),
)


@given(SERVICES)
def test_a_service_goes_through_json_and_back(service: m.Service) -> None:
    document = json.loads(json.dumps(service.to_json()))
    VALIDATOR.validate(document)
    assert m.Service.from_json(document) == service


def everything() -> App:
    app = App("shop", auth=lambda request: None, cors=CORS(["https://shop.example"]))
    orders = app.queue("orders", retries=5, visibility=60, aws={"encrypted": True, "tags": ("a", "b")})
    news, files = app.topic("news"), app.bucket("files")
    stock, key = app.table("stock", key="sku", sort="at"), app.secret("PAYMENT_KEY")
    api = app.function("api", memory=512, timeout=10, uses=[orders.send, stock.read, key], aws={"arch": "arm64"})
    api.get("/orders/{id:int}", public=True)(lambda id: id)
    api.wsgi(lambda environ, start: [], "/w")
    worker = app.function("worker", environment={"A": "b"}, dependencies=["pdf"], uses=[files])
    worker.consume(orders, batch=10, window=1)(lambda batch: None)
    worker.every("15 minutes")(lambda: None)
    worker.schedule("0 6 * * MON-FRI", timezone="Europe/Berlin")(lambda: None)
    worker.subscribe(news)(lambda message: None)
    worker.created(files, suffix=".pdf")(lambda event: None)
    return app


def test_the_service_of_an_app() -> None:
    service = everything().service()
    document = json.loads(json.dumps(service.to_json()))
    VALIDATOR.validate(document)
    assert m.Service.from_json(document) == service
    api, worker = service.function("api"), service.function("worker")
    assert (api.memory, api.timeout, api.options) == (512, 10.0, {"aws": {"arch": "arm64"}})
    assert api.grants == (
        m.Grant(resource="PAYMENT_KEY", verbs=("value",)),
        m.Grant(resource="orders", verbs=("send",)),
        m.Grant(resource="stock", verbs=("get", "query")),
    )
    assert api.cors is not None
    assert api.cors.origins == ("https://shop.example",)
    route, mount = api.triggers
    assert isinstance(route, m.Route)
    assert (route.id, route.method, route.path, route.public) == (
        "api:GET /orders/{id:int}",
        "GET",
        "/orders/{id:int}",
        True,
    )
    assert isinstance(mount, m.Mount)
    assert (mount.interface, mount.path, mount.public) == ("wsgi", "/w", False)
    assert mount.auth["kind"] == "custom"
    assert [trigger.kind for trigger in worker.triggers] == ["consume", "schedule", "schedule", "subscribe", "object"]
    assert (worker.environment, worker.dependencies) == ({"A": "b"}, ("pdf",))
    assert service.resource("orders") == m.Queue(
        name="orders", retries=5, visibility=60, options={"aws": {"encrypted": True, "tags": ["a", "b"]}}
    )
    for find in (service.function, service.resource):
        with pytest.raises(KeyError):
            find("nobody")


def test_the_model_is_not_changed_from_outside() -> None:
    options: dict[str, Any] = {"a": {"b": [1]}}
    environment = {"A": "b"}
    app = App("shop")
    app.function("api", environment=environment, aws=options)
    service = app.service()
    options["a"]["b"].append(2)
    app.functions["api"].environment["A"] = "c"
    assert service.function("api").options == {"aws": {"a": {"b": [1]}}}
    assert service.function("api").environment == {"A": "b"}


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": float("nan")}, [{1, 2}], b"x"])
def test_options_that_json_cannot_hold_are_refused_with_their_place(value: Any) -> None:
    app = App("shop")
    app.function("api", aws={"deep": {"er": value}})
    with pytest.raises(DefinitionError, match="function 'api': aws: deep: er"):
        app.service()


def test_a_schedule_that_is_none_is_refused_with_its_place() -> None:
    app = App("shop")
    app.every("15 parsecs")(lambda: None)
    with pytest.raises(DefinitionError, match="main:schedule: "):
        app.service()


# ---- reading


def test_a_wrong_document_is_refused_with_the_place() -> None:
    good = everything().service().to_json()

    def broken(change: Any) -> str:
        document = json.loads(json.dumps(good))
        change(document)
        assert not VALIDATOR.is_valid(document)
        with pytest.raises(m.ModelError) as caught:
            m.Service.from_json(document)
        return str(caught.value)

    assert "schema_version is 2" in broken(lambda d: d.update(schema_version=2))
    assert "service: 'extra' is not known; Service has functions, name, resources" in broken(
        lambda d: d.update(extra=1)
    )
    assert "service: missing" in broken(lambda d: d.pop("name"))
    assert "service.name: str is expected, not int" in broken(lambda d: d.update(name=5))
    assert "service.functions[0].memory: int is expected, not bool" in broken(
        lambda d: d["functions"][0].update(memory=True)
    )
    assert "service.functions[1].triggers[0].kind" not in broken(
        lambda d: d["functions"][1]["triggers"][0].update(kind="carrier pigeon")
    )
    assert "service.functions[1].triggers[0]: 'bach' is not known" in broken(
        lambda d: d["functions"][1]["triggers"][0].update(bach=5)
    )
    assert "service.functions[0].environment.A: str is expected, not int" in broken(
        lambda d: d["functions"][0].update(environment={"A": 1})
    )
    assert "service.functions: a list is expected, not dict" in broken(lambda d: d.update(functions={}))
    assert "service.resources[0]: kind is one of queue, topic, bucket, table, secret, not None" in broken(
        lambda d: d["resources"].__setitem__(0, 5)
    )


@given(JSON | SERVICES.map(m.Service.to_json), st.data())
def test_garbage_is_a_model_error_and_nothing_else(document: Any, data: st.DataObject) -> None:
    if isinstance(document, dict):
        # Something plausible with something wrong somewhere.
        document.setdefault("schema_version", data.draw(st.sampled_from([1, "1", None])))
        node: Any = document
        while isinstance(node, dict | list) and node and data.draw(st.booleans()):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = data.draw(st.sampled_from(keys))
            if data.draw(st.booleans()):
                node[key] = data.draw(JSON)
                break
            node = node[key]
    try:
        service = m.Service.from_json(document)
    except m.ModelError:
        return
    VALIDATOR.validate(document)
    assert isinstance(service, m.Service)


# ---- the schema


def test_the_published_schema_is_current() -> None:
    """python -m pys_multi_tools.service_schema writes it anew."""
    assert service_schema.PUBLISHED.read_text(encoding="utf-8") == service_schema.text()
    jsonschema.Draft202012Validator.check_schema(json.loads(service_schema.text()))


def test_the_model_is_frozen_and_has_no_word_of_a_cloud() -> None:
    kinds = [value for value in vars(m).values() if is_dataclass(value) and isinstance(value, type)]
    assert len(kinds) == 15
    words = {word for kind in kinds for field in fields(kind) for word in field.name.split("_")}
    assert not words & {"aws", "lambda", "sqs", "sns", "s3", "gcp", "pubsub", "azure", "arn", "k8s"}
    service = m.Service(name="shop")
    with pytest.raises(AttributeError):
        service.name = "other"  # type: ignore[misc]
