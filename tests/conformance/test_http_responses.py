"""What a handler returns is what one expects on the wire."""

from __future__ import annotations

import pytest
from tests.conformance.driver import Driver


def test_a_dict_is_json(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/dict")
    assert reply.status == 200
    assert reply.header("content-type") == "application/json"
    assert reply.json() == {"text": "grüße 🎉", "number": 1.5, "none": None, "list": [True]}


def test_a_list_is_json(driver: Driver) -> None:
    assert driver.request("GET", "/returns/list").json() == [1, 2, 3]


def test_text_is_plain_text_in_utf8(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/str")
    assert reply.header("content-type") == "text/plain; charset=utf-8"
    assert reply.body == "grüße".encode()


def test_bytes_are_an_octet_stream(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/bytes")
    assert reply.header("content-type") == "application/octet-stream"
    assert reply.body == bytes(range(256))


def test_none_is_204_without_a_body(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/none")
    assert reply.status == 204
    assert reply.body == b""


def test_a_dataclass_is_json(driver: Driver) -> None:
    assert driver.request("GET", "/returns/dataclass").json() == {"x": 1, "y": 2}


def test_a_msgspec_struct_is_json(driver: Driver) -> None:
    assert driver.request("GET", "/returns/msgspec").json() == {"x": 3}


def test_a_pydantic_model_is_json(driver: Driver) -> None:
    assert driver.request("GET", "/returns/pydantic").json() == {"x": 4}


def test_dates_ids_and_decimals_inside_a_value_are_json(driver: Driver) -> None:
    found = driver.request("GET", "/returns/values").json()
    assert found["when"] in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00")
    assert found["id"] == "00000000-0000-0000-0000-000000000007"
    assert str(found["amount"]) == "1.10"
    assert found["points"] == [{"x": 1, "y": 2}]


def test_a_tuple_is_a_body_and_a_status(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/tuple")
    assert reply.status == 202
    assert reply.json() == {"x": 1}


def test_a_tuple_may_carry_headers(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/tuple-with-headers")
    assert (reply.status, reply.text) == (201, "made")
    assert reply.header("location") == "/returns/tuple"
    assert reply.header("x-made") == "yes"


def test_the_status_of_a_route_is_used(driver: Driver) -> None:
    assert driver.request("POST", "/returns/status").status == 201


def test_the_status_of_a_route_holds_without_a_body_too(driver: Driver) -> None:
    reply = driver.request("DELETE", "/returns/status")
    assert (reply.status, reply.body) == (202, b"")


def test_a_response_is_sent_as_it_is(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/response")
    assert (reply.status, reply.body) == (418, b"\x00\x01")
    assert reply.header("x-tea") == "pot"
    assert reply.header("content-type") == "application/x-tea"


def test_html_is_html(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/html")
    assert reply.header("content-type") == "text/html; charset=utf-8"
    assert reply.text == "<p>grüße</p>"


def test_a_redirect_has_an_encoded_location(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/redirect")
    assert reply.status == 303
    assert (reply.header("location") or "").endswith("/returns/%C3%BCnder?a=1")


def test_a_file_of_the_bundle_is_served(driver: Driver) -> None:
    reply = driver.request("GET", "/returns/file")
    assert reply.body == b"an attachment\n"
    assert (reply.header("content-type") or "").startswith("text/plain")
    assert "notes%20f%C3%BCr%20dich.txt" in (reply.header("content-disposition") or "")


def test_every_set_cookie_is_a_field_of_its_own(driver: Driver) -> None:
    fields = driver.request("GET", "/returns/cookies").all("set-cookie")
    assert len(fields) == 2
    assert fields[0].startswith("first=1; Path=/; Max-Age=60")
    assert "SameSite=Strict" in fields[1]
    assert all("HttpOnly" in field and "Secure" in field for field in fields)


def test_an_async_handler_is_awaited(driver: Driver) -> None:
    assert driver.request("GET", "/returns/async").json() == {"async": True}


def test_a_generator_is_sent_whole(driver: Driver) -> None:
    assert driver.request("GET", "/returns/generator").text == "one two"


@pytest.mark.parametrize("status", [400, 404, 409, 429, 503])
def test_an_http_error_is_a_problem_with_its_own_fields(driver: Driver, status: int) -> None:
    reply = driver.request("GET", f"/returns/error/{status}")
    problem = reply.problem(status)
    assert problem["detail"] == "as asked"
    assert problem["hint"] == "ask for less"
    assert problem["request_id"]
    assert reply.header("x-reason") == "asked"


def test_an_http_error_ends_the_request_from_anywhere(driver: Driver) -> None:
    assert driver.request("GET", "/failures/deep").problem(409)["detail"] == "found deep inside"


def test_an_unhandled_error_is_500_without_internals(driver: Driver) -> None:
    reply = driver.request("GET", "/failures/crash/hush")
    problem = reply.problem(500)
    assert problem["request_id"]
    for word in (b"internal-hush", b"RuntimeError", b"Traceback", b".py"):
        assert word not in reply.body


def test_an_unhandled_error_of_an_async_handler_is_500_too(driver: Driver) -> None:
    reply = driver.request("GET", "/failures/crash-async/hush")
    reply.problem(500)
    assert b"internal" not in reply.body


def test_a_result_that_cannot_be_json_is_500(driver: Driver) -> None:
    driver.request("GET", "/failures/unserialisable").problem(500)


def test_a_service_goes_on_after_an_error(driver: Driver) -> None:
    driver.request("GET", "/failures/crash/once").problem(500)
    assert driver.request("GET", "/returns/list").status == 200


@pytest.mark.parametrize("value", ["a%0d%0ax-evil:%201", "a%0ax-evil:%201", "a%00b"], ids=["crlf", "lf", "nul"])
def test_a_header_cannot_be_injected(driver: Driver, value: str) -> None:
    reply = driver.request("GET", f"/failures/inject-header?value={value}")
    reply.problem(500)
    assert reply.header("x-evil") is None
    assert reply.header("x-injected") is None


@pytest.mark.parametrize("value", ["a%3B%20Domain=evil.example", "a%0d%0ax-evil:%201"], ids=["attribute", "crlf"])
def test_a_cookie_cannot_be_injected(driver: Driver, value: str) -> None:
    reply = driver.request("GET", f"/failures/inject-cookie?value={value}")
    reply.problem(500)
    assert reply.all("set-cookie") == []


@pytest.mark.parametrize("kind", ["recursion", "exit"])
def test_a_handler_that_leaves_in_another_way_is_500_and_takes_nobody_along(driver: Driver, kind: str) -> None:
    driver.request("GET", f"/failures/{kind}").problem(500)
    assert driver.request("GET", "/returns/list").status == 200


@pytest.mark.parametrize(("kind", "status"), [("no-content", 204), ("not-modified", 304)])
def test_a_status_that_has_no_body_is_sent_without_one(driver: Driver, kind: str, status: int) -> None:
    reply = driver.request("GET", f"/failures/{kind}")
    assert (reply.status, reply.body) == (status, b"")


@pytest.mark.needs("wire")
@pytest.mark.parametrize("declared", [3, 50])
def test_a_wrong_content_length_breaks_no_connection(driver: Driver, declared: int) -> None:
    assert driver.request("GET", f"/failures/length/{declared}").body == b"12345"


@pytest.mark.needs("wire")
def test_a_response_cannot_smuggle_another_one(driver: Driver) -> None:
    reply = driver.request("GET", "/failures/smuggle")
    if reply.status != 200:  # a field that only a connection may set is refused, or is left out
        reply.problem(500)
        return
    assert reply.body == b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"


def test_head_of_a_stream_has_no_body(driver: Driver) -> None:
    reply = driver.request("HEAD", "/live/large")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.header("content-length") in (None, str(64 * 65536))
