"""What the deployer of one service at one stage must be allowed to do, and who may become the deployer."""

from __future__ import annotations

from typing import Any

from pys_multi_tools.deployment import Deployment

Json = dict[str, Any]


def deployer_role(deployment: Deployment, *, subscription: str | None = None) -> Json:
    """The least role that deploying needs, as a definition of a custom role."""
    return {}


def github_trust(repository: str, environment: str, *, cloud: str = "public") -> Json:
    """The federated credential by which workflows of one GitHub repository sign in from one environment."""
    return {}
