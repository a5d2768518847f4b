from __future__ import annotations

import pytest
from conftest import as_customer, signed_payment
from shop.resources import journal, orders

from pys_multi_tools.testing import Client


@pytest.fixture
def order(stocked: Client) -> str:
    return str(stocked.post("/orders", json={"lines": [{"sku": "apple"}]}, headers=as_customer()).json()["id"])


def pay(client: Client, order: str, amount: int = 50, id: str = "p-1") -> int:
    body, headers = signed_payment({"id": id, "customer": "ada", "order": order, "amount": amount})
    return client.post("/hooks/payments", body=body, headers=headers).status


def test_a_payment_is_booked(stocked: Client, order: str) -> None:
    assert pay(stocked, order) == 202
    assert (orders.get("ada", order) or {})["paid"] is True


def test_a_payment_that_is_told_twice_is_booked_once(stocked: Client, order: str) -> None:
    assert [pay(stocked, order), pay(stocked, order)] == [202, 202]
    stocked.run_pending()
    assert [item["event"] for item in journal.query() if "event" in item].count("paid") == 1


def test_a_payment_of_another_amount_is_refused_and_can_be_corrected(stocked: Client, order: str) -> None:
    assert pay(stocked, order, amount=1) == 409
    assert pay(stocked, order, amount=50) == 202


def test_nobody_else_can_tell_of_payments(stocked: Client, order: str) -> None:
    body, headers = signed_payment({"id": "p-1", "customer": "ada", "order": order, "amount": 50})
    assert stocked.post("/hooks/payments", body=body).status == 401
    assert stocked.post("/hooks/payments", body=body + b" ", headers=headers).status == 401
