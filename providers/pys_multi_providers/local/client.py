"""The tools' side: finds, starts, asks and stops the supervisor of a stage."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pys_multi_providers.local.control import own_version
from pys_multi_providers.local.state import State
from pys_multi_tools.deployment import Progress
from pys_multi_tools.errors import DeployError, ProviderError, ToolError

OnProgress = Callable[[Progress], None]

#: Seconds for a new supervisor to answer, and for one that runs to say how it is.
_START_SECONDS = 20.0
_READ_SECONDS = 5.0
_POLL = 0.02
#: What connecting raises where no supervisor listens: no socket, no folder for one, or a socket that was left behind.
_NOBODY = (FileNotFoundError, NotADirectoryError, ConnectionError)

#: What the supervisor sees of the environment that a deploy ran in. The values of secrets stand there, too, and what
#: a process was started with is open to each of its user's processes: instances would read what they were not granted.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ENVIRONMENT_PREFIXES = ("LC_", "PYTHON")


def _ignore(_: Progress) -> None:
    pass


class Client:
    """Asks the supervisor of one stage, which need not run."""

    def __init__(self, state: State) -> None:
        self._state = state

    def hello(self) -> dict[str, Any] | None:
        """Version, process id and URL of the running supervisor; None without one."""
        return self.read("hello")

    def read(self, command: str, **fields: Any) -> dict[str, Any] | None:
        """What the supervisor says about itself; None where none runs, or it just ends."""
        try:
            return self._ask({"command": command, **fields}, _ignore, _READ_SECONDS)
        except _NOBODY:
            return None
        except TimeoutError:
            raise ProviderError(
                "the supervisor runs and does not answer",
                where=str(self._state.root),
                hint=f"see {self._state.log}; end process {self._holder() or '?'} if it stays so, and deploy again",
            ) from None

    def ask(self, command: str, progress: OnProgress = _ignore, **fields: Any) -> dict[str, Any]:
        """The answer of the running supervisor. Raises DeployError for its refusal, or where it ends meanwhile."""
        try:
            return self._ask({"command": command, **fields}, progress, None)
        except _NOBODY as error:
            hint = f"see {self._state.log}, and deploy again"
            raise DeployError("the supervisor ended", where=str(self._state.root), hint=hint) from error

    def ensure(self, progress: OnProgress) -> None:
        """Makes a supervisor of this version run. Raises DeployError."""
        found = self._hello_of_holder()
        if found is not None and found["version"] == own_version():
            return
        if found is not None:
            progress(Progress(step="supervisor", text=f"replacing the one of version {found['version']}"))
            self.stop()
        progress(Progress(step="supervisor", text="starting"))
        self._start()

    def _hello_of_holder(self) -> dict[str, Any] | None:
        """As :meth:`hello`; waits for one that is there and does not listen: it starts, ends, or lost its socket."""
        deadline = time.monotonic() + _READ_SECONDS
        while (found := self.hello()) is None and self._holder() is not None and time.monotonic() < deadline:
            time.sleep(_POLL)
        return found

    def stop(self, *, grace: float = 30.0) -> bool:
        """Stops the supervisor, which finishes what it is doing first. False where none ran."""
        try:
            self._ask({"command": "stop", "grace": grace}, _ignore, _READ_SECONDS)
        except _NOBODY:
            holder = self._holder()
            if holder is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder, signal.SIGTERM)  # its socket was removed
        deadline = time.monotonic() + grace + 10.0
        while (holder := self._holder()) is not None:
            if time.monotonic() > deadline:
                hint = f"end process {holder} and try again"
                raise ProviderError("the supervisor does not stop", where=str(self._state.root), hint=hint)
            time.sleep(_POLL)
        return True

    def _start(self) -> None:
        log = self._state.log
        with contextlib.suppress(OSError):
            if log.stat().st_size > 1_000_000:
                log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            os.chmod(log, 0o600)
            start = output.tell()
            alive, end = os.pipe()
            try:
                # Its own session, so that neither the end of this command nor Ctrl-C in its terminal reaches it;
                # and a fork, so that whoever started it need not collect it when it ends.
                subprocess.run(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "pys_multi_providers.local.supervisor",
                        "--detach",
                        str(self._state.root),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                    pass_fds=(end,),
                    check=False,  # where it fails, its end of the pipe says so
                )
            finally:
                os.close(end)
        try:
            self._wait_started(alive, start)
        finally:
            os.close(alive)

    def _wait_started(self, alive: int, start: int) -> None:
        """Until it answers. alive: a pipe that only it holds the other end of, and so ends when it ends."""
        deadline = time.monotonic() + _START_SECONDS
        while self.hello() is None:
            ended = bool(select.select([alive], [], [], _POLL)[0])
            if ended or time.monotonic() > deadline:
                text = "ended at its start" if ended else f"does not answer after {_START_SECONDS:g} s"
                said = self._state.log.read_bytes()[start:].decode(errors="replace")
                raise DeployError(f"the supervisor {text}", where=str(self._state.log), detail=said[-4000:])

    def _holder(self) -> int | None:
        """The process id of whoever holds the lock of the stage."""
        try:
            with self._state.lock.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read() or b"0")
        except (OSError, ValueError):
            pass
        return None

    def _ask(self, request: dict[str, Any], progress: OnProgress, timeout: float | None) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self._state.socket))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                for line in answers:
                    answer = json.loads(line)
                    if "progress" in answer:
                        progress(Progress(**answer["progress"]))
                    elif "error" in answer:
                        raise _as_error(answer["error"])
                    else:
                        result: dict[str, Any] = answer["result"]
                        return result
        raise ConnectionResetError("no answer")


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }


def _as_error(error: dict[str, str]) -> ToolError:
    what = error.pop("what")
    return DeployError(what, **error)


@contextmanager
def exclusive(state: State, what: str) -> Iterator[None]:
    """Only one command changes a stage at a time. Raises ProviderError where another one does."""
    with (state.root / "deploy.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = f"wait until it has ended, and {what} again"
            raise ProviderError("another command is changing this stage", where=str(state.root), hint=hint) from None
        yield
