"""Every answer of Google's that is an error says what, where and what to do."""

from __future__ import annotations

import json
from typing import Any

import google.auth.exceptions
import pytest
import requests

from pys_multi_providers.gcp.client import translate
from pys_multi_providers.gcp.errors import GcpError, failed, refused


def answer(code: int, status: str, message: str, **info: Any) -> bytes:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info}] if info else []
    return json.dumps({"error": {"code": code, "status": status, "message": message, "details": details}}).encode()


def test_a_missing_permission_is_named_with_its_resource() -> None:
    body = answer(
        403,
        "PERMISSION_DENIED",
        "Permission 'cloudfunctions.functions.create' denied on 'projects/p/locations/r/functions/f'",
        reason="IAM_PERMISSION_DENIED",
        metadata={"permission": "cloudfunctions.functions.create", "resource": "projects/p/locations/r/functions/f"},
    )
    error = refused(403, body, "cloudfunctions functions create")
    assert error.what == ("permission cloudfunctions.functions.create is missing on projects/p/locations/r/functions/f")
    assert "pys-multi permissions --cloud gcp" in error.hint
    storage = json.dumps(
        {
            "error": {
                "code": 403,
                "message": "a@p.iam.gserviceaccount.com does not have storage.objects.get access to the object.",
                "errors": [{"reason": "forbidden"}],
            }
        }
    )
    error = refused(403, storage, "storage objects get")
    assert error.what.startswith("permission storage.objects.get is missing: a@p.iam")
    text = "Permission 'run.services.get' denied on resource 'projects/p/locations/r/services/s' (or it may not exist)."
    assert refused(403, answer(403, "PERMISSION_DENIED", text), "run").what == (
        "permission run.services.get is missing on projects/p/locations/r/services/s"
    )


def test_an_api_that_is_not_enabled_is_named_with_the_command() -> None:
    body = answer(
        403, "PERMISSION_DENIED", "disabled", reason="SERVICE_DISABLED", metadata={"service": "pubsub.googleapis.com"}
    )
    error = refused(403, body, "pubsub topics list", "shop-1")
    assert error.code == "SERVICE_DISABLED"
    assert error.hint == "gcloud services enable pubsub.googleapis.com --project shop-1"
    text = "Cloud Scheduler API has not been used in project 42 before or it is disabled."
    error = refused(403, answer(403, "PERMISSION_DENIED", text), "cloudscheduler jobs list")
    assert error.hint == "gcloud services enable cloudscheduler.googleapis.com"


@pytest.mark.parametrize(
    ("status", "body", "code", "passing", "maybe"),
    [
        (429, answer(429, "RESOURCE_EXHAUSTED", "Quota exceeded"), "RESOURCE_EXHAUSTED", True, False),
        (503, b"<html>upstream</html>", "UNAVAILABLE", True, True),
        (500, answer(500, "INTERNAL", "oops"), "INTERNAL", True, True),
        (404, b"", "NOT_FOUND", False, False),
        (409, answer(409, "ABORTED", "busy"), "ABORTED", False, False),
        (412, b'{"error": {"errors": [{"reason": "conditionNotMet"}]}}', "CONDITION_NOT_MET", False, False),
        (403, b'{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}', "RESOURCE_EXHAUSTED", True, False),
        (401, answer(401, "UNAUTHENTICATED", "expired"), "UNAUTHENTICATED", False, False),
        (418, b'[{"error": {"message": "teapot"}}]', "HTTP_418", False, False),
    ],
)
def test_what_may_pass_and_what_may_have_happened(
    status: int, body: bytes, code: str, passing: bool, maybe: bool
) -> None:
    error = refused(status, body, "x")
    assert (error.code, error.is_passing, error.maybe) == (code, passing, maybe)
    assert error.what


def test_an_operation_ends_with_its_own_words() -> None:
    error = failed({"code": 9, "message": "Build failed: no main.py"}, "function f")
    assert (error.code, error.what, error.where) == ("FAILED_PRECONDITION", "Build failed: no main.py", "function f")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (requests.exceptions.ConnectionError("refused"), "UNREACHABLE"),
        (requests.exceptions.ReadTimeout("slow"), "UNREACHABLE"),
        (google.auth.exceptions.DefaultCredentialsError("none"), "NO_CREDENTIALS"),
        (google.auth.exceptions.RefreshError("expired"), "UNAUTHENTICATED"),
        (google.auth.exceptions.TransportError("no route"), "UNREACHABLE"),
        (OSError("broken pipe"), "UNREACHABLE"),
        (TypeError("unexpected keyword"), "INVALID_ARGUMENT"),
        (RuntimeError("?"), "RuntimeError"),
    ],
)
def test_errors_of_the_libraries_are_ours(error: Exception, code: str) -> None:
    found = translate(error, "asked")
    assert isinstance(found, GcpError)
    assert found.code == code
