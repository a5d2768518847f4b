"""Tokens of the app's identity, from the endpoint that the platform gives every instance.

``GET $IDENTITY_ENDPOINT?resource=…&api-version=2019-08-01&client_id=…`` with ``X-IDENTITY-HEADER`` ("REST endpoint
reference" of managed identities for App Service and Azure Functions, 2026-11). client_id is of the user-assigned
identity, from ``AZURE_CLIENT_ID``.
"""

from __future__ import annotations

from os import environ
from threading import Lock
from time import time

from pys_multi.errors import ResourceError
from pys_multi.rest import Connections
from pys_multi_providers.azure.calls import Refused, sent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Whom a token is for, by the service that takes it; the same in all clouds of Azure.
STORAGE, SERVICE_BUS = "https://storage.azure.com/", "https://servicebus.azure.net/"
#: Seconds before its end at which a token is replaced.
_EARLY = 300.0


class Tokens:
    """Tokens by audience, each kept until it is nearly over; thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = Lock()
        self._found: dict[str, tuple[str, float]] = {}

    def get(self, audience: str) -> str:
        """A token for an audience. Raises ResourceError."""
        kept = self._found.get(audience)
        if kept is not None and kept[1] - _EARLY > time():
            return kept[0]
        with self._lock:
            kept = self._found.get(audience)
            if kept is None or kept[1] - _EARLY <= time():
                try:
                    kept = self._found[audience] = self._ask(audience)
                except ResourceError:
                    if kept is None or kept[1] <= time():
                        raise  # otherwise the one that there is still holds
        return kept[0]

    def _ask(self, audience: str) -> tuple[str, float]:
        from json import loads
        from urllib.parse import urlencode

        endpoint, key = environ.get("IDENTITY_ENDPOINT"), environ.get("IDENTITY_HEADER")
        if not endpoint or not key:
            raise ResourceError(
                "this process has no identity of Azure: IDENTITY_ENDPOINT and IDENTITY_HEADER are not set, which a "
                "function app with an identity has"
            )
        asked = {"resource": audience, "api-version": "2019-08-01"}
        if client := environ.get("AZURE_CLIENT_ID"):
            asked["client_id"] = client
        answer = sent(
            self._connections,
            "the token of the function's identity",
            "GET",
            f"{endpoint}?{urlencode(asked)}",
            {"X-IDENTITY-HEADER": key},
        )
        try:
            found: Any = loads(answer.body)
            return str(found["access_token"]), float(found["expires_on"])
        except (ValueError, KeyError, TypeError) as error:
            raise Refused("the token of the function's identity: the platform's answer has none") from error
