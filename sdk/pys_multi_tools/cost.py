"""What a month costs: the calls that a service's profile tells of, at a provider's published prices.

It counts functions alone: how often they are called and how long their instances work. Queues, tables, gateways and
traffic are on nobody's list here. Every call is taken to last as long as the average one, and no two calls to share an
instance, so where instances handle several at a time the estimate is an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pys_multi_tools.settings import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One thing that is billed. usd: the price of ``per`` units; free: units a month that cost nothing.

    by_call, by_second: function → the units that one call of it is, and one second that is billed.
    """

    name: str
    usd: Decimal
    per: int = 1
    free: Decimal = Decimal(0)
    by_call: Mapping[str, Decimal] | None = None
    by_second: Mapping[str, Decimal] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices of a provider for one service. as_of: the month that they were read in; place: the regions that have
    them; source: where they are published.

    A call is billed in steps of ``step_ms`` and for ``minimum_ms`` at least. cold_starts: whether the time in which an
    instance starts is billed as well.
    """

    as_of: str
    place: str
    source: str
    step_ms: int
    meters: tuple[Meter, ...]
    minimum_ms: int = 0
    cold_starts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one meter comes to in a month: units used, those of them that are free, and US dollars for the rest."""

    meter: str
    used: float
    free: float
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """An estimate of one month in US dollars. functions: those that are counted; uncounted: those without a profile."""

    usd: float
    charges: tuple[Charge, ...]
    functions: tuple[str, ...]
    uncounted: tuple[str, ...]
    as_of: str
    place: str
    source: str


def estimate(prices: PriceList, functions: tuple[str, ...], profile: Mapping[str, Traffic]) -> Cost:
    """What the functions of a service cost in a month. profile: traffic by function; others' names are passed over."""
    counted = tuple(name for name in functions if name in profile)
    calls = {name: _exact(profile[name].calls) for name in counted}
    seconds = {name: _billed_seconds(prices, profile[name]) for name in counted}
    charges = []
    total = Decimal(0)
    for meter in prices.meters:
        used = Decimal(0)
        for name in counted:
            used += calls[name] * (meter.by_call or {}).get(name, Decimal(0))
            used += seconds[name] * (meter.by_second or {}).get(name, Decimal(0))
        free = min(used, meter.free)
        usd = (used - free) * meter.usd / meter.per
        total += usd
        charges.append(Charge(meter=meter.name, used=float(used), free=float(free), usd=float(usd)))
    return Cost(
        usd=float(total),
        charges=tuple(charges),
        functions=counted,
        uncounted=tuple(name for name in functions if name not in profile),
        as_of=prices.as_of,
        place=prices.place,
        source=prices.source,
    )


def _billed_seconds(prices: PriceList, traffic: Traffic) -> Decimal:
    duration, start = _exact(traffic.duration_ms), _exact(traffic.start_ms)
    cold = _exact(traffic.calls) * _exact(traffic.cold_share) if prices.cold_starts else Decimal(0)
    warm = _exact(traffic.calls) - cold
    return (warm * _billed_ms(prices, duration) + cold * _billed_ms(prices, duration + start)) / 1000


def _billed_ms(prices: PriceList, milliseconds: Decimal) -> Decimal:
    steps = (milliseconds / prices.step_ms).to_integral_value(ROUND_CEILING)
    return max(steps * prices.step_ms, Decimal(prices.minimum_ms))


def _exact(number: float) -> Decimal:
    return Decimal(str(number))  # 0.1 as it was written, not as a binary fraction
