"""How the tools and a running supervisor talk: JSON lines on a Unix socket that only its owner can open.

→ {"command": "status", …}
← {"progress": {…}}                 any number
← {"result": {…}} or {"error": {"what": …, "where": …, "hint": …, "detail": …}}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import ToolError

#: Longest line in bytes: an invocation carries its body in it.
LONGEST_LINE = 64 * 1024 * 1024

Say = Callable[[Progress], None]
Command = Callable[[dict[str, Any], Say], Awaitable[dict[str, Any]]]


def own_version() -> str:
    """What the tool and its supervisor must agree on."""
    return version("pys-multi")


class ControlServer:
    """Answers commands on the socket. busy: how many it is answering."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.busy = 0

    async def start(self) -> None:
        """Listens; once more where the path was removed."""
        # Whoever holds the lock of the stage owns the path: what is there was left by a predecessor.
        self._path.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()
        old = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._connected, self._path, limit=LONGEST_LINE)
        finally:
            os.umask(old)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.busy += 1
        try:
            line = await reader.readline()
            if line:
                answer = await self._answer(line, lambda progress: _write(writer, {"progress": _plain(progress)}))
                _write(writer, answer)
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the tool has gone, which ends nothing that it asked for
        finally:
            self.busy -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes, say: Say) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, KeyError, TypeError) as error:
            return {"error": {"what": f"the request is not understood: {error!r}"}}
        try:
            return {"result": await command(request, say)}
        except ToolError as error:
            return {
                "error": {"what": error.what, "where": error.where, "hint": error.hint, "detail": error.detail},
            }
        except Exception as error:
            import traceback

            what = f"the supervisor failed: {type(error).__name__}: {error}"
            return {"error": {"what": what, "detail": traceback.format_exc()}}


def _write(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(value).encode() + b"\n")


def _plain(progress: Progress) -> dict[str, Any]:
    return {"step": progress.step, "text": progress.text, "fraction": progress.fraction}
