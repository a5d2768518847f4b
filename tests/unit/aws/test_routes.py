"""HTTP triggers become routes of an HTTP API: who gets what, and whom API Gateway lets through."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import JWT, App, Response
from pys_multi.errors import DefinitionError
from pys_multi_providers.aws.routes import Tokens, clashes, routes_of

ISSUER = "https://login.example"
TOKENS = JWT(issuer=ISSUER, audience="shop", jwks_url=f"{ISSUER}/.well-known/jwks.json")


def keys(app: App) -> dict[str, Any]:
    return {route.key: route.access for route in routes_of(app.service(), native_jwt=True)}


def one(path: str, method: str = "GET", **access: Any) -> dict[str, Any]:
    app = App("shop")
    app.route(method, path, **(access or {"public": True}))(lambda: None)
    return keys(app)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ["GET /"]),
        ("/orders", ["GET /orders"]),
        ("/orders/", ["GET /orders/"]),
        ("/orders/{id:int}", ["GET /orders/{id}"]),
        ("/orders/{id}/lines/{line:uuid}", ["GET /orders/{id}/lines/{line}"]),
        ("/files/{rest:path}", ["GET /files/{rest+}", "GET /files/"]),
        ("/files/{rest:path}/edit", ["GET /files/{rest+}", "GET /files/"]),
        ("/v{version:int}/items", ["GET /{segment1}/items"]),
        ("/a-{x}.{y}", ["GET /{segment1}"]),
        ("/café/x", ["GET /{segment1}/x"]),
        ("/a b/{größe}", ["GET /{segment1}/{segment2}"]),
        ("/a//b", ["GET /a/{segment2+}", "GET /a/"]),
        ("/$default", ["GET /{segment1}"]),
    ],
)
def test_a_path_becomes_the_narrowest_route_that_takes_it(path: str, expected: list[str]) -> None:
    assert list(one(path)) == [*expected, "$default"]


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8), min_size=1, max_size=5))
def test_any_path_becomes_a_route_key_that_aws_takes(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    try:
        found = one(path)
    except DefinitionError:
        return
    for key in found:
        assert key == "$default" or re.fullmatch(r"GET (/([A-Za-z0-9._~-]*|\{[A-Za-z_][A-Za-z0-9_]*\+?\}))+", key)
        assert re.search(r"\+\}.", key) is None, "only the last segment is greedy"


def test_a_mount_takes_all_below_its_path() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    app = App("notes", public=True)
    app.asgi(application)
    assert list(keys(app)) == ["ANY /", "ANY /{proxy+}", "$default"]
    app = App("notes", public=True)
    app.asgi(application, "/admin")
    assert list(keys(app)) == ["ANY /admin", "ANY /admin/", "ANY /admin/{proxy+}", "$default"]


def test_the_function_answers_what_no_route_takes_when_it_is_the_only_one() -> None:
    assert one("/orders") == {"GET /orders": "NONE", "$default": "NONE"}


def test_of_several_functions_each_answers_other_methods_and_the_other_slash_of_its_paths() -> None:
    app = App("shop", public=True)
    api, hooks = app.function("api"), app.function("hooks")
    api.get("/orders")(lambda: None)
    api.get("/orders/{id}")(lambda: None)
    hooks.post("/hooks")(lambda: None)
    found = {route.key: route.function for route in routes_of(app.service(), native_jwt=True)}
    assert found == {
        "GET /orders": "api",
        "GET /orders/{id}": "api",
        "POST /hooks": "hooks",
        "ANY /orders": "api",
        "ANY /orders/{id}": "api",
        "ANY /hooks": "hooks",
        "ANY /hooks/": "hooks",
        "$default": "api",
    }


def test_a_private_route_asks_for_a_signature_also_for_its_head() -> None:
    app = App("shop")
    app.get("/inner")(lambda: None)
    app.get("/outer", public=True)(lambda: None)
    assert keys(app) == {
        "GET /inner": "AWS_IAM",
        "HEAD /inner": "AWS_IAM",
        "GET /outer": "NONE",
        "$default": "NONE",
    }


def test_where_everything_is_private_nothing_is_open() -> None:
    app = App("shop")
    app.get("/a")(lambda: None)
    app.function("other").post("/b")(lambda: None)
    assert set(keys(app).values()) == {"AWS_IAM"}


def test_tokens_are_checked_by_api_gateway_where_it_finds_the_keys() -> None:
    access = Tokens(ISSUER, ("shop",))
    assert one("/a", auth=TOKENS)["GET /a"] == access
    app = App("shop", auth=TOKENS)
    app.get("/a")(lambda: None)
    assert {r.key: r.access for r in routes_of(app.service(), native_jwt=False)}["GET /a"] == "NONE"


@pytest.mark.parametrize(
    "auth",
    [
        JWT(issuer=ISSUER, audience="shop", jwks_url="https://elsewhere.example/keys"),
        JWT(issuer=[ISSUER, "https://b.example"], audience="shop", jwks_url=f"{ISSUER}/.well-known/jwks.json"),
        JWT(issuer=ISSUER, audience=None, jwks_url=f"{ISSUER}/.well-known/jwks.json"),
        JWT(issuer=ISSUER, audience="shop", jwks_url=f"{ISSUER}/.well-known/jwks.json", algorithms=["ES256"]),
        JWT(issuer=ISSUER, audience="shop", jwks_url=f"{ISSUER}/.well-known/jwks.json", header="x-token"),
        lambda request: "somebody",
    ],
    ids=["keys elsewhere", "two issuers", "any audience", "elliptic curve", "own header", "own function"],
)
def test_what_api_gateway_cannot_check_the_function_checks_alone(auth: Any) -> None:
    assert one("/a", auth=auth)["GET /a"] == "NONE"


def test_two_templates_that_are_one_to_aws_are_one_route_of_their_function() -> None:
    app = App("shop", public=True)
    app.get("/orders/{id:int}")(lambda: None)
    app.get("/orders/{name}")(lambda: None)
    assert list(keys(app)) == ["GET /orders/{id}", "$default"]
    assert not list(clashes(app.service()))


def test_an_open_template_wins_over_one_with_tokens_which_the_function_checks() -> None:
    app = App("shop")
    app.get("/orders/{id:int}", auth=TOKENS)(lambda: None)
    app.get("/orders/{name}", public=True)(lambda: None)
    assert keys(app) == {"GET /orders/{name}": "NONE", "$default": "NONE"}


def test_templates_that_aws_cannot_tell_apart_clash_where_functions_or_callers_differ() -> None:
    app = App("shop", public=True)
    app.get("/orders/{id:int}")(lambda: None)
    app.function("other").get("/orders/{name}")(lambda: Response.json({}))
    (clash,) = clashes(app.service())
    assert (clash.key, clash.why) == ("GET /orders/{name}", "they belong to different functions")
    app = App("shop")
    app.get("/orders/{id:int}", public=True)(lambda: None)
    app.get("/orders/{name}")(lambda: None)
    clash, *_ = clashes(app.service())
    assert clash.why == "only one of them is private"
