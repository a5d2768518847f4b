"""A worker: the user's module imported once, and served until the next edit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pys_multi_tools import discover
from pys_multi_tools.errors import ToolError

if TYPE_CHECKING:
    from pys_multi_tools.deployment import LogRecord
    from pys_multi_tools.project import Project
    from pys_multi_tools.provider import Embedded

#: Seconds between two writes of the request log.
_WRITE_EVERY = 0.05
_PAGE = "The service does not start. It will be tried again when a file changes.\n\n"


def serve(
    project: Project,
    reference: str | None,
    provider: Embedded,
    listener: socket.socket,
    state: Path,
    say: Callable[[str], None],
    log: Callable[[LogRecord], str] | None = None,
) -> None:
    """Imports the App and serves it on the listener until SIGTERM; serves the error where it does not start."""
    started = time.perf_counter()
    os.environ.update(environment_of(project))
    say_now = _with_time(say)

    def ready() -> None:
        say_now(f"serving {app.name} ({(time.perf_counter() - started) * 1000:.0f} ms)")

    calls = _Calls(say)
    try:
        with discover.importable(project.root):
            found = reference or project.settings.app or discover.find_app(project.root)
            app = discover.import_app(found, project.root)
            os.environ.update({k: v for f in app.functions.values() for k, v in f.environment.items()})
            if log is not None:
                _log_as(log)
            provider.serve(app, project, listener, state=state, on_call=calls.add, on_ready=ready)
            calls.flush()
    except ToolError as error:
        _serve_error(str(error), listener, say)
    except Exception:
        import traceback

        _serve_error(traceback.format_exc(), listener, say)


class _Calls:
    """One line per call, written together a few times a second: a write per request would cost a tenth of them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lines: list[str] = []
        self._second = 0
        self._clock = ""

    def add(self, function: str, what: str, status: int, seconds: float) -> None:
        """Called on the event loop that serves."""
        now = int(time.time())
        if now != self._second:
            self._second, self._clock = now, time.strftime("%H:%M:%S", time.localtime(now))
        if not self._lines:
            asyncio.get_running_loop().call_later(_WRITE_EVERY, self.flush)
        self._lines.append(f"{self._clock} {status} {what}  {seconds * 1000:.1f} ms  {function}")

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._say("\n".join(lines))


def _log_as(text_of: Callable[[LogRecord], str]) -> None:
    """Has the records that would be JSON written as text. Where the service set logging up itself, that stays."""
    import json
    import logging

    from pys_multi import logs
    from pys_multi_tools.deployment import LogRecord

    class Formatter(logs.JsonFormatter):
        def format(self, record: logging.LogRecord) -> str:
            fields = json.loads(super().format(record))  # with its context, and without the values of secrets
            known = {name: str(fields.pop(name, "")) for name in ("level", "function", "message", "request_id")}
            return text_of(LogRecord(time=fields.pop("time"), fields=fields, **known))

    logs.configure()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logs.StdoutHandler):
            handler.setFormatter(Formatter())


def environment_of(project: Project) -> Mapping[str, str]:
    """Variables for the service: those of ``.env``, which is read in development only, then those of the settings."""
    from dotenv import dotenv_values

    values = {k: v for k, v in dotenv_values(project.root / ".env").items() if v is not None}
    return {**values, **project.settings.environment, "PYS_MULTI_STAGE": project.stage}


def _with_time(say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: say(f"{time.strftime('%H:%M:%S')} {line}")


def _serve_error(text: str, listener: socket.socket, say: Callable[[str], None]) -> None:
    """Answers every request with what went wrong."""
    import uvicorn

    say(text.rstrip())
    page = (_PAGE + text).encode()

    async def show(scope: Mapping[str, object], _: Callable[[], object], send: Callable[..., object]) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(page)).encode())]
            await send({"type": "http.response.start", "status": 500, "headers": headers})  # type: ignore[misc]
            await send({"type": "http.response.body", "body": page})  # type: ignore[misc]

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    config = uvicorn.Config(show, lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
