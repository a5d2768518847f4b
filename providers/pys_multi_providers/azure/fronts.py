"""HTTP requests and responses as the Functions host hands them to the Python worker.

Two ways. Streamed, which every current worker has: the host sends the caller's request on to a server inside the worker
(``streaming.py``), with its fields, its body as it comes, and the answer's as it goes. Without it (the worker's option
PYTHON_ENABLE_INIT_INDEXING=0 turns it off): objects of azure-functions, with which the host drops bodies of unknown
length, joins repeated fields by a comma, and writes cookies anew, percent-encoded and without attributes it does not
know (GrpcMessageConversionExtensions.cs and RawScriptResult.cs of the host, 4.1037).

The path. The host decodes it, all but %2F, and encodes it again: as an object it leaves what then looks encoded
alone, so that %25 in front of two hex digits is gone. The front end of Azure says in a field what the caller wrote.
Since others could write such a field too, it counts only where it says the same as the host's path.
"""

from __future__ import annotations

from pys_multi.http import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pys_multi.http import Response

#: What the front end writes: path and query string as the caller sent them, and where the caller is.
RAW_URL, CLIENT = "x-waws-unencoded-url", "client-ip"
#: Fields about one connection (RFC 9110, section 7.6.1): the host has its own with the caller.
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)


def request_of(given: Any) -> Request:
    """The request of an azure-functions HttpRequest (1.x and 2.x are alike)."""
    fields: Mapping[str, str] = given.headers
    scheme, _, rest = given.url.partition("://")
    host, slash, target = rest.partition("/")
    path, _, query = f"{slash}{target}".partition("?")
    return Request(
        given.method,
        path_of(path or "/", fields.get(RAW_URL, ""), is_object=True),
        query_string=query,
        headers={**fields, "host": fields.get("host") or host},
        body=given.get_body(),
        client=client_of(fields),
        scheme=scheme,
    )


def path_of(path: str, raw: str, *, is_object: bool = False) -> str:
    """The path as the caller meant it, decoded once.

    path: as the host encodes it. raw: what the front end says that the caller wrote, empty without. is_object:
    whether the host left alone what looks encoded.
    """
    if "%" not in path:
        return path
    from urllib.parse import unquote

    decoded = unquote(path)
    if raw:
        wrote = raw.partition("?")[0]
        # As the host decodes it: all but the slash.
        seen = "%2F".join(map(unquote, wrote.replace("%2f", "%2F").split("%2F")))
        same = unquote(seen) == decoded if is_object else seen == decoded.replace("%2f", "%2F")
        if same:
            return unquote(wrote)
    return decoded.replace("%2F", "/").replace("%2f", "/")


def client_of(fields: Mapping[str, str]) -> str:
    """The caller's address: what the front end says, which it lets nobody else say, or the last of those who sent the
    request on."""
    found = fields.get(CLIENT) or fields.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if found.startswith("["):
        return found[1:].partition("]")[0]
    return found.partition(":")[0] if found.count(":") == 1 else found


def fields_of(response: Response) -> list[tuple[str, str]]:
    """The response's fields without those about a connection."""
    return [pair for pair in response.headers if pair[0].lower() not in HOP_BY_HOP]


def respond(response: Response, method: str) -> Any:
    """An azure-functions HttpResponse of a response to a request of this method."""
    from azure.functions import HttpResponse  # type: ignore[import-untyped,import-not-found,unused-ignore]

    from pys_multi.runtime import whole_body

    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in fields_of(response):
        name = name.lower()
        if name == "set-cookie":
            cookies.append(value)
        elif name != "content-length" or method == "HEAD":  # the host counts the body that is there
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    made = HttpResponse(whole_body(response), status_code=response.status, headers=headers)
    for cookie in cookies:
        made.headers.add("set-cookie", cookie)
    return made
