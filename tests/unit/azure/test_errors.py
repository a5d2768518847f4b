"""What Azure's services answer when they refuse becomes one sentence with a place and what to do."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_providers.azure.errors import AzureError, innermost, reason_of, refusal

DENIED = (
    "The client 'a@b.c' with object id '11' does not have authorization to perform action 'Microsoft.Web/sites/write' "
    "over scope '/subscriptions/1/resourceGroups/g' or the scope is invalid. If access was recently granted, please "
    "refresh your credentials."
)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"error": {"code": "A", "message": "m"}}, ("A", "m")),
        (
            {"error": {"code": "DeploymentFailed", "message": "x", "details": [{"code": "B", "message": "because"}]}},
            ("B", "because"),
        ),
        # Web puts JSON of its own into the message.
        (
            {
                "code": "BadRequest",
                "message": json.dumps({"Code": "Conflict", "Message": "Website exists", "Details": []}),
            },
            ("Conflict", "Website exists"),
        ),
        (
            {"error": {"code": "Forbidden", "message": "no", "innererror": {"code": "ForbiddenByRbac"}}},
            ("Forbidden", "no"),
        ),
        ({"Message": "There is a deployment\n in progress"}, ("409", "There is a deployment in progress")),
        ("a text", ("409", "a text")),
        (
            "<Error><Code>BlobNotFound</Code><Message>It is\nnot there</Message></Error>",
            ("BlobNotFound", "It is not there"),
        ),
        ("<Error><Code>401</Code><Detail>InvalidAudience</Detail></Error>", ("401", "InvalidAudience")),
        ("<html><body>502 Bad Gateway</body></html>", ("409", "502 Bad Gateway")),
        ("", ("409", "")),
    ],
)
def test_the_innermost_reason_is_found(body: object, found: tuple[str, str]) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    assert reason_of(text.encode(), 409) == found


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["error", "code", "message", "details", "innererror", "x"]), inner)
        ),
        max_leaves=20,
    )
)
def test_no_answer_breaks_it(value: object) -> None:
    for body in (json.dumps(value), json.dumps({"error": value}), f"<Code>{value}</Code>"):
        code, message = reason_of(body.encode("utf-8", "replace"), 500)
        assert isinstance(code, str)
        assert "\n" not in message
    innermost(value)


@pytest.mark.parametrize(
    ("code", "message", "status", "what", "hint"),
    [
        ("AuthorizationFailed", DENIED, 403, "object 11 may not Microsoft.Web/sites/write on /subscr", "permissions"),
        ("AuthorizationPermissionMismatch", "This request is not authorized", 403, "not authorized", "permissions"),
        ("ExpiredAuthenticationToken", "The access token expired", 401, "does not take these credentials", "az login"),
        ("SubscriptionNotFound", "no", 404, "no (Subscr", "az account list"),
        ("ResourceGroupNotFound", "no", 404, "no (Res", "az group create"),
        ("DeploymentActive", "x", 409, "another deployment", "wait"),
        ("StorageAccountAlreadyTaken", "x is already taken", 409, "taken by somebody else", "suffix"),
        ("Conflict", "Website with given name x already exists", 409, "taken by somebody else", "suffix"),
        ("VaultAlreadyExists", "x", 409, "taken by somebody else", "suffix"),
        ("ConflictError", "A vault with the same name already exists in deleted state.", 409, "Key Vault", "purge"),
        ("QuotaExceeded", "x", 400, "x (Quota", "quota"),
        ("LocationNotAvailableForResourceType", "x", 400, "x (Loc", "--location"),
        ("InvalidResourceLocation", "exists in location 'x'", 409, "exists in", "--location that it is in"),
        ("TooManyRequests", "x", 429, "no more calls", "later"),
        ("InternalServerError", "x", 500, "Azure failed", "status"),
        ("ScopeLocked", "x", 409, "x (Scope", "az lock list"),
        ("RequestDisallowedByPolicy", "x", 403, "x (Req", "policy"),
        ("MissingSubscriptionRegistration", "x", 409, "x (Mis", "az provider register"),
    ],
)
def test_each_refusal_says_what_to_do(code: str, message: str, status: int, what: str, hint: str) -> None:
    error = refusal(code, message, status=status, asked="deployment shop")
    assert what in error.what
    assert hint in error.hint
    assert (error.code, error.status, error.where) == (code, status, "deployment shop")


def test_what_may_pass_is_told_from_what_does_not() -> None:
    def error(code: str, status: int) -> AzureError:
        return refusal(code, "x", status=status, asked="")

    assert all(error(code, 0).may_pass for code in ("PrincipalNotFound", "RetryableError", "TooManyRequests"))
    assert all(error("x", status).may_pass for status in (429, 500, 502, 503, 504))
    assert not error("StorageAccountAlreadyTaken", 409).may_pass
    assert error("AuthorizationFailed", 403).is_denied
    assert not error("AuthorizationFailed", 403).may_pass
    assert error("x", 404).is_absent
