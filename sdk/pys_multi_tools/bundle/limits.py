"""What an artefact may weigh and how long it may take to import: refused here, before any upload."""

from __future__ import annotations

from collections.abc import Sequence

from pys_multi_tools.bundle.preflight import Outcome
from pys_multi_tools.bundle.values import MB, Distribution, Options
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target


def check_unpacked(size: int, distributions: Sequence[Distribution], target: Target) -> None:
    """Refuses what the platform does not take unpacked."""
    limit = target.max_unzipped_bytes
    if limit is not None and size > limit:
        by_size = sorted(distributions, key=lambda one: -one.bytes)
        raise BundleError(
            f"the artefact is {size / MB:.1f} MB unpacked; {target.provider} takes {limit / MB:.1f} MB",
            hint=_culprits([(one.name, one.bytes) for one in by_size]),
        )


def check_zip(size: int, distributions: Sequence[Distribution], target: Target, options: Options) -> None:
    """Refuses a zip that the platform does not take, or the project does not want."""
    hint = _culprits([(one.name, one.packed) for one in distributions])
    limit = target.max_zip_bytes
    if limit is not None and size > limit:
        raise BundleError(f"the zip is {size / MB:.1f} MB; {target.provider} takes {limit / MB:.1f} MB", hint=hint)
    if options.max_mb is not None and size > options.max_mb * MB:
        raise BundleError(f"the zip is {size / MB:.2f} MB; bundle.max_mb allows {options.max_mb:g} MB", hint=hint)


def check_import(outcome: Outcome, app: str, options: Options) -> None:
    """Refuses a service that imports more slowly than the project wants."""
    limit = options.max_import_ms
    if limit is not None and outcome.milliseconds is not None and outcome.milliseconds > limit:
        by_time = sorted(outcome.modules, key=lambda row: -row[1])
        slowest = ", ".join(f"{name} {own:.0f} ms" for name, own, _ in by_time[:5])
        raise BundleError(
            f"importing {app} takes {outcome.milliseconds:.0f} ms; bundle.max_import_ms allows {limit:g} ms",
            hint=f"import what is rarely needed inside the handler. Slowest alone: {slowest}",
        )


def _culprits(sizes: Sequence[tuple[str, int]]) -> str:
    largest = ", ".join(f"{name} {size / MB:.1f} MB" for name, size in sizes[:5])
    return f"leave out what is not needed, or split functions by their dependencies. Largest: {largest}"
