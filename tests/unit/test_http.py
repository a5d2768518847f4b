"""Request and Response, their header fields, query and cookies."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi import HTTPError, Request, Response
from pys_multi.http import Headers
from pys_multi.pairs import Query

# ---- header fields, query, cookies


@given(st.lists(st.tuples(st.sampled_from(["A", "a", "X-B", "x-b", "C"]), st.text())))
def test_header_fields_keep_everything_whatever_the_case(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    assert headers.items() == pairs
    assert len(headers) == len(pairs)
    for name in ("a", "X-b", "c"):
        values = [value for key, value in pairs if key.lower() == name.lower()]
        assert headers.get_all(name) == values
        assert headers.get(name) == (values[0] if values else None)
        assert (name in headers) == bool(values)
    assert headers == Headers([(name.upper(), value) for name, value in pairs])


@given(st.text())
def test_any_query_string_is_parsed(text: str) -> None:
    assert Query(text).items() == parse_qsl(text, keep_blank_values=True)


@given(st.text())
def test_any_cookie_header_is_parsed(text: str) -> None:
    cookies = Request("GET", "/", headers={"cookie": text}).cookies
    assert all(name and ";" not in name + value for name, value in cookies.items())


def test_query_values() -> None:
    query = Request("GET", "/", query_string="a=1&b=&a=2&c=%C3%A9+x").query
    assert query["a"] == "2"
    assert query.get_all("a") == ["1", "2"]
    assert query["b"] == ""
    assert query["c"] == "é x"
    assert list(query) == ["a", "b", "c"]
    assert "d" not in query
    with pytest.raises(KeyError):
        _ = query["d"]


def test_a_query_of_too_many_parameters_is_the_callers_fault() -> None:
    with pytest.raises(HTTPError) as caught:
        _ = Request("GET", "/", query_string="&".join("a" * 1001)).query
    assert caught.value.status == 400


def test_cookies_of_several_fields_and_quoted_values() -> None:
    request = Request("GET", "/", headers=[("Cookie", 'a=1; b="x y"'), ("cookie", "a=2; =3; c")])
    assert request.cookies == {"a": "1", "b": "x y"}


# ---- request


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("", "é".encode(), "é"),
        ("text/plain; charset=latin-1", b"\xe9", "é"),
        ('text/plain; Charset="UTF-16"; x=y', "é".encode("utf-16"), "é"),
        ("text/plain; charset=", b"a", "a"),
    ],
)
def test_text_is_decoded_with_the_charset_of_the_content_type(content_type: str, body: bytes, text: str) -> None:
    assert Request("POST", "/", headers={"content-type": content_type}, body=body).text == text


@pytest.mark.parametrize(
    ("charset", "status"),
    [
        ("utf-8", 400),
        ("klingon", 415),
        ("utf\0-8", 415),
        ("rot13", 415),
        ("zlib", 415),
        ("unicode_escape", 415),
        ("raw_unicode_escape", 415),
        ("punycode", 415),
        ("idna", 415),
        ("utf_7", 415),
        ("undefined", 415),
    ],
)
def test_a_body_that_is_no_text_of_its_charset_is_refused(charset: str, status: int) -> None:
    request = Request("POST", "/", headers={"content-type": f"text/plain; charset={charset}"}, body=b"\xff\xfe\\x")
    with pytest.raises(HTTPError) as caught:
        _ = request.text
    assert caught.value.status == status


@given(st.text(alphabet="abcdefg;=\"' -_0123456789\0é"), st.binary())
def test_any_charset_ends_in_text_or_in_the_callers_fault(charset: str, body: bytes) -> None:
    try:
        answer: object = Request("POST", "/", headers={"content-type": f"a/b;charset={charset}"}, body=body).text
    except HTTPError as error:
        answer = error.status
    assert isinstance(answer, str) or answer in (400, 415)


def test_the_url_is_encoded_again() -> None:
    request = Request(
        "GET",
        "/a b/é\n",
        query_string="x=%20",
        headers={"Host": "shop.example"},
        scheme="https",
        root_path="/v1",
    )
    assert request.url == "https://shop.example/v1/a%20b/%C3%A9%0A?x=%20"


def test_body_as_bytes_and_json() -> None:
    assert Request("POST", "/", body="é").body == "é".encode()
    assert Request("POST", "/", body='{"a":[1]}').json() == {"a": [1]}
    with pytest.raises(HTTPError):
        Request("POST", "/", body=b"{").json()


# ---- response: what the wire cannot carry

INJECTIONS = ["a\r\nset-cookie: x=1", "a\nb", "a\rb", "a\0b", "a\x7f", " a", "a ", "a\t", "Ω", "\ud800"]


@pytest.mark.parametrize("value", INJECTIONS)
def test_header_values_cannot_inject(value: str) -> None:
    for make in (
        lambda: Response(headers={"x-a": value}),
        lambda: Response(headers=[("x-a", value)]),
        lambda: Response().header("x-a", value),
        lambda: Response("x", content_type=value),
    ):
        with pytest.raises(ValueError, match="header"):
            make()


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "a\n"])
def test_header_names_are_tokens(name: str) -> None:
    with pytest.raises(ValueError, match="not a header name"):
        Response(headers={name: "x"})


def test_the_framing_of_a_body_is_not_up_to_a_handler() -> None:
    with pytest.raises(ValueError, match="leave transfer-encoding out"):
        Response(headers={"Transfer-Encoding": "chunked"})


@pytest.mark.parametrize("value", [5, None, b"x"])
def test_header_values_are_text(value: Any) -> None:
    with pytest.raises(ValueError, match="text"):
        Response(headers={"x-a": value})


@given(st.text(), st.text())
def test_a_header_field_is_refused_or_stays_one_line(name: str, value: str) -> None:
    try:
        response = Response(headers={name: value})
    except ValueError:
        return
    line = f"{name}: {value}".encode("latin-1")
    assert not {10, 13, 0} & set(line)
    assert response.headers == [(name, value)]


@pytest.mark.parametrize("status", [0, 99, 100, 103, 199, 600, 999, True, "200", None])
def test_a_status_is_a_final_one(status: Any) -> None:
    with pytest.raises(ValueError, match="status"):
        Response(status=status)


@pytest.mark.parametrize("body", [{"a": 1}, 5, object()])
def test_a_body_is_bytes_text_or_chunks(body: Any) -> None:
    with pytest.raises(TypeError, match=r"Response\.json"):
        Response(body)


# ---- response: what it becomes


class Markup(str):
    """Text of a template engine."""


def test_bodies() -> None:
    assert Response("é").body == "é".encode()
    assert Response(Markup("<b>")).body == b"<b>"
    assert Response(bytearray(b"x")).body == b"x"
    assert Response(memoryview(b"x")).body == b"x"
    assert Response().body == b""
    assert not Response("x").is_streaming
    assert Response([b"a", b"b"]).is_streaming


def test_the_content_type_of_the_headers_wins() -> None:
    own = {"Content-Type": "application/vnd.shop+json"}
    assert Response.json({}, headers=own).headers == [("Content-Type", "application/vnd.shop+json")]
    assert Response("x", headers=own).headers == [("Content-Type", "application/vnd.shop+json")]
    assert Response("x").headers == [("content-type", "text/plain; charset=utf-8")]
    assert Response(b"x").headers == []
    assert Response.html("x").headers == [("content-type", "text/html; charset=utf-8")]


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/a b", "/a%20b"),
        ("/a\r\nset-cookie: x=1", "/a%0D%0Aset-cookie:%20x=1"),
        ("/\\evil.example", "/%5Cevil.example"),
        ("https://a.example/é?q=1#x", "https://a.example/%C3%A9?q=1#x"),
        ("/already%20encoded", "/already%20encoded"),
    ],
)
def test_a_redirect_encodes_its_location(location: str, sent: str) -> None:
    response = Response.redirect(location)
    assert (response.status, response.headers) == (307, [("location", sent)])


def test_a_redirect_has_a_redirect_status() -> None:
    assert Response.redirect("/a", status=303).status == 303
    with pytest.raises(ValueError, match="redirect status"):
        Response.redirect("/a", status=200)


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    plain = Response.file(str(tmp_path / "a.txt"))
    assert (plain.body, plain.headers) == (b"hello", [("content-type", "text/plain; charset=utf-8")])
    named = Response.file(str(tmp_path / "a.tar.gz"), download='a"\r\n é.gz')
    assert dict(named.headers) == {
        "content-type": "application/octet-stream",
        "content-disposition": "attachment; filename*=UTF-8''a%22%0D%0A%20%C3%A9.gz",
    }
    with pytest.raises(FileNotFoundError):
        Response.file(str(tmp_path / "b"))


# ---- cookies of a response


def cookie(**options: Any) -> str:
    return Response().set_cookie("id", "1", **options).headers[0][1]


def test_a_cookie_is_safe_unless_told_otherwise() -> None:
    assert cookie() == "id=1; Path=/; Secure; HttpOnly; SameSite=Lax"
    assert cookie(secure=False, http_only=False, same_site=None, path="/a", domain="b.example", max_age=60) == (
        "id=1; Path=/a; Max-Age=60; Domain=b.example"
    )


def test_cookies_are_repeated_fields() -> None:
    response = Response().set_cookie("a", "1").set_cookie("b", "2").delete_cookie("c")
    assert [value.partition(";")[0] for _, value in response.headers] == ["a=1", "b=2", "c="]
    assert "Max-Age=0" in response.headers[2][1]


@pytest.mark.parametrize(
    "options",
    [
        {"path": "/; Domain=evil.example"},
        {"path": "a"},
        {"path": "/\r\nx: y"},
        {"domain": "a; Secure"},
        {"domain": "é"},
        {"max_age": "0; Domain=evil.example"},
        {"max_age": 1.5},
        {"same_site": "Lax; Domain=evil.example"},
        {"same_site": "None", "secure": False},
    ],
)
def test_cookie_attributes_cannot_inject(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cookie|same_site|max_age"):
        cookie(**options)


@pytest.mark.parametrize(
    ("name", "value"), [("", "1"), ("a;b", "1"), ("a=b", "1"), ("a b", "1"), ("a", "1; x=2"), ("a", "1,2"), ("a", "é")]
)
def test_cookie_names_and_values_cannot_inject(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cookie"):
        Response().set_cookie(name, value)


def test_cookies_that_browsers_would_drop_are_refused() -> None:
    Response().set_cookie("__Host-id", "1")
    for options in ({"path": "/a"}, {"domain": "a.example"}, {"secure": False}):
        with pytest.raises(ValueError, match="ignore it"):
            Response().set_cookie("__Host-id", "1", **options)  # type: ignore[arg-type]


@given(st.text(alphabet="abc%$+/=.-_!~*"), st.sampled_from(["a", "x-y", "__Host-z"]))
def test_a_cookie_comes_back_as_it_was_set(value: str, name: str) -> None:
    jar = SimpleCookie(Response().set_cookie(name, value).headers[0][1])
    sent = "; ".join(f"{morsel.key}={morsel.coded_value}" for morsel in jar.values())
    assert Request("GET", "/", headers={"cookie": sent}).cookies == {name: value}


# ---- server-sent events


def events(*values: object) -> str:
    return b"".join(Response.events(values).body).decode()  # type: ignore[arg-type]


def parse_events(text: str) -> list[dict[str, str]]:
    """As a browser does (WHATWG HTML, section 9.2.6)."""
    found = []
    for block in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n")[:-1]:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        found.append({name: "\n".join(lines) for name, lines in fields.items()})
    return found


def test_events() -> None:
    text = events("hi", {"data": {"n": 1}, "event": "tick", "id": 7, "retry": 1000}, {"n": 2}, {"data": 1, "unit": "C"})
    assert parse_events(text) == [
        {"data": "hi"},
        {"event": "tick", "id": "7", "retry": "1000", "data": '{"n":1}'},
        {"data": '{"n":2}'},
        {"data": '{"data":1,"unit":"C"}'},  # a value of one's own, not an event with a lost field
    ]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_data_cannot_begin_another_event(data: str) -> None:
    lines = data.replace("\r\n", "\n").replace("\r", "\n")
    assert parse_events(events(data)) == [{"data": lines}]


@pytest.mark.parametrize("field", ["event", "id", "retry"])
@pytest.mark.parametrize("value", ["a\ndata: evil", "a\rb", "a\0b"])
def test_fields_of_an_event_cannot_begin_another_line(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        events({"data": "x", field: value})


def test_events_may_come_from_an_async_source_and_bring_their_own_cache_control() -> None:
    async def source() -> Any:
        yield "a"
        yield {"b": 1}

    response = Response.events(source(), headers={"Cache-Control": "private"})
    assert response.headers == [("content-type", "text/event-stream"), ("Cache-Control", "private")]

    async def read() -> list[bytes]:
        return [chunk async for chunk in response.body]  # type: ignore[union-attr, misc]

    assert asyncio.run(read()) == [b"data: a\n\n", b'data: {"b":1}\n\n']
    assert ("cache-control", "no-store") in Response.events(["a"]).headers
