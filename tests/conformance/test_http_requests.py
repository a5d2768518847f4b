"""What a handler sees of a request, and which handler it is."""

from __future__ import annotations

import pytest
from tests.conformance.driver import Driver


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_method_reaches_its_own_handler(driver: Driver, method: str) -> None:
    reply = driver.request(method, "/echo")
    assert reply.status == 200
    assert reply.json()["method"] == method


def test_head_answers_as_get_without_a_body(driver: Driver) -> None:
    get, head = driver.request("GET", "/returns/dict"), driver.request("HEAD", "/returns/dict")
    assert head.status == 200
    assert head.body == b""
    assert head.header("content-type") == get.header("content-type")
    assert head.header("content-length") == str(len(get.body))


def test_options_says_which_methods_a_path_has(driver: Driver) -> None:
    reply = driver.request("OPTIONS", "/echo")
    assert reply.status == 204
    assert reply.body == b""
    assert methods_of(reply.header("allow")) == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def test_an_unknown_path_is_404(driver: Driver) -> None:
    driver.request("GET", "/no/such/path").problem(404)


def test_another_method_is_405_with_allow(driver: Driver) -> None:
    reply = driver.request("DELETE", "/returns/dict")
    reply.problem(405)
    assert methods_of(reply.header("allow")) == {"GET", "HEAD", "OPTIONS"}


def methods_of(allow: str | None) -> set[str]:
    assert allow is not None
    return {method.strip() for method in allow.split(",")}


def test_a_missing_trailing_slash_is_redirected(driver: Driver) -> None:
    reply = driver.request("GET", "/slash/with?a=1&a=2")
    assert reply.status == 307
    assert path_of(reply.header("location")) == "/slash/with/?a=1&a=2"
    assert driver.request("GET", "/slash/with/").text == "with"


def test_a_trailing_slash_too_many_is_redirected(driver: Driver) -> None:
    reply = driver.request("GET", "/slash/without/")
    assert reply.status == 307
    assert path_of(reply.header("location")) == "/slash/without"


def path_of(location: str | None) -> str:
    """A gateway may make a relative location absolute."""
    assert location is not None
    return "/" + location.split("://", 1)[1].partition("/")[2] if "://" in location else location


def test_two_slashes_in_front_never_redirect_to_another_host(driver: Driver) -> None:
    reply = driver.request("GET", "//evil.example/slash/without/")
    assert reply.status in (307, 400, 404)
    assert not (reply.header("location") or "").startswith("//")


@pytest.mark.parametrize(
    ("target", "type_", "value"),
    [
        ("/paths/str/a%20b", "str", "a b"),
        ("/paths/int/0042", "int", "42"),
        ("/paths/float/1.50", "float", "1.5"),
        ("/paths/uuid/0F0E0D0C-0b0a-0908-0706-050403020100", "UUID", "0f0e0d0c-0b0a-0908-0706-050403020100"),
        ("/paths/rest/a/b/c.txt", "str", "a/b/c.txt"),
    ],
    ids=["str", "int", "float", "uuid", "path"],
)
def test_a_path_parameter_is_converted(driver: Driver, target: str, type_: str, value: str) -> None:
    reply = driver.request("GET", target)
    assert reply.status == 200
    assert reply.json()["params"] == {"value": [type_, value]}


@pytest.mark.parametrize("target", ["/paths/int/4x", "/paths/int/-1", "/paths/uuid/42", "/paths/float/a"])
def test_a_path_parameter_that_does_not_convert_is_404(driver: Driver, target: str) -> None:
    driver.request("GET", target).problem(404)


def test_text_and_parameters_mix_in_one_segment(driver: Driver) -> None:
    reply = driver.request("GET", "/paths/file/report.pdf")
    assert reply.json()["params"] == {"name": ["str", "report"], "ending": ["str", "pdf"]}


def test_a_path_is_percent_decoded_once(driver: Driver) -> None:
    reply = driver.request("GET", "/paths/str/100%2525")
    assert reply.json()["params"] == {"value": ["str", "100%25"]}


def test_a_path_is_decoded_as_utf8(driver: Driver) -> None:
    reply = driver.request("GET", "/paths/str/gr%C3%BC%C3%9Fe%20%F0%9F%8E%89")
    assert reply.json()["params"] == {"value": ["str", "grüße 🎉"]}


