"""What Google answers when it refuses, as an error that says what was asked, what is wrong and what to do.

Google's APIs answer ``{"error": {"code", "message", "status", "details": [ErrorInfo, …]}}`` ("Errors", AIP-193); Cloud
Storage has ``errors: [{"reason"}]`` and no status. Values that were sent stand in no message of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pys_multi_tools.errors import ProviderError

#: Google's own names of errors by HTTP status, where an answer does not say it ("google.rpc.Code").
_BY_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "CONDITION_NOT_MET",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
#: Reasons that Cloud Storage gives with 403 where it means 429 ("HTTP status and error codes for JSON").
_THROTTLED = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
#: Of google.rpc.Code, by number: what operations end with.
_BY_NUMBER = {
    1: "CANCELLED",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}
_PERMISSION = re.compile(r"(?<![\w.@/-])[a-z]+\.[A-Za-z]+\.[A-Za-z]+(?![\w.@/-])")
_RESOURCE = re.compile(r"""(?:resource|on|for) ['"]?(//[^\s'"]+|projects/[^\s'"]+)""")
_AGAIN = "run it again: it goes on where it stopped"


class GcpError(ProviderError):
    """What Google, or the way to it, answered.

    code: Google's name of the error; "UNREACHABLE" where no answer came. maybe: whether what was asked may be done
    nevertheless.
    """

    def __init__(self, code: str, what: str, *, where: str = "", hint: str = "", maybe: bool = False) -> None:
        self.code, self.maybe = code, maybe
        super().__init__(what, where=where, hint=hint)

    @property
    def is_passing(self) -> bool:
        """Whether the same may well be answered differently in a moment."""
        return self.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "UNREACHABLE")

    @property
    def is_gone(self) -> bool:
        """Whether there is no such thing."""
        return self.code == "NOT_FOUND"


def unreachable(asked: str, text: str) -> GcpError:
    """No answer came: the call may be done or not."""
    hint = f"check the network, the proxy and the endpoints, then {_AGAIN}"
    return GcpError("UNREACHABLE", f"Google was not reached: {text}", where=asked, hint=hint, maybe=True)


def refused(status: int, body: bytes | str, asked: str, project: str = "") -> GcpError:
    """The error for an answer of HTTP."""
    error = _document(body)
    text = str(error.get("message") or f"HTTP {status}").strip()
    infos = [d for d in error.get("details") or () if isinstance(d, Mapping)]
    reasons = {str(d["reason"]) for d in infos if d.get("reason")}
    reasons |= {str(e["reason"]) for e in error.get("errors") or () if isinstance(e, Mapping) and e.get("reason")}
    code = str(error.get("status") or _BY_STATUS.get(status, f"HTTP_{status}"))
    info: Mapping[str, Any] = next((d["metadata"] for d in infos if d.get("metadata")), {})
    if reasons & _THROTTLED:
        code = "RESOURCE_EXHAUSTED"
    return _explained(code, text, reasons, info, asked, project, maybe=status >= 500)


def failed(error: Mapping[str, Any], asked: str, project: str = "") -> GcpError:
    """The error that a long-running operation ended with."""
    number = error.get("code")
    code = _BY_NUMBER.get(number, "UNKNOWN") if isinstance(number, int) else str(number or "UNKNOWN")
    return _explained(code, str(error.get("message") or code), set(), {}, asked, project, maybe=False)


def _document(body: bytes | str) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    if isinstance(found, list):  # some servers put streamed errors into a list
        found = found[0] if found else {}
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}


def _explained(
    code: str, text: str, reasons: set[str], info: Mapping[str, Any], asked: str, project: str, *, maybe: bool
) -> GcpError:
    if "SERVICE_DISABLED" in reasons or "accessNotConfigured" in reasons or "has not been used in project" in text:
        api = str(info.get("service") or _api_in(text) or asked.partition(" ")[0] + ".googleapis.com")
        hint = f"gcloud services enable {api}" + (f" --project {project}" if project else "")
        return GcpError("SERVICE_DISABLED", f"the API {api} is not enabled in this project", where=asked, hint=hint)
    if "BILLING_DISABLED" in reasons:
        hint = "link a billing account: https://console.cloud.google.com/billing/projects"
        return GcpError(code, text, where=asked, hint=hint)
    if code == "PERMISSION_DENIED":
        return _denied(text, info, asked)
    if code == "UNAUTHENTICATED":
        hint = "gcloud auth application-default login; pys-multi doctor says which credentials are used"
        return GcpError(code, f"Google does not accept these credentials: {text}", where=asked, hint=hint)
    if code == "RESOURCE_EXHAUSTED":
        hint = "run it again later, or ask for more: https://console.cloud.google.com/iam-admin/quotas"
        return GcpError(code, f"a quota is used up: {text}", where=asked, hint=hint)
    if code in ("UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED"):
        hint = f"{_AGAIN}; https://status.cloud.google.com says whether Google has a bad day"
        return GcpError(code, f"Google failed: {text}", where=asked, hint=hint, maybe=maybe)
    if code == "ABORTED":
        return GcpError(code, text, where=asked, hint=f"something else changes it now; {_AGAIN}")
    return GcpError(code, text, where=asked, hint="")


def _denied(text: str, info: Mapping[str, Any], asked: str) -> GcpError:
    found = _PERMISSION.search(text)
    permission = str(info.get("permission") or (found.group() if found else ""))
    if permission.endswith("googleapis.com"):
        permission = ""
    where = _RESOURCE.search(text)
    resource = str(info.get("resource") or (where.group(1).rstrip(".") if where else "")).strip("'\"")
    what = text
    if permission:
        what = f"permission {permission} is missing" + (f" on {resource}" if resource else "")
        what += "" if resource and permission in text else f": {text}"
    hint = "pys-multi permissions --cloud gcp prints the role that the deployer needs"
    return GcpError("PERMISSION_DENIED", what, where=asked, hint=hint)


def _api_in(text: str) -> str:
    found = re.search(r"[a-z]+\.googleapis\.com", text)
    return found.group() if found else ""
