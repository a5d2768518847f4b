"""Bodies of every kind arrive as they were sent, and bad ones are refused."""

from __future__ import annotations

from hashlib import sha256
from json import dumps

import pytest
from tests.conformance.driver import Driver

JSON = [("content-type", "application/json")]


def test_a_binary_body_arrives_byte_for_byte(driver: Driver) -> None:
    body = bytes(range(256)) * 3
    reply = driver.request("POST", "/bodies/bytes", [("content-type", "application/octet-stream")], body)
    assert reply.status == 200
    assert reply.body == body


def test_a_body_marked_as_bytes_is_not_parsed(driver: Driver) -> None:
    body = b"\xff{not json"
    reply = driver.request("POST", "/bodies/raw", JSON, body)
    assert reply.json() == {"size": len(body), "sha256": sha256(body).hexdigest()}


def test_an_empty_body_arrives_empty(driver: Driver) -> None:
    assert driver.request("POST", "/bodies/raw").json()["size"] == 0


def test_a_text_body_is_decoded_as_utf8(driver: Driver) -> None:
    reply = driver.request("POST", "/bodies/text", [("content-type", "text/plain")], "grüße 🎉".encode())
    assert reply.json() == {"text": "grüße 🎉"}


def test_a_text_body_is_decoded_with_its_charset(driver: Driver) -> None:
    fields = [("content-type", "text/plain; charset=ISO-8859-1")]
    assert driver.request("POST", "/bodies/text", fields, b"gr\xfc\xdfe").json() == {"text": "grüße"}


def test_text_that_is_not_in_its_charset_is_400(driver: Driver) -> None:
    driver.request("POST", "/bodies/text", [("content-type", "text/plain")], b"\xff\xfe").problem(400)


def test_a_json_body_is_parsed(driver: Driver) -> None:
    document: dict[str, object] = {
        "text": "ü",
        "numbers": [1, 2.5, -3],
        "null": None,
        "true": True,
        "deep": {"a": {"b": []}},
    }
    reply = driver.request("POST", "/bodies/json", JSON, dumps(document).encode())
    assert reply.json() == {"json": document}


@pytest.mark.parametrize(
    "body", [b"{", b"", b'{"a": NaN}', b"[1] 2", b"\xff"], ids=["cut", "empty", "nan", "two", "bytes"]
)
def test_a_body_that_is_not_json_is_400(driver: Driver, body: bytes) -> None:
    driver.request("POST", "/bodies/json", JSON, body).problem(400)


def test_deeply_nested_json_is_400(driver: Driver) -> None:
    body = b"[" * 100_000 + b"]" * 100_000
    driver.request("POST", "/bodies/json", JSON, body).problem(400)


def test_a_form_is_parsed(driver: Driver) -> None:
    fields = [("content-type", "application/x-www-form-urlencoded")]
    reply = driver.request("POST", "/bodies/form", fields, b"a=1+2&b=x&a=%C3%BC")
    assert reply.json()["all"] == ["1 2", "ü"]


def test_form_fields_fill_parameters(driver: Driver) -> None:
    fields = [("content-type", "application/x-www-form-urlencoded")]
    reply = driver.request("POST", "/bodies/fields", fields, b"name=Ada&age=36")
    assert reply.json() == {"name": "Ada", "age": 36}


def test_a_bad_form_field_is_422_and_named(driver: Driver) -> None:
    fields = [("content-type", "application/x-www-form-urlencoded")]
    problem = driver.request("POST", "/bodies/fields", fields, b"name=Ada&age=old").problem(422)
    assert [(error["in"], error["field"]) for error in problem["errors"]] == [("form", "age")]


def test_a_file_is_uploaded_byte_for_byte(driver: Driver) -> None:
    content = bytes(range(256)) + b"\r\n--not-the-boundary\r\n"
    body = (
        b'--frontier\r\nContent-Disposition: form-data; name="title"\r\n\r\n'
        + "grüße".encode()
        + b'\r\n--frontier\r\nContent-Disposition: form-data; name="file"; filename="a b.bin"\r\n'
        + b"Content-Type: application/x-thing\r\n\r\n"
        + content
        + b"\r\n--frontier--\r\n"
    )
    reply = driver.request("POST", "/bodies/upload", [("content-type", "multipart/form-data; boundary=frontier")], body)
    assert reply.json() == {
        "title": "grüße",
        "name": "a b.bin",
        "type": "application/x-thing",
        "sha256": sha256(content).hexdigest(),
        "size": len(content),
    }


def test_a_broken_multipart_body_is_400(driver: Driver) -> None:
    fields = [("content-type", "multipart/form-data; boundary=frontier")]
    driver.request("POST", "/bodies/upload", fields, b"--frontier\r\nno end").problem(400)


def test_a_form_of_another_type_is_415(driver: Driver) -> None:
    driver.request("POST", "/bodies/form", JSON, b"{}").problem(415)


def test_a_large_body_arrives_whole(driver: Driver) -> None:
    body = b"0123456789abcdef" * (3 * 1024 * 1024 // 16)
    reply = driver.request("POST", "/bodies/raw", [("content-type", "application/octet-stream")], body)
    assert reply.json() == {"size": len(body), "sha256": sha256(body).hexdigest()}


@pytest.mark.needs("large-bodies")
def test_an_oversized_body_is_413(driver: Driver) -> None:
    reply = driver.request("POST", "/bodies/raw", [], b"x" * (driver.max_body + 1))
    assert reply.status == 413
