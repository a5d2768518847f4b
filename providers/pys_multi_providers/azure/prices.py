"""What Flex Consumption costs: https://azure.microsoft.com/pricing/details/functions/, read in 2026-05.

On demand, in East US. A call is paid with the memory of the whole instance, for a second at least and then in steps of
a tenth; the start of an instance is not. Always-ready instances, and what stands around the functions, are left out.
"""

from __future__ import annotations

from decimal import Decimal

from pys_multi_providers.azure.view import memory_of
from pys_multi_tools.cost import Meter, PriceList
from pys_multi_tools.deployment import Deployment

_GB_SECOND, _MILLION_EXECUTIONS = Decimal("0.000026"), Decimal("0.40")
_FREE_GB_SECONDS, _FREE_EXECUTIONS = Decimal(100_000), Decimal(250_000)
#: Milliseconds that time is rounded up to, and that a call is paid for at least.
_STEP, _MINIMUM = 100, 1000
#: Megabytes of an instance that make a gigabyte of the bill.
_GB = 1024


def price_list(deployment: Deployment) -> PriceList:
    """The prices, and the size of each function's instances."""
    functions = deployment.service.functions
    return PriceList(
        as_of="2026-05",
        place="East US",
        source="https://azure.microsoft.com/pricing/details/functions/",
        step_ms=_STEP,
        minimum_ms=_MINIMUM,
        cold_starts=False,
        meters=(
            Meter(
                name="executions",
                usd=_MILLION_EXECUTIONS,
                per=1_000_000,
                free=_FREE_EXECUTIONS,
                by_call={function.name: Decimal(1) for function in functions},
            ),
            Meter(
                name="GB-seconds",
                usd=_GB_SECOND,
                free=_FREE_GB_SECONDS,
                by_second={function.name: Decimal(memory_of(function)) / _GB for function in functions},
            ),
        ),
    )
