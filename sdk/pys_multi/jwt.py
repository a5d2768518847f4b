"""JSON Web Tokens: the compact form (RFC 7515), the key set (RFC 7517) and the claims (RFC 7519), checked.

What the server was told decides, never the token (RFC 8725): it names an algorithm and a key, and both must be
among those that are allowed here.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pys_multi.signatures import PublicKey

#: Characters of a token; headers end at about 8,000 to 16,000 on every cloud.
MAX_TOKEN = 16_384

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519")

_BASE64URL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
#: Explicit types (RFC 8725, section 3.11) that are tokens for an API: plain ones, and access tokens of RFC 9068.
_TYPES = ("jwt", "at+jwt")


class InvalidToken(Exception):
    """Why a token is not accepted, in words that the caller may see."""


class UnknownKey(InvalidToken):
    """The token names a key that is not in the set; a newer set may have it."""


class Token:
    """A token taken apart; nothing in it is to be believed before :func:`verify`.

    header: the protected header. signed: the bytes that are signed. payload, signature: decoded.
    """

    __slots__ = ("algorithm", "header", "payload", "signature", "signed")

    def __init__(self, text: str, algorithms: Sequence[str]) -> None:
        if len(text) > MAX_TOKEN:
            raise InvalidToken("the token is too long")
        parts = text.split(".")
        if len(parts) != 3:
            raise InvalidToken("the token does not have three parts")
        self.header = _json_object(decode_base64url(parts[0]), "header")
        self.payload = decode_base64url(parts[1])
        self.signature = decode_base64url(parts[2])
        self.signed = text[: text.rindex(".")].encode()
        self.algorithm = self.header.get("alg")
        if self.algorithm not in algorithms:
            raise InvalidToken("the token is signed with an algorithm that is not accepted here")
        if "crit" in self.header:
            raise InvalidToken("the token has a critical extension, and none is known here")
        kind = self.header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise InvalidToken("the token is of a type that is not accepted here")
        if not isinstance(self.header.get("kid", ""), str):
            raise InvalidToken("the token names its key with something that is no text")


class KeySet:
    """The keys of a JSON Web Key Set that can verify signatures; others in it are left out.

    Raises ValueError for what is no key set.
    """

    __slots__ = ("_keys",)

    def __init__(self, document: object) -> None:
        keys = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list):
            raise ValueError("a JSON Web Key Set is an object with a list of keys")
        # Of keys that cannot be used (RFC 7517, section 5) the set says nothing; a set may grow new kinds.
        self._keys = [made for made in map(_public_key, keys) if made is not None]

    def __len__(self) -> int:
        return len(self._keys)

    def get(self) -> KeySet:
        """This set: one that is at hand is used as one that is fetched, see ``jwks.py``."""
        return self

    def get_newer(self, _than: KeySet) -> KeySet:
        """This set, for there is no newer one."""
        return self

    def find(self, token: Token) -> PublicKey:
        """The key that the token names, or the only one that suits where it names none.

        Raises UnknownKey for a name that is not in the set, InvalidToken where there is no one key.
        """
        suiting = [(kid, key) for kid, key in self._keys if token.algorithm in key.algorithms]
        wanted = token.header.get("kid")
        if wanted is not None:
            suiting = [(kid, key) for kid, key in suiting if kid == wanted]
            if not suiting:
                raise UnknownKey("the token is signed with a key that its issuer does not publish")
        if len(suiting) != 1:
            raise InvalidToken("the token does not say which key of its issuer it is signed with")
        return suiting[0][1]


def verify_signature(token: Token, keys: KeySet) -> None:
    """Raises InvalidToken where the signature is not of a key of the set."""
    if not keys.find(token).verify(token.algorithm, token.signed, token.signature):  # type: ignore[arg-type]
        raise InvalidToken("the signature of the token does not fit")


def verify_hmac(token: Token, secrets: Iterable[bytes]) -> None:
    """Raises InvalidToken where the signature is of none of the secrets, ValueError for a secret that is too short."""
    import hmac

    hash_name = "sha" + str(token.algorithm)[2:]
    size = int(hash_name[3:]) // 8
    fits = False
    for secret in secrets:
        if len(secret) < size:
            raise ValueError(f"{token.algorithm} needs a secret of at least {size} bytes (RFC 7518, section 3.2)")
        expected = hmac.digest(secret, token.signed, hash_name)
        fits |= hmac.compare_digest(expected, token.signature)
    if not fits:
        raise InvalidToken("the signature of the token does not fit")


def read_claims(payload: bytes) -> dict[str, Any]:
    """The claims of a verified token. Raises InvalidToken."""
    return _json_object(payload, "payload")


def check_claims(
    claims: Mapping[str, Any],
    *,
    now: float,
    leeway: float,
    issuers: Sequence[str],
    audiences: Sequence[str],
    require: Sequence[str],
) -> None:
    """Raises InvalidToken for claims of a wrong type, missing, of another issuer or audience, or not valid now."""
    for name in require:
        if name not in claims:
            raise InvalidToken(f"the token has no claim {name!r}")
    for name in ("exp", "nbf", "iat"):
        if name in claims and (isinstance(claims[name], bool) or not isinstance(claims[name], int | float)):
            raise InvalidToken(f"the claim {name!r} of the token is no number")
    if "exp" in claims and now >= claims["exp"] + leeway:
        raise InvalidToken("the token has expired")
    if "nbf" in claims and now < claims["nbf"] - leeway:
        raise InvalidToken("the token is not valid yet")
    if "iat" in claims and now < claims["iat"] - leeway:
        raise InvalidToken("the token was issued in the future")
    if issuers and claims.get("iss") not in issuers:
        raise InvalidToken("the token is of another issuer")
    if "sub" in claims and not isinstance(claims["sub"], str):
        raise InvalidToken("the claim 'sub' of the token is no text")
    found = claims.get("aud", [])
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidToken("the claim 'aud' of the token is no text and no list of texts")
    if audiences and not set(audiences).intersection(found):
        raise InvalidToken("the token is for another audience")


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes of a token: ``scope`` (RFC 8693, section 4.2), or ``scp`` as Okta and Entra write it."""
    found = claims.get("scope", claims.get("scp", ()))
    if isinstance(found, str):
        return frozenset(found.split())
    return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list) else frozenset()


