"""HTTP triggers → routes of an HTTP API.

API Gateway knows whole segments only: text, ``{name}``, and ``{name+}`` for the rest. What it cannot express
(converters, text beside a parameter, something behind ``{rest:path}``) becomes the next wider route, and the
function's own router decides; so everything a route lets in that has no handler is answered by the function:
404, 405, OPTIONS, HEAD, and the other form of a trailing slash.
("Create routes for HTTP APIs in API Gateway", 2026-11.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pys_multi.model import Function, Mount, Route, Service
from pys_multi.routing import Template

#: Text that a route key surely takes; a segment of anything else is a parameter to API Gateway.
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
#: The authorization of a route, weakest first.
NONE, IAM = "NONE", "AWS_IAM"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a native authorizer checks: who issued a token and for whom."""

    issuer: str
    audience: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One route. key: "GET /orders/{id}" or "$default". access: NONE, IAM, or the tokens it takes."""

    key: str
    function: str
    access: str | Tokens


@dataclass(frozen=True, slots=True)
class Clash:
    """Two triggers that are one route to API Gateway and must not be."""

    key: str
    first: Route | Mount
    second: Route | Mount
    why: str


def routes_of(service: Service, *, native_jwt: bool) -> list[HttpRoute]:
    """The routes of a service, in the order of their definition; its triggers must not clash."""
    found: dict[str, HttpRoute] = {}
    fronted = [function for function in service.functions if _http(function)]
    openness = {function.name: NONE if any(map(_is_open, _http(function))) else IAM for function in fronted}
    for function in fronted:
        for trigger in _http(function):
            access = access_of(trigger, native_jwt=native_jwt)
            for method, path in _keys(trigger):
                route = HttpRoute(f"{method} {path}", function.name, access)
                known = found.setdefault(_shape(route.key), route)
                if known.access != access and known.function == function.name and access == NONE:
                    found[_shape(route.key)] = route  # the function checks the tokens of the other one itself
    explicit = list(found.values())
    if not fronted:
        return []
    main = max(fronted, key=lambda function: len(_http(function)))
    if len(fronted) > 1:
        for route in explicit:
            _, _, path = route.key.partition(" ")
            wider = [path]
            if route.function != main.name and not path.endswith("+}") and path != "/":
                wider.append(path[:-1] if path.endswith("/") else f"{path}/")
            for form in wider:
                key = f"ANY {form}"
                found.setdefault(_shape(key), HttpRoute(key, route.function, openness[route.function]))
    return [*found.values(), HttpRoute("$default", main.name, openness[main.name])]


def clashes(service: Service) -> Iterator[Clash]:
    """Triggers that API Gateway cannot tell apart although their functions or callers differ."""
    seen: dict[str, tuple[str, Route | Mount]] = {}
    for function in service.functions:
        for trigger in _http(function):
            for method, path in _keys(trigger):
                key = f"{method} {path}"
                owner, first = seen.setdefault(_shape(key), (function.name, trigger))
                if owner != function.name:
                    yield Clash(key, first, trigger, "they belong to different functions")
                elif _is_open(first) != _is_open(trigger):
                    yield Clash(key, first, trigger, "only one of them is private")


def shared_paths(service: Service) -> dict[str, tuple[Function, Function]]:
    """Paths whose methods belong to several functions, with two of those, the one that answers OPTIONS first."""
    owners: dict[str, tuple[str, Function]] = {}
    shared: dict[str, tuple[Function, Function]] = {}
    for function in service.functions:
        for trigger in _http(function):
            for _, path in _keys(trigger):
                _, first = owners.setdefault(_shape(path), (path, function))
                if first is not function:
                    shared.setdefault(path, (first, function))
    return shared


def access_of(trigger: Route | Mount, *, native_jwt: bool) -> str | Tokens:
    """Who API Gateway lets through to a trigger."""
    if not _is_open(trigger):
        return IAM
    tokens = _tokens(trigger) if native_jwt else None
    return tokens or NONE


def _is_open(trigger: Route | Mount) -> bool:
    """Whether the function itself finds out who calls, or anybody may."""
    return bool(trigger.public or trigger.auth)


def _tokens(trigger: Route | Mount) -> Tokens | None:
    """The tokens that API Gateway can check: RSA, in the usual header, with keys that the issuer publishes itself."""
    auth = trigger.auth
    if auth.get("kind") != "jwt" or auth.get("header") != "authorization":
        return None
    issuers, audience, keys = auth.get("issuer", ()), auth.get("audience", ()), auth.get("jwks_url", "")
    if len(issuers) != 1 or not audience or not all(name.startswith("RS") for name in auth.get("algorithms", ())):
        return None
    issuer = issuers[0]
    if not issuer.startswith("https://") or not keys.startswith(issuer.rstrip("/") + "/.well-known/"):
        return None  # API Gateway finds the keys by the issuer's address alone
    return Tokens(issuer, tuple(audience))


def _http(function: Function) -> list[Route | Mount]:
    return [trigger for trigger in function.triggers if isinstance(trigger, Route | Mount)]


def _keys(trigger: Route | Mount) -> Iterable[tuple[str, str]]:
    """(method, path) of the routes of one trigger."""
    if isinstance(trigger, Mount):
        path = _path(trigger.path.rstrip("/"))
        return [("ANY", form) for form in ([path] if path else []) + [f"{path}/", f"{path}/{{proxy+}}"]]
    path = _path(trigger.path)
    keys = [(trigger.method, path)]
    if path.endswith("+}"):
        keys.append((trigger.method, path[: path.rindex("{")]))  # the rest may be empty
    if trigger.method == "GET" and not _is_open(trigger):
        keys += [("HEAD", form) for _, form in keys]
    return keys


def _path(text: str) -> str:
    """A path template in the words of API Gateway."""
    parts: list[str] = []
    segments = Template(text).segments if text else []
    for index, segment in enumerate(segments):
        if segment == "" and index == len(segments) - 1:
            parts.append("")
        elif isinstance(segment, str) and _PLAIN.fullmatch(segment):
            parts.append(segment)
        elif segment == "" or any(isinstance(part, tuple) and part[1] == "path" for part in segment):
            parts.append(f"{{{_name(segment, index)}+}}")
            break
        else:
            parts.append(f"{{{_name(segment, index)}}}")
    return "".join(f"/{part}" for part in parts)


def _name(segment: object, index: int) -> str:
    """The parameter's own name where the segment is nothing else and the name is plain."""
    if isinstance(segment, tuple) and len(segment) == 1 and isinstance(segment[0], tuple):
        name: str = segment[0][0]
        if name.isascii():
            return name
    return f"segment{index + 1}"


def _shape(key: str) -> str:
    """The same for keys that API Gateway takes for one: names of parameters do not count."""
    return re.sub(r"\{[^}+]*", "{", key)
