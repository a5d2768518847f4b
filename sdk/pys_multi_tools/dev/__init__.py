"""`pys-multi dev`: the service in the foreground, every trigger live, reloaded on edit.

    this process    binds the port once, watches the files, talks to the person
      └ nursery     has imported the server and nothing of the user; forks a worker per edit
          └ worker  imports the user's module and serves on the shared port

The port stays open across edits: a connection that arrives between two workers waits for the next one. An
edit that does not import is answered with its traceback until the next edit.
"""

from __future__ import annotations

from pys_multi_tools.dev.server import Dev, run

__all__ = ["Dev", "run"]
