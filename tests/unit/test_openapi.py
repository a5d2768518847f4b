"""openapi.py: the document of a service, valid and true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import openapi_spec_validator
import pydantic
import pytest

from pys_multi import App, Request, Response
from pys_multi.errors import DefinitionError
from pys_multi.parameters import Body, Cookie, Form, Header, Query
from pys_multi_tools.openapi import document


@dataclass
class Order:
    """What a customer wants."""

    sku: str
    quantity: int = 1
    parts: list[Order] | None = None


class Stock(pydantic.BaseModel):
    sku: str
    left: int = 0


class Price(msgspec.Struct):
    amount: float


@dataclass
class Login:
    user: str


class Bearer:
    """An authenticator as the document sees it."""

    def __init__(self, **description: Any) -> None:
        self.description = description

    def authenticate(self, request: Request) -> object:
        return request.headers.get("authorization")

    def describe(self) -> dict[str, Any]:
        return self.description


def shop() -> App:
    app = App("shop")
    api = app.function("api")
    admin = app.function("admin")

    @api.get("/orders/{order_id:int}", public=True)
    def read_order(order_id: int, verbose: bool = False) -> Order:
        """Reads an order.

        It must exist.
        """
        raise NotImplementedError

    @api.post("/orders", status=201)
    def create_order(order: Order, trace: Annotated[str, Header("X-Trace")] = "") -> Order:
        return order

    @admin.get("/stock", auth=Bearer(kind="jwt", issuer="https://id.example"))
    def list_stock(
        word: Annotated[str, Query("q", min_length=2, description="What to look for")],
        kinds: list[Literal["a", "b"]],
        limit: int | None = 20,
        session: Annotated[UUID | None, Cookie()] = None,
    ) -> list[Stock] | None:
        return []

    @admin.put("/stock/{sku}", auth=Bearer(kind="api_key", header="X-Key"))
    def change_stock(sku: str, stock: Stock) -> tuple[Price, int]:
        return Price(1.0), 200

    @admin.delete("/stock/{sku}", auth=Bearer(kind="webhook", header="X-Signature"))
    def drop_stock(sku: str) -> None: ...

    @admin.post("/login", public=True)
    def login(login: Annotated[Login, Form()]) -> Response:
        return Response()

    @admin.post("/upload/{rest:path}", public=True)
    def upload(request: Request, data: Annotated[bytes, Body(description="A picture")]) -> Iterator[str]:
        yield ""

    return app


def valid(app: App) -> dict[str, Any]:
    found = document(app)
    openapi_spec_validator.validate(json.loads(json.dumps(found)))
    return found


def test_the_document_is_valid_and_always_the_same() -> None:
    found = valid(shop())
    assert found["openapi"] == "3.1.0"
    assert found["info"] == {"title": "shop", "version": "1.0.0"}
    assert found["tags"] == [{"name": "api"}, {"name": "admin"}]
    assert json.dumps(found) == json.dumps(document(shop()))
    assert document(shop(), version="2")["info"]["version"] == "2"


def test_a_get_route() -> None:
    operation = valid(shop())["paths"]["/orders/{order_id}"]["get"]
    assert operation == {
        "operationId": "read_order",
        "tags": ["api"],
        "summary": "Reads an order",
        "description": "It must exist.",
        "parameters": [
            {"name": "order_id", "in": "path", "required": True, "schema": {"type": "integer"}},
            {"name": "verbose", "in": "query", "schema": {"type": "boolean", "default": False}},
        ],
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
            },
            "422": {
                "description": "The input does not fit",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ValidationProblem"}}},
            },
            "default": {"$ref": "#/components/responses/Problem"},
        },
        "security": [],
    }


def test_a_post_route_with_a_body() -> None:
    found = valid(shop())
    operation = found["paths"]["/orders"]["post"]
    assert operation["summary"] == "Create order"
    assert operation["x-private"] is True
    assert operation["requestBody"] == {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
        "required": True,
    }
    assert operation["parameters"] == [{"name": "X-Trace", "in": "header", "schema": {"type": "string", "default": ""}}]
    assert list(operation["responses"]) == ["201", "403", "422", "default"]
    order = found["components"]["schemas"]["Order"]
    assert order["description"] == "What a customer wants."
    assert order["properties"]["parts"]["anyOf"][0]["items"] == {"$ref": "#/components/schemas/Order"}


def test_parameters_of_every_kind() -> None:
    operation = valid(shop())["paths"]["/stock"]["get"]
    assert operation["parameters"] == [
        {
            "name": "q",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "minLength": 2},
            "description": "What to look for",
        },
        {
            "name": "kinds",
            "in": "query",
            "required": True,
            "schema": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        },
        {"name": "limit", "in": "query", "schema": {"type": "integer", "default": 20}},
        {"name": "session", "in": "cookie", "schema": {"type": "string", "format": "uuid"}},
    ]
    assert list(operation["responses"]) == ["200", "204", "401", "403", "422", "default"]


def test_authenticators_are_security_schemes() -> None:
    found = valid(shop())
    assert found["components"]["securitySchemes"] == {
        "jwt": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of https://id.example.",
        },
        "api_key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "webhook": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Signature",
            "description": "The HMAC signature of the request by whoever sends the event.",
        },
    }
    assert found["paths"]["/stock"]["get"]["security"] == [{"jwt": []}]
    assert found["paths"]["/stock/{sku}"]["put"]["security"] == [{"api_key": []}]


def test_two_authenticators_of_one_kind_are_two_schemes() -> None:
    app = App("a")
    for number, issuer in enumerate(("x", "y", "x")):
        app.get(f"/{number}", auth=Bearer(kind="jwt", issuer=issuer))(lambda: None)
    assert list(valid(app)["components"]["securitySchemes"]) == ["jwt", "jwt2"]


def test_what_a_handler_returns() -> None:
    paths = valid(shop())["paths"]
    put = paths["/stock/{sku}"]["put"]["responses"]
    assert put["200"]["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Price"}}}
    assert "content" not in paths["/stock/{sku}"]["delete"]["responses"]["204"]
    assert paths["/login"]["post"]["responses"]["200"] == {"description": "OK"}
    stream = paths["/upload/{rest}"]["post"]["responses"]["200"]
    assert list(stream["content"]) == ["application/octet-stream"]

    app = App("a")

    @app.get("/text")
    def text() -> str | dict[str, int]:
        return ""

    assert list(valid(app)["paths"]["/text"]["get"]["responses"]["200"]["content"]) == [
        "text/plain",
        "application/json",
    ]


def test_forms_and_raw_bodies() -> None:
    paths = valid(shop())["paths"]
    form = paths["/login"]["post"]["requestBody"]
    assert list(form["content"]) == ["application/x-www-form-urlencoded", "multipart/form-data"]
    assert form["content"]["multipart/form-data"]["schema"] == {"$ref": "#/components/schemas/Login"}
    upload = paths["/upload/{rest}"]["post"]
    assert upload["requestBody"] == {
        "content": {"application/octet-stream": {}},
        "required": False,  # no bytes are bytes as well
        "description": "A picture",
    }
    assert upload["parameters"] == [{"name": "rest", "in": "path", "required": True, "schema": {"type": "string"}}]

    app = App("a")

    @app.post("/fields")
    def fields(a: Annotated[int, Form()], b: Annotated[list[str] | None, Form("c")] = None) -> None: ...

    content = valid(app)["paths"]["/fields"]["post"]["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"] == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "c": {"type": "array", "items": {"type": "string"}}},
        "required": ["a"],
    }


def test_operation_ids_are_unique() -> None:
    app = App("a")
    one, two = app.function("one"), app.function("two")

    def read() -> None: ...

    one.get("/a")(read)
    one.post("/a")(read)
    one.get("/b")(read)
    two.get("/c")(read)
    ids = [operation["operationId"] for item in valid(app)["paths"].values() for operation in item.values()]
    assert ids == ["one_read_get", "one_read_post", "one_read_get_2", "two_read_get"]


def test_templates_that_openapi_cannot_tell_apart() -> None:
    app = App("a")

    @app.get("/things/{id:int}")
    def by_number(id: int) -> None: ...

    @app.get("/things/{name}")
    def by_name(name: str) -> None: ...

    @app.delete("/things/{name}")
    def drop(name: str) -> None: ...

    @app.route("PROPFIND", "/things")
    def find() -> None: ...

    found = valid(app)
    assert list(found["paths"]) == ["/things/{id}"]
    assert found["paths"]["/things/{id}"]["delete"]["parameters"][0]["name"] == "id"
    assert found["x-undescribed"] == [
        {"path": "/things/{name}", "method": "GET", "reason": "OpenAPI sees /things/{id} in it"},
        {"path": "/things", "method": "PROPFIND", "reason": "OpenAPI has no such method"},
    ]


def test_a_mounted_application_is_listed_as_not_described() -> None:
    app = App("a")
    app.function("web").asgi(lambda scope, receive, send: None, "/api")
    app.function("old").wsgi(lambda environ, start: [])
    assert valid(app)["x-undescribed"] == [
        {"path": "/api", "reason": "ASGI application: it describes itself"},
        {"path": "/", "reason": "WSGI application: it describes itself"},
    ]


def test_an_app_without_routes_has_a_document() -> None:
    assert valid(App("empty"))["paths"] == {}


def test_types_named_like_the_documents_own_are_kept_apart() -> None:
    app = App("a")
    Problem = dataclass(type("Problem", (), {"__annotations__": {"why": str}}))

    def handler(): ...  # type: ignore[no-untyped-def]

    handler.__annotations__["return"] = Problem
    app.get("/")(handler)
    schemas = valid(app)["components"]["schemas"]
    assert "why" in schemas["Problem2"]["properties"]


def test_a_deprecated_handler_says_so() -> None:
    app = App("a")

    @app.get("/")
    def old(x: Annotated[int, Query(deprecated=True)] = 1) -> None: ...

    old.__deprecated__ = "use new"  # type: ignore[attr-defined]  # as warnings.deprecated (PEP 702) sets it
    operation = valid(app)["paths"]["/"]["get"]
    assert operation["deprecated"] is True
    assert operation["parameters"][0]["deprecated"] is True


def test_a_handler_that_cannot_be_bound_is_refused() -> None:
    app = App("a")
    app.get("/")(lambda order: order)
    with pytest.raises(DefinitionError, match="has no annotation"):
        document(app)


def test_a_query_as_a_whole_is_described_field_by_field() -> None:
    app = App("shop", public=True)

    @app.get("/a")
    def plain(order: Annotated[Login, Query()]) -> str:
        return ""

    @app.get("/b")
    def model(stock: Annotated[Stock, Query()]) -> str:
        return ""

    paths = valid(app)["paths"]
    assert paths["/a"]["get"]["parameters"] == [
        {"name": "user", "in": "query", "schema": {"type": "string"}, "required": True}
    ]
    assert [(p["name"], p.get("required", False)) for p in paths["/b"]["get"]["parameters"]] == [
        ("sku", True),
        ("left", False),
    ]


def test_a_model_that_is_sent_otherwise_than_it_is_read_has_a_name_for_each() -> None:
    class Page(pydantic.BaseModel):
        items: list[Stock] = []

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def count(self) -> int:
            return len(self.items)

    app = App("shop", public=True)

    @app.post("/pages")
    def echo(page):  # type: ignore[no-untyped-def]
        return page

    echo.__annotations__.update({"page": Page, "return": Page})
    found = valid(app)
    schemas = found["components"]["schemas"]
    assert {name: schema["title"] for name, schema in schemas.items() if "Page" in name} == {
        "Page": "Page",
        "PageOutput": "PageOutput",  # generators of clients name their classes after the title
    }
    answer = found["paths"]["/pages"]["post"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/PageOutput"}
