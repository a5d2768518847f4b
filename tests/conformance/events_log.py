"""What the service's event handlers noted, read back over HTTP."""

from __future__ import annotations

from typing import Any

from tests.conformance.driver import Driver, eventually


class Seen:
    """The notes of one test, oldest first."""

    def __init__(self, driver: Driver, key: str) -> None:
        self.driver = driver
        self.key = key

    def notes(self, handler: str | None = None) -> list[dict[str, Any]]:
        reply = self.driver.request("GET", f"/notes/{self.key}")
        assert reply.status == 200, reply
        return [note for note in reply.json() if handler in (None, note["handler"])]

    def wait(self, handler: str, count: int = 1) -> list[dict[str, Any]]:
        """The notes of a handler once there are so many."""

        def enough() -> list[dict[str, Any]] | None:
            notes = self.notes(handler)
            return notes if len(notes) >= count else None

        return eventually(self.driver, enough)

    def one(self, handler: str) -> dict[str, Any]:
        [note] = self.wait(handler)
        return note
