"""A request keeps its path, its fields and its body on its way through the Functions host, and so does the answer."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

import azure.functions as func
import pytest
from azure.functions.http import HttpResponseConverter
from hypothesis import given
from hypothesis import strategies as st
from tests.support.azure_host import front

from pys_multi import Response
from pys_multi_providers.azure.fronts import client_of, path_of
from pys_multi_providers.azure.objects import request_of, respond

_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="."), max_size=12)
_RAW = st.lists(_TEXT.map(lambda text: quote(text, safe="")), min_size=1, max_size=4).map(lambda p: "/" + "/".join(p))


def given_request(url: str, fields: Mapping[str, str] | None = None, body: bytes = b"") -> func.HttpRequest:
    return func.HttpRequest("get", url, headers=fields or {}, body=body)


# ---- the path


@given(_RAW)
def test_a_path_that_was_sent_on_is_decoded_once(raw: str) -> None:
    sent_on = quote(front._kestrel(raw), safe=front._PCHARS)
    assert path_of(sent_on, raw) == unquote(raw)
    assert path_of(sent_on, raw + "?a=%2F") == unquote(raw)


@given(_RAW)
def test_a_path_of_an_object_is_decoded_once(raw: str) -> None:
    assert path_of(front._uri(front._kestrel(raw)), raw, is_object=True) == unquote(raw)


@given(_RAW)
def test_without_the_front_end_only_an_encoded_slash_is_in_doubt(raw: str) -> None:
    if "%2f" not in raw.lower() and "%25" not in raw:
        assert path_of(quote(front._kestrel(raw), safe=front._PCHARS), "") == unquote(raw)


@given(_RAW, st.one_of(_RAW, st.text(max_size=10)))
def test_a_field_that_says_another_path_than_the_host_does_not_count(raw: str, forged: str) -> None:
    sent_on = quote(front._kestrel(raw), safe=front._PCHARS)
    found = path_of(sent_on, forged)
    # What Azure has checked, as far as it is decoded, is what the service sees.
    assert found.replace("%2F", "/").replace("%2f", "/") == unquote(sent_on).replace("%2F", "/").replace("%2f", "/")


def test_an_encoded_percent_sign_is_not_decoded_twice() -> None:
    assert path_of("/a%25", "/a%2525", is_object=True) == "/a%25"
    assert path_of("/a%2525", "/a%2525") == "/a%25"


def test_an_encoded_slash_separates() -> None:
    assert path_of("/a%252Fb", "/a%2fb") == "/a/b"
    assert path_of("/a%252Fb", "/a%252Fb") == "/a%2Fb"
    assert path_of("/a%252Fb", "") == "/a/b"


# ---- objects in


def test_an_object_is_a_request() -> None:
    given = given_request(
        "https://shop.azurewebsites.net/a%20b?x=1&x=2&y=%2F",
        {"Host": "shop.example", "X-Tag": "one,two", "client-ip": "203.0.113.9:4711", "cookie": "a=1"},
        b"\x00body",
    )
    request, _ = request_of(given)
    assert (request.method, request.path, request.query_string) == ("GET", "/a b", "x=1&x=2&y=%2F")
    assert request.query.get_all("x") == ["1", "2"]
    assert (request.host, request.scheme, request.client) == ("shop.example", "https", "203.0.113.9")
    assert request.headers.get_all("x-tag") == ["one,two"]
    assert request.cookies == {"a": "1"}
    assert request.body == b"\x00body"
    assert request.url == "https://shop.example/a%20b?x=1&x=2&y=%2F"


def test_the_key_of_the_app_is_not_for_handlers() -> None:
    request, fields = request_of(given_request("https://shop.azurewebsites.net/", {"X-Functions-Key": "secret"}))
    assert "secret" not in str(request.headers) + str(fields)


def test_an_object_without_a_path_is_the_root() -> None:
    assert request_of(given_request("https://shop.azurewebsites.net"))[0].path == "/"


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ({"client-ip": "203.0.113.9:50123", "x-forwarded-for": "6.6.6.6"}, "203.0.113.9"),
        ({"client-ip": "[2001:db8::7]:50123"}, "2001:db8::7"),
        ({"x-forwarded-for": "6.6.6.6, 203.0.113.9:50123"}, "203.0.113.9"),
        ({"x-forwarded-for": "2001:db8::7"}, "2001:db8::7"),
        ({}, ""),
    ],
)
def test_the_client_is_whom_the_front_end_saw(fields: dict[str, str], client: str) -> None:
    assert client_of(fields) == client


# ---- objects out


def test_a_response_is_an_object() -> None:
    made = respond(Response(b"\xff\x00", status=201, headers=[("x-a", "1"), ("X-A", "2"), ("connection", "x")]), "GET")
    assert made.status_code == 201
    assert made.get_body() == b"\xff\x00"
    assert dict(made.headers) == {"x-a": "1, 2"}


def test_every_cookie_arrives_at_the_host() -> None:
    response = Response("x")
    response.set_cookie("a", "1", max_age=60)
    response.set_cookie("b", "2", http_only=False, same_site="Strict")
    datum = HttpResponseConverter.encode(respond(response, "GET"), expected_type=None)
    cookies = [cookie for jar in datum.value["cookies"] for cookie in jar.values()]
    assert [(cookie.key, cookie.value) for cookie in cookies] == [("a", "1"), ("b", "2")]
    assert [cookie["max-age"] for cookie in cookies] == ["60", ""]
    assert "set-cookie" not in datum.value["headers"]


def test_a_stream_is_joined() -> None:
    assert respond(Response.stream(iter(["a", b"b"])), "GET").get_body() == b"ab"


def test_the_length_of_a_body_is_counted_by_the_host_unless_there_is_none() -> None:
    response = Response(b"12345", headers={"content-length": "3"})
    assert "content-length" not in respond(response, "GET").headers
    assert respond(Response(b"", headers={"content-length": "62"}), "HEAD").headers["content-length"] == "62"
