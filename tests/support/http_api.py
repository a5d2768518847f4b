"""An HTTP API of API Gateway, as far as a function and its callers see it: payload format 2.0, both ways.

Written from the developer guide ("Create AWS Lambda proxy integrations for HTTP APIs", "Create routes for HTTP APIs",
"Quotas for HTTP APIs"; 2026-11). Where the guide is silent: paths come decoded, and only text, JSON, XML and
JavaScript in UTF-8 come as text, as recorded events show. What a function answers is checked strictly.
Of a JWT authorizer only that it answers by itself where there is no token ("Control access to HTTP APIs with JWT
authorizers"); what it finds in a token is left out, and that an encoded "?" is reported to end the path.
"""

from __future__ import annotations

import re
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.support.lambda_runtime import PayloadTooLarge, Result

Fields = Sequence[tuple[str, str]]
Invoke = Callable[[Any], Result]

#: Bytes ("Quotas for HTTP APIs"): of a body, and of the request line with all values of header fields.
MAX_BODY = 10 * 1024 * 1024
MAX_HEAD = 10_240
_TEXT = re.compile(r"(text/[^;]+|application/(json|xml|javascript))\s*(;\s*charset=\"?utf-8\"?)?\s*", re.IGNORECASE)
_DOMAIN = "abcdef1234.execute-api.eu-central-1.amazonaws.com"
#: Who signed a request, as a function learns it from a route with IAM authorization.
_SIGNER = {
    "accessKey": "AKIAIOSFODNN7EXAMPLE",
    "accountId": "123456789012",
    "callerId": "AIDACKCEVSQ6C2EXAMPLE",
    "cognitoIdentity": None,
    "principalOrgId": None,
    "userArn": "arn:aws:iam::123456789012:user/deployer",
    "userId": "AIDACKCEVSQ6C2EXAMPLE",
}


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One route. key: "GET /orders/{id}" or "$default". iam: whether its callers must be known to AWS. jwt: whether
    they must bring a token."""

    key: str
    invoke: Invoke
    iam: bool = False
    jwt: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets."""

    status: int
    fields: Fields
    body: bytes


class HttpApi:
    """An API with its stage."""

    def __init__(self, routes: Sequence[ApiRoute], *, stage: str = "$default") -> None:
        self._routes = [(route, _pattern(route.key)) for route in routes]
        self._stage = stage

    def call(self, method: str, target: str, fields: Fields = (), body: bytes = b"", *, known: bool = True) -> Answer:
        """One request. known: whether it is signed by somebody whom AWS lets call the API."""
        path, _, query = target.partition("?")
        host = next((value for name, value in fields if name.lower() == "host"), _DOMAIN)
        head = len(f"{method} {target} HTTP/1.1") + sum(len(value) for _, value in fields) + len(host)
        if head > MAX_HEAD:
            return _own(431, "Request Header Fields Too Large")
        if len(body) > MAX_BODY:
            return _own(413, "Request Entity Too Large")
        decoded = unquote(path, errors="replace")
        found = self._route(method, decoded)
        if found is None:
            return _own(404, "Not Found")
        route, parameters = found
        if route.iam and not known:
            return _own(403, "Forbidden")
        if route.jwt and not any(n.lower() == "authorization" and v.lower().startswith("bearer ") for n, v in fields):
            return _own(401, "Unauthorized", ("www-authenticate", "Bearer"))
        event = self._event(route.key, parameters, method, decoded, query, host, fields, body)
        if route.iam:
            event["requestContext"]["authorizer"] = {"iam": _SIGNER}
        try:
            result = route.invoke(event)
        except PayloadTooLarge:
            return _own(413, "Request Entity Too Large")
        if result.error is not None:
            return _own(500, "Internal Server Error")
        return _answer(result.payload, method)

    def _route(self, method: str, path: str) -> tuple[ApiRoute, dict[str, str]] | None:
        """The most specific route: a full match, then the longest in front of the rest, then $default; the method
        before ANY."""
        best: tuple[tuple[Any, ...], ApiRoute, dict[str, str]] | None = None
        for route, (verb, pattern, rank) in self._routes:
            match = pattern.fullmatch(path)
            if match is None or verb not in (method, "ANY"):
                continue
            order = (*rank, verb == method)
            if best is None or order > best[0]:
                parameters = {name[1:]: value for name, value in match.groupdict().items()}
                best = order, route, _renamed(route.key, parameters)
        return None if best is None else best[1:]

    def _event(
        self,
        key: str,
        parameters: Mapping[str, str],
        method: str,
        path: str,
        query: str,
        host: str,
        fields: Fields,
        body: bytes,
    ) -> dict[str, Any]:
        headers: dict[str, str] = {}
        cookies: list[str] = []
        for name, value in fields:
            name = name.lower()
            if name == "cookie":
                cookies += [part.strip() for part in value.split(";") if part.strip()]
            else:
                headers[name] = f"{headers[name]},{value}" if name in headers else value
        now = time.time()
        headers |= {
            "host": host,
            "content-length": str(len(body)),
            "x-amzn-trace-id": f"Root=1-{int(now):08x}-{uuid.uuid4().hex[:24]}",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        }
        parsed: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
            parsed[name] = f"{parsed[name]},{value}" if name in parsed else value
        raw = path if self._stage == "$default" else f"/{self._stage}{path}"
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": key,
            "rawPath": raw,
            "rawQueryString": query,
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "abcdef1234",
                "domainName": host,
                "domainPrefix": host.partition(".")[0],
                "http": {
                    "method": method,
                    "path": raw,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.7",
                    "userAgent": headers.get("user-agent", ""),
                },
                "requestId": b64encode(uuid.uuid4().bytes[:11]).decode(),
                "routeKey": key,
                "stage": self._stage,
                "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
                "timeEpoch": int(now * 1000),
            },
            "isBase64Encoded": False,
        }
        if cookies:
            event["cookies"] = cookies
        if parsed:
            event["queryStringParameters"] = parsed
        if parameters:
            event["pathParameters"] = dict(parameters)
        if body:
            event["body"], event["isBase64Encoded"] = _body(headers.get("content-type", ""), body)
        return event


