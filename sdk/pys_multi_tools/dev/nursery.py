"""The nursery: a process that has everything imported but the user's code, and forks a worker per edit.

It exists because forking is only safe from a process without threads, and the file watcher has some; and
because a fork is ready in milliseconds, where a fresh interpreter imports the server first.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pys_multi_tools.dev.worker import serve

if TYPE_CHECKING:
    from pys_multi_tools.deployment import LogRecord
    from pys_multi_tools.project import Project
    from pys_multi_tools.provider import Embedded

_REPLACE = b"r"


class Nursery:
    """Starts with one worker; ``replace`` forks the next one and lets the former finish what it runs."""

    def __init__(
        self,
        project: Project,
        app: str | None,
        provider: Embedded,
        listener: socket.socket,
        state: Path,
        say: Callable[[str], None],
        log: Callable[[LogRecord], str] | None,
    ) -> None:
        self._work = (project, app, provider, listener, state, say, log)
        self._pid = 0
        self._commands = -1

    def start(self) -> None:
        """Forks the nursery. To be called before this process has any thread."""
        commands, self._commands = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                os.close(self._commands)
                _tend(commands, self._work)
                status = 0
            finally:
                os._exit(status)
        os.close(commands)

    def replace(self) -> None:
        """Starts a worker with the files as they are now."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._commands, _REPLACE)

    def stop(self) -> None:
        """Ends the worker, which finishes what it runs, and the nursery."""
        os.close(self._commands)  # end of file tells it
        while True:
            try:
                os.waitpid(self._pid, 0)
                return
            except KeyboardInterrupt:  # a second Ctrl-C does not wait
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)


def _tend(commands: int, work: tuple[Any, ...]) -> None:
    # Ctrl-C in a terminal reaches every process of the group; only the foreground decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    provider: Embedded = work[2]
    provider.warm()
    workers = [_fork(commands, work)]
    # Cached bytecode is told apart from a file by its second and its size alone: two edits within a second could be
    # taken for one. The first worker has cached what is slow to compile.
    sys.dont_write_bytecode = True
    while True:
        readable, _, _ = select.select([commands], [], [], 0.5)
        workers = [pid for pid in workers if not _ended(pid)]
        if not readable:
            continue
        read = os.read(commands, 64)
        for pid in workers:
            _signal(pid, signal.SIGTERM)
        if not read:
            break
        workers.append(_fork(commands, work))
    for pid in workers:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _fork(commands: int, work: tuple[Any, ...]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(commands)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(*work)
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return pid


def _ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
