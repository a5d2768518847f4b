"""Who may call what, by tokens as Google signs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.gcp_identity import Identity

from pys_multi import App, Request
from pys_multi.errors import HTTPError
from pys_multi_providers.gcp.callers import INVOKERS, Callers, is_open
from pys_multi_providers.gcp.view import is_open as is_open_to_template

EVENTS, HOST = "events@p.iam.gserviceaccount.com", "shop-abc.a.run.app"
GCLOUD = "32555940559.apps.googleusercontent.com"


@pytest.fixture(scope="module")
def google() -> Iterator[Identity]:
    identity = Identity(EVENTS)
    yield identity
    identity.stop()


@pytest.fixture(autouse=True)
def environment(google: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in google.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(INVOKERS, '["ann@example.com"]')


def request(token: str = "", **fields: str) -> Request:
    headers = [("host", HOST), *((name.replace("_", "-"), value) for name, value in fields.items())]
    if token:
        headers.append(("authorization", f"Bearer {token}"))
    return Request("POST", "/", headers=headers)


def status_of(callers: Callers, given: Request) -> int:
    try:
        callers.sender(given)
    except HTTPError as error:
        return error.status
    return 200


# ---- open functions: the token is checked here


def test_the_accounts_own_token_is_let_in(google: Identity) -> None:
    callers = Callers(EVENTS, "")
    found: Any = callers.sender(request(google.token(EVENTS, f"https://{HOST}")))
    assert found["email"] == EVENTS


def test_an_invoker_is_let_in_and_is_the_principal(google: Identity) -> None:
    callers = Callers(EVENTS, "")
    for audience in (f"https://{HOST}", GCLOUD):
        found: Any = callers.invoker(request(google.token("ann@example.com", audience)))
        assert found["email"] == "ann@example.com"


def test_a_named_audience_is_taken_too(google: Identity) -> None:
    assert status_of(Callers(EVENTS, "shop/dev"), request(google.token(EVENTS, "shop/dev"))) == 200


@pytest.mark.parametrize(
    ("email", "audience", "claims", "status"),
    [
        ("mallory@example.com", f"https://{HOST}", {}, 403),
        (EVENTS, "https://other.a.run.app", {}, 403),
        (EVENTS, "", {}, 403),
        (EVENTS, GCLOUD, {}, 403),
        (EVENTS, f"https://{HOST}", {"email_verified": False}, 403),
        (EVENTS, f"https://{HOST}", {"iss": "https://accounts.evil.example"}, 401),
        (EVENTS, f"https://{HOST}", {"exp": 1}, 401),
        ("", f"https://{HOST}", {}, 403),
    ],
    ids=["stranger", "elsewhere", "no audience", "gcloud's", "unverified", "issuer", "expired", "nobody"],
)
def test_another_token_is_refused(google: Identity, email: str, audience: str, claims: Any, status: int) -> None:
    assert status_of(Callers(EVENTS, ""), request(google.token(email, audience, **claims))) == status


def test_a_token_of_nobodys_key_is_refused(google: Identity) -> None:
    token = google.token(EVENTS, f"https://{HOST}")
    other = Identity(EVENTS)
    try:
        forged = other.token(EVENTS, f"https://{HOST}")
    finally:
        other.stop()
    callers = Callers(EVENTS, "")
    assert status_of(callers, request(token)) == 200
    assert status_of(callers, request(forged)) == 401
    # What a closed function gets of a token that was checked is worth nothing where strangers may call.
    assert status_of(callers, request(f"{token.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE")) == 401
    assert status_of(callers, request(f"{token.rpartition('.')[0]}.")) == 401


def test_nobody_is_asked_who_they_are() -> None:
    with pytest.raises(HTTPError) as raised:
        Callers(EVENTS, "").invoker(request())
    assert raised.value.status == 401
    assert raised.value.headers["www-authenticate"] == "Bearer"


def test_without_an_account_of_events_nobody_without_a_name_is_it(google: Identity) -> None:
    assert status_of(Callers("", ""), request(google.token("", f"https://{HOST}"))) == 403


# ---- closed functions: Cloud Run has checked it


def test_who_was_let_pass_is_the_principal(google: Identity) -> None:
    callers = Callers(EVENTS, "", opened=False)
    passed = f"{google.token('ann@example.com', 'x').rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"
    found: Any = callers.invoker(request(passed))
    assert found["email"] == "ann@example.com"


def test_of_two_tokens_the_one_that_was_checked_counts(google: Identity) -> None:
    callers = Callers(EVENTS, "", opened=False)
    passed = f"{google.token('ann@example.com', 'x').rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"
    free = google.token("mallory@example.com", "x")
    found: Any = callers.invoker(request(free, x_serverless_authorization=f"Bearer {passed}"))
    assert found["email"] == "ann@example.com"


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "a.e30.c"])
def test_a_token_that_says_nothing_is_nobody(token: str) -> None:
    assert Callers(EVENTS, "", opened=False).invoker(request(token)) == {}


# ---- which is which


class Silent:
    """An authenticator that describes itself as nothing."""

    def authenticate(self, request: Request) -> object:
        return None

    def describe(self) -> dict[str, object]:
        return {}


def test_a_function_is_open_where_a_route_of_it_is() -> None:
    app = App("shop")
    private, public, checked, worker, silent = map(app.function, ("private", "public", "checked", "worker", "silent"))
    private.get("/a")(lambda: None)
    public.get("/b", public=True)(lambda: None)
    public.get("/c")(lambda: None)
    checked.get("/d", auth=lambda request: None)(lambda: None)
    worker.every("1 hour")(lambda: None)
    silent.get("/e", auth=Silent())(lambda: None)
    found = {function.name: is_open(function) for function in app.functions.values()}
    assert found == {"private": False, "public": True, "checked": True, "worker": False, "silent": False}
    # The template decides by the model who may call it, and must not decide otherwise.
    assert found == {function.name: is_open_to_template(function) for function in app.service().functions}
