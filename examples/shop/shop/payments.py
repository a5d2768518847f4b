"""What the payment service tells; it may tell the same twice."""

from __future__ import annotations

import logging

from pys_multi import HTTPError, idempotent
from shop.access import payment_service
from shop.app import hooks
from shop.models import Payment
from shop.resources import events, journal, orders

log = logging.getLogger("shop")


@hooks.post("/hooks/payments", status=202, auth=payment_service)
def payment_arrived(payment: Payment) -> dict[str, object]:
    """Books a payment once, however often it is told."""
    return book(payment)


@idempotent(key=lambda payment: f"payment/{payment.id}", store=journal)
def book(payment: Payment) -> dict[str, object]:
    order = orders.get(payment.customer, payment.order)
    if order is None:
        raise HTTPError(404, f"there is no order {payment.order}")
    if payment.amount != order["total"]:
        raise HTTPError(409, f"{payment.amount} was paid, and the order costs {order['total']}")
    orders.update(payment.customer, payment.order, set={"paid": True})
    events.publish({"event": "paid", "order": payment.order, "customer": payment.customer})
    log.info("order %s is paid", payment.order)
    return {"order": payment.order, "paid": True}
