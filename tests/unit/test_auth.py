"""API keys and signed webhooks; the JWT authenticator has tests of its own in test_jwt.py and test_jwks.py."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import App
from pys_multi.auth import APIKey, Webhook
from pys_multi.errors import DefinitionError, HTTPError
from pys_multi.http import Request

NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi.auth.time", lambda: NOW)


class Secrets:
    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def secret_value(self, name: str) -> str:
        return self.values[name]


def handles(**values: str) -> list[Any]:
    app = App("shop")
    app.backend = Secrets(values)  # type: ignore[assignment]
    return [app.secret(name) for name in values]


# --- API keys


def test_an_api_key_is_known_by_the_name_of_its_secret() -> None:
    auth = APIKey(handles(ALICE="alice's key", BOB="bob's key"))
    assert auth.authenticate(Request("GET", "/", headers={"X-Api-Key": "bob's key"})) == {"key": "BOB"}
    assert auth.authenticate(Request("GET", "/", headers={"X-Api-Key": "alice's key"})) == {"key": "ALICE"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-api-key", "")],
        [("x-api-key", "ke")],
        [("x-api-key", "keyx")],
        [("x-api-key", "KEY")],
        [("x-api-key", "ä")],
        [("x-api-key", "key"), ("x-api-key", "key")],
        [("authorization", "key")],
    ],
)
def test_anything_else_is_nobody(headers: list[tuple[str, str]]) -> None:
    assert APIKey(handles(KEY="key")).authenticate(Request("GET", "/", headers=headers)) is None


def test_an_empty_secret_lets_nobody_in() -> None:
    auth = APIKey(handles(KEY=""))
    assert auth.authenticate(Request("GET", "/", headers={"x-api-key": ""})) is None
    assert auth.authenticate(Request("GET", "/")) is None


@given(st.text(), st.text())
def test_only_the_key_itself_fits(key: str, sent: str) -> None:
    found = APIKey(handles(KEY=key)).authenticate(Request("GET", "/", headers=[("x-api-key", sent)]))
    assert (found is not None) == (key == sent != "")


def test_api_key_definitions() -> None:
    (handle,) = handles(KEY="the value")
    auth = APIKey(handle, header="X-Shop-Key")
    assert auth.describe() == {"kind": "api_key", "header": "x-shop-key", "secrets": ["KEY"]}
    assert auth.secrets == (handle,)
    assert "x-shop-key" in auth.challenge
    for wrong in ("the key itself", [], ["the key itself"], None, [handle, "the key itself"]):
        with pytest.raises(DefinitionError, match="never the secret itself"):
            APIKey(wrong)  # type: ignore[arg-type]


# --- webhooks


def mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


BODY = b'{"action": "opened", "text": "\xc3\xa4"}'


def signed(scheme: str, secret: str = "s3cret", body: bytes = BODY, at: int = NOW) -> dict[str, str]:
    if scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={mac(secret, body)}"}
    if scheme == "stripe":
        return {"Stripe-Signature": f"t={at},v1={mac(secret, b'%d.' % at + body)},v0=00"}
    return {
        "X-Slack-Signature": f"v0={mac(secret, b'v0:%d:' % at + body)}",
        "X-Slack-Request-Timestamp": str(at),
    }


SCHEMES = ["github", "stripe", "slack"]


def refusal(auth: Webhook, headers: Any, body: bytes = BODY) -> HTTPError:
    with pytest.raises(HTTPError) as caught:
        auth.authenticate(Request("POST", "/hook", headers=headers, body=body))
    assert caught.value.status == 401
    assert "www-authenticate" in caught.value.headers
    return caught.value


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_signed_request_is_accepted(scheme: str) -> None:
    auth = Webhook(handles(HOOK="s3cret"), scheme=scheme)
    found = auth.authenticate(Request("POST", "/hook", headers=signed(scheme), body=BODY))
    assert found == {"webhook": "HOOK", "time": None if scheme == "github" else NOW}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_documented_example_of_each_owner(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """github and slack publish a worked example; stripe's is the same construction with a time."""
    if scheme == "github":
        # "Validating webhook deliveries", "Testing the webhook payload validation".
        headers = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
        request = Request("POST", "/", headers=headers, body=b"Hello, World!")
        auth = Webhook(handles(HOOK="It's a Secret to Everybody"), scheme=scheme)
    elif scheme == "slack":
        # "Verifying requests from Slack".
        monkeypatch.setattr("pys_multi.auth.time", lambda: 1531420618)
        headers = {
            "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            "X-Slack-Request-Timestamp": "1531420618",
        }
        body = (
            b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
            b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
            b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
            b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
        )
        request = Request("POST", "/", headers=headers, body=body)
        auth = Webhook(handles(HOOK="8f742231b10e8888abcd99yyyzzz85a5"), scheme=scheme)
    else:
        request = Request("POST", "/", headers=signed("stripe"), body=BODY)
        auth = Webhook(handles(HOOK="s3cret"), scheme=scheme)
    assert auth.authenticate(request) is not None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_another_body_secret_or_no_signature(scheme: str) -> None:
    auth = Webhook(handles(HOOK="s3cret"), scheme=scheme)
    assert "does not fit" in refusal(auth, signed(scheme), BODY + b" ").detail
    assert "does not fit" in refusal(auth, signed(scheme, "other")).detail
    assert auth.authenticate(Request("POST", "/hook", body=BODY)) is None


