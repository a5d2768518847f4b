"""What happens without anybody waiting: shipping, bookkeeping, and the jobs of the clock."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from pys_multi import Event, Message
from shop.app import worker
from shop.resources import events, journal, orders, placed, receipts, stock

log = logging.getLogger("shop")


@worker.consume(placed, batch=10)
def ship(batch: list[Message]) -> None:
    """Writes receipts and says that the orders are on their way; an order that fails is tried again alone."""
    for message in batch:
        with message:
            order: Any = message.json()
            receipts.put(f"{order['customer']}/{order['id']}.txt", receipt_of(order))
            orders.update(order["customer"], order["id"], set={"status": "shipped"})
            events.publish({"event": "shipped", "order": order["id"], "customer": order["customer"]})


def receipt_of(order: dict[str, Any]) -> str:
    lines = [f"Order {order['id']}", ""]
    lines += [f"{line['count']:>4} x {line['sku']}" for line in order["lines"]]
    lines += ["", f"Total: {order['total'] / 100:.2f}"]
    return "\n".join(lines) + "\n"


@worker.subscribe(events)
def audit(message: Message) -> None:
    """Keeps every event. The id of a message is the same at every delivery, so none is kept twice."""
    body: Any = message.json()
    journal.put({"id": message.id, "at": message.sent_at, **body})


@worker.created(receipts, suffix=".txt")
async def index(event: Event) -> None:
    """Remembers where receipts are."""
    customer, _, name = event.key.partition("/")
    journal.put({"id": f"receipt/{name}", "customer": customer, "size": event.size, "etag": event.etag})


@worker.deleted(receipts)
def forget(event: Event) -> None:
    journal.delete(f"receipt/{event.key.partition('/')[2]}")


@worker.every("15 minutes")
def reprice() -> None:
    """Articles that nobody can buy for now wait for the next delivery under a tag of their own."""
    for item in stock.query():
        tags = item.get("tags", [])
        sold_out = item["available"] == 0
        if sold_out != ("sold-out" in tags):
            changed = [*tags, "sold-out"] if sold_out else [tag for tag in tags if tag != "sold-out"]
            stock.update(item["sku"], set={"tags": changed})


@worker.schedule("0 6 * * MON-FRI", timezone="Europe/Berlin")
def report(event: Event) -> None:
    """Counts the stock on every working day, before the shop opens."""
    day = datetime.fromtimestamp(event.time, UTC).date()
    pieces = sum(int(item["available"]) for item in stock.query())
    receipts.put(f"reports/{day}.csv", f"day,pieces\n{day},{pieces}\n")
    log.info("reported %d pieces", pieces)
