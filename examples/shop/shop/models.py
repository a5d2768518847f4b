"""What travels between the parts: plain dataclasses, validated where they come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pys_multi import Body


@dataclass
class Line:
    """Some pieces of one article."""

    sku: str
    count: Annotated[int, Body(ge=1, le=100)] = 1


@dataclass
class NewOrder:
    """What a customer sends."""

    lines: Annotated[list[Line], Body(min_length=1, max_length=50)]
    note: str = ""


@dataclass
class Order:
    """What becomes of it. total: in cents."""

    id: str
    customer: str
    lines: list[Line]
    total: int
    status: str = "placed"
    note: str = ""


@dataclass
class Article:
    """Something the shop sells. price: in cents."""

    sku: str
    name: str
    price: Annotated[int, Body(gt=0)]
    available: Annotated[int, Body(ge=0)] = 0
    tags: list[str] = field(default_factory=list)


@dataclass
class Payment:
    """What the payment service tells. amount: in cents."""

    id: str
    customer: str
    order: str
    amount: int
