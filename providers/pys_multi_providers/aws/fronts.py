"""HTTP requests and responses as the fronts of Lambda carry them.

Formats: developer guides of API Gateway ("Create AWS Lambda proxy integrations for HTTP APIs", "Lambda proxy
integrations" of REST APIs), Lambda ("Invoking Lambda function URLs") and Elastic Load Balancing ("Lambda functions as
targets"), as of 2026-11. What they leave open was taken from events that people recorded: an HTTP API decodes the
path and puts a named stage in front of it, also on a custom domain.
"""

from __future__ import annotations

from pys_multi.http import Request, Response
from pys_multi.runtime import whole_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Json = dict[str, Any]

#: Lambda refuses payloads above 6 MB ("Lambda quotas", synchronous invocation), counted as the JSON that is sent.
MAX_PAYLOAD = 6 * 1024 * 1024
#: Of that, for what stands beside the body: API Gateway takes at most 10,240 bytes of header fields.
_BESIDE_BODY = 16 * 1024

_TEXT = ("text/", "application/json", "application/javascript", "application/xml", "application/x-www-form-urlencoded")
_OCTETS = "application/octet-stream"
#: Fields about one connection (RFC 9110, section 7.6.1): between the front and Lambda there is none of the caller's.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)


# ---- HTTP in


def _request_v2(event: Json, base_path: str) -> Request:
    """HTTP API, payload format 2.0: the path comes decoded, and behind the stage unless that is $default."""
    about = event["requestContext"]
    path, root, stage = event["rawPath"], "", about["stage"]
    if stage != "$default" and f"{path}/".startswith(f"/{stage}/"):
        root = f"/{stage}"
        path = path[len(root) :]
    if base_path and ".execute-api." not in about["domainName"]:
        # Events were seen with the mapping of the domain in the path and without it; the route's key never has it.
        _, _, key = event["routeKey"].partition(" ")
        root, path = base_path, path if f"{key}/".startswith(f"{base_path}/") else _behind(base_path, path)
    return _from_v2(event, about["http"], path, root)


def _request_url(event: Json, base_path: str) -> Request:
    """Function URL: format 2.0 as well, but the path comes as the caller encoded it."""
    path = _behind(base_path, event["rawPath"])
    return _from_v2(event, event["requestContext"]["http"], _unquote(path) if "%" in path else path, base_path)


def _from_v2(event: Json, http: Json, path: str, root: str) -> Request:
    headers = event["headers"]
    cookies = event.get("cookies")
    if cookies:
        headers["cookie"] = "; ".join(cookies)
    request = Request(
        http["method"],
        path or "/",
        query_string=event["rawQueryString"],
        headers=headers,
        body=_body(event),
        client=http["sourceIp"],
        scheme="https",
        root_path=root,
    )
    signer = event["requestContext"].get("authorizer")
    if signer:
        request.principal = _caller(signer.get("iam"))
    return request


def _request_rest(event: Json, base_path: str) -> Request:
    """REST API (format 1.0): the path comes encoded; without the stage, which the path in the context has, but with
    the base path of a custom domain."""
    about = event["requestContext"]
    path: str = event["path"]
    whole: str = about.get("path") or path
    root = whole[: -len(path)] if whole != path and whole.endswith(path) else ""
    if not root and path != (rest := _behind(base_path, path)):
        root, path = base_path, rest
    identity = about.get("identity") or {}
    request = Request(
        event["httpMethod"],
        (_unquote(path) if "%" in path else path) or "/",
        query_string=_query_string(event, encoded=False),
        headers=_pairs(event),
        body=_body(event),
        client=identity.get("sourceIp") or "",
        scheme="https",
        root_path=root,
    )
    request.principal = _caller(identity)
    return request


def _request_alb(event: Json, base_path: str) -> Request:
    """Load balancer: path and query come as the caller encoded them; it adds the addresses as headers."""
    headers = _pairs(event)
    # The load balancer appends to what the caller sent, so only the last one of each is true.
    forwarded = {name.lower(): value for name, value in headers}
    path = _behind(base_path, event["path"])
    return Request(
        event["httpMethod"],
        (_unquote(path) if "%" in path else path) or "/",
        query_string=_query_string(event, encoded=True),
        headers=headers,
        body=_body(event),
        client=forwarded.get("x-forwarded-for", "").rpartition(",")[2].strip(),
        scheme=forwarded.get("x-forwarded-proto", "http"),
        root_path=base_path,
    )


def _behind(base_path: str, path: str) -> str:
    """A path without the base path, where it has that."""
    return path[len(base_path) :] if base_path and f"{path}/".startswith(f"{base_path}/") else path


def _caller(identity: Json | None) -> Json | None:
    """Who signed the request, once AWS has found that they may call: its account, ARN and id; None for nobody."""
    if not identity or not identity.get("userArn"):
        return None
    return {"account": identity.get("accountId"), "arn": identity["userArn"], "id": identity.get("userId")}


