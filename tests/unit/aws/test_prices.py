"""What Lambda costs, by numbers that were computed by hand."""

from __future__ import annotations

import pytest
from tests.support.aws_service import deployment

from pys_multi import App
from pys_multi_providers.aws.provider import AwsProvider
from pys_multi_tools.cost import Cost, estimate
from pys_multi_tools.settings import Traffic


def cost(memory: int, architecture: str = "arm64", **traffic: float) -> Cost:
    app = App("shop")
    app.function("api", memory=memory)
    prices = AwsProvider().prices(deployment(app, architecture=architecture))
    return estimate(prices, ("api",), {"api": Traffic(**traffic)})


@pytest.mark.parametrize(("architecture", "price"), [("arm64", 0.0000133334), ("x86_64", 0.0000166667)])
def test_each_processor_has_its_price(architecture: str, price: float) -> None:
    # 5 million calls of 200 ms with 512 MB: 500,000 GB-s, of which 400,000 are free; 4 million requests are paid.
    found = cost(512, architecture, calls=5_000_000, duration_ms=200)
    requests, seconds = found.charges
    assert requests.usd == pytest.approx(0.80)
    assert (seconds.used, seconds.free) == (500_000, 400_000)
    assert seconds.usd == pytest.approx(100_000 * price)
    assert architecture in seconds.meter


def test_time_is_rounded_up_to_a_millisecond_and_starting_is_billed() -> None:
    # 10.2 ms is 11 ms; a start of 300.5 ms makes it 310.7, which is 311.
    found = cost(1024, calls=1_000_000, duration_ms=10.2, cold_share=0.02, start_ms=300.5)
    assert found.charges[1].used == pytest.approx(980_000 * 0.011 + 20_000 * 0.311)


def test_what_is_free_costs_nothing() -> None:
    assert cost(1024, calls=1_000_000, duration_ms=400).usd == 0
    assert cost(1024, calls=1_000_001, duration_ms=400).usd > 0


def test_the_prices_are_dated() -> None:
    found = cost(128, calls=1, duration_ms=1)
    assert (found.as_of, found.source) == ("2026-05", "https://aws.amazon.com/lambda/pricing/")
