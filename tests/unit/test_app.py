"""App, Function and Router: what is recorded, what is inherited, what is refused."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mypy.api
import pytest

import pys_multi
from pys_multi import APIKey, App, DefinitionError, HTTPError, Message, Request
from pys_multi.model import Mount, Route
from pys_multi.runtime import Runtime
from pys_multi.triggers import Router

ROOT = Path(__file__).parents[2]


def handler() -> str:
    return "ok"


def other(request: Request) -> str:
    return request.path


class Key:
    """An authenticator."""

    def __init__(self, name: str) -> None:
        self.name = name

    def authenticate(self, request: Request) -> str | None:
        return self.name if request.headers.get("x-key") == self.name else None

    def describe(self) -> dict[str, str]:
        return {"kind": "key", "name": self.name}


def routes(app: App) -> dict[str, Route | Mount]:
    service = app.service()
    return {
        trigger.id: trigger
        for function in service.functions
        for trigger in function.triggers
        if isinstance(trigger, Route | Mount)
    }


# ---- decorators


def test_a_decorated_function_stays_a_plain_function() -> None:
    app = App("shop")
    orders = app.queue("orders")
    for decorate in (app.get("/a"), app.every("1 hour"), app.consume(orders), app.function("f").post("/b")):
        assert decorate(handler) is handler
    around = app.middleware(lambda request, call_next: call_next(request))
    assert around("x", str.upper) == "X"
    assert handler() == "ok"


def test_decorators_of_the_app_add_to_its_main_function() -> None:
    app = App("shop")
    app.get("/a")(handler)
    app.every("1 hour")(handler)
    app.wsgi(lambda environ, start: [], "/w")
    assert list(app.functions) == ["main"]
    assert [trigger.id for trigger in app.service().functions[0].triggers] == [
        "main:GET /a",
        "main:wsgi /w",
        "main:handler",
    ]


def test_ids_of_triggers_are_unique_and_plain() -> None:
    app = App("shop")
    worker = app.function("worker")
    worker.every("1 hour")(handler)
    worker.every("2 hours")(handler)
    worker.every("3 hours")(lambda: None)
    worker.every("4 hours")(partial(handler))
    assert [trigger.id for trigger in app.service().functions[0].triggers] == [
        "worker:handler",
        "worker:handler-2",
        "worker:schedule",
        "worker:schedule-2",
    ]


def test_one_method_and_shape_belongs_to_one_route_of_the_app() -> None:
    app = App("shop")
    app.function("one").get("/a/{x:int}")(handler)
    app.function("one" + "b").post("/a/{x:int}")(handler)
    with pytest.raises(DefinitionError, match=r"GET /a/\{y:int\} matches the same paths as GET /a/\{x:int\}") as caught:
        app.function("two").get("/a/{y:int}")(other)
    # Where the new one is, and where the first one was.
    assert str(caught.value).count("test_app.py:") == 2


@pytest.mark.parametrize(
    ("define", "why"),
    [
        (lambda app: app.get("a")(handler), r"test_app\.py:\d+: path 'a' does not begin"),
        (lambda app: app.route("GE T", "/a")(handler), "not an HTTP method"),
        (lambda app: app.route("*", "/a")(handler), "not an HTTP method"),
        (lambda app: app.get("/a", status=99)(handler), "from 200 to 599"),
        (lambda app: app.get("/a", status=True)(handler), "from 200 to 599"),
        (lambda app: app.get("/a", statu=1), "no option 'statu'; it has status"),
        (lambda app: app.get("/a", public=True, auth=Key("k"))(handler), "not both"),
        (lambda app: app.get("/.pys-multi/health")(handler), "belong to pys-multi"),
        (lambda app: app.get("/.pys-multi")(handler), "belong to pys-multi"),
        (lambda app: app.get("/a", uses="orders")(handler), "uses is a list"),
        (lambda app: app.get("/a", uses=[5])(handler), r"test_app\.py:\d+: uses holds verbs"),
        (lambda app: app.function("Api"), "'Api' is not a function name"),
        (lambda app: app.function(""), "not a function name"),
        (lambda app: app.function("a" * 41), "1 to 40"),
        (lambda app: app.function("a-"), "not ending"),
        (lambda app: app.function("a\n"), "not a function name"),
        (lambda app: app.function("a", memroy=512), "no parameter 'memroy'"),
        (lambda app: app.function("a", memory=0), "memory"),
        (lambda app: app.function("a", memory=256.5), "whole number"),
        (lambda app: app.function("a", memory=True), "memory"),
        (lambda app: app.function("a", timeout=math.nan), "timeout"),
        (lambda app: app.function("a", timeout=math.inf), "timeout"),
        (lambda app: app.function("a", timeout="30"), "timeout"),
        (lambda app: app.function("a", concurrency=0), "concurrency"),
        (lambda app: app.function("a", environment={"A": 1}), "text by name"),
        (lambda app: app.function("a", environment={"A=B": "1"}), "text by name"),
        (lambda app: app.function("a", environment={"PYS_MULTI_STAGE": "x"}), "is taken"),
        (lambda app: app.function("a", dependencies="web"), r"such as \['web'\]"),
        (lambda app: app.function("a", public=True, auth=Key("k")), "not both"),
        (lambda app: app.function("a") and app.function("a"), "defined twice"),
        (lambda app: app.queue("1"), "not a queue name"),
        (lambda app: app.queue("a", retries=-1), "retries"),
        (lambda app: app.queue("a", retries=True), "retries"),
        (lambda app: app.queue("a", visibility=math.nan), "visibility"),
        (lambda app: app.table("a", key=""), "attribute names"),
        (lambda app: app.table("a", key="k", sort="k"), "attribute names"),
        (lambda app: app.queue("a") and app.topic("a"), "has a queue of that name"),
        (lambda app: app.consume(app.topic("t")), "consume takes a queue"),
        (lambda app: app.consume("t"), "consume takes a queue"),
        (lambda app: app.subscribe(app.queue("q")), "subscribe takes a topic"),
        (lambda app: app.created(app.queue("q")), "created takes a bucket"),
        (lambda app: app.created(app.bucket("b"), prefix=5), "prefix and suffix are text"),
        (lambda app: app.deleted(app.bucket("b"), retries=1000), "retries"),
        (lambda app: app.consume(App("other").queue("q")), "belongs to another app"),
        (lambda app: app.consume(app.queue("q"), batch=0), "batch"),
        (lambda app: app.consume(app.queue("q"), window=math.nan), "window"),
        (lambda app: app.asgi("shop.web"), "not an ASGI application"),
        (lambda app: app.asgi(handler, "web"), "begins with '/'"),
        (lambda app: app.asgi(handler, "/{x}"), "plain text"),
        (lambda app: app.asgi(handler, "/a?b"), "'?' or '#'"),
        (lambda app: app.asgi(handler, "/.pys-multi/x"), "not below"),
        (lambda app: app.asgi(handler, "/w") or app.wsgi(handler, "/w"), "mounted already by 'main'"),
        (lambda app: Router("a"), "begins with '/'"),
        (lambda app: Router("/a/"), "does not end with it"),
        (lambda app: Router("/a").get("b")(handler), r"test_app\.py:\d+: path 'b' does not begin"),
        (lambda app: App("Shop"), "not a service name"),
        (lambda app: App("shop", public=True, auth=Key("k")), "not both"),
    ],
)
def test_a_wrong_definition_is_refused_where_it_is_made(define: Callable[[App], Any], why: str) -> None:
    with pytest.raises(DefinitionError, match=why.replace("'?'", r"'\?'")):
        define(App("shop"))


def test_a_queue_has_one_consumer() -> None:
    app = App("shop")
    orders = app.queue("orders")
    app.consume(orders)(handler)
    with pytest.raises(DefinitionError, match="has a consumer already, 'main:handler'"):
        app.function("two").consume(orders)(handler)


# ---- who may call


def test_the_nearest_word_about_access_holds() -> None:
    app = App("shop", auth=Key("app"))
    app.get("/app")(handler)
    app.get("/open", public=True)(handler)
    app.get("/private", public=False)(handler)
    api = app.function("api", public=True)
    api.get("/function")(handler)
    api.get("/own", auth=Key("own"))(handler)
    router = Router("/r", auth=Key("router"))
    router.get("/a")(handler)
    router.get("/b", public=True)(handler)
    api.include(router)
    api.wsgi(handler, "/w")
    access = {id.partition(" ")[2]: (route.public, route.auth.get("name")) for id, route in routes(app).items()}
    assert access == {
        "/app": (False, "app"),
        "/open": (True, None),
        "/private": (False, None),
        "/function": (True, None),
        "/own": (False, "own"),
        "/r/a": (False, "router"),
        "/r/b": (True, None),
        "/w": (True, None),
    }


def test_a_route_is_private_where_nobody_says_anything() -> None:
    app = App("shop")
    app.get("/a")(handler)
    (route,) = routes(app).values()
    assert (route.public, route.auth) == (False, {})


def test_a_function_can_be_an_authenticator() -> None:
    app = App("shop")

    def known(request: Request) -> str | None:
        return request.headers.get("x-user")

    app.get("/a", auth=known)(handler)
    (route,) = routes(app).values()
    assert route.auth == {
        "kind": "custom",
        "name": f"{__name__}:test_a_function_can_be_an_authenticator.<locals>.known",
    }


# ---- routers


def paths(app: App) -> list[str]:
    return [endpoint.template.text for function in app.functions.values() for endpoint in function.endpoints]


@pytest.mark.parametrize("include_first", [True, False])
def test_routes_arrive_whether_defined_before_or_after_the_include(include_first: bool) -> None:
    app, outer, inner = App("shop"), Router("/outer"), Router("/inner")

    def include() -> None:
        app.include(outer, "/v1")
        outer.include(inner)

    def define() -> None:
        inner.get("")(handler)
        inner.get("/{x}")(other)
        outer.get("/x")(handler)

    for step in (include, define) if include_first else (define, include):
        step()
    assert sorted(paths(app)) == ["/v1/outer/inner", "/v1/outer/inner/{x}", "/v1/outer/x"]


def test_a_router_can_be_included_more_than_once() -> None:
    app, router = App("shop"), Router()
    router.get("/")(handler)
    app.include(router)
    app.include(router, "/v2")
    router.get("/late")(handler)
    assert sorted(paths(app)) == ["/", "/late", "/v2/", "/v2/late"]
    with pytest.raises(DefinitionError, match="matches the same paths"):
        app.include(router)


def test_a_router_cannot_be_in_itself() -> None:
    one, two = Router("/one"), Router("/two")
    one.include(two)
    for within, included in ((one, one), (two, one)):
        with pytest.raises(DefinitionError, match="included in itself"):
            within.include(included)


def test_the_inner_router_says_more_than_the_outer_one() -> None:
    app = App("shop", public=True)
    outer, inner, silent = Router(auth=Key("outer")), Router("/inner", auth=Key("inner")), Router("/silent")
    for router in (outer, inner, silent):
        router.get("/x")(handler)
    outer.include(inner)
    outer.include(silent)
    app.include(outer)
    names = {route.path: route.auth["name"] for route in routes(app).values()}
    assert names == {"/x": "outer", "/inner/x": "inner", "/silent/x": "outer"}


def test_middleware_of_routers_runs_from_the_outside_in() -> None:
    def named(name: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
        def middleware(request: Request, call_next: Callable[[Any], Any]) -> Any:
            response = call_next(request)
            response.header("x-order", name)
            return response

        return middleware

    app = App("shop")
    app.middleware(named("app"))
    outer, inner = Router(middleware=[named("outer")]), Router(middleware=[named("inner")])
    inner.get("/a", middleware=[named("route")])(handler)
    outer.include(inner)
    app.include(outer)
    app.functions["main"].middleware(named("function"))
    response = Runtime(app, logs=False).http(Request("GET", "/a"))
    # Each adds its name on the way out.
    order = [value for name, value in response.headers if name == "x-order"]
    assert order == ["route", "inner", "outer", "function", "app"]


# ---- grants


def test_uses_become_grants() -> None:
    app = App("shop")
    orders, events = app.queue("orders"), app.topic("events")
    stock, files, key = app.table("stock", key="sku"), app.bucket("files"), app.secret("KEY")
    uses = [orders.send_many, events.publish, stock.read, stock.put, files.presign, key]
    api = app.function("api", uses=uses)
    api.get("/a", uses=[files.write])(handler)
    api.every("1 hour", uses=[stock.delete])(handler)
    grants = {grant.resource: grant.verbs for grant in app.service().function("api").grants}
    assert grants == {
        "KEY": ("value",),
        "events": ("publish",),
        "files": ("delete", "get", "put"),
        "orders": ("send",),
        "stock": ("delete", "get", "put", "query"),
    }
    assert app.grants_of("api") == {(name, verb) for name, verbs in grants.items() for verb in verbs}
    assert app.grants_of("nobody") == frozenset()


def test_the_secrets_of_an_authenticator_are_granted_to_the_function_that_asks_it() -> None:
    app = App("shop")
    key, other = app.secret("KEY"), app.secret("OTHER")
    app.function("api").get("/a", auth=APIKey(key))(handler)
    app.function("web", auth=APIKey(other)).wsgi(handler)
    app.function("open").get("/b", public=True)(handler)
    assert [app.grants_of(name) for name in ("api", "web", "open")] == [{("KEY", "value")}, {("OTHER", "value")}, set()]
    with pytest.raises(DefinitionError, match="belongs to another app"):
        app.get("/c", auth=APIKey(App("two").secret("KEY")))(handler)


def test_grants_of_routes_that_are_defined_later_count() -> None:
    app = App("shop")
    orders = app.queue("orders")
    api = app.function("api")
    assert app.grants_of("api") == frozenset()
    api.get("/a", uses=[orders.send])(handler)
    assert app.grants_of("api") == {("orders", "send")}


@pytest.mark.parametrize(
    ("uses", "why"),
    [
        (lambda app: [app.queue("q").retries], "function 'api': uses holds verbs"),
        (lambda app: [handler], "uses holds verbs"),
        (lambda app: ["orders.send"], "uses holds verbs"),
        (lambda app: app.queue("q"), "uses is a list"),
        (lambda app: app.queue("q").send, "uses is a list"),
        (lambda app: [App("other").queue("q").send], "belongs to another app"),
    ],
)
def test_what_is_no_grant_is_refused_at_once(uses: Callable[[App], Any], why: str) -> None:
    app = App("shop")
    with pytest.raises(DefinitionError, match=why):
        app.function("api", uses=uses(app))


# ---- what a user's editor sees


def test_decorators_keep_the_types_of_handlers(tmp_path: Path) -> None:
    source = tmp_path / "user.py"
    source.write_text(
        textwrap.dedent(
            """
            from collections.abc import Callable
            from typing import Any, assert_type

            from pys_multi import App, Context, Event, HTTPError, Message, Request, Response, current_context
            from pys_multi import Router

            app = App("shop", public=True)
            orders = app.queue("orders", retries=5)
            stock = app.table("stock", key="sku")
            api = app.function("api", memory=512, uses=[orders.send, stock.read], aws={"architecture": "arm64"})
            router = Router("/v1")

            @api.get("/orders/{order_id}", status=200, uses=[orders])
            def read_order(order_id: int) -> dict[str, int]:
                return {"id": order_id}

            @router.post("/orders", public=True)
            async def create_order(request: Request) -> Response:
                return Response.json(request.json(), status=201).header("x-a", "b")

            @app.consume(orders, batch=10)
            def ship(batch: list[Message]) -> None:
                for message in batch:
                    with message:
                        assert_type(message.attempt, int)
                        print(message.json()["id"])

            @api.every("1 hour")
            def tick(event: Event) -> float:
                return event.time

            @app.middleware
            def around(request: Request, call_next: Callable[[Request], Any]) -> Response:
                return Response("x")

            assert_type(around(Request("GET", "/"), str), Response)

            def known(request: Request) -> str | None:
                return request.headers.get("x-user")

            @app.get("/me", auth=known)
            def me(request: Request) -> str:
                return str(request.principal)

            api.include(router)
            assert_type(read_order(1), dict[str, int])
            assert_type(tick(Event("schedule")), float)
            assert_type(ship([Message.of({"a": 1}, id="1")]), None)
            assert_type(orders.send({"a": 1}), str)
            assert_type(stock.get("a"), dict[str, Any] | None)
            assert_type(current_context(), Context | None)
            raise HTTPError(404, "no such order")
            """
        )
    )
    checked = [str(source), "--strict", "--config-file=", f"--cache-dir={tmp_path}"]
    output, errors, status = _mypy(checked)
    assert status == 0, output + errors
    source.write_text(source.read_text().replace("read_order(1)", 'read_order("1")').replace("status=200", "stats=200"))
    output, errors, status = _mypy(checked)
    assert status == 1, errors
    assert 'incompatible type "str"; expected "int"' in output
    assert 'Unexpected keyword argument "stats"' in output
    source.write_text("".join(f"from pys_multi import {name} as {name}\n" for name in pys_multi.__all__))
    output, errors, status = _mypy(checked)
    assert status == 0, output + errors
    source.write_text("from pys_multi import Qeueu\n")
    assert _mypy(checked)[2] == 1


def _mypy(arguments: list[str]) -> tuple[str, str, int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPYPATH", str(ROOT / "sdk"))
        return mypy.api.run(arguments)


def test_errors_are_exceptions_with_a_status() -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        HTTPError(200)
    assert str(HTTPError(404, "no such order")) == "404 no such order"
    assert Message.of("x").text == "x"