def _pattern(key: str) -> tuple[str, re.Pattern[str], tuple[Any, ...]]:
    """Method, the paths that a route takes, and how it stands among others."""
    if key == "$default":
        return "ANY", re.compile(".*", re.DOTALL), (0,)
    verb, _, path = key.partition(" ")
    pattern, segments = "", []
    for number, segment in enumerate(path.split("/")[1:]):
        if segment.endswith("+}"):
            pattern += f"/(?P<p{number}>.+)"
            return verb, re.compile(pattern, re.DOTALL), (1, tuple(segments))
        if segment.startswith("{"):
            pattern += f"/(?P<p{number}>[^/]+)"
            segments.append(0)
        else:
            pattern += "/" + re.escape(segment)
            segments.append(1)
    return verb, re.compile(pattern), (2, tuple(segments))


def _renamed(key: str, parameters: Mapping[str, str]) -> dict[str, str]:
    names = [segment.strip("{}").rstrip("+") for segment in key.partition(" ")[2].split("/")[1:]]
    return {names[int(number)]: value for number, value in parameters.items()}


def _body(content_type: str, body: bytes) -> tuple[str, bool]:
    if _TEXT.fullmatch(content_type):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return b64encode(body).decode(), True


def _answer(payload: Any, method: str) -> Answer:
    """A function's answer on the wire. Asserts that it is one that the guide describes."""
    assert isinstance(payload, dict), payload
    assert set(payload) <= {"statusCode", "headers", "body", "cookies", "isBase64Encoded"}, payload
    status, text = payload["statusCode"], payload["body"]
    assert type(status) is int, payload
    assert isinstance(text, str), payload
    fields = [*payload["headers"].items(), *(("set-cookie", cookie) for cookie in payload.get("cookies", ()))]
    for name, value in fields:
        assert isinstance(value, str), (name, value)
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name), name
        assert re.fullmatch(r"([\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?", value), (
            name,
            value,
        )
    body = b64decode(text, validate=True) if payload["isBase64Encoded"] else text.encode()
    if status in (204, 304) or method == "HEAD":
        assert not body, payload
    else:
        fields = [(name, value) for name, value in fields if name != "content-length"]
        fields.append(("content-length", str(len(body))))
    return Answer(status, [*fields, ("apigw-requestid", uuid.uuid4().hex[:16])], body)


def _own(status: int, message: str, *more: tuple[str, str]) -> Answer:
    body = dumps({"message": message}).encode()
    return Answer(status, [("content-type", "application/json"), ("content-length", str(len(body))), *more], body)
