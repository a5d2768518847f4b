"""HTTP as objects of azure-functions (1.x and 2.x are alike), which the worker makes from a message and into one.

The host drops bodies of unknown length, joins repeated fields by a comma, and writes cookies anew, percent-encoded and
without attributes that it does not know (GrpcMessageConversionExtensions.cs and RawScriptResult.cs, 4.1037).
"""

from __future__ import annotations

from azure.functions import HttpResponse  # type: ignore[import-untyped,import-not-found,unused-ignore]

from pys_multi.http import Request
from pys_multi.runtime import whole_body
from pys_multi_providers.azure.fronts import HOP_BY_HOP, KEY, RAW_URL, client_of, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pys_multi.http import Response


class Answer(HttpResponse):  # type: ignore[misc,unused-ignore]
    """A response without cookies, whose fields are a plain dict: all that the worker asks of them it has."""

    def __init__(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        # azure-functions' own puts every field through werkzeug, which takes longer than the rest of a request.
        self._body, self._status, self._headers = body, status, headers

    @property
    def status_code(self) -> int:
        """As azure-functions' own, and so on."""
        return self._status

    @property
    def headers(self) -> dict[str, str]:  # type: ignore[override,unused-ignore]
        return self._headers

    @property
    def mimetype(self) -> str:
        return "text/plain"

    @property
    def charset(self) -> str:
        return "utf-8"

    def get_body(self) -> bytes:
        return self._body


def request_of(given: Any) -> tuple[Request, dict[str, str]]:
    """The request of an object, and its fields by their names in lower case."""
    # They are read far more often than azure-functions' own mapping is quick.
    fields: dict[str, str] = getattr(given.headers, "__http_headers__", None) or dict(given.headers)
    fields.pop(KEY, None)
    scheme, _, rest = given.url.partition("://")
    host, slash, target = rest.partition("/")
    path, _, query = f"{slash}{target}".partition("?")
    request = Request(
        given.method,
        path_of(path or "/", fields.get(RAW_URL, ""), is_object=True),
        query_string=query,
        headers=fields if "host" in fields else {**fields, "host": host},
        body=given.get_body(),
        client=client_of(fields),
        scheme=scheme,
    )
    return request, fields


def respond(response: Response, method: str) -> Any:
    """The object of a response to a request of this method."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in response.headers:
        name = name.lower()
        if name in headers:
            headers[name] += f", {value}"
        elif name == "set-cookie":
            cookies.append(value)
        elif name == "content-length" and method != "HEAD":
            continue  # the host counts the body that is there
        elif name not in HOP_BY_HOP:
            headers[name] = value
    body = response.body
    if type(body) is not bytes:
        body = whole_body(response)
    if not cookies:
        return Answer(body, response.status, headers)
    made = HttpResponse(body, status_code=response.status, headers=headers)
    for cookie in cookies:
        made.headers.add("set-cookie", cookie)
    return made
