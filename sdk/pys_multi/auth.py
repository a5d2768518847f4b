"""Who is calling: JSON Web Tokens, API keys, signed webhooks.

An authenticator is what ``auth=`` takes. ``authenticate(request)`` returns the principal, which the handler
finds as ``request.principal``; None, or HTTPError 401, says that nobody is known; HTTPError 403 says "not you".
``describe()`` says how to call, for the plan, OpenAPI and a cloud's own gateway; it holds no secret.
``secrets`` are the handles that the function needs the grant of. Any callable from Request to a principal
or None is an authenticator too.
"""

from __future__ import annotations

from time import time

from pys_multi.errors import DefinitionError, HTTPError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, NoReturn

    from pys_multi.http import Request
    from pys_multi.jwks import RemoteKeys
    from pys_multi.jwt import KeySet
    from pys_multi.resources import Secret

_MAX_REMEMBERED = 256


class JWT:
    """Bearer tokens (RFC 6750) of one issuer.

    issuer: the ``iss`` a token must have; several in a list. audience: one of these must be in ``aud``; None says
    on purpose that it is not checked, for issuers that write none (Cognito's access tokens).
    One of: jwks_url, the issuer's published keys; jwks, a key set itself; secret, a shared secret's handle, several
    while it rotates. algorithms: that are accepted; RS256 with keys and HS256 with a secret unless said otherwise.
    scopes: that a token must all have, else 403. require: claims that must be there, ``exp`` unless said otherwise.
    leeway: seconds that clocks may differ. header: that carries the token; only ``authorization`` has the word
    Bearer in front of it.

    The principal is the dict of claims. Raises DefinitionError.
    """

    __slots__ = (
        "_keys",
        "_remembered",
        "algorithms",
        "audience",
        "challenge",
        "header",
        "issuer",
        "jwks_url",
        "leeway",
        "require",
        "scopes",
        "secrets",
    )

    def __init__(
        self,
        *,
        issuer: str | Sequence[str],
        audience: str | Sequence[str] | None,
        jwks_url: str | None = None,
        jwks: Mapping[str, Any] | None = None,
        secret: Secret | Sequence[Secret] | None = None,
        algorithms: Sequence[str] | None = None,
        scopes: str | Sequence[str] = (),
        require: Sequence[str] = ("exp",),
        leeway: float = 30,
        header: str = "authorization",
    ) -> None:
        from pys_multi.jwt import HMAC_ALGORITHMS, KEY_ALGORITHMS

        if [jwks_url, jwks, secret].count(None) != 2:
            raise DefinitionError("JWT takes one of jwks_url, jwks and secret")
        allowed = HMAC_ALGORITHMS if secret is not None else KEY_ALGORITHMS
        self.algorithms = _texts("algorithms", algorithms if algorithms is not None else allowed[:1])
        for algorithm in self.algorithms:
            if algorithm not in allowed:
                # A public key taken for an HMAC secret is the oldest forgery there is: the two never mix.
                raise DefinitionError(f"JWT algorithm {algorithm!r}: with these keys there is {', '.join(allowed)}")
        self.issuer = _texts("issuer", issuer)
        self.audience = _texts("audience", audience) if audience is not None else ()
        self.scopes = _texts("scopes", scopes.split() if isinstance(scopes, str) else scopes, empty=True)
        self.require = _texts("require", require, empty=True)
        if not 0 <= leeway <= 600:
            raise DefinitionError(f"JWT leeway is 0 to 600 seconds, not {leeway}")
        self.leeway = leeway
        self.header = header.lower()
        self.challenge = "Bearer"
        self.secrets = _handles("secret", secret) if secret is not None else ()
        self.jwks_url = jwks_url
        self._keys = _keys(jwks_url, jwks)
        self._remembered: dict[str, tuple[KeySet, bytes]] = {}

    def with_scopes(self, *scopes: str) -> JWT:
        """The same tokens, with these scopes required as well: ``auth=tokens.with_scopes("orders:write")``."""
        copy = object.__new__(JWT)
        for name in JWT.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.scopes = _texts("scopes", (*self.scopes, *scopes), empty=True)
        return copy

    def authenticate(self, request: Request) -> dict[str, Any] | None:
        """The claims of the token; None without a token. Raises HTTPError 401 for a bad one, 403 without a scope."""
        from pys_multi.jwt import InvalidToken, check_claims, read_claims, scopes_of

        text = self._token_text(request)
        if text is None:
            return None
        try:
            claims = read_claims(self._verified_payload(text))
            check_claims(
                claims,
                now=time(),
                leeway=self.leeway,
                issuers=self.issuer,
                audiences=self.audience,
                require=self.require,
            )
        except InvalidToken as error:
            self._refuse(str(error))
        missing = [scope for scope in self.scopes if scope not in scopes_of(claims)]
        if missing:
            needed = " ".join(self.scopes)
            raise HTTPError(
                403,
                f"the token does not have the scope {', '.join(missing)}",
                headers={"www-authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'},
            )
        return claims

    def describe(self) -> dict[str, Any]:
        """How to call: kind, header, issuer, audience, algorithms, scopes, and where the keys are."""
        described: dict[str, Any] = {
            "kind": "jwt",
            "header": self.header,
            "issuer": list(self.issuer),
            "audience": list(self.audience),
            "algorithms": list(self.algorithms),
            "scopes": list(self.scopes),
        }
        if self.jwks_url is not None:
            described["jwks_url"] = self.jwks_url
        if self.secrets:
            described["secrets"] = [secret.name for secret in self.secrets]
        return described

    def _token_text(self, request: Request) -> str | None:
        values = request.headers.get_all(self.header)
        if not values:
            return None
        if len(values) > 1:
            self._refuse("there is more than one token")
        if self.header != "authorization":
            return values[0]
        scheme, _, text = values[0].partition(" ")
        return text.strip(" ") if scheme.lower() == "bearer" else None

    def _verified_payload(self, text: str) -> bytes:
        """The payload, once the signature was verified; remembered, for an elliptic curve takes milliseconds."""
        from pys_multi.jwt import Token, UnknownKey, verify_hmac, verify_signature

        if self.secrets:
            token = Token(text, self.algorithms)
            verify_hmac(token, [secret.value.encode() for secret in self.secrets])
            return token.payload
        source: RemoteKeys | KeySet = self._keys  # type: ignore[assignment]  # without secrets there are keys
        keys = source.get()
        with_keys, payload = self._remembered.get(text, (None, b""))
        if with_keys is keys:  # a newer set of keys verifies anew
            return payload
        token = Token(text, self.algorithms)
        try:
            verify_signature(token, keys)
        except UnknownKey:
            keys = source.get_newer(keys)
            verify_signature(token, keys)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[text] = (keys, token.payload)
        return token.payload

    def _refuse(self, why: str) -> NoReturn:
        challenge = f'Bearer error="invalid_token", error_description="{_quotable(why)}"'
        raise HTTPError(401, why, headers={"www-authenticate": challenge})


class APIKey:
    """A key in a header, compared in constant time with the values of one or several secrets.

    secrets: several while a key rotates, or one for each caller. The principal is ``{"key": name of the secret}``.
    Raises DefinitionError.
    """

    __slots__ = ("challenge", "header", "secrets")

    def __init__(self, secrets: Secret | Sequence[Secret], *, header: str = "x-api-key") -> None:
        self.secrets = _handles("APIKey", secrets)
        self.header = header.lower()
        self.challenge = f'ApiKey header="{self.header}"'

    def authenticate(self, request: Request) -> dict[str, Any] | None:
        """The principal; None for a missing key and for one that is none of these."""
        import hashlib
        import hmac

        values = request.headers.get_all(self.header)
        if len(values) != 1 or not values[0]:
            return None
        # Digests have one length, so that not even the length of a key shows in the time it takes.
        given = hashlib.sha256(values[0].encode()).digest()
        found = None
        for secret in self.secrets:
            value = secret.value
            if hmac.compare_digest(hashlib.sha256(value.encode()).digest(), given) and value:
                found = found or {"key": secret.name}
        return found

    def describe(self) -> dict[str, Any]:
        """How to call: kind and header."""
        return {"kind": "api_key", "header": self.header, "secrets": [secret.name for secret in self.secrets]}


class Webhook:
    """Requests that their sender signs with a shared secret: an HMAC-SHA256 over the body as it came.

    scheme: ``github`` (a header ``sha256=<hex>``, as many others send it), ``stripe`` (``t=<time>,v1=<hex>``, over
    the time and the body), or ``slack`` (``v0=<hex>`` and the time in a header of its own). header: where the
    signature is, if not where the scheme's owner puts it. tolerance: seconds that a request may be old, where the
    scheme has a time; ``github`` has none, so make those handlers idempotent. secrets: several while one rotates.

    The principal is ``{"webhook": name of the secret, "time": seconds since the epoch or None}``.
    Raises DefinitionError.
    """

    __slots__ = ("challenge", "header", "scheme", "secrets", "tolerance")

    def __init__(
        self,
        secrets: Secret | Sequence[Secret],
        *,
        scheme: str = "github",
        header: str | None = None,
        tolerance: float = 300,
    ) -> None:
        if scheme not in _SCHEMES:
            raise DefinitionError(f"Webhook scheme {scheme!r}: there is {', '.join(_SCHEMES)}")
        if not 1 <= tolerance <= 86_400:
            raise DefinitionError(f"Webhook tolerance is 1 to 86,400 seconds, not {tolerance}")
        self.secrets = _handles("Webhook", secrets)
        self.scheme = scheme
        self.header = (header or _SCHEMES[scheme][0]).lower()
        self.tolerance = tolerance
        self.challenge = "Signature"

    def authenticate(self, request: Request) -> dict[str, Any] | None:
        """The principal; None without a signature. Raises HTTPError 401 for one that does not fit or is too old."""
        import hmac

        values = request.headers.get_all(self.header)
        if not values:
            return None
        if len(values) > 1:
            self._refuse("there is more than one signature")
        sent_at, prefix, signatures = _SCHEMES[self.scheme][1](request, values[0])
        if not signatures:
            self._refuse("the signature is not of the form that was agreed on")
        body = request.body
        found = None
        for secret in self.secrets:
            value = secret.value
            expected = hmac.digest(value.encode(), prefix + body, "sha256")
            for signature in signatures:
                if hmac.compare_digest(expected, signature) and value:
                    found = found or secret.name
        if found is None:
            self._refuse("the signature does not fit")
        # After the signature: only its owner learns what the clock here says.
        if sent_at is not None and abs(time() - sent_at) > self.tolerance:
            self._refuse("the request is too old, or its sender's clock is wrong")
        return {"webhook": found, "time": sent_at}

    def describe(self) -> dict[str, Any]:
        """How to call: kind, scheme and header."""
        return {
            "kind": "webhook",
            "scheme": self.scheme,
            "header": self.header,
            "secrets": [secret.name for secret in self.secrets],
        }

    def _refuse(self, why: str) -> NoReturn:
        raise HTTPError(401, why, headers={"www-authenticate": self.challenge})


#: The time it was sent, what is signed before the body, and the signatures; none of these where it is malformed.
_Signed = tuple["int | None", bytes, "list[bytes]"]


def _read_github(_request: Request, value: str) -> _Signed:
    return None, b"", _hex_signatures([value], "sha256=")


def _read_stripe(_request: Request, value: str) -> _Signed:
    items = [item.strip(" ") for item in value.split(",")]
    times = [item[2:] for item in items if item.startswith("t=")]
    sent_at = _seconds(times[0]) if len(times) == 1 else None
    if sent_at is None:
        return None, b"", []
    return sent_at, times[0].encode() + b".", _hex_signatures(items[:16], "v1=")


def _read_slack(request: Request, value: str) -> _Signed:
    text = request.headers.get("x-slack-request-timestamp") or ""
    sent_at = _seconds(text)
    if sent_at is None:
        return None, b"", []
    return sent_at, b"v0:" + text.encode() + b":", _hex_signatures([value], "v0=")


_SCHEMES: dict[str, tuple[str, Callable[[Request, str], _Signed]]] = {
    "github": ("x-hub-signature-256", _read_github),
    "stripe": ("stripe-signature", _read_stripe),
    "slack": ("x-slack-signature", _read_slack),
}


def _hex_signatures(items: Iterable[str], prefix: str) -> list[bytes]:
    digits = [item[len(prefix) :] for item in items if item.startswith(prefix)]
    return [bytes.fromhex(one) for one in digits if len(one) == 64 and _HEX.issuperset(one)]


_HEX = frozenset("0123456789abcdefABCDEF")


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _keys(jwks_url: str | None, jwks: Mapping[str, Any] | None) -> RemoteKeys | KeySet | None:
    if jwks_url is not None:
        from pys_multi.jwks import RemoteKeys

        return RemoteKeys(jwks_url)
    if jwks is None:
        return None
    from pys_multi.jwt import KeySet

    try:
        keys = KeySet(jwks)
    except ValueError as error:
        raise DefinitionError(f"JWT jwks: {error}") from None
    if not len(keys):
        raise DefinitionError("JWT jwks: no key in it can verify a signature")
    return keys


def _texts(name: str, value: str | Iterable[str], *, empty: bool = False) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not (texts or empty) or not all(isinstance(text, str) and text for text in texts):
        raise DefinitionError(f"JWT {name} is text or a list of texts, not {value!r}")
    return texts


def _handles(name: str, value: Secret | Iterable[Secret]) -> tuple[Secret, ...]:
    from pys_multi.resources import Secret

    handles = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not handles or not all(isinstance(handle, Secret) for handle in handles):
        raise DefinitionError(f"{name} takes handles such as app.secret('KEY'), never the secret itself")
    return handles


def _quotable(text: str) -> str:
    return text.replace("\\", "").replace('"', "'")
