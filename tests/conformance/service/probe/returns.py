"""Routes that return every kind of value."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgspec
from pydantic import BaseModel

from pys_multi import HTTPError, Response, Router

router = Router("/returns")


@dataclass
class Point:
    x: int
    y: int


class Struct(msgspec.Struct):
    x: int


class Model(BaseModel):
    x: int


@router.get("/dict")
def a_dict() -> dict[str, object]:
    return {"text": "grüße 🎉", "number": 1.5, "none": None, "list": [True]}


@router.get("/list")
def a_list() -> list[int]:
    return [1, 2, 3]


@router.get("/str")
def a_str() -> str:
    return "grüße"


@router.get("/bytes")
def some_bytes() -> bytes:
    return bytes(range(256))


@router.get("/none")
def nothing() -> None:
    return None


@router.get("/dataclass")
def a_dataclass() -> Point:
    return Point(1, 2)


@router.get("/msgspec")
def a_struct() -> Struct:
    return Struct(3)


@router.get("/pydantic")
def a_model() -> Model:
    return Model(x=4)


@router.get("/values")
def rich_values() -> dict[str, object]:
    return {
        "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "id": UUID(int=7),
        "amount": Decimal("1.10"),
        "points": [Point(1, 2)],
    }


@router.get("/tuple")
def a_tuple() -> tuple[dict[str, int], int]:
    return {"x": 1}, 202


@router.get("/tuple-with-headers")
def a_tuple_with_headers() -> tuple[str, int, dict[str, str]]:
    return "made", 201, {"location": "/returns/tuple", "x-made": "yes"}


@router.post("/status", status=201)
def with_status() -> dict[str, bool]:
    return {"made": True}


@router.delete("/status", status=202)
def status_without_body() -> None:
    return None


@router.get("/response")
def a_response() -> Response:
    return Response(b"\x00\x01", status=418, headers={"x-tea": "pot"}, content_type="application/x-tea")


@router.get("/html")
def html() -> Response:
    return Response.html("<p>grüße</p>")


@router.get("/redirect")
def redirect() -> Response:
    return Response.redirect("/returns/ünder?a=1", status=303)


@router.get("/file")
def file() -> Response:
    return Response.file(str(Path(__file__).with_name("attachment.txt")), download="notes für dich.txt")


@router.get("/cookies")
def cookies() -> Response:
    response = Response("two cookies")
    response.set_cookie("first", "1", max_age=60)
    response.set_cookie("second", "2", path="/returns", same_site="Strict")
    return response


@router.get("/async")
async def an_async_value() -> dict[str, bool]:
    await asyncio.sleep(0)
    return {"async": True}


@router.get("/generator")
def a_generator() -> Iterator[str]:
    yield "one "
    yield "two"


@router.get("/error/{status:int}")
def an_error(status: int) -> None:
    raise HTTPError(status, "as asked", headers={"x-reason": "asked"}, hint="ask for less")
