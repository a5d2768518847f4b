"""A token for trying the shop out: `python -m shop.sign_in ada`. Whoever really signs customers in does this."""

from __future__ import annotations

import base64
import hmac
import json
import os
import sys
import time


def token_for(customer: str, secret: str, **claims: object) -> str:
    """A JSON Web Token (RFC 7519) for a customer, good for an hour."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    issuer = os.environ.get("TOKEN_ISSUER", "https://login.example")
    said = {"iss": issuer, "aud": "shop", "sub": customer, "exp": int(time.time()) + 3600, **claims}
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(said)}"
    signature = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


if __name__ == "__main__":
    print(token_for(sys.argv[1], os.environ["SHOP_TOKEN_KEY"]))
