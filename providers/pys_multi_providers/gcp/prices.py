"""What functions on Cloud Run cost: https://cloud.google.com/run/pricing, read in 2026-05.

Of the regions in tier 1, with request-based billing: an instance is paid while it starts and while it handles calls.
Instances that are kept while nobody calls, builds, and what stands around the functions are left out.
"""

from __future__ import annotations

from decimal import Decimal

from pys_multi_providers.gcp.sizing import cpu_of
from pys_multi_tools.cost import Meter, PriceList
from pys_multi_tools.deployment import Deployment

_VCPU_SECOND, _GIB_SECOND, _MILLION_REQUESTS = Decimal("0.000024"), Decimal("0.0000025"), Decimal("0.40")
_FREE_VCPU_SECONDS, _FREE_GIB_SECONDS, _FREE_REQUESTS = Decimal(180_000), Decimal(360_000), Decimal(2_000_000)
#: Milliseconds that time is rounded up to.
_STEP = 100


def price_list(deployment: Deployment) -> PriceList:
    """The prices, and the processors and memory of each function."""
    functions = deployment.service.functions
    return PriceList(
        as_of="2026-05",
        place="tier 1 regions",
        source="https://cloud.google.com/run/pricing",
        step_ms=_STEP,
        meters=(
            Meter(
                name="requests",
                usd=_MILLION_REQUESTS,
                per=1_000_000,
                free=_FREE_REQUESTS,
                by_call={function.name: Decimal(1) for function in functions},
            ),
            Meter(
                name="vCPU-seconds",
                usd=_VCPU_SECOND,
                free=_FREE_VCPU_SECONDS,
                by_second={function.name: Decimal(str(cpu_of(function))) for function in functions},
            ),
            Meter(
                name="GiB-seconds",
                usd=_GIB_SECOND,
                free=_FREE_GIB_SECONDS,
                by_second={function.name: Decimal(function.memory) / 1024 for function in functions},
            ),
        ),
    )
