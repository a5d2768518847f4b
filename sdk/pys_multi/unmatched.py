"""What is answered where no route has this path and method."""

from __future__ import annotations

from urllib.parse import quote

from pys_multi.errors import HTTPError
from pys_multi.http import Response
from pys_multi.runtime import problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pys_multi.http import Request
    from pys_multi.routing import RouteTable


def answer(table: RouteTable, request: Request) -> Response:
    """404, 405, the answer to OPTIONS, and the way to the other form of a trailing slash."""
    path, method = request.path, request.method
    allowed = table.allowed(path)
    if not allowed:
        if method == "OPTIONS" and path == "*":  # about the server as a whole (RFC 9110, section 9.3.7)
            return Response(status=204)
        other = path[:-1] if path.endswith("/") else path + "/"
        # A path that begins with two slashes would make a location on another host.
        if path[:1] == "/" and path[1:2] not in ("", "/", "\\") and table.find(method, other) is not None:
            query = f"?{request.query_string}" if request.query_string else ""
            return Response.redirect(_quote(request.root_path + other) + query)
        return problem(HTTPError(404, "there is nothing at this path"), request)
    allow = ", ".join(sorted(allowed | {"OPTIONS"}))
    if method == "OPTIONS":
        return Response(status=204, headers={"allow": allow})
    return problem(HTTPError(405, f"{_shown(method)} is not allowed here", headers={"allow": allow}), request)


def _quote(path: str) -> str:
    return quote(path, safe="/:@!$&'()*+,;=-._~")


def _shown(method: str) -> str:
    return method if method.isalpha() and len(method) < 20 else "this method"