@pytest.mark.parametrize("scheme", ["stripe", "slack"])
def test_old_and_future_requests_are_refused(scheme: str) -> None:
    auth = Webhook(handles(HOOK="s3cret"), scheme=scheme, tolerance=60)
    for age in (-60, 60):
        assert auth.authenticate(Request("POST", "/", headers=signed(scheme, at=NOW + age), body=BODY))
    for age in (-61, 61):
        assert "too old" in refusal(auth, signed(scheme, at=NOW + age)).detail


def test_the_time_is_signed() -> None:
    old = signed("slack", at=NOW - 1000)
    assert (
        "does not fit"
        in refusal(
            Webhook(handles(HOOK="s3cret"), scheme="slack"),
            {
                **old,
                "X-Slack-Request-Timestamp": str(NOW),
            },
        ).detail
    )
    old = signed("stripe", at=NOW - 1000)
    moved = {"Stripe-Signature": old["Stripe-Signature"].replace(str(NOW - 1000), str(NOW))}
    assert "does not fit" in refusal(Webhook(handles(HOOK="s3cret"), scheme="stripe"), moved).detail


@pytest.mark.parametrize("scheme", SCHEMES)
def test_secrets_rotate(scheme: str) -> None:
    auth = Webhook(handles(NEW="new", OLD="old"), scheme=scheme)
    for secret in ("new", "old"):
        found = auth.authenticate(Request("POST", "/", headers=signed(scheme, secret), body=BODY))
        assert found is not None
        assert found["webhook"] == secret.upper()


def test_one_of_several_stripe_signatures_is_enough() -> None:
    good = mac("s3cret", b"%d." % NOW + BODY)
    auth = Webhook(handles(HOOK="s3cret"), scheme="stripe")
    headers = {"Stripe-Signature": f"t={NOW}, v1={'0' * 64}, v1={good}"}
    assert auth.authenticate(Request("POST", "/", headers=headers, body=BODY)) is not None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_empty_secret_signs_nothing(scheme: str) -> None:
    assert refusal(Webhook(handles(HOOK=""), scheme=scheme), signed(scheme, ""))


GOOD = mac("s3cret", BODY)


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("github", {"x-hub-signature-256": ""}),
        ("github", {"x-hub-signature-256": GOOD}),
        ("github", {"x-hub-signature-256": f"sha1={GOOD}"}),
        ("github", {"x-hub-signature-256": f"sha256={GOOD[:-1]}"}),
        ("github", {"x-hub-signature-256": f"sha256={GOOD}0"}),
        ("github", {"x-hub-signature-256": f"sha256={'é' * 64}"}),
        ("github", {"x-hub-signature-256": f"sha256={GOOD[:32]} {GOOD[33:]}"}),
        ("github", [("x-hub-signature-256", f"sha256={GOOD}")] * 2),
        ("stripe", {"stripe-signature": f"v1={GOOD}"}),
        ("stripe", {"stripe-signature": f"t=,v1={GOOD}"}),
        ("stripe", {"stripe-signature": f"t=-5,v1={GOOD}"}),
        ("stripe", {"stripe-signature": f"t=1e9,v1={GOOD}"}),
        ("stripe", {"stripe-signature": f"t={'9' * 5000},v1={GOOD}"}),
        ("stripe", {"stripe-signature": f"t={NOW},t={NOW},v1={GOOD}"}),
        ("stripe", {"stripe-signature": f"t={NOW}"}),
        ("slack", {"x-slack-signature": f"v0={GOOD}"}),
        ("slack", {"x-slack-signature": f"v0={GOOD}", "x-slack-request-timestamp": "now"}),
        ("slack", {"x-slack-signature": f"v1={GOOD}", "x-slack-request-timestamp": str(NOW)}),
    ],
)
def test_malformed_signatures_are_refused(scheme: str, headers: Any) -> None:
    refusal(Webhook(handles(HOOK="s3cret"), scheme=scheme), headers)


@given(st.text(), st.text(), st.sampled_from(SCHEMES))
def test_any_signature_is_refused(signature: str, stamp: str, scheme: str) -> None:
    auth = Webhook(handles(HOOK="s3cret"), scheme=scheme)
    refusal(auth, [(auth.header, signature), ("x-slack-request-timestamp", stamp)])


def test_webhook_definitions() -> None:
    (handle,) = handles(HOOK="the value")
    auth = Webhook(handle, header="X-Signature")
    assert auth.describe() == {
        "kind": "webhook",
        "scheme": "github",
        "header": "x-signature",
        "secrets": ["HOOK"],
    }
    assert "the value" not in json.dumps(auth.describe())
    assert auth.authenticate(Request("POST", "/", headers={"x-signature": f"sha256={mac('the value', b'')}"}))
    with pytest.raises(DefinitionError, match="github, stripe, slack"):
        Webhook(handle, scheme="svix")
    with pytest.raises(DefinitionError, match="tolerance"):
        Webhook(handle, scheme="slack", tolerance=0)
    with pytest.raises(DefinitionError, match="never the secret itself"):
        Webhook("the secret itself")  # type: ignore[arg-type]
