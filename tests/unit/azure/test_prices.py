"""What Flex Consumption costs, by numbers that were computed by hand."""

from __future__ import annotations

import pytest
from tests.support.azure_service import deployment

from pys_multi import App
from pys_multi_providers.azure.provider import AzureProvider
from pys_multi_tools.cost import Cost, estimate
from pys_multi_tools.settings import Traffic


def cost(memory: int, **traffic: float) -> Cost:
    app = App("shop")
    app.function("api", memory=memory)
    return estimate(AzureProvider().prices(deployment(app)), ("api",), {"api": Traffic(**traffic)})


def test_executions_and_the_memory_of_instances_are_paid() -> None:
    # A million calls of 1,250 ms, which is 1,300, on instances of 2 GB: 2,600,000 GB-s.
    executions, seconds = cost(2048, calls=1_000_000, duration_ms=1250).charges
    assert (executions.free, executions.usd) == (250_000, pytest.approx(0.75 * 0.40))
    assert (seconds.used, seconds.free) == (2_600_000, 100_000)
    assert seconds.usd == pytest.approx(2_500_000 * 0.000026)  # 65.00


@pytest.mark.parametrize(("duration", "billed"), [(5, 1.0), (1000, 1.0), (1001, 1.1), (1100, 1.1), (2345, 2.4)])
def test_a_call_is_paid_for_a_second_at_least(duration: float, billed: float) -> None:
    assert cost(2048, calls=1000, duration_ms=duration).charges[1].used == pytest.approx(1000 * billed * 2)


@pytest.mark.parametrize(("memory", "gigabytes"), [(128, 0.5), (512, 0.5), (513, 2), (2048, 2), (4096, 4)])
def test_the_whole_instance_is_paid(memory: int, gigabytes: float) -> None:
    assert cost(memory, calls=1000, duration_ms=1000).charges[1].used == pytest.approx(1000 * gigabytes)


def test_the_start_of_an_instance_is_not_paid() -> None:
    cold = cost(512, calls=1000, duration_ms=1000, cold_share=1, start_ms=5000)
    assert cold.charges == cost(512, calls=1000, duration_ms=1000).charges


def test_what_is_free_costs_nothing() -> None:
    assert cost(512, calls=200_000, duration_ms=100).usd == 0