def decode_base64url(text: str) -> bytes:
    """Base64url without padding (RFC 7515, section 2), each value in its only form. Raises InvalidToken."""
    try:
        raw = text.encode("ascii")
        if not _BASE64URL.issuperset(raw):
            raise ValueError
        decoded = urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    except ValueError:
        raise InvalidToken("a part of the token is not base64url") from None
    # The last character may carry bits that mean nothing: then several texts would be the same bytes.
    if urlsafe_b64encode(decoded).rstrip(b"=") != raw:
        raise InvalidToken("a part of the token is not base64url")
    return decoded


def _json_object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = loads(str(raw, "utf-8"), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidToken(f"the {what} of the token is no JSON object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _public_key(jwk: object) -> tuple[str | None, PublicKey] | None:
    """A key and its id; None for one that is not for verifying, not known here, or not sound."""
    from pys_multi.signatures import EcKey, Ed25519Key, RsaKey

    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key: PublicKey
        if jwk.get("kty") == "RSA":
            key = RsaKey(int.from_bytes(_member(jwk, "n")), int.from_bytes(_member(jwk, "e")))
        elif jwk.get("kty") == "EC":
            key = EcKey(str(jwk.get("crv")), int.from_bytes(_member(jwk, "x")), int.from_bytes(_member(jwk, "y")))
        elif jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519":
            key = Ed25519Key(_member(jwk, "x"))
        else:
            return None
    except (ValueError, InvalidToken):
        return None
    algorithm = jwk.get("alg")
    if algorithm is not None:
        if algorithm not in key.algorithms:
            return None
        key.algorithms = (algorithm,)
    kid = jwk.get("kid")
    return (kid if isinstance(kid, str) else None), key


def _member(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise InvalidToken(f"the key has no {name}")
    return decode_base64url(value)
