"""What AWS alone knows to be wrong."""

from __future__ import annotations

from collections.abc import Iterator

from pys_multi_tools.deployment import Deployment, Problem


def problems(deployment: Deployment) -> Iterator[Problem]:
    yield from ()
