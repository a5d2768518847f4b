"""Input is validated from annotations; what does not fit is a 422 that names the field."""

from __future__ import annotations

from json import dumps
from typing import Any

import pytest
from tests.conformance.driver import Driver, Reply

ORDER = {"customer": "Ada", "items": [{"sku": "A-1", "count": 2}], "size": "l", "tags": {"a": "b"}}


def post(driver: Driver, target: str, value: object) -> Reply:
    return driver.request("POST", target, [("content-type", "application/json")], dumps(value).encode())


def fields_of(problem: Any) -> set[tuple[str, str]]:
    assert all(error["message"] for error in problem["errors"])
    return {(error["in"], error["field"]) for error in problem["errors"]}


def test_a_dataclass_is_filled_from_the_body(driver: Driver) -> None:
    reply = post(driver, "/typed/dataclass", ORDER)
    assert reply.status == 200
    assert reply.json() == {"type": "Order", "item": "Item", "order": ORDER}


def test_defaults_of_a_dataclass_are_used(driver: Driver) -> None:
    order = post(driver, "/typed/dataclass", {"customer": "Ada", "items": [{"sku": "A-1"}]}).json()["order"]
    assert order["size"] == "s"
    assert order["items"] == [{"sku": "A-1", "count": 1}]


def test_every_bad_field_of_a_body_is_named(driver: Driver) -> None:
    problem = post(driver, "/typed/dataclass", {"items": [{"sku": 1}, {"sku": "b", "count": "many"}], "size": "xl"})
    assert fields_of(problem.problem(422)) == {
        ("body", "customer"),
        ("body", "items.0.sku"),
        ("body", "items.1.count"),
        ("body", "size"),
    }


def test_a_body_of_another_shape_is_422(driver: Driver) -> None:
    assert fields_of(post(driver, "/typed/dataclass", [1]).problem(422)) == {("body", "")}


def test_a_typed_dict_is_validated(driver: Driver) -> None:
    assert post(driver, "/typed/typeddict", {"street": "Elm", "zip": 1}).json() == {
        "address": {"street": "Elm", "zip": 1}
    }
    problem = post(driver, "/typed/typeddict", {"street": "Elm", "zip": "x"}).problem(422)
    assert fields_of(problem) == {("body", "zip")}


def test_a_pydantic_model_is_validated_by_pydantic(driver: Driver) -> None:
    assert post(driver, "/typed/pydantic", {"text": "fine", "stars": 5}).json() == {"text": "fine", "stars": 5}
    problem = post(driver, "/typed/pydantic", {"text": "fine", "stars": 6}).problem(422)
    assert fields_of(problem) == {("body", "stars")}


def test_a_msgspec_struct_is_validated_by_msgspec(driver: Driver) -> None:
    assert post(driver, "/typed/msgspec", {"name": "a", "value": 1.5}).json() == {"name": "a", "value": 1.5}
    problem = post(driver, "/typed/msgspec", {"name": "a", "value": "b"}).problem(422)
    assert fields_of(problem) == {("body", "value")}


def test_a_list_of_dataclasses_is_a_body(driver: Driver) -> None:
    assert post(driver, "/typed/list", [{"sku": "a"}, {"sku": "b"}]).json() == {"count": 2}
    assert fields_of(post(driver, "/typed/list", [{"sku": "a"}, {}]).problem(422)) == {("body", "1.sku")}


def test_query_parameters_are_converted(driver: Driver) -> None:
    reply = driver.request("GET", "/typed/query?name=n&limit=7&tags=a&tags=b&order=down&exact=true")
    assert reply.json() == {"name": "n", "limit": 7, "tags": ["a", "b"], "order": "down", "exact": True}


def test_defaults_of_query_parameters_are_used(driver: Driver) -> None:
    reply = driver.request("GET", "/typed/query?name=n")
    assert reply.json() == {"name": "n", "limit": 20, "tags": None, "order": "up", "exact": False}


def test_every_bad_query_parameter_is_named(driver: Driver) -> None:
    problem = driver.request("GET", "/typed/query?limit=101&order=sideways&exact=perhaps").problem(422)
    assert fields_of(problem) == {("query", "name"), ("query", "limit"), ("query", "order"), ("query", "exact")}


@pytest.mark.parametrize(
    "text", ["%EF%BC%91", "1_0", "1.0", "0x1", "", "9" * 5000], ids=["wide", "_", "float", "hex", "empty", "long"]
)
def test_only_digits_are_an_integer(driver: Driver, text: str) -> None:
    problem = driver.request("GET", f"/typed/query?name=n&limit={text}").problem(422)
    assert fields_of(problem) == {("query", "limit")}


def test_a_header_parameter_is_converted(driver: Driver) -> None:
    assert driver.request("GET", "/typed/header", [("X-Count", "7")]).json() == {"count": 7}


@pytest.mark.parametrize("fields", [[], [("x-count", "many")]], ids=["missing", "bad"])
def test_a_bad_header_is_named(driver: Driver, fields: list[tuple[str, str]]) -> None:
    problem = driver.request("GET", "/typed/header", fields).problem(422)
    assert fields_of(problem) == {("header", "x-count")}


def test_a_bad_cookie_is_named(driver: Driver) -> None:
    assert driver.request("GET", "/typed/cookie", [("cookie", "session=abc")]).json() == {"session": "abc"}
    problem = driver.request("GET", "/typed/cookie", [("cookie", "session=ab")]).problem(422)
    assert fields_of(problem) == {("cookie", "session")}


def test_a_path_parameter_that_does_not_fit_its_annotation_is_named(driver: Driver) -> None:
    assert driver.request("GET", "/typed/path/12").json() == {"number": 12}
    assert fields_of(driver.request("GET", "/typed/path/a").problem(422)) == {("path", "number")}


def test_a_refusal_carries_the_request_id(driver: Driver) -> None:
    assert driver.request("GET", "/typed/query").problem(422)["request_id"]
