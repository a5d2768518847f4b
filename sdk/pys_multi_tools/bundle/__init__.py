"""The artefact: small, the same bytes on every machine, and known to import before it is uploaded.

``build`` makes the artefacts of a service for a target, ``diff`` compares two, ``clean`` empties the cache.
``remember`` and ``recall`` find the bundle of an unchanged folder again without its settings being read.
The story is told in :mod:`pys_multi_tools.bundle.builder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pys_multi_tools.bundle.builder import build
from pys_multi_tools.bundle.cache import Cache, Cleaned
from pys_multi_tools.bundle.memory import recall, remember
from pys_multi_tools.bundle.values import Artefact, Bundle, Distribution, Module, Report

if TYPE_CHECKING:
    from pys_multi_tools.bundle.comparison import Difference, DistributionChange, FileChange

__all__ = [
    "Artefact",
    "Bundle",
    "Cleaned",
    "Difference",
    "Distribution",
    "DistributionChange",
    "FileChange",
    "Module",
    "Report",
    "build",
    "clean",
    "diff",
    "recall",
    "remember",
]


def clean(cache: Path | None = None) -> Cleaned:
    """Empties the cache, once no build is running."""
    return Cache(cache).clean()


def diff(before: Artefact | Path, after: Artefact | Path) -> Difference:
    """What changed from one artefact, or its zip or folder, to another. Raises BundleError for what is none."""
    from pys_multi_tools.bundle.comparison import compare

    return compare(before, after)
