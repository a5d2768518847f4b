"""Who may call what, and what is put around handlers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from json import loads
from typing import Any

from probe.resources import app, github_key, hook_key, note, operator_key, seen, token_key
from pys_multi import CORS, JWT, APIKey, Request, Response, Webhook

#: Public keys of the suite's issuer, as it publishes them.
JWKS: Any = loads(os.environ["JWKS"])
ISSUER, AUDIENCE = "https://issuer.example", "probe"

published = JWT(issuer=ISSUER, audience=AUDIENCE, jwks=JWKS, algorithms=["ES256"])
shared = JWT(issuer=ISSUER, audience=AUDIENCE, secret=token_key)

guard = app.function("guard", timeout=10, concurrency=4, uses=[operator_key, token_key, hook_key, github_key])


@guard.get("/guard/jwt", auth=published)
def with_jwt(request: Request) -> dict[str, object]:
    return {"principal": request.principal}


@guard.get("/guard/scope", auth=published.with_scopes("orders:write"))
def with_scope(request: Request) -> dict[str, object]:
    return {"principal": request.principal}


@guard.get("/guard/shared", auth=shared)
async def with_shared_secret(request: Request) -> dict[str, object]:
    return {"principal": request.principal}


@guard.get("/guard/key", auth=APIKey(operator_key))
def with_key(request: Request) -> dict[str, object]:
    return {"principal": request.principal}


@guard.post("/guard/hook", auth=Webhook(hook_key, scheme="stripe", tolerance=60))
def with_signature(request: Request) -> dict[str, object]:
    return {"body": request.json()}


@guard.post("/guard/github", auth=Webhook(github_key))
def with_github_signature(request: Request) -> dict[str, object]:
    return {"body": request.json()}


@guard.get("/guard/private", public=False)
def private() -> str:
    return "private"


# ---- browsers

shared_page = app.function(
    "page",
    concurrency=4,
    cors=CORS(
        ["https://app.example"],
        methods=["GET", "PUT"],
        headers=["x-token"],
        expose=["x-total"],
        credentials=True,
        max_age=600,
    ),
)


@shared_page.get("/page")
def page() -> Response:
    return Response.json({"a": 1}, headers={"x-total": "1"})


@shared_page.put("/page")
def put_page() -> None:
    return None


@shared_page.get("/page/crash")
def page_crash() -> None:
    raise RuntimeError("a browser still has to see that it failed")


# ---- middleware

TRAIL: ContextVar[list[str] | None] = ContextVar("trail", default=None)


def passing(name: str) -> None:
    trail = TRAIL.get()
    if trail is not None:
        trail.append(name)


@app.middleware
def around_everything(value: Any, call_next: Callable[[Any], Any]) -> Any:
    trail: list[str] = ["app"]
    token = TRAIL.set(trail)
    try:
        result = call_next(value)
    finally:
        TRAIL.reset(token)
    if isinstance(value, Request) and value.path.startswith("/layers"):
        trail.append("app after")
        result.header("x-trail", ", ".join(trail))
    return result


layers = app.function("layers", uses=[seen.write])


@layers.middleware
async def first(value: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    passing("first")
    result = await call_next(value)
    passing("first after")
    return result


@layers.middleware
def second(value: Any, call_next: Callable[[Any], Any]) -> Any:
    passing("second")
    result = call_next(value)
    passing("second after")
    return result


def of_the_route(value: Any, call_next: Callable[[Any], Any]) -> Any:
    passing("route")
    return call_next(value)


def instead(value: Any, call_next: Callable[[Any], Any]) -> Response:
    return Response("answered by the middleware", status=202)


@layers.get("/layers", middleware=[of_the_route])
def layered() -> str:
    passing("handler")
    return "layered"


@layers.get("/layers/short", middleware=[instead])
def never_reached() -> str:
    raise AssertionError("the middleware did not call it")


@layers.every("23 days")
def layered_event() -> None:
    passing("handler")
    note("layers", "layered_event", trail=list(TRAIL.get() or ()))
