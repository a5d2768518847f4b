"""The service: its functions, and which part of the shop each one runs."""

from __future__ import annotations

from pys_multi import CORS
from shop import catalogue, ordering
from shop.middleware import timed
from shop.resources import admin_key, app, events, journal, orders, payment_key, placed, receipts, stock, token_key

api = app.function(
    "api",
    memory=512,
    timeout=10,
    concurrency=16,
    uses=[stock.read, stock.update, orders.read, orders.put, placed.send, admin_key, token_key],
    cors=CORS(
        origins=["https://shop.example"], methods=["GET", "POST", "PUT"], headers=["authorization"], max_age=3600
    ),
)
api.middleware(timed)
api.include(catalogue.router)
api.include(ordering.router)

hooks = app.function("hooks", timeout=10, uses=[payment_key, journal, orders.get, orders.update, events.publish])
worker = app.function(
    "worker",
    memory=1024,
    timeout=120,
    uses=[receipts, events.publish, orders.update, journal.write, stock.query, stock.update],
)
worker.middleware(timed)

# Their modules bind handlers to the two functions above.
from shop import payments, work  # noqa: E402, F401

__all__ = ["app"]
