"""Who may do what: customers bring a token, the shopkeeper a key, the payment service a signature."""

from __future__ import annotations

import os
from typing import Any

from pys_multi import JWT, APIKey, HTTPError, Request, Webhook
from shop.resources import admin_key, payment_key, token_key

#: Whoever signs customers in shares a secret with the shop. One that publishes its keys is written
#: JWT(issuer=…, audience="shop", jwks_url="https://login.example/.well-known/jwks.json") instead.
customers = JWT(issuer=os.environ.get("TOKEN_ISSUER", "https://login.example"), audience="shop", secret=token_key)
shopkeeper = APIKey(admin_key)
payment_service = Webhook(payment_key, scheme="stripe", tolerance=300)


def customer_of(request: Request) -> str:
    """The customer that the token is about."""
    claims: Any = request.principal
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject.isalnum():
        raise HTTPError(403, "the token does not say which customer it is for")
    return subject