def known_to_aws(request: Request) -> object:
    """The authenticator of private routes: API Gateway and function URLs say who signed a request that they let pass.

    They match paths before they are decoded and know no converters, so the function looks itself whether a request
    for a private route came through a route that lets only known callers pass.
    """
    if request.principal is None:
        from pys_multi.errors import HTTPError

        raise HTTPError(403, "this route is private: sign the request as somebody whom AWS lets call it")
    return request.principal


def _body(event: Json) -> bytes | str:
    body = event.get("body")
    if not body:
        return ""
    if event.get("isBase64Encoded"):
        from binascii import a2b_base64

        return a2b_base64(body)
    return body  # type: ignore[no-any-return]


def _pairs(event: Json) -> list[tuple[str, str]]:
    several = event.get("multiValueHeaders")
    if several:
        return [(name, value) for name, values in several.items() for value in values]
    return list((event.get("headers") or {}).items())


def _query_string(event: Json, *, encoded: bool) -> str:
    several = event.get("multiValueQueryStringParameters")
    single = event.get("queryStringParameters") or {}
    pairs = [(k, v) for k, values in several.items() for v in values] if several else list(single.items())
    if encoded:
        return "&".join(f"{key}={value}" for key, value in pairs)
    from urllib.parse import urlencode

    return urlencode(pairs)


def _unquote(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path)


# ---- HTTP out


def respond_v2(response: Response, event: Json) -> Json:  # noqa: ARG001  (one signature for all)
    body, is_base64 = _payload(response)
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in response.headers:
        name = name.lower()
        if name == "set-cookie":
            cookies.append(value)
        elif name in headers:
            headers[name] += ", " + value
        elif name not in _HOP_BY_HOP:
            headers[name] = value
    answer = {"statusCode": response.status, "headers": headers, "body": body, "isBase64Encoded": is_base64}
    if cookies:
        answer["cookies"] = cookies
    return answer


def _respond_v1(response: Response, event: Json) -> Json:  # noqa: ARG001  (one signature for all)
    body, is_base64 = _payload(response)
    return {
        "statusCode": response.status,
        "multiValueHeaders": _several(response),
        "body": body,
        "isBase64Encoded": is_base64,
    }


def _several(response: Response) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in response.headers:
        if name.lower() not in _HOP_BY_HOP:
            headers.setdefault(name.lower(), []).append(value)
    return headers


def _respond_alb(response: Response, event: Json) -> Json:
    from http.client import responses

    body, is_base64 = _payload(response)
    answer = {
        "statusCode": response.status,
        "statusDescription": f"{response.status} {responses.get(response.status, 'Status')}",
        "body": body,
        "isBase64Encoded": is_base64,
    }
    several = _several(response)
    # What the target group sends is what it reads.
    if "multiValueHeaders" in event:
        return {**answer, "multiValueHeaders": several}
    cookies = several.pop("set-cookie", [])
    headers = {name: ", ".join(values) for name, values in several.items()}
    # One field for a name, and names without regard to case: so every cookie gets another spelling of the name.
    headers.update(zip(_spellings("set-cookie"), cookies, strict=False))
    return {**answer, "headers": headers}


def _spellings(name: str) -> list[str]:
    """A name in 256 ways of upper and lower case."""
    return ["".join(c.upper() if n >> i & 1 else c for i, c in enumerate(name)) for n in range(256)]


def _payload(response: Response) -> tuple[str, bool]:
    """The body as Lambda carries it: text as it is, anything else in base64. Raises ValueError for too large a body,
    and what a streamed body raises."""
    body = response.body
    if type(body) is not bytes:
        body = whole_body(response)
    if not body:
        return "", False
    kind = _OCTETS
    encoded = False
    for name, value in response.headers:
        if name == "content-type" or name.lower() == "content-type":
            kind = value
        elif name.lower() == "content-encoding":
            encoded = True
    size = len(body)
    if not encoded and (kind.startswith(_TEXT) or "+json" in kind or "+xml" in kind or "charset=utf-8" in kind.lower()):
        try:
            text = body.decode()
            # The escapes of JSON can make six characters of one; mostly base64 is the longer form.
            if size < MAX_PAYLOAD // 6 or _length_in_json(text) <= MAX_PAYLOAD - _BESIDE_BODY:
                return text, False
        except UnicodeDecodeError:
            pass
    if size * 4 // 3 > MAX_PAYLOAD - _BESIDE_BODY:
        raise ValueError(
            f"the response has {size:,} bytes, and Lambda carries 6 MB, of which base64 and JSON take their part; "
            "put large content into a bucket and redirect to its presigned URL"
        )
    from binascii import b2a_base64

    return b2a_base64(body, newline=False).decode(), True


def _length_in_json(text: str) -> int:
    from _json import encode_basestring_ascii

    # Python 3.11's runtime escapes all that is not ASCII, later ones only what they must.
    return len(encode_basestring_ascii(text))


#: Name of a front → a request from its event (and the mapping of a custom domain), and its answer from a response.
FRONTS: dict[str, tuple[Callable[[Json, str], Request], Callable[[Response, Json], Json]]] = {
    "http-api": (_request_v2, respond_v2),
    "function-url": (_request_url, respond_v2),
    "rest-api": (_request_rest, _respond_v1),
    "alb": (_request_alb, _respond_alb),
}
