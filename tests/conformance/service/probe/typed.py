"""Routes whose input is validated from annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Literal, TypedDict

import msgspec
from pydantic import BaseModel
from pydantic import Field as PydanticField

from pys_multi import Cookie, Header, Query, Router

router = Router("/typed")


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Item:
    sku: str
    count: int = 1


@dataclass
class Order:
    customer: str
    items: list[Item]
    size: Size = Size.SMALL
    tags: dict[str, str] = field(default_factory=dict)


class Address(TypedDict):
    street: str
    zip: int


class Note(BaseModel):
    text: str
    stars: Annotated[int, PydanticField(ge=1, le=5)]


class Sample(msgspec.Struct):
    name: str
    value: float


@router.post("/dataclass")
def a_dataclass(order: Order) -> dict[str, object]:
    return {"type": type(order).__name__, "item": type(order.items[0]).__name__, "order": order}


@router.post("/typeddict")
def a_typeddict(address: Address) -> dict[str, object]:
    return {"address": address}


@router.post("/pydantic")
def a_pydantic_model(note: Note) -> Note:
    return note


@router.post("/msgspec")
def a_msgspec_struct(sample: Sample) -> Sample:
    return sample


@router.post("/list")
def a_list(items: list[Item]) -> dict[str, object]:
    return {"count": len(items)}


@router.get("/query")
def a_query(
    name: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    tags: list[str] | None = None,
    order: Literal["up", "down"] = "up",
    exact: bool = False,
) -> dict[str, object]:
    return {"name": name, "limit": limit, "tags": tags, "order": order, "exact": exact}


@router.get("/header")
def a_header(x_count: Annotated[int, Header()]) -> dict[str, int]:
    return {"count": x_count}


@router.get("/cookie")
def a_cookie(session: Annotated[str, Cookie(min_length=3)]) -> dict[str, str]:
    return {"session": session}


@router.get("/path/{number}")
def a_path(number: int) -> dict[str, int]:
    return {"number": number}
