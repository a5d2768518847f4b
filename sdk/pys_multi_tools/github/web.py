"""One small HTTP exchange of JSON or a form, with errors that never repeat what was sent."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from pys_multi_tools.errors import ToolError

_ATTEMPTS = 3


class WebError(ToolError):
    """No useful answer. status: 0 for none at all; body: of the answer."""

    def __init__(self, what: str, status: int = 0, body: str = "") -> None:
        super().__init__(what)
        self.status, self.body = status, body


def fetch(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """GET, or POST a form or JSON fields, and return the object that is answered. Raises WebError."""
    try:
        answer = json.loads(send(url, headers=headers, form=form, fields=fields))
    except ValueError as exc:
        raise WebError("the answer is no JSON") from exc
    if not isinstance(answer, dict):
        raise WebError("the answer is no object")
    return answer


def send(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> bytes:
    """GET, or POST a form or JSON fields, and return the body of the answer.

    Tried again after no answer and after errors of the server. Raises WebError.
    """
    if urllib.parse.urlsplit(url).scheme not in ("https", "http"):
        raise WebError("the address is none")
    sent = dict(headers or {})
    sent.setdefault("Accept", "application/json")
    data = None
    if form is not None:
        data, sent["Content-Type"] = urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded"
    elif fields is not None:
        data, sent["Content-Type"] = json.dumps(fields).encode(), "application/json"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            request = urllib.request.Request(url, data, sent)  # noqa: S310 (scheme was checked)
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
                body: bytes = response.read()
                return body
        except urllib.error.HTTPError as exc:
            with exc:
                error = WebError(f"HTTP {exc.code}", exc.code, exc.read().decode("utf-8", "replace"))
            if exc.code < 500 and exc.code != 429:
                raise error from exc
        except (OSError, HTTPException) as exc:
            error = WebError(f"no answer: {getattr(exc, 'reason', exc)}")
        if attempt < _ATTEMPTS:
            time.sleep(attempt)
    raise error
