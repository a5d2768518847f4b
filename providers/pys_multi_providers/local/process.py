"""The process of an instance as the operating system sees it: how it is started, what it prints, what it uses."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Protocol, cast

#: Output of an instance, in bytes per quarter of a second, past which it waits for its own log.
_OUTPUT_RATE = 2 * 1024 * 1024


class Reader(Protocol):
    """Whoever wants to know what a process prints, and that it has ended."""

    def lines(self, lines: list[bytes]) -> None: ...

    def exited(self) -> None: ...


class Output(asyncio.SubprocessProtocol):
    """Cuts output into lines; a chatty instance waits for its log instead of keeping the supervisor busy."""

    _LONGEST_LINE = 64 * 1024

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rest: dict[int, bytes] = {1: b"", 2: b""}
        self._transport: asyncio.SubprocessTransport | None = None
        self._budget = _OUTPUT_RATE
        self._refill: asyncio.TimerHandle | None = None
        self._paused: set[int] = set()
        self._former: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        lines = (self._rest[fd] + data).split(b"\n")
        rest = lines.pop()
        if len(rest) > self._LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._rest[fd] = rest
        if lines:
            self._reader.lines(lines)
        self._budget -= len(data)
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(0.25, self._fill)
        if self._budget < 0 and fd not in self._paused:
            self._paused.add(fd)
            self._pipe(fd).pause_reading()

    def _fill(self) -> None:
        self._refill = None
        self._budget = _OUTPUT_RATE
        for fd, rest in self._rest.items():
            if rest and rest is self._former.get(fd):
                # Nobody goes on with this line: it is shown without its end.
                self._rest[fd] = b""
                self._reader.lines([rest])
        self._former = dict(self._rest)
        if any(self._rest.values()):
            self._refill = asyncio.get_running_loop().call_later(0.25, self._fill)
        for fd in self._paused:
            if not self._pipe(fd).is_closing():
                self._pipe(fd).resume_reading()
        self._paused.clear()

    def _pipe(self, fd: int) -> asyncio.ReadTransport:
        if self._transport is None:
            raise RuntimeError("output came before its process")
        return cast(asyncio.ReadTransport, self._transport.get_pipe_transport(fd))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        self._paused.discard(fd)
        if self._rest.get(fd):
            self._reader.lines([self._rest[fd]])
            self._rest[fd] = b""

    def process_exited(self) -> None:
        self._reader.exited()


def command(python: str, build: Path, descriptor: int) -> list[str]:
    # -I and -S: nothing of this machine's site-packages or environment gets in. -u: no line is lost in a crash.
    # -B: a build is never written to.
    start = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        "from pys_multi_providers.local.runtime import main; main(int(sys.argv.pop(1)))"
    )
    return [python, "-I", "-S", "-u", "-B", "-c", start, str(build), str(descriptor)]


def describe_exit(status: int | None) -> str:
    if status is None:
        return "ended"
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"exited with status {status}"


if sys.platform == "linux":
    _PAGE = os.sysconf("SC_PAGE_SIZE")

    def resident(pid: int) -> int | None:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * _PAGE
        except (OSError, IndexError):
            return None

else:

    def resident(pid: int) -> int | None:
        import subprocess

        result = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return int(result.stdout) * 1024 if result.stdout.strip().isdigit() else None
