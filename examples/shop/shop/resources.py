"""What the shop keeps and sends. Every other module uses these handles."""

from __future__ import annotations

from pys_multi import App

app = App("shop")

#: Articles by sku.
stock = app.table("stock", key="sku")
#: Orders of a customer, newest last: the order id begins with the time.
orders = app.table("orders", key="customer", sort="id")
#: Who did what; also the memory of which payments were booked.
journal = app.table("journal", key="id")

#: Orders to be shipped; what fails three retries is kept as a dead letter.
placed = app.queue("placed-orders", retries=3)
#: What happened, for whoever wants to know.
events = app.topic("order-events")
#: Receipts and reports.
receipts = app.bucket("receipts")

admin_key = app.secret("ADMIN_KEY")
payment_key = app.secret("PAYMENT_KEY")
token_key = app.secret("TOKEN_KEY")
