"""Applications of other frameworks run as they are."""

from __future__ import annotations

from tests.conformance.driver import Driver


def test_an_asgi_application_answers_below_its_mount(driver: Driver) -> None:
    found = driver.request("GET", "/asgi/hello/gr%C3%BC%C3%9Fe?q=1&q=2").json()
    assert found["hello"] == "grüße"
    assert found["query"] == ["1", "2"]
    assert found["root_path"] == "/asgi"


def test_an_asgi_application_sees_urls_as_the_caller_does(driver: Driver) -> None:
    found = driver.request("GET", "/asgi/hello/a?q=1").json()
    assert found["url"].endswith("/asgi/hello/a?q=1")


def test_the_lifespan_of_an_asgi_application_runs_once(driver: Driver) -> None:
    assert driver.request("GET", "/asgi/hello/a").json()["lifespan"] == ["started"]


def test_an_asgi_application_gets_bodies_and_sets_cookies(driver: Driver) -> None:
    reply = driver.request("POST", "/asgi/receive", [], b"x" * 100_000)
    assert (reply.status, reply.json()) == (201, {"size": 100_000})
    assert [field.partition(";")[0] for field in reply.all("set-cookie")] == ["a=1", "b=2"]


def test_a_stream_of_an_asgi_application_arrives(driver: Driver) -> None:
    assert driver.request("GET", "/asgi/chunks").text == "0;1;2;"


def test_an_asgi_application_answers_its_own_404(driver: Driver) -> None:
    reply = driver.request("GET", "/asgi/nothing")
    assert (reply.status, reply.text) == (404, "Not Found")


def test_a_crash_in_an_asgi_application_shows_no_internals(driver: Driver) -> None:
    reply = driver.request("GET", "/asgi/crash")
    assert reply.status == 500
    assert b"internal to the mounted" not in reply.body


def test_a_route_of_the_service_wins_over_a_mount(driver: Driver) -> None:
    assert driver.request("GET", "/asgi/own").text == "a route of the service wins over the mount"


def test_a_wsgi_application_answers_below_its_mount(driver: Driver) -> None:
    found = driver.request("GET", "/wsgi/hello/gr%C3%BC%C3%9Fe?q=1&q=2").json()
    assert found == {"hello": "grüße", "query": ["1", "2"], "root": "/wsgi", "path": "/hello/grüße"}


def test_a_wsgi_application_gets_bodies_and_sets_headers(driver: Driver) -> None:
    fields = [("content-type", "application/x-www-form-urlencoded")]
    reply = driver.request("POST", "/wsgi/receive", fields, b"a=b+c")
    assert reply.status == 201
    assert reply.json()["form"] == "b c"
    assert reply.header("x-flask") == "yes"
