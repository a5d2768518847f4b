"""What functions on Cloud Run cost, by numbers that were computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.gcp_service import deployment

from pys_multi import App
from pys_multi_providers.gcp.provider import GcpProvider
from pys_multi_tools.cost import Cost, estimate
from pys_multi_tools.settings import Traffic


def cost(traffic: dict[str, float], **function: Any) -> Cost:
    app = App("shop")
    app.function("api", **function)
    return estimate(GcpProvider().prices(deployment(app)), ("api",), {"api": Traffic(**traffic)})


def test_requests_processors_and_memory_are_paid() -> None:
    # 10 million calls of 150 ms, which is 200: 2,000,000 s, with 2 GiB and the processor that belongs to it.
    requests, processors, memory = cost({"calls": 10_000_000, "duration_ms": 150}, memory=2048).charges
    assert requests.usd == pytest.approx(8 * 0.40)
    assert (processors.used, processors.free) == (2_000_000, 180_000)
    assert processors.usd == pytest.approx(1_820_000 * 0.000024)  # 43.68
    assert (memory.used, memory.free) == (4_000_000, 360_000)
    assert memory.usd == pytest.approx(3_640_000 * 0.0000025)  # 9.10


@pytest.mark.parametrize(
    ("function", "processors"),
    [
        ({"memory": 256}, 0.167),
        ({"memory": 256, "concurrency": 8}, 1),
        ({"memory": 4096}, 2),
        ({"memory": 512, "gcp": {"cpu": 4}}, 4),
    ],
)
def test_the_processors_are_those_of_the_function(function: dict[str, Any], processors: float) -> None:
    assert cost({"calls": 1000, "duration_ms": 1000}, **function).charges[1].used == pytest.approx(1000 * processors)


def test_an_instance_that_starts_is_paid() -> None:
    found = cost({"calls": 1000, "duration_ms": 80, "cold_share": 0.5, "start_ms": 950}, memory=1024)
    # 500 calls of 100 ms, and 500 of 80 + 950 = 1,030, which is 1,100.
    assert found.charges[2].used == pytest.approx(500 * 0.1 + 500 * 1.1)


def test_what_is_free_costs_nothing() -> None:
    assert cost({"calls": 2_000_000, "duration_ms": 90}, memory=512).usd == 0