def test_a_plus_in_a_path_stays_a_plus(driver: Driver) -> None:
    assert driver.request("GET", "/paths/str/a+b").json()["params"] == {"value": ["str", "a+b"]}


@pytest.mark.parametrize(
    ("target", "winner"),
    [
        ("/specific/fixed", "fixed"),
        ("/specific/12", "int"),
        ("/specific/other", "str"),
        ("/specific/a/b", "path"),
    ],
)
def test_the_most_specific_route_wins(driver: Driver, target: str, winner: str) -> None:
    assert driver.request("GET", target).text == winner


def test_a_repeated_query_key_keeps_every_value_in_order(driver: Driver) -> None:
    reply = driver.request("GET", "/echo?tag=b&tag=a&other=1&tag=b")
    assert reply.json()["query"] == [["tag", "b"], ["tag", "a"], ["other", "1"], ["tag", "b"]]


def test_query_values_are_percent_decoded_once(driver: Driver) -> None:
    reply = driver.request("GET", "/echo?q=a%2520b&plus=a+b&equals=a%3Db%26c&text=%C3%BC")
    assert reply.json()["query"] == [["q", "a%20b"], ["plus", "a b"], ["equals", "a=b&c"], ["text", "ü"]]


def test_an_empty_query_value_is_kept(driver: Driver) -> None:
    assert driver.request("GET", "/echo?a=&b").json()["query"] == [["a", ""], ["b", ""]]


def test_header_names_are_read_without_regard_to_case(driver: Driver) -> None:
    reply = driver.request("GET", "/echo/header/x-tOkEn", [("X-TOKEN", "Value")])
    assert reply.json()["first"] == "Value"


def test_a_repeated_header_keeps_every_value(driver: Driver) -> None:
    reply = driver.request("GET", "/echo/header/x-tag", [("x-tag", "one"), ("x-tag", "two")])
    # RFC 9110, section 5.3, lets a gateway join the fields of one name.
    assert [part.strip() for value in reply.json()["all"] for part in value.split(",")] == ["one", "two"]


def test_cookies_are_parsed(driver: Driver) -> None:
    reply = driver.request("GET", "/echo", [("cookie", 'session=abc=; theme="dark"; session=second')])
    assert reply.json()["cookies"] == {"session": "abc=", "theme": "dark"}


def test_host_and_scheme_are_those_the_caller_used(driver: Driver) -> None:
    seen = driver.request("GET", "/echo?a=1").json()
    assert seen["host"]
    assert seen["url"] == f"{seen['scheme']}://{seen['host']}/echo?a=1"


def test_the_address_of_the_client_is_known(driver: Driver) -> None:
    from ipaddress import ip_address

    assert ip_address(driver.request("GET", "/echo").json()["client"])


def test_a_handler_gets_a_request_without_a_body_as_empty(driver: Driver) -> None:
    assert driver.request("POST", "/echo").json()["body"] == ""


def test_an_encoded_slash_separates_segments_as_a_plain_one_does(driver: Driver) -> None:
    assert driver.request("GET", "/paths/rest/a%2Fb").json()["params"] == {"value": ["str", "a/b"]}
    driver.request("GET", "/paths/str/a%2Fb").problem(404)


@pytest.mark.parametrize("target", ["/paths/str/%FF", "/paths/str/%zz", "/echo?q=%FF", "/echo?%=%"])
def test_bytes_that_are_no_text_are_no_error_of_the_service(driver: Driver, target: str) -> None:
    assert driver.request("GET", target).status in (200, 400, 404)


def test_a_number_that_is_too_long_is_404_in_a_path(driver: Driver) -> None:
    driver.request("GET", "/paths/int/" + "9" * 5000).problem(404)


def test_more_query_parameters_than_anybody_needs_are_400(driver: Driver) -> None:
    driver.request("GET", "/echo?" + "&".join(["a=1"] * 1500)).problem(400)


def test_a_method_that_nobody_knows_is_405(driver: Driver) -> None:
    driver.request("PROPFIND", "/echo").problem(405)


def test_head_of_a_missing_path_is_404_without_a_body(driver: Driver) -> None:
    reply = driver.request("HEAD", "/no/such/path")
    assert (reply.status, reply.body) == (404, b"")
