"""What Azure alone knows to be wrong: found before anything is uploaded, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from pys_multi_tools.deployment import Deployment, Problem


def problems(deployment: Deployment) -> Iterator[Problem]:
    """Everything that Azure would refuse, or do otherwise than the service says."""
    yield from ()


def fits(text: str) -> Iterator[Problem]:
    """What is wrong with a template as a whole. text: as it is rendered."""
    yield from ()
