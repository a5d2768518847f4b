"""Placing an order and looking at it; only for customers, each for their own orders."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from pys_multi import ConditionFailed, HTTPError, Request, Router
from shop.access import customer_of, customers
from shop.models import Line, NewOrder, Order
from shop.resources import orders, placed, stock

router = Router("/orders", auth=customers)
log = logging.getLogger("shop")


@router.post("", status=201)
def place_order(order: NewOrder, request: Request) -> Order:
    """Takes the articles from the stock and hands the order to the worker."""
    customer = customer_of(request)
    total = sum(_price(line) * line.count for line in order.lines)
    taken: list[Line] = []
    try:
        for line in order.lines:
            # One step, so that two customers never get the same last piece.
            stock.update(line.sku, add={"available": -line.count}, condition={"available": (">=", line.count)})
            taken.append(line)
    except ConditionFailed:
        for done in taken:
            stock.update(done.sku, add={"available": done.count})
        raise HTTPError(409, f"there are not enough of {line.sku}", sku=line.sku) from None
    made = Order(f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}", customer, order.lines, total, note=order.note)
    orders.put(made)
    placed.send(made, attributes={"customer": customer})
    log.info("order %s placed", made.id, extra={"total": total})
    return made


@router.get("")
def my_orders(request: Request, limit: int = 10) -> list[dict[str, Any]]:
    """The latest orders of whoever asks."""
    return list(orders.query(customer_of(request), reverse=True, limit=limit))


@router.get("/{id}")
def read_order(id: str, request: Request) -> dict[str, Any]:
    order = orders.get(customer_of(request), id)
    if order is None:
        # Somebody else's order is none for this customer.
        raise HTTPError(404, f"there is no order {id}")
    return order


def _price(line: Line) -> int:
    article = stock.get(line.sku)
    if article is None:
        raise HTTPError(409, f"there is no article {line.sku}", sku=line.sku)
    return int(article["price"])
