"""Which pages of other origins may call: Cross-Origin Resource Sharing (WHATWG Fetch, "CORS protocol").

It tells browsers what they may let a page do. It keeps nobody else out: that is what ``auth`` is for.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError
from pys_multi.http import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pys_multi.http import Request

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:[]")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class CORS:
    """Which origins may call, and how.

    origins: such as ``https://shop.example``, exactly as a browser sends them; ``https://*.shop.example`` for
    every subdomain at any depth, not the domain itself; or ``*`` alone for everybody. methods and headers: of
    requests; ``*`` allows whatever is asked for. expose: header fields of a response that the page may read.
    credentials: whether cookies and the like are sent along; not together with ``*`` as the origin.
    max_age: seconds that a browser may remember the answer; browsers cap it, Chromium at 7,200.

    Raises DefinitionError.
    """

    __slots__ = ("_exact", "_patterns", "credentials", "expose", "headers", "max_age", "methods", "origins")

    def __init__(
        self,
        origins: Iterable[str],
        *,
        methods: Iterable[str] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        headers: Iterable[str] = ("authorization", "content-type"),
        expose: Iterable[str] = (),
        credentials: bool = False,
        max_age: int = 600,
    ) -> None:
        self.origins = _names("origins", origins)
        self.methods = _tokens("methods", methods)
        self.headers = tuple(name.lower() for name in _tokens("headers", headers))
        self.expose = tuple(name.lower() for name in _tokens("expose", expose))
        self.credentials = credentials
        if isinstance(max_age, bool) or not isinstance(max_age, int) or not 0 <= max_age <= 86_400:
            raise DefinitionError(f"CORS max_age is 0 to 86,400 seconds, not {max_age!r}")
        self.max_age = max_age
        if not self.origins:
            raise DefinitionError("CORS needs at least one origin")
        if "*" in self.origins:
            if len(self.origins) > 1:
                raise DefinitionError("CORS origin '*' stands alone: it is every origin already")
            if credentials:
                raise DefinitionError(
                    "CORS credentials with origin '*' would let every page act as whoever visits it; name the origins"
                )
        if credentials and "*" in self.expose:
            raise DefinitionError("CORS expose '*' means nothing to a browser with credentials; name the fields")
        named = [_check_origin(origin) for origin in self.origins if origin != "*"]
        self._exact = frozenset(origin for origin in named if "*" not in origin)
        # "https://*.shop.example" as "https://" and ".shop.example".
        self._patterns = [(scheme, rest) for scheme, star, rest in (o.partition("*") for o in named) if star]

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        if self.origins == ("*",) or origin in self._exact:
            return True
        for scheme, suffix in self._patterns:
            if origin.startswith(scheme) and origin.endswith(suffix):
                labels = origin[len(scheme) : -len(suffix)]
                if labels and not labels.startswith(".") and _HOST.issuperset(labels) and ":" not in labels:
                    return True
        return False

    def preflight(self, request: Request) -> Response | None:
        """The answer to a preflight; None where the request is none.

        An origin that may not call gets an answer without permission, which is how a browser knows.
        """
        origin = request.headers.get("origin")
        method = request.headers.get("access-control-request-method")
        if request.method != "OPTIONS" or origin is None or method is None:
            return None
        response = Response(status=204)
        add = response.headers.append
        wildcard = self.origins == ("*",)
        add(
            ("vary", "access-control-request-method, access-control-request-headers" + ("" if wildcard else ", origin"))
        )
        if not self.allows(origin):
            return response
        add(("access-control-allow-origin", "*" if wildcard else origin))
        if self.credentials:
            add(("access-control-allow-credentials", "true"))
        # "*" is answered with what was asked for: to browsers the sign itself covers neither credentials nor
        # the Authorization field.
        methods = (method,) if "*" in self.methods else self.methods
        wanted = request.headers.get("access-control-request-headers") or ""
        asked = tuple(name.strip(" \t") for name in wanted.split(",")) if wanted else ()
        headers = asked if "*" in self.headers else self.headers
        for name, values in (("methods", methods), ("headers", headers)):
            if values and all(value and _TOKEN.issuperset(value) for value in values):
                add((f"access-control-allow-{name}", ", ".join(values)))
        add(("access-control-max-age", str(self.max_age)))
        return response

    def decorate(self, request: Request, response: Response) -> Response:
        """The response with what a browser asks for; one that says it already is left alone."""
        if any(name.lower() == "access-control-allow-origin" for name, _ in response.headers):
            return response
        wildcard = self.origins == ("*",)
        if not wildcard:
            # Also where there was no origin: a cache must not give that answer to a page that has one.
            _vary_by_origin(response)
        origin = request.headers.get("origin")
        if origin is None or not self.allows(origin):
            return response
        add = response.headers.append
        add(("access-control-allow-origin", "*" if wildcard else origin))
        if self.credentials:
            add(("access-control-allow-credentials", "true"))
        if self.expose:
            add(("access-control-expose-headers", ", ".join(self.expose)))
        return response

    def describe(self) -> dict[str, Any]:
        """The fields of the model's ``Cors``."""
        return {
            "origins": self.origins,
            "methods": self.methods,
            "headers": self.headers,
            "expose": self.expose,
            "credentials": self.credentials,
            "max_age": self.max_age,
        }


def _vary_by_origin(response: Response) -> None:
    for index, (name, value) in enumerate(response.headers):
        if name.lower() == "vary":
            fields = [field.strip(" \t").lower() for field in value.split(",")]
            if "*" not in fields and "origin" not in fields:
                response.headers[index] = (name, f"{value}, origin")
            return
    response.headers.append(("vary", "origin"))


def _check_origin(origin: str) -> str:
    def refuse(why: str) -> DefinitionError:
        return DefinitionError(f"CORS origin {origin!r}: {why}")

    if origin == "null":
        raise refuse("any page can call itself that, in a sandboxed frame")
    scheme, separator, host = origin.partition("://")
    if not separator or not scheme or not host:
        raise refuse("write scheme and host, such as 'https://shop.example'")
    if "/" in host or "?" in host or "#" in host or "@" in host:
        raise refuse("an origin is scheme, host and port alone: no path, and no slash at its end")
    plain = host.removeprefix("*.")
    if "*" in plain:
        raise refuse("'*' stands for subdomains, as in 'https://*.shop.example', and for nothing else")
    if host != plain and "." not in plain.partition(":")[0]:
        raise refuse("that is every site under a top-level domain")
    if origin != origin.lower() or not _HOST.issuperset(plain):
        raise refuse("browsers send origins in lower-case ASCII (an international name as punycode)")
    if host.endswith(_DEFAULT_PORTS.get(scheme, "\0")):
        raise refuse("browsers leave the default port out")
    return origin


def _names(what: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise DefinitionError(f"CORS {what} is a list, not the text {values!r}")
    return tuple(values)


def _tokens(what: str, values: Iterable[str]) -> tuple[str, ...]:
    names = _names(what, values)
    for name in names:
        if not isinstance(name, str) or not name or not _TOKEN.issuperset(name):
            raise DefinitionError(f"CORS {what}: {name!r} is not a name that HTTP knows")
    return names
