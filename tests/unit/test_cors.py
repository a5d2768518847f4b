"""CORS, judged as a browser judges it (Fetch, "CORS check" and "CORS-preflight fetch")."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi.cors import CORS
from pys_multi.errors import DefinitionError
from pys_multi.http import Request, Response

SHOP = "https://shop.example"


def fields(response: Response) -> dict[str, str]:
    names = [name for name, _ in response.headers]
    assert len(names) == len(set(names)), "a browser refuses a repeated permission"
    return dict(response.headers)


def answer(cors: CORS, origin: str | None = SHOP, **headers: str) -> dict[str, str]:
    sent = {**({"Origin": origin} if origin is not None else {}), **headers}
    return fields(cors.decorate(Request("GET", "/", headers=sent), Response("x")))


def browser_allows(cors: CORS, origin: str, method: str, headers: list[str], *, credentials: bool = False) -> bool:
    """What a browser makes of a preflight."""
    sent = {"origin": origin, "access-control-request-method": method}
    if headers:
        sent["access-control-request-headers"] = ",".join(sorted(name.lower() for name in headers))
    response = cors.preflight(Request("OPTIONS", "/", headers=sent))
    assert response is not None
    found = fields(response)
    allowed = found.get("access-control-allow-origin")
    if allowed != origin and not (allowed == "*" and not credentials):
        return False
    if credentials and found.get("access-control-allow-credentials") != "true":
        return False
    methods = [one.strip() for one in found.get("access-control-allow-methods", "").split(",")]
    names = [one.strip().lower() for one in found.get("access-control-allow-headers", "").split(",")]
    if method not in methods and method not in ("GET", "HEAD", "POST"):
        return False
    return 200 <= response.status <= 299 and all(name.lower() in names for name in headers)


def test_a_named_origin_may_call() -> None:
    assert answer(CORS([SHOP])) == {
        "content-type": "text/plain; charset=utf-8",
        "vary": "origin",
        "access-control-allow-origin": SHOP,
    }


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "https://shop.example.evil.example",
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://SHOP.example",
        "https://shop.example/",
        "https://x.shop.example",
    ],
)
def test_any_other_may_not_but_caches_get_to_know(origin: str | None) -> None:
    found = answer(CORS([SHOP]), origin)
    assert "access-control-allow-origin" not in found
    assert found["vary"] == "origin"


def test_everybody_may() -> None:
    found = answer(CORS(["*"]), "https://anybody.example")
    assert found["access-control-allow-origin"] == "*"
    assert "vary" not in found


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.shop.example", True),
        ("https://b.a.shop.example", True),
        ("https://shop.example", False),
        ("https://.shop.example", False),
        ("https://evilshop.example", False),
        ("https://evil.example/.shop.example", False),
        ("https://evil.example#.shop.example", False),
        ("https://evil.example\\.shop.example", False),
        ("https://user@x.shop.example", False),
        ("https://evil.example:1.shop.example", False),
        ("http://a.shop.example", False),
        ("https://a.shop.example:8443", False),
        ("https://a.shop.example.evil.example", False),
    ],
)
def test_subdomains(origin: str, allowed: bool) -> None:
    assert CORS(["https://*.shop.example"]).allows(origin) is allowed


def test_a_pattern_may_have_a_port() -> None:
    cors = CORS(["http://*.local.test:3000"])
    assert cors.allows("http://a.local.test:3000")
    assert not cors.allows("http://a.local.test")


def test_credentials_and_exposed_fields() -> None:
    found = answer(CORS([SHOP], credentials=True, expose=["X-Total", "ETag"]))
    assert found["access-control-allow-credentials"] == "true"
    assert found["access-control-expose-headers"] == "x-total, etag"


@pytest.mark.parametrize("vary", ["accept", "Origin", "accept, ORIGIN", "*"])
def test_vary_is_added_to(vary: str) -> None:
    response = CORS([SHOP]).decorate(Request("GET", "/"), Response("x", headers={"Vary": vary}))
    found = {name.lower(): value for name, value in response.headers}["vary"]
    assert "origin" in found.lower() or found == "*"
    assert found.lower().count("origin") <= 1


def test_an_application_that_answers_itself_is_left_alone() -> None:
    response = Response("x", headers={"Access-Control-Allow-Origin": "https://own.example"})
    before = list(response.headers)
    assert CORS([SHOP]).decorate(Request("GET", "/", headers={"origin": SHOP}), response).headers == before


def test_a_preflight_is_answered() -> None:
    cors = CORS([SHOP], methods=["PUT"], headers=["X-One"], max_age=60)
    request = Request("OPTIONS", "/", headers={"Origin": SHOP, "Access-Control-Request-Method": "PUT"})
    response = cors.preflight(request)
    assert response is not None
    assert (response.status, response.body) == (204, b"")
    assert fields(response) == {
        "vary": "access-control-request-method, access-control-request-headers, origin",
        "access-control-allow-origin": SHOP,
        "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "x-one",
        "access-control-max-age": "60",
    }
    # The runtime decorates every response, this one too.
    assert fields(cors.decorate(request, response))["access-control-allow-origin"] == SHOP


def test_what_is_no_preflight_is_not_answered() -> None:
    cors = CORS(["*"])
    both = {"origin": SHOP, "access-control-request-method": "PUT"}
    assert cors.preflight(Request("GET", "/", headers=both)) is None
    for name in both:
        assert cors.preflight(Request("OPTIONS", "/", headers={name: both[name]})) is None


@pytest.mark.parametrize("credentials", [False, True])
def test_a_browser_lets_through_what_is_allowed_and_nothing_else(credentials: bool) -> None:
    cors = CORS([SHOP], methods=["GET", "DELETE"], headers=["X-One", "Authorization"], credentials=credentials)

    def allows(origin: str, method: str, *headers: str) -> bool:
        return browser_allows(cors, origin, method, list(headers), credentials=credentials)

    assert allows(SHOP, "DELETE", "x-one", "authorization")
    assert allows(SHOP, "GET")
    assert not allows(SHOP, "PUT")
    assert not allows(SHOP, "DELETE", "x-two")
    assert not allows("https://evil.example", "DELETE")


@pytest.mark.parametrize("origin", ["*", SHOP])
def test_stars_let_everything_through(origin: str) -> None:
    credentials = origin != "*"
    cors = CORS([origin], methods=["*"], headers=["*"], credentials=credentials)
    assert browser_allows(cors, SHOP, "PURGE", ["authorization", "x-any"], credentials=credentials)


@given(st.text(), st.text(), st.text())
def test_nothing_that_is_asked_for_makes_an_invalid_header(origin: str, method: str, headers: str) -> None:
    cors = CORS(["https://*.shop.example", SHOP], methods=["*"], headers=["*"])
    for sent_origin in (origin, SHOP):
        response = cors.preflight(
            Request(
                "OPTIONS",
                "/",
                headers={
                    "origin": sent_origin,
                    "access-control-request-method": method,
                    "access-control-request-headers": headers,
                },
            )
        )
        assert response is not None
        Response(headers=response.headers)  # checks every field


@pytest.mark.parametrize(
    ("origins", "options", "text"),
    [
        (["*"], {"credentials": True}, "act as whoever visits"),
        (["*", SHOP], {}, "alone"),
        ([], {}, "at least one"),
        (SHOP, {}, "a list"),
        (["null"], {}, "sandboxed"),
        (["shop.example"], {}, "scheme and host"),
        (["https://"], {}, "scheme and host"),
        ([SHOP + "/"], {}, "no slash"),
        ([SHOP + "/path"], {}, "no path"),
        (["https://user@shop.example"], {}, "scheme, host and port"),
        (["https://Shop.example"], {}, "lower-case"),
        (["https://müller.example"], {}, "punycode"),
        (["https://shop.example:443"], {}, "default port"),
        (["http://shop.example:80"], {}, "default port"),
        (["https://*"], {}, "subdomains"),
        (["https://*.example"], {}, "top-level"),
        (["https://a.*.example"], {}, "subdomains"),
        (["https://*shop.example"], {}, "subdomains"),
        ([SHOP], {"methods": "GET"}, "a list"),
        ([SHOP], {"methods": ["GET, POST"]}, "'GET, POST'"),
        ([SHOP], {"headers": ["x y"]}, "'x y'"),
        ([SHOP], {"expose": ["x\ny"]}, "expose"),
        ([SHOP], {"expose": ["*"], "credentials": True}, "name the fields"),
        ([SHOP], {"max_age": -1}, "max_age"),
        ([SHOP], {"max_age": 86_401}, "max_age"),
        ([SHOP], {"max_age": True}, "max_age"),
    ],
)
def test_wrong_definitions_are_refused(origins: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        CORS(origins, **options)


def test_describe_fits_the_model() -> None:
    from pys_multi import model

    cors = CORS([SHOP], credentials=True, expose=["ETag"])
    described = model.Cors(**cors.describe())
    assert described.origins == (SHOP,)
    assert described.expose == ("etag",)
    assert described.credentials is True
