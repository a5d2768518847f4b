"""Who may call what: tokens, keys, signatures, private routes, browsers; and the order of middleware."""

from __future__ import annotations

import hmac
import time
from typing import Any

import pytest
from tests.conformance import tokens
from tests.conformance.driver import Driver, Reply, Settings
from tests.conformance.events_log import Seen

APP = "https://app.example"


def bearer(driver: Driver, target: str, token: str) -> Reply:
    return driver.request("GET", target, [("authorization", f"Bearer {token}")])


# ---- JSON Web Tokens


def test_a_good_token_is_accepted_and_its_claims_are_the_principal(driver: Driver) -> None:
    reply = bearer(driver, "/guard/jwt", tokens.token())
    assert reply.status == 200
    assert reply.json()["principal"]["sub"] == "ada"


def test_a_token_signed_with_a_shared_secret_is_accepted(driver: Driver, settings: Settings) -> None:
    reply = bearer(driver, "/guard/shared", tokens.shared_token(settings.secrets["TOKEN_KEY"]))
    assert reply.json()["principal"]["sub"] == "ada"


def test_a_request_without_a_token_is_401_with_a_challenge(driver: Driver) -> None:
    reply = driver.request("GET", "/guard/jwt")
    reply.problem(401)
    assert (reply.header("www-authenticate") or "").startswith("Bearer")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
        {"iss": "https://other.example"},
        {"aud": "another service"},
        {"aud": None},
        {"by_stranger": True},
    ],
    ids=["expired", "no-expiry", "not-yet", "issuer", "audience", "no-audience", "signature"],
)
def test_a_bad_token_is_401(driver: Driver, changes: dict[str, Any]) -> None:
    reply = bearer(driver, "/guard/jwt", tokens.token(**changes))
    reply.problem(401)
    assert "invalid_token" in (reply.header("www-authenticate") or "")


@pytest.mark.parametrize(
    "token",
    ["", "a.b.c", "a" * 8_000, tokens.unsigned_token(), tokens.confused_token()],
    ids=["empty", "garbage", "long", "alg-none", "alg-confused"],
)
def test_a_token_that_is_none_is_401(driver: Driver, token: str) -> None:
    bearer(driver, "/guard/jwt", token).problem(401)


def test_a_token_without_the_scope_is_403(driver: Driver) -> None:
    bearer(driver, "/guard/scope", tokens.token(scope="orders:read")).problem(403)
    assert bearer(driver, "/guard/scope", tokens.token(scope="orders:read orders:write")).status == 200


# ---- keys and signatures


def test_the_right_api_key_is_accepted(driver: Driver, settings: Settings) -> None:
    reply = driver.request("GET", "/guard/key", [("X-API-Key", settings.secrets["OPERATOR_KEY"])])
    assert reply.json() == {"principal": {"key": "OPERATOR_KEY"}}


@pytest.mark.parametrize("fields", [[], [("x-api-key", "wrong")], [("x-api-key", "")]], ids=["none", "wrong", "empty"])
def test_another_api_key_is_401(driver: Driver, fields: list[tuple[str, str]]) -> None:
    driver.request("GET", "/guard/key", fields).problem(401)


def signed(driver: Driver, key: str, body: bytes, *, at: float | None = None, sent: bytes | None = None) -> Reply:
    """A webhook signed over its time and body, as its sender signs it."""
    moment = str(int(at if at is not None else time.time()))
    signature = hmac.digest(key.encode(), moment.encode() + b"." + body, "sha256").hex()
    fields = [("stripe-signature", f"t={moment},v1={signature}"), ("content-type", "application/json")]
    return driver.request("POST", "/guard/hook", fields, body if sent is None else sent)


def test_a_signed_webhook_is_accepted(driver: Driver, settings: Settings) -> None:
    reply = signed(driver, settings.secrets["HOOK_KEY"], b'{"paid": "gr\xc3\xbc\xc3\x9fe"}')
    assert reply.json() == {"body": {"paid": "grüße"}}


def test_a_webhook_signed_over_its_body_alone_is_accepted(driver: Driver, settings: Settings) -> None:
    body = b'{"action": "opened"}'
    signature = hmac.digest(settings.secrets["GITHUB_KEY"].encode(), body, "sha256").hex()
    reply = driver.request("POST", "/guard/github", [("x-hub-signature-256", f"sha256={signature}")], body)
    assert reply.json() == {"body": {"action": "opened"}}


