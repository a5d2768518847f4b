"""A shop with a client per test, and what callers need to prove who they are."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterator

import pytest
from shop.app import app
from shop.sign_in import token_for

from pys_multi_tools.testing import Client

SECRETS = {
    "ADMIN_KEY": "only the shopkeeper knows",
    "PAYMENT_KEY": "only the payment service knows",
    "TOKEN_KEY": "only whoever signs customers in knows",
}
SHOPKEEPER = {"x-api-key": SECRETS["ADMIN_KEY"]}


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(app, secrets=SECRETS) as client:
        yield client


@pytest.fixture
def stocked(client: Client) -> Client:
    """A shop with two articles."""
    for sku, price, available in (("apple", 50, 10), ("pear", 75, 1)):
        article = {"sku": sku, "name": sku.title(), "price": price, "available": available, "tags": ["fruit"]}
        assert client.put(f"/stock/{sku}", json=article, headers=SHOPKEEPER).status == 200
    return client


def as_customer(name: str = "ada", **claims: object) -> dict[str, str]:
    """The header of a customer who has signed in."""
    return {"authorization": f"Bearer {token_for(name, SECRETS['TOKEN_KEY'], **claims)}"}


def signed_payment(payment: dict[str, object]) -> tuple[bytes, dict[str, str]]:
    """A body and the signature of the payment service over it."""
    body, at = json.dumps(payment).encode(), str(int(time.time()))
    signature = hmac.digest(SECRETS["PAYMENT_KEY"].encode(), f"{at}.".encode() + body, "sha256").hex()
    return body, {"stripe-signature": f"t={at},v1={signature}", "content-type": "application/json"}
