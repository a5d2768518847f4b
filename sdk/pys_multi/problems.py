"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

from pys_multi.errors import HTTPError, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Those that a function answers often; they save the import of http, which is slow.
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def document_of(error: HTTPError | InvalidInput) -> tuple[int, dict[str, Any]]:
    """The status and the problem document of an error."""
    if isinstance(error, InvalidInput):
        return 422, {
            "type": "about:blank",
            "title": _TITLES[422],
            "status": 422,
            "detail": f"the input does not fit: {error}",
            "errors": [field.to_json() for field in error.errors],
        }
    return error.status, {
        "type": error.type,
        "title": error.title or _title(error.status),
        "status": error.status,
        "detail": error.detail,
        **error.extensions,
    }


def _title(status: int) -> str:
    title = _TITLES.get(status)
    if title is None:
        from http import HTTPStatus

        try:
            title = HTTPStatus(status).phrase
        except ValueError:
            title = "Error"
    return title
