"""pys-multi as processes of its own: one for each step and cloud, with a document as the answer and a log as it goes.

A process gets the environment that its step needs: the clouds' credentials only where the cloud is asked, and never
the token of GitHub nor what OIDC tokens are asked for with.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pys_multi_tools.github.runner import Runner

_OWN = re.compile(r"INPUT_.*|ACTIONS_.*|GITHUB_TOKEN|GH_TOKEN|GITHUB_(?:OUTPUT|ENV|PATH|STATE|STEP_SUMMARY)")
_MESSAGE = re.compile(r"error: (.*)")


class Cancelled(Exception):
    """The run was cancelled, and the processes that ran have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a process ended. document: the JSON it printed, empty for none; error: its message."""

    code: int
    document: Mapping[str, Any]
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0


class Lane:
    """The log of one process: its title, what waits to be shown, and whether more may come."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[str] = []
        self.open = True


class Lanes:
    """Several logs at a time, each in a group of its own; the oldest one that is not ended is shown live."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._shown: list[Lane] = []  # the first one is live

    def open(self, title: str) -> Lane:
        with self._lock:
            lane = Lane(title)
            self._shown.append(lane)
            if len(self._shown) == 1:
                self._runner.group(title)
            return lane

    def line(self, lane: Lane, text: str) -> None:
        with self._lock:
            if lane is self._shown[0]:
                self._runner.line(text)
            else:
                lane.lines.append(text)

    def close(self, lane: Lane) -> None:
        with self._lock:
            lane.open = False
            while self._shown and not self._shown[0].open:
                self._runner.end_group()
                self._shown.pop(0)
                if self._shown:
                    self._runner.group(self._shown[0].title)
                    for line in self._shown[0].lines:
                        self._runner.line(line)


class Tool:
    """Runs commands of pys-multi on one project.

    environment: of the step; credentials: variables for processes that act on a cloud.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], runner: Runner) -> None:
        self.folder = folder
        self.credentials: dict[str, str] = {}
        self._environment = {key: value for key, value in environment.items() if not _OWN.fullmatch(key)}
        self._environment["NO_COLOR"] = self._environment["CI"] = "1"
        self._lanes = Lanes(runner)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._cancelled = 0

    @contextlib.contextmanager
    def cancelling(self) -> Iterator[None]:
        """Hand the runner's signal to cancel on to what runs, which leaves nothing locked, and begin nothing more."""

        def on_signal(number: int, _: FrameType | None) -> None:
            self._cancelled = number
            for process in list(self._running):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)

        former = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def run(
        self,
        command: Sequence[str],
        *,
        title: str,
        folder: Path | None = None,
        stage: str = "",
        clouds: Sequence[str] = (),
        acts: bool = False,
        answers: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run one command and wait for it. acts: whether it talks to a cloud; answers: whether it knows --json.

        Raises Cancelled once the run was cancelled.
        """
        arguments = [*command, f"--directory={folder or self.folder}", *(["--json"] if answers else [])]
        if stage:
            arguments.append(f"--stage={stage}")
        arguments += [f"--cloud={cloud}" for cloud in clouds]
        variables = {**self._environment, **(self.credentials if acts else {}), **(environment or {})}
        lane = self._lanes.open(title)
        try:
            return self._waited(self._started(arguments, variables), lane)
        finally:
            self._lanes.close(lane)

    def _started(self, arguments: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._signal():
                raise Cancelled
            process = subprocess.Popen(
                [sys.executable, "-m", "pys_multi_tools.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(variables),
                # The runner's signal comes once, through ``cancelling``: a second one would break off the clean end.
                start_new_session=True,
            )
            self._running.add(process)
        if number := self._signal():  # it came while the process began
            process.send_signal(number)
        return process

    def _signal(self) -> int:
        return self._cancelled

    def _waited(self, process: subprocess.Popen[bytes], lane: Lane) -> Result:
        answer: list[bytes] = []
        lines: list[str] = []
        with process:  # closes its pipes
            reader = threading.Thread(target=lambda: answer.append(process.stdout.read() if process.stdout else b""))
            reader.start()
            for raw in process.stderr or ():
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                lines.append(line)
                self._lanes.line(lane, line)
            reader.join()
        code = process.returncode
        with self._lock:
            self._running.discard(process)
        if self._cancelled:
            raise Cancelled
        return Result(code=code, document=_document(answer[0]), error=_error(lines) if code else "")


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(lines: Sequence[str]) -> str:
    """The last message of a log, with its hint and detail."""
    for at in range(len(lines) - 1, -1, -1):
        if match := _MESSAGE.fullmatch(lines[at]):
            return "\n".join([match[1], *lines[at + 1 :]]).strip()
    return lines[-1] if lines else "it failed without a word"
