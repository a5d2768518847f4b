"""Calls of Google's REST APIs: what is tried again, and Google's errors in the words of pys_multi."""

from __future__ import annotations

from os import environ
from time import sleep

from pys_multi.encoding import parse_json, to_json_bytes
from pys_multi.errors import HTTPError, NotFound, PysMultiError, ResourceError
from pys_multi.messages import current_context
from pys_multi.rest import Answer, Connections, Unanswered
from pys_multi_providers.gcp.tokens import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

#: An API → the variable that names an emulator of it, which asks for no token.
EMULATORS = {
    "firestore": "FIRESTORE_EMULATOR_HOST",
    "pubsub": "PUBSUB_EMULATOR_HOST",
    "storage": "STORAGE_EMULATOR_HOST",
}
#: Answers after which the same call may go well ("Retry strategy" of Cloud Storage; "Error codes" of Pub/Sub and of
#: Firestore; 2026-11), and those among them that say that nothing was done.
_PASSING = frozenset((408, 429, 500, 502, 503, 504))
_UNTOUCHED = frozenset((401, 429))
#: Seconds before each further try, of which up to the same again is added by chance.
_PAUSES = (0.1, 0.4, 1.6)


class Refused(ResourceError):
    """What Google answered, for callers that look closer.

    status: of HTTP, 0 without an answer. code: Google's name of the error. untouched: nothing was done.
    """

    status = 0
    code = ""
    untouched = False


class Google:
    """Google's APIs, for all threads of this process; thread-safe."""

    def __init__(self) -> None:
        self.identity = Identity()
        self._connections = Connections()

    def call(
        self,
        api: str,
        method: str,
        path: str,
        *,
        what: str,
        permission: str,
        body: Json | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> Answer:
        """Google's answer to a call.

        api: such as "pubsub". what: the resource, such as "queue 'jobs'"; permission: that IAM asks for. body: a
        value to send as JSON, or bytes. once: never tried again where it may have happened. Raises NotFound, Refused.
        """
        fields = dict(headers or {})
        if isinstance(body, dict):
            fields["content-type"] = "application/json"
            body = to_json_bytes(body)
        for pause in (*_PAUSES, None):
            try:
                return self._try(api, method, path, what, permission, body, fields)
            except Refused as error:
                again = error.untouched or (not once and (error.status in _PASSING or error.status == 0))
                if not again or pause is None or not _has_time(pause):
                    raise
                if error.status == 401:
                    self.identity.forget()
                _wait(pause)
        raise AssertionError("the last pause is none")

    def close(self) -> None:
        """Closes the connections that are kept."""
        self._connections.close()

    def _try(
        self,
        api: str,
        method: str,
        path: str,
        what: str,
        permission: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> Answer:
        address = address_of(api)
        if EMULATORS.get(api, "") not in environ:
            headers = {**headers, "authorization": f"Bearer {self.identity.token()}"}
        elif api == "firestore":
            # Its emulator checks rules for others ("Connect your app to the Cloud Firestore Emulator").
            headers = {**headers, "authorization": "Bearer owner"}
        try:
            answer = self._connections.exchange(method, address, path, headers, body)
        except Unanswered as error:
            how = "had no answer, so it may have happened" if error.may_have_happened else "did not reach Google"
            refused = Refused(f"{what}: {permission} {how}: {error}")
            refused.untouched = not error.may_have_happened
            raise refused from error
        if answer.status < 300:
            return answer
        raise _translated(answer.status, answer.body, what, permission)


def address_of(api: str) -> str:
    """Where an API is: scheme, host and port. An emulator, an endpoint of one's own, or Google's."""
    found = environ.get(EMULATORS.get(api, ""))
    if found:
        return (found if "://" in found else f"http://{found}").rstrip("/")
    found = environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}")
    if found:
        return found.rstrip("/")
    return f"https://{api}.{environ.get('GOOGLE_CLOUD_UNIVERSE_DOMAIN', 'googleapis.com')}"


def _has_time(pause: float) -> bool:
    context = current_context()
    return context is None or context.remaining() > 3 * pause


def _wait(pause: float) -> None:
    from random import random

    sleep(pause * (1 + random()))  # noqa: S311  (no secret: it spreads those who try again)


def _translated(status: int, answer: bytes, what: str, permission: str) -> PysMultiError:
    """Google's error ("Errors" of the API Improvement Proposals, AIP-193; Storage's own has no status)."""
    code, text = "", ""
    try:
        found = parse_json(answer)
        error = found[0].get("error") if isinstance(found, list) else found.get("error")
        code, text = str(error.get("status", "")), str(error.get("message", ""))
    except (HTTPError, AttributeError, IndexError):
        text = answer[:200].decode(errors="replace")
    if status == 404 and "bucket" not in text.lower() and what.startswith("object"):
        return NotFound(f"{what}: there is no such thing")
    if status == 403 and code != "RESOURCE_EXHAUSTED":
        context = current_context()
        function = f"function {context.function!r}" if context is not None and context.function else "this process"
        refused = Refused(
            f"{what}: Google does not let {function} {permission}. Its service account has what `uses` grants, so "
            f"deploy again after a change of it; a new grant takes up to some minutes to hold everywhere ({text[:300]})"
        )
    elif status == 404:
        refused = Refused(f"{what}: it is not there; deploy the service that defines it ({text[:300]})")
    else:
        refused = Refused(f"{what}: {permission} failed: {status} {code}: {text[:300]}")
    refused.status = status
    refused.code = code
    refused.untouched = status in _UNTOUCHED
    return refused
