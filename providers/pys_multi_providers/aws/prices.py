"""What Lambda costs: https://aws.amazon.com/lambda/pricing/, read in 2026-05.

Of US East (N. Virginia); most regions differ by a few per cent. The lower prices above six billion GB-seconds a month,
memory of /tmp above 512 MB, and what stands around the functions are left out.
"""

from __future__ import annotations

from decimal import Decimal

from pys_multi_providers.aws.view import settings_of
from pys_multi_tools.cost import Meter, PriceList
from pys_multi_tools.deployment import Deployment

_GB_SECOND = {"x86_64": Decimal("0.0000166667"), "arm64": Decimal("0.0000133334")}
_MILLION_REQUESTS = Decimal("0.20")
_FREE_REQUESTS, _FREE_GB_SECONDS = Decimal(1_000_000), Decimal(400_000)


def price_list(deployment: Deployment) -> PriceList:
    """The prices for the processor that the settings name."""
    functions = deployment.service.functions
    architecture = settings_of(deployment).architecture
    return PriceList(
        as_of="2026-05",
        place="US East (N. Virginia)",
        source="https://aws.amazon.com/lambda/pricing/",
        step_ms=1,
        meters=(
            Meter(
                name="requests",
                usd=_MILLION_REQUESTS,
                per=1_000_000,
                free=_FREE_REQUESTS,
                by_call={function.name: Decimal(1) for function in functions},
            ),
            Meter(
                name=f"GB-seconds ({architecture})",
                usd=_GB_SECOND[architecture],
                free=_FREE_GB_SECONDS,
                by_second={function.name: Decimal(function.memory) / 1024 for function in functions},
            ),
        ),
    )
