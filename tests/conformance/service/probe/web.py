"""Applications of other frameworks, mounted as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flask import Flask, request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from probe.resources import app

started: list[str] = []


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    started.append("started")
    yield


async def hello(request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "hello": request.path_params["name"],
            "query": request.query_params.getlist("q"),
            "root_path": request.scope["root_path"],
            "path": request.scope["path"],
            "lifespan": started,
            "url": str(request.url),
        }
    )


async def receive(request: Request) -> JSONResponse:
    response = JSONResponse({"size": len(await request.body())}, status_code=201)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def chunks(_: Request) -> StreamingResponse:
    async def produce() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"{number};".encode()

    return StreamingResponse(produce(), media_type="text/plain")


async def crash(_: Request) -> JSONResponse:
    raise RuntimeError("internal to the mounted application")


starlette = Starlette(
    routes=[
        Route("/hello/{name}", hello),
        Route("/receive", receive, methods=["POST"]),
        Route("/chunks", chunks),
        Route("/crash", crash),
    ],
    lifespan=lifespan,
)
flask = Flask(__name__)


@flask.get("/hello/<name>")
def flask_hello(name: str) -> dict[str, object]:
    return {"hello": name, "query": request.args.getlist("q"), "root": request.script_root, "path": request.path}


@flask.post("/receive")
def flask_receive() -> tuple[dict[str, object], int, dict[str, str]]:
    return {"size": len(request.get_data()), "form": request.form.get("a")}, 201, {"x-flask": "yes"}


web = app.function("web", concurrency=4, timeout=10)
web.asgi(starlette, "/asgi")
web.wsgi(flask, "/wsgi")


@web.get("/asgi/own")
def own() -> str:
    return "a route of the service wins over the mount"
