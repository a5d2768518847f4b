"""No secret leaves, in whichever form; and what is no secret stays readable."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi_tools.github.redaction import MASK, Redactor, secrets_of

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 inside": lambda text: base64.b64encode(f"user:{text}:more".encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"xx" + text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "percent": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "JSON": lambda text: json.dumps({"key": text}),
}


@pytest.mark.parametrize("form", FORMS)
@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=12, max_size=60))
def test_a_secret_is_found_in_every_form(form: str, secret: str) -> None:
    shown = Redactor([secret])(f"before {FORMS[form](secret)} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert secret not in shown
    # Of base64 a character at either end belongs to its neighbours too; what is left tells nothing.
    assert MASK in shown
    core = FORMS[form](secret).strip("=")[4:-4]
    assert core not in shown


def test_lines_of_a_secret_are_secret() -> None:
    redact = Redactor(["-first line of it-\n-second line of it-\n"])
    assert redact("x -second line of it- y") == f"x {MASK} y"


def test_what_is_a_part_of_another_one_does_not_leave_the_rest() -> None:
    assert Redactor(["secret-one", "secret-one-and-more"])("secret-one-and-more") == MASK


@pytest.mark.parametrize(
    "text",
    [
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "A1_b" * 10,
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvOmEvYiJ9.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
        "postgres://user:hunter2@db.example/x",
        "Authorization: Bearer abcdefghijklmnop.qrstuvwxyz",
        "xoxb-1234567890-abcdef",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    ],
)
def test_what_looks_like_one_is_taken_out(text: str) -> None:
    shown = Redactor()(f"before {text} after")
    assert MASK in shown
    for part in ("hunter2", "MIIabc", "EXAMPLE", "c2lnbmF0dXJl", "abcdefghijklmnop", "4eC39HqL", "A1_b", "a1B2"):
        assert part not in shown


@pytest.mark.parametrize(
    "text",
    [
        "build 5d12f3d0bd2f67d7 at b3c5bef45b0e5393c5f831979523696c1d2e3f40",
        "arn:aws:iam::123456789012:role/deploy-shop",
        "https://d111111abcdef8.cloudfront.net/orders?id=1",
        "error: shop/app.py:3: importing 'shop.app' failed: NameError: name 'token' is not defined",
        "projects/123456789/locations/global/workloadIdentityPools/github/providers/github",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert Redactor()(text) == text


def test_of_an_environment_the_names_say_what_is_secret() -> None:
    environment = {
        "API_KEY": "a",
        "DB_PASSWORD": "b",
        "INPUT_GITHUB_TOKEN": "c",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "d",
        "AWS_SESSION_TOKEN": "e",
        "SHOP": "f",
        "PWD": "/home",
        "OLDPWD": "/home",
        "PATH": "/bin",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x",
        "AZURE_FEDERATED_TOKEN_FILE": "/tmp/x",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": "https://secretmanager.example/",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": "https://secretsmanager.example/",
        "KEYBOARD": "us",
        "INPUT_AWS_ROLE": "arn",
    }
    assert sorted(secrets_of(environment, ["SHOP"])) == ["a", "b", "c", "d", "e", "f"]
