"""What the runner of a workflow reads: its commands on stdout, and its files for outputs and the job summary.

While something else prints, commands are stopped: a line of user code, a branch's name or a cloud's error that looks
like one is a line, and nothing more.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TextIO

from pys_multi_tools.github.redaction import Redactor

Level = Literal["error", "warning", "notice"]

#: GitHub's limits: a step's summary is 1 MiB; of an annotation it shows the first 4 KiB.
SUMMARY_LIMIT = 1_000_000
_ANNOTATION_LIMIT = 4000


class Runner:
    """The log, the annotations, the outputs and the summary of one step."""

    def __init__(self, environment: Mapping[str, str], redact: Redactor, stream: TextIO | None = None) -> None:
        self._environment = environment
        self._redact = redact
        self._stream = stream or sys.stdout
        self._lock = threading.RLock()
        self._token = ""

    def redacted(self, text: str) -> str:
        """The text without secrets."""
        return self._redact(text)

    # ---- the log

    def line(self, text: str = "") -> None:
        """Print one line, whatever is in it."""
        with self._lock:
            self._stop()
            self._write(_one_line(self._redact(text)))

    def group(self, title: str) -> None:
        """Begin a part of the log that folds away."""
        self._command("group", {}, title)

    def end_group(self) -> None:
        """End the part that ``group`` began."""
        self._command("endgroup", {}, "")

    def annotate(self, level: Level, text: str, *, file: str = "", line: int = 0, title: str = "") -> None:
        """Show a message at a line of the source; file: relative to the repository."""
        properties = {"title": title, "file": file, "line": str(line) if line else ""}
        self._command(level, {key: value for key, value in properties.items() if value}, text[:_ANNOTATION_LIMIT])

    def mask(self, *values: str) -> None:
        """Keep values out of everything from now on, in the runner's own log too."""
        self._redact.add(*values)
        for value in values:
            for line in value.splitlines():
                if line.strip():
                    self._command("add-mask", {}, line, redacted=False)

    def matchers(self, file: Path) -> None:
        """Have the runner look for problems in the lines of the log."""
        self._command("add-matcher", {}, str(file))

    def resume(self) -> None:
        """Let the steps that come after use commands again."""
        with self._lock:
            self._resume()

    # ---- the files

    def output(self, name: str, value: str) -> None:
        """Set an output of the step."""
        self._append("GITHUB_OUTPUT", _heredoc(name, self._redact(value)))

    def summary(self, markdown: str) -> None:
        """Add to the summary of the job."""
        self._append("GITHUB_STEP_SUMMARY", cut(self._redact(markdown), SUMMARY_LIMIT) + "\n")

    def _append(self, variable: str, text: str) -> None:
        path = self._environment.get(variable)
        if path:
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)

    # ---- commands

    def _command(self, name: str, properties: Mapping[str, str], text: str, *, redacted: bool = True) -> None:
        redact = self._redact if redacted else str
        pairs = ",".join(f"{key}={_escape_property(redact(value))}" for key, value in properties.items())
        with self._lock:
            self._resume()
            self._write(f"::{name}{' ' if pairs else ''}{pairs}::{_escape(redact(text))}")

    def _stop(self) -> None:
        if not self._token:
            self._token = secrets.token_hex(16)
            self._write(f"::stop-commands::{self._token}")

    def _resume(self) -> None:
        if self._token:
            self._write(f"::{self._token}::")
            self._token = ""

    def _write(self, text: str) -> None:
        encoded = text.encode(self._stream.encoding or "utf-8", "backslashreplace")
        self._stream.write(encoded.decode(self._stream.encoding or "utf-8") + "\n")
        self._stream.flush()


def cut(text: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, ended at a line, with open HTML closed and the cut said."""
    if len(text.encode("utf-8", "replace")) <= limit:
        return text
    note = "\n\n… cut here: it is longer than GitHub shows.\n"
    closing = "\n</details>" * text.count("<details>")
    room = limit - len((note + closing).encode())
    kept = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore").rpartition("\n")[0]
    return kept + "\n</details>" * (kept.count("<details>") - kept.count("</details>")) + note


def one_stream() -> None:
    """Have stderr go the way of stdout, so that commands and what they hold off stay in order."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())


def _one_line(text: str) -> str:
    # The runner ends a line at \r too; other control characters move a terminal's cursor.
    return "".join(c if c.isprintable() or c == "\t" else " " for c in text)


def _escape(text: str) -> str:
    text = "".join(c if c.isprintable() or c in "\t\r\n" else " " for c in text)
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def _heredoc(name: str, value: str) -> str:
    mark = f"end-{secrets.token_hex(16)}"  # not to be guessed, so that no value can end it
    return f"{name}<<{mark}\n{value}\n{mark}\n"
