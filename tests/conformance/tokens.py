"""The issuer of the suite: a key of this session, and tokens signed with it by another library than the service's."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE = "https://issuer.example", "probe"
_KEY = ec.generate_private_key(ec.SECP256R1())
_STRANGER = ec.generate_private_key(ec.SECP256R1())
_PUBLIC = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(_KEY.public_key()))
JWKS = json.dumps({"keys": [{**_PUBLIC, "kid": "suite", "alg": "ES256", "use": "sig"}]})


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says; a claim that is None is left out."""
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in found.items() if value is not None}


def token(*, by_stranger: bool = False, **changes: Any) -> str:
    """A token signed with the published key, or by somebody else under its name."""
    return jwt.encode(claims(**changes), _STRANGER if by_stranger else _KEY, "ES256", headers={"kid": "suite"})


def shared_token(secret: str, algorithm: str = "HS256", **changes: Any) -> str:
    """A token signed with a shared secret."""
    return jwt.encode(claims(**changes), secret, algorithm)


def unsigned_token() -> str:
    return jwt.encode(claims(), "", "none")


def confused_token() -> str:
    """Signed by HMAC with the public key as the secret: good for a verifier that lets the token choose how."""
    part = [
        urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
        for value in ({"alg": "HS256", "kid": "suite"}, claims())
    ]
    # By hand: the library refuses to.
    secret = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = hmac.digest(secret, b".".join(part), "sha256")
    return b".".join([*part, urlsafe_b64encode(signature).rstrip(b"=")]).decode()
