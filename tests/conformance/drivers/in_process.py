"""The service in the process of the test, through the client that its users test with.

Not a provider: it shows that what the test client does is what a deployed service does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from json import loads
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from tests.conformance.driver import Fields, Ran, Reply, Settings, Streamed

from pys_multi.http import MAX_BODY_BYTES
from pys_multi_tools.deployment import LogRecord
from pys_multi_tools.discover import import_app, importable
from pys_multi_tools.errors import ToolError
from pys_multi_tools.testing import Client

ONE_PROCESS = "everything runs in the process of the test"


class InProcessDriver:
    name: ClassVar[str] = "in-process"
    lacks: ClassVar[Mapping[str, str]] = {
        "wire": ONE_PROCESS,
        "timeouts": "nobody ends a handler",
        "isolation": ONE_PROCESS,
        "logs": "pytest has the records",
        "stdout": "pytest has the output",
        "health": "one runtime answers for all functions",
        "time": "the client's clock jumps to what is due",
        "strangers": "whoever is in this process is no stranger",
        "presign": "there is no server behind the URLs",
    }
    max_body: ClassVar[int] = MAX_BODY_BYTES

    def start(self, project: Path, settings: Settings, folder: Path) -> None:
        self._one_at_a_time = Lock()
        self._open = ExitStack()
        environment = {**settings.environment, "GREETING": "hello from the function"}
        self._open.enter_context(importable(project, environment))
        app = import_app("probe.app:app", project)
        self._client = self._open.enter_context(Client(app, secrets=settings.secrets, stage=settings.stage))

    def stop(self) -> None:
        self._open.close()

    def request(self, method: str, target: str, fields: Fields = (), body: bytes = b"") -> Reply:
        reply = self._client.request(method, target, headers=fields, body=body)
        return Reply(reply.status, reply.headers.items(), reply.body)

    def stranger(self, method: str, target: str) -> Reply:
        raise AssertionError("not asked for: the driver lacks it")

    @contextmanager
    def stream(self, method: str, target: str, fields: Fields = ()) -> Iterator[Streamed]:
        reply = self._client.request(method, target, headers=fields)
        yield Streamed(reply.status, reply.headers.items(), reply.chunks())

    def trigger(self, trigger: str, payload: bytes = b"") -> Ran:
        try:
            self._client.trigger(trigger, payload)
        except ToolError:
            raise
        except Exception as error:
            return Ran(f"{type(error).__name__}: {error}")
        return Ran()

    def build_id(self, function: str) -> str:
        return "test"

    def health(self, function: str) -> Mapping[str, Any]:
        found: dict[str, Any] = loads(self.request("GET", "/.pys-multi/health").body)
        return found

    def logs(self) -> Iterable[LogRecord]:
        return ()

    def dead_letters(self, trigger: str) -> list[bytes]:
        return [message.body for message in self._client.dead_letters(trigger)]

    def wait(self) -> None:
        with self._one_at_a_time:
            if not self._client.run_pending():
                time.sleep(0.01)
