"""HTTP calls of Azure's services: what is tried again, and their errors in the words of pys_multi.

What was throttled, or failed at the service's side, is tried again with growing pauses where that cannot happen twice;
what has no answer is tried again as well where doing it twice is doing it once.
"""

from __future__ import annotations

from random import random
from time import sleep
from urllib.parse import urlsplit

from pys_multi.errors import ConditionFailed, NotFound, PysMultiError, ResourceError
from pys_multi.messages import current_context
from pys_multi.rest import Answer, Connections, Unanswered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Tries of a call, and seconds before the second one; the pauses double, up to the last, and vary by half.
_TRIES, _FIRST, _LAST = 4, 0.2, 5.0
#: Answers that say "later" ("Service Bus REST API", "Status and error codes" of Storage, 2026-11).
_LATER = frozenset((429, 500, 502, 503, 504))


class Refused(ResourceError):
    """What Azure answered, for callers that look closer. status: 0 without an answer. code: Azure's name of the error.
    is_lost: it had no answer, so it may have happened."""

    status = 0
    code = ""
    is_lost = False


class Absent(NotFound):
    """There is no such thing. code: Azure's name of the error, empty where it gives none."""

    code = ""


class ConditionRefused(ConditionFailed):
    """It is there already, or was changed meanwhile."""


def sent(
    connections: Connections,
    what: str,
    method: str,
    url: str,
    fields: Mapping[str, str],
    body: bytes = b"",
    *,
    once: bool = False,
) -> Answer:
    """The answer to a call, where it is one of success.

    what: the resource, such as "queue 'jobs'", for errors, which name no value that was sent. once: whether a second
    time would do something else, so that it is not tried again once it may have happened.
    Raises Absent, ConditionRefused and Refused.
    """
    parts, pause = urlsplit(url), _FIRST
    address, target = f"{parts.scheme}://{parts.netloc}", parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    given = {"content-length": str(len(body)), **fields}
    for number in range(1, _TRIES + 1):
        is_last = number == _TRIES
        try:
            answer = connections.exchange(method, address, target, given, body or None)
        except Unanswered as error:
            if is_last or (once and error.may_have_happened):
                raise _lost(what, error) from error
            after = ""
        else:
            if answer.status < 400:
                return answer
            # A failure at the service's side may come after it was done.
            may_repeat = answer.status in _LATER and (answer.status in (429, 503) or not once)
            if is_last or not may_repeat:
                raise _refusal(what, answer)
            after = answer.fields.get("retry-after", "")
        pause = _pause(pause, float(after) if after.isascii() and after.isdigit() else 0.0)
    raise AssertionError("the last try returns or raises")


def _pause(pause: float, after: float) -> float:
    """Waits, as long as the service says; the seconds of the next pause."""
    context = current_context()
    left = context.remaining() if context is not None else 60.0
    sleep(max(min(max(after, pause * (0.75 + random() / 2)), left - 0.5), 0.01))  # noqa: S311  (no secret)
    return min(pause * 2, _LAST)


def _lost(what: str, error: Unanswered) -> Refused:
    how = "had no answer, so it may have happened" if error.may_have_happened else "did not reach Azure"
    refused = Refused(f"{what}: the call {how}: {error}")
    refused.is_lost = error.may_have_happened
    return refused


def _refusal(what: str, answer: Answer) -> PysMultiError:
    code, text = _said(answer)
    shown = ": ".join(part for part in (code, text) if part)
    if answer.status in (404, 410):  # Service Bus has either for a queue that is not there
        absent = Absent(f"{what}: there is no such thing ({shown or answer.status})")
        absent.code = code
        return absent
    if answer.status in (409, 412):
        return ConditionRefused(f"{what}: {shown or 'the condition does not hold'}")
    if answer.status in (401, 403):
        context = current_context()
        function = f"function {context.function!r}" if context is not None and context.function else "this process"
        refused = Refused(
            f"{what}: Azure does not let {function} do that ({answer.status} {shown}). Its identity has the roles that "
            "`uses` grants, which take some minutes to hold after a deploy; a firewall or a policy may forbid it too"
        )
    else:
        refused = Refused(f"{what}: Azure answered {answer.status} {shown}".rstrip())
    refused.status = answer.status
    refused.code = code
    refused.is_lost = answer.status >= 500 and answer.status != 503
    return refused


def _said(answer: Answer) -> tuple[str, str]:
    """Azure's name of an error and its first line: in a field, in XML (Blob Storage, Service Bus) or JSON (tables)."""
    code = answer.fields.get("x-ms-error-code", "")
    body = answer.body[:8192].decode(errors="replace").lstrip("\ufeff")
    text = ""
    if body.startswith("{"):
        from json import loads

        try:
            found = loads(body).get("odata.error", {})
            code = code or str(found.get("code", ""))
            text = str((found.get("message") or {}).get("value", ""))
        except (ValueError, AttributeError):
            pass
    elif body.startswith("<"):
        code = code or _between(body, "<Code>", "</Code>")
        text = _between(body, "<Message>", "</Message>") or _between(body, "<Detail>", "</Detail>")
    return code, text.partition("\n")[0][:500]


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]
