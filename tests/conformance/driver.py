"""What the conformance suite needs of a provider: deploy a project, call it, hand it events, read its logs.

A driver does this against the provider's real runtime. The suites know nothing else of the provider, and a
provider joins by adding a module to ``drivers/`` and a line to ``drivers/__init__.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from tests.conformance.tokens import JWKS

from pys_multi_tools.deployment import LogRecord

T = TypeVar("T")
Fields = Sequence[tuple[str, str]]

#: What a driver may say that it lacks; the tests that need it are skipped with the driver's reason.
CAPABILITIES = {
    "streaming": "a response arrives while it is produced",
    "wire": "there is a connection between caller and service",
    "timeouts": "a handler that runs past its function's timeout is ended",
    "isolation": "functions run in processes of their own",
    "logs": "log records can be read back",
    "stdout": "what a handler prints arrives in the log",
    "health": "every function answers the health path with its build id",
    "time": "waiting takes real time: delays and visibility can be seen",
    "ordered-queue": "messages of one group are delivered in order",
    "strangers": "somebody who may not call private routes can try",
    "presign": "presigned URLs can be called",
    "dead-letters": "dead letters can be read",
    "large-bodies": "bodies past the limit reach the service or its gateway",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from an HTTP call; header fields in order, repeated ones too."""

    status: int
    fields: Fields
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The only value of a field, None without it; a field that repeats is an error of the test."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} repeats: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return loads(self.body)

    def problem(self, status: int) -> Any:
        """The body of a refusal, after its status and shape were checked."""
        assert self.status == status, (self.status, self.body[:2000])
        assert self.header("content-type") == "application/problem+json"
        document = self.json()
        assert document["status"] == status
        assert document["title"]
        return document


class BrokenOff(Exception):
    """A response ended before its body did."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """A response whose body is still coming; its chunks raise BrokenOff where it does not come to its end."""

    status: int
    fields: Fields
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Ran:
    """How one event ended. error: empty when it was handled."""

    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every driver gives the service it deploys."""

    stage: str = "conformance"
    secrets: Mapping[str, str] = field(
        default_factory=lambda: {
            "PAYMENT_KEY": "canary-5f1d",
            "OPERATOR_KEY": "operate-8c2e",
            "TOKEN_KEY": "a shared secret of at least 32 bytes",
            "HOOK_KEY": "hook-77aa",
            "GITHUB_KEY": "hub-31b0",
        }
    )
    environment: Mapping[str, str] = field(default_factory=lambda: {"MOOD": "cheerful: grüße=1", "JWKS": JWKS})


class Driver(Protocol):
    """One provider, for one deployed service. Methods other than start and stop are called from many threads."""

    name: ClassVar[str]
    #: Capability → why this driver does not have it.
    lacks: ClassVar[Mapping[str, str]]
    #: Body size that the service or its gateway refuses.
    max_body: ClassVar[int]

    def start(self, project: Path, settings: Settings, folder: Path) -> None:
        """Deploys the project; folder is for the driver's own files."""

    def stop(self) -> None:
        """Removes all of it."""

    def request(self, method: str, target: str, fields: Fields = (), body: bytes = b"") -> Reply:
        """Calls the service as whoever deployed it. target: path and query string, as on the wire."""

    def stranger(self, method: str, target: str) -> Reply:
        """Calls the service as somebody who did not deploy it."""

    def stream(self, method: str, target: str, fields: Fields = ()) -> AbstractContextManager[Streamed]: ...

    def trigger(self, trigger: str, payload: bytes = b"") -> Ran:
        """Hands one event to a trigger, past its queue or schedule, and waits for the end."""

    def build_id(self, function: str) -> str:
        """What was deployed."""

    def health(self, function: str) -> Mapping[str, Any]:
        """What an instance of the function answers at its health path."""

    def logs(self) -> Iterable[LogRecord]:
        """Every record so far."""

    def dead_letters(self, trigger: str) -> list[bytes]:
        """Bodies of the messages that a trigger gave up."""

    def wait(self) -> None:
        """Lets a moment pass between two looks at something that is to happen."""


def eventually(driver: Driver, look: Callable[[], T | None], *, seconds: float = 20.0) -> T:
    """What ``look`` returns once it is neither None nor False nor empty. Fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing seen after {seconds:g} s; last look: {found!r}"
        driver.wait()
    return found