def test_a_webhook_whose_body_was_changed_is_401(driver: Driver, settings: Settings) -> None:
    signed(driver, settings.secrets["HOOK_KEY"], b'{"paid": 1}', sent=b'{"paid": 9}').problem(401)


def test_a_webhook_signed_with_another_key_is_401(driver: Driver) -> None:
    signed(driver, "guessed", b"{}").problem(401)


@pytest.mark.parametrize("off", [-3600, 3600], ids=["old", "future"])
def test_a_webhook_of_another_time_is_401(driver: Driver, settings: Settings, off: int) -> None:
    signed(driver, settings.secrets["HOOK_KEY"], b"{}", at=time.time() + off).problem(401)


def test_a_webhook_without_a_signature_is_401(driver: Driver) -> None:
    driver.request("POST", "/guard/hook", [], b"{}").problem(401)


# ---- private and public


def test_a_private_route_answers_whoever_deployed_it(driver: Driver) -> None:
    assert driver.request("GET", "/guard/private").text == "private"


@pytest.mark.needs("strangers")
def test_a_private_route_refuses_a_stranger(driver: Driver) -> None:
    reply = driver.stranger("GET", "/guard/private")
    assert reply.status in (401, 403)
    assert reply.body != b"private"


@pytest.mark.needs("strangers")
def test_a_public_route_answers_a_stranger(driver: Driver) -> None:
    assert driver.stranger("GET", "/returns/str").status == 200


# ---- browsers


def preflight(driver: Driver, origin: str, method: str = "PUT", headers: str = "x-token") -> Reply:
    fields = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", headers),
    ]
    return driver.request("OPTIONS", "/page", fields)


def test_a_preflight_of_an_allowed_origin_says_what_is_allowed(driver: Driver) -> None:
    reply = preflight(driver, APP)
    assert reply.status in (200, 204)
    assert reply.header("access-control-allow-origin") == APP
    assert "PUT" in (reply.header("access-control-allow-methods") or "")
    assert "x-token" in (reply.header("access-control-allow-headers") or "").lower()
    assert reply.header("access-control-allow-credentials") == "true"
    assert reply.header("access-control-max-age") == "600"


def test_a_preflight_of_another_origin_is_not_allowed(driver: Driver) -> None:
    assert preflight(driver, "https://evil.example").header("access-control-allow-origin") is None


def test_an_answer_to_an_allowed_origin_can_be_read_by_it(driver: Driver) -> None:
    reply = driver.request("GET", "/page", [("origin", APP)])
    assert reply.json() == {"a": 1}
    assert reply.header("access-control-allow-origin") == APP
    assert "x-total" in (reply.header("access-control-expose-headers") or "").lower()
    assert "origin" in ", ".join(reply.all("vary")).lower()


def test_an_answer_to_another_origin_cannot_be_read_by_it(driver: Driver) -> None:
    reply = driver.request("GET", "/page", [("origin", "https://evil.example")])
    assert reply.header("access-control-allow-origin") is None


def test_an_error_can_be_read_by_an_allowed_origin(driver: Driver) -> None:
    reply = driver.request("GET", "/page/crash", [("origin", APP)])
    assert reply.status == 500
    assert reply.header("access-control-allow-origin") == APP


def test_a_route_without_cors_says_nothing_to_other_origins(driver: Driver) -> None:
    assert driver.request("GET", "/returns/str", [("origin", APP)]).header("access-control-allow-origin") is None


# ---- middleware


def test_middleware_goes_from_the_app_to_the_route_and_back(driver: Driver) -> None:
    reply = driver.request("GET", "/layers")
    assert reply.text == "layered"
    assert reply.header("x-trail") == "app, first, second, route, handler, second after, first after, app after"


def test_middleware_can_answer_instead_of_the_handler(driver: Driver) -> None:
    reply = driver.request("GET", "/layers/short")
    assert (reply.status, reply.text) == (202, "answered by the middleware")


def test_middleware_goes_around_events_as_well(driver: Driver) -> None:
    assert driver.trigger("layers:layered_event").error == ""
    notes = Seen(driver, "layers").notes("layered_event")
    assert notes[-1]["trail"] == ["app", "first", "second", "handler"]
