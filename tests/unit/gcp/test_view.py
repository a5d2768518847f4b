"""What the view derives: how many requests an instance takes, how long Pub/Sub waits, who may call."""

from __future__ import annotations

import pytest
from tests.support.gcp_service import deployment

from pys_multi import App
from pys_multi import model as m
from pys_multi_providers.gcp.sizing import ack_deadline, concurrency_of, time_of
from pys_multi_providers.gcp.view import is_open, names_of, place_of, private_routes, view
from pys_multi_tools.errors import ProviderError

ROUTE = m.Route(id="f:GET /", method="GET", path="/", handler="h")


def consumer(batch: int, queue: str = "jobs", window: float = 0.0) -> m.Consume:
    return m.Consume(id=f"f:{queue}", queue=queue, handler="h", batch=batch, window=window)


@pytest.mark.parametrize(
    ("concurrency", "triggers", "expected"),
    [
        (1, (), 1),
        (1, (ROUTE,), 1),
        (16, (ROUTE,), 16),
        (1, (consumer(1),), 1),
        (1, (consumer(10),), 10),
        (1, (consumer(10), ROUTE), 11),
        (1, (consumer(10), consumer(5, "more")), 15),
        (80, (consumer(10), ROUTE), 80),
    ],
)
def test_an_instance_takes_what_it_handles_and_what_makes_its_batches(
    concurrency: int, triggers: tuple[m.Trigger, ...], expected: int
) -> None:
    assert concurrency_of(m.Function(name="f", concurrency=concurrency, triggers=triggers)) == expected


@pytest.mark.parametrize(
    ("timeout", "window", "visibility", "expected"),
    [
        (30, 0, None, 90),
        (0.5, 0, None, 61),
        (30, 2.5, None, 93),
        (540, 0, None, 600),
        (30, 0, 45, 45),
        (30, 0, 44.2, 45),
        (5, 0, 5, 10),
        (30, 0, 600, 600),
    ],
)
def test_pub_sub_waits_for_the_function_and_its_start(
    timeout: float, window: float, visibility: float | None, expected: int
) -> None:
    function = m.Function(name="f", timeout=timeout, concurrency=2, triggers=(consumer(2, window=window),))
    assert ack_deadline(function, m.Queue(name="jobs", visibility=visibility)) == expected


@pytest.mark.parametrize(
    ("concurrency", "triggers", "expected"),
    [
        (1, (ROUTE,), 20),
        (80, (ROUTE,), 20),
        (4, (consumer(4, window=1.5),), 22),
        (1, (consumer(4),), 80),
        (2, (consumer(4), ROUTE), 60),
        (1, (consumer(100),), 540),
    ],
)
def test_a_request_may_wait_for_its_turn(concurrency: int, triggers: tuple[m.Trigger, ...], expected: int) -> None:
    assert time_of(m.Function(name="f", timeout=20, concurrency=concurrency, triggers=triggers)) == expected


def test_the_time_of_a_request_is_never_less_than_its_handlers() -> None:
    assert time_of(m.Function(name="f", timeout=3600, triggers=(ROUTE,))) == 3600
    assert time_of(m.Function(name="f", timeout=0.5, triggers=(ROUTE,))) == 1


@pytest.mark.parametrize(
    ("route", "open_"),
    [
        (ROUTE, False),
        (m.Route(id="r", method="GET", path="/", handler="h", public=True), True),
        (m.Route(id="r", method="GET", path="/", handler="h", auth={"kind": "api_key"}), True),
        (m.Mount(id="r", path="/", interface="asgi", handler="h", public=True), True),
        (m.Mount(id="r", path="/", interface="wsgi", handler="h"), False),
    ],
)
def test_a_function_is_open_where_strangers_may_call_a_route(route: m.Trigger, open_: bool) -> None:
    function = m.Function(name="f", triggers=(route, consumer(1)))
    assert is_open(function) is open_
    assert bool(private_routes(function)) is not open_


def test_a_place_must_be_named() -> None:
    app = App("shop", public=True)
    app.get("/")(lambda: None)
    assert place_of(deployment(app)) == ("acme", "europe-west1")
    with pytest.raises(ProviderError, match="no project is named") as error:
        names_of(deployment(app, project=None))
    assert "--project" in error.value.hint
    with pytest.raises(ProviderError, match="no region is named") as error:
        view(deployment(app, region=None))
    assert "--region" in error.value.hint


def test_a_binding_has_each_member_once() -> None:
    app = App("shop")
    jobs = app.queue("jobs")
    app.function("f", uses=[jobs.send]).consume(jobs)(lambda message: None)
    found = [
        b for b in view(deployment(app))["bindings"] if b["name"].endswith("/shop-dev-jobs") and "publish" in b["id"]
    ]
    assert [b["members"] for b in found] == [["serviceAccount:shop-dev-f@acme.iam.gserviceaccount.com"]]
