"""The process in the foreground: the port, the files, and the person."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pys_multi_tools import provider as providers
from pys_multi_tools.dev.nursery import Nursery
from pys_multi_tools.errors import ProviderError, ToolError

if TYPE_CHECKING:
    from pys_multi_tools.deployment import LogRecord
    from pys_multi_tools.project import Project

#: The provider that can run a service inside the dev process.
PROVIDER = "local"
#: Files whose change reloads the service, beside Python's.
_SUFFIXES = (".toml", ".env", ".html", ".j2", ".jinja", ".jinja2", ".yaml", ".yml")
_NOT_WATCHED = (".pys-multi",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dev:
    """Where the service answers, and where its state is kept."""

    url: str
    state: Path


def _say(line: str) -> None:
    # One write, so that lines of several processes do not run into each other.
    sys.stderr.write(line + "\n")


def run(
    project: Project,
    *,
    app: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    say: Callable[[str], None] = _say,
    log: Callable[[LogRecord], str] | None = None,
    on_start: Callable[[Dev], None] = lambda _: None,
) -> None:
    """Serves the project until interrupted.

    app: "module:attribute"; the one of the settings, or the only one there is, when None. port: 0 takes a free
    one. say: given each line for the person, from any of the processes. log: makes the line of a log record, which
    goes to stdout; None leaves it the JSON that is written where the service is deployed. Raises ToolError where it
    cannot start; a module that does not import is no such case: its traceback is shown and served until it is mended.
    """
    local = providers.load(PROVIDER)
    if not isinstance(local, providers.Embedded):
        raise ProviderError(f"provider {PROVIDER!r} cannot run a service in the foreground")
    listener = _listen(host, port)
    state = project.root / ".pys-multi" / "dev"
    state.mkdir(parents=True, exist_ok=True)
    (state.parent / ".gitignore").write_text("*\n")
    name = f"[{host}]" if ":" in host else host
    nursery = Nursery(project, app, local, listener, state, say, log)
    nursery.start()
    try:
        dev = Dev(url=f"http://{name}:{listener.getsockname()[1]}", state=state)
        say(f"{dev.url}  (Ctrl-C ends; queues, tables and buckets are kept in {os.path.relpath(state, project.root)})")
        on_start(dev)
        with _terminated_as_interrupt():
            for changed in _changes(project.root):
                say(f"reload: {', '.join(sorted(changed))} changed")
                nursery.replace()
    except KeyboardInterrupt:
        pass
    finally:
        nursery.stop()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ToolError(
            f"the port cannot be opened: {error.strerror or error}",
            where=f"{host}:{port}",
            hint="stop what uses it, or choose another: --port 0 takes a free one",
        ) from error
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def _changes(root: Path) -> Iterator[set[str]]:
    """Relative names of what an edit changed, edit by edit."""
    from watchfiles import PythonFilter, watch

    ignored = (*PythonFilter.ignore_dirs, *_NOT_WATCHED)

    class Sources(PythonFilter):
        ignore_dirs = ignored

    # Editors write a file in several steps within a few milliseconds; a person waits for the rest.
    for changes in watch(
        root, watch_filter=Sources(extra_extensions=_SUFFIXES), debounce=200, step=20, raise_interrupt=True
    ):
        yield {os.path.relpath(path, root) for _, path in changes}


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
