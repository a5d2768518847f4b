"""Who calls: the identity tokens that Google signs, checked by Cloud Run or, where strangers may call, here.

A function none of whose routes strangers may call is closed: Cloud Run lets its invokers pass and nobody else, and
replaces the signature of their token with a word. It says that it does so for services that are not public
("Troubleshoot Cloud Run issues", identity token signature redacted; 2026-11): an open function gets every request,
with the token as it was sent, and checks it; a token without a signature is nobody's there.
"""

from __future__ import annotations

from os import environ

from pys_multi.encoding import parse_json
from pys_multi.errors import HTTPError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pys_multi.app import Endpoint, Function, Mount
    from pys_multi.auth import JWT
    from pys_multi.http import Request

#: Environment: e-mails of who may call private routes of an open function, beside the service's own account of events.
INVOKERS = "PYS_MULTI_INVOKERS"
#: "OpenID Connect", Google's discovery document; older tokens have the issuer without a scheme.
_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_KEYS = "/oauth2/v3/certs"
#: The audience of every token that gcloud makes for a user ("Authenticating developers"), as Cloud Run takes it.
_GCLOUD = "32555940559.apps.googleusercontent.com"


def is_open(function: Function) -> bool:
    """Whether strangers may call a route of the function, so that its template lets everybody call it."""
    targets: list[Endpoint | Mount] = [*function.endpoints, *function.mounts]
    return any(target.public or _lets_in(target.auth) for target in targets)


def _lets_in(auth: Any) -> bool:
    """Whether an authenticator makes its route one for strangers, as the model says it: one that describes itself as
    nothing is none there."""
    describe = getattr(auth, "describe", None)
    return auth is not None and (describe is None or bool(describe()))


class Callers:
    """Finds out who sent a request, and whether they may.

    caller: the service's account that events come from. audience: of its tokens. opened: whether the function is open.
    """

    __slots__ = ("_audience", "_caller", "_invokers", "_tokens", "opened")

    def __init__(self, caller: str, audience: str, *, opened: bool = True) -> None:
        self.opened = opened
        self._caller = caller
        self._audience = audience
        self._invokers: list[str] = parse_json(environ.get(INVOKERS, "[]"))
        self._tokens: JWT | None = None

    def invoker(self, request: Request) -> object:
        """The claims of who may call private routes: an authenticator. Raises HTTPError 401 and 403."""
        return self._known(request, "this route is private")

    def sender(self, request: Request) -> object:
        """The claims of who may hand events over. Raises HTTPError 401 and 403."""
        return self._known(request, "events come from the service's own queues, buckets and schedules")

    def _known(self, request: Request, why: str) -> dict[str, Any]:
        if not self.opened:
            return _claims_let_pass(request)
        claims = self._verified(request)
        if claims is None:
            raise HTTPError(
                401,
                f"{why}: send an identity token of Google's as a bearer token",
                headers={"www-authenticate": "Bearer"},
            )
        email = claims.get("email")
        audiences = claims.get("aud")
        ours = {self._audience, f"https://{request.host}", *((_GCLOUD,) if email in self._invokers else ())} - {""}
        if not ours.intersection([audiences] if isinstance(audiences, str) else audiences or ()):
            raise HTTPError(403, f"{why}: the token is for another audience")
        if claims.get("email_verified") is not True or email not in (self._caller, *self._invokers) or not email:
            raise HTTPError(403, f"{why}: {email or 'the caller'} is not among those who may call")
        return claims

    def _verified(self, request: Request) -> dict[str, Any] | None:
        if self._tokens is None:
            from pys_multi.auth import JWT

            address = environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_OAUTH2") or "https://www.googleapis.com"
            self._tokens = JWT(
                issuer=_ISSUERS,
                audience=None,  # compared by the caller of this, who knows the request's host
                jwks_url=address.rstrip("/") + _KEYS,
                require=("exp", "email", "aud"),
            )
        return self._tokens.authenticate(request)


def _claims_let_pass(request: Request) -> dict[str, Any]:
    """The claims of a token that Cloud Run has checked; of two it checks this one alone, and passes on the other."""
    text = request.headers.get("x-serverless-authorization") or request.headers.get("authorization") or ""
    parts = text.rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return {}
    from pys_multi.jwt import InvalidToken, decode_base64url, read_claims

    try:
        return read_claims(decode_base64url(parts[1]))
    except InvalidToken:
        return {}
