from __future__ import annotations

from conftest import as_customer
from shop.resources import journal, orders, receipts, stock
from shop.work import receipt_of

from pys_multi_tools.testing import Client

ORDER = {"lines": [{"sku": "apple", "count": 3}, {"sku": "pear"}]}


def test_an_order_takes_from_the_stock(stocked: Client) -> None:
    reply = stocked.post("/orders", json=ORDER, headers=as_customer())
    assert reply.status == 201
    assert reply.json()["total"] == 3 * 50 + 75
    assert (stock.get("apple") or {})["available"] == 7


def test_what_is_not_there_cannot_be_ordered_and_nothing_is_taken(stocked: Client) -> None:
    reply = stocked.post(
        "/orders", json={"lines": [{"sku": "apple"}, {"sku": "pear", "count": 2}]}, headers=as_customer()
    )
    assert reply.status == 409
    assert reply.json()["sku"] == "pear"
    assert (stock.get("apple") or {})["available"] == 10


def test_customers_see_their_own_orders_alone(stocked: Client) -> None:
    id = stocked.post("/orders", json=ORDER, headers=as_customer("ada")).json()["id"]
    assert stocked.get(f"/orders/{id}", headers=as_customer("ada")).status == 200
    assert stocked.get(f"/orders/{id}", headers=as_customer("bob")).status == 404
    assert stocked.get("/orders", headers=as_customer("bob")).json() == []


def test_nobody_orders_without_a_token(stocked: Client) -> None:
    assert stocked.post("/orders", json=ORDER).status == 401
    assert stocked.post("/orders", json=ORDER, headers=as_customer(aud="another-shop")).status == 401


def test_an_order_without_lines_is_refused(stocked: Client) -> None:
    reply = stocked.post("/orders", json={"lines": []}, headers=as_customer())
    assert [error["field"] for error in reply.json()["errors"]] == ["lines"]


def test_an_order_is_shipped_announced_and_recorded(stocked: Client) -> None:
    id = stocked.post("/orders", json=ORDER, headers=as_customer()).json()["id"]
    outcomes = stocked.run_pending()
    assert [outcome.error for outcome in outcomes] == [""] * len(outcomes)
    assert {outcome.trigger for outcome in outcomes} == {"worker:ship", "worker:audit", "worker:index"}
    assert (orders.get("ada", id) or {})["status"] == "shipped"
    assert b"3 x apple" in receipts.get(f"ada/{id}.txt")
    assert (journal.get(f"receipt/{id}.txt") or {})["customer"] == "ada"
    assert [item["event"] for item in journal.query() if "event" in item] == ["shipped"]


def test_one_bad_order_does_not_hold_up_the_others(stocked: Client) -> None:
    good = stocked.post("/orders", json={"lines": [{"sku": "apple"}]}, headers=as_customer()).json()
    from shop.resources import placed

    placed.send({"id": "broken"})
    outcomes = stocked.run_pending()
    assert (orders.get("ada", good["id"]) or {})["status"] == "shipped"
    assert [message.json() for message in stocked.dead_letters("ship")] == [{"id": "broken"}]
    assert sum(outcome.dead for outcome in outcomes) == 1


def test_a_handler_is_a_plain_function() -> None:
    text = receipt_of({"id": "7", "lines": [{"sku": "apple", "count": 2}], "total": 100})
    assert "   2 x apple" in text
    assert "Total: 1.00" in text
