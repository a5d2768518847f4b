"""Who this function is to Google's APIs: the access token and e-mail of its service account, from the metadata server.

"View and query VM metadata" and "Container runtime contract" of Google's documentation, as of 2026-11.
"""

from __future__ import annotations

from os import environ
from threading import Lock
from time import time

from pys_multi.errors import ResourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds before its end at which a token is replaced: the metadata server has a new one 5 minutes before.
_EARLY = 240.0
_TIMEOUT = 5.0


class Identity:
    """The service account of this function; thread-safe."""

    __slots__ = ("_email", "_lock", "_token", "_until")

    def __init__(self) -> None:
        self._lock = Lock()
        self._token = ""
        self._until = 0.0
        self._email = ""

    def token(self) -> str:
        """An access token, kept until shortly before it ends. Raises ResourceError."""
        if time() < self._until:
            return self._token
        with self._lock:
            if time() >= self._until:
                from pys_multi.encoding import parse_json

                found: dict[str, Any] = parse_json(_metadata("token"))
                self._token = found["access_token"]
                self._until = time() + max(float(found["expires_in"]) - _EARLY, 0.0)
            return self._token

    def forget(self) -> None:
        """Asks for a new token next time: an API did not take the one there is."""
        self._until = 0.0

    def email(self) -> str:
        """The e-mail of the service account. Raises ResourceError."""
        if not self._email:
            self._email = _metadata("email").strip()
        return self._email


def _metadata(name: str) -> str:
    """A value of the metadata server, about the service account that this function runs as."""
    from http.client import HTTPConnection, HTTPException

    host = environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    connection = HTTPConnection(host, timeout=_TIMEOUT)
    try:
        connection.request(
            "GET",
            f"/computeMetadata/v1/instance/service-accounts/default/{name}",
            headers={"metadata-flavor": "Google"},
        )
        response = connection.getresponse()
        text = response.read().decode()
        if response.status == 200:
            return text
        why = f"it answered {response.status}"
    except (OSError, HTTPException, ValueError) as error:
        why = str(error)
    finally:
        connection.close()
    raise ResourceError(
        f"the metadata server at {host} does not say who this function is ({why}). Outside of Google Cloud there is "
        "none: set the variables of emulators, such as PUBSUB_EMULATOR_HOST, or use the local provider"
    )
