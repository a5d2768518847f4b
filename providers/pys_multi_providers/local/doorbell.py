"""Tells the supervisor at once that another process put work into the store: a FIFO, rung after a commit.

It carries no message. A ring that is lost, for nobody listened or the sender died before it rang, costs
time and no data: the pump also looks by itself.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def ring(path: str) -> None:
    """Wakes the listener, if there is one. Never fails and never waits."""
    # Opened for each ring, which takes some microseconds: a descriptor that threads share could be closed by
    # one, come back as a file of the user's, and be written to by another.
    try:
        bell = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return  # nobody listens
    try:
        os.write(bell, b"!")
    except OSError:
        pass  # It is full, so it has been rung already; or the listener left just now.
    finally:
        os.close(bell)


def listen(path: Path) -> int:
    """A descriptor that is readable after a ring; its owner closes it. Raises OSError."""
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        if not stat.S_ISFIFO(path.stat().st_mode):
            path.unlink()
            os.mkfifo(path, 0o600)
    # Open for writing too: without a writer a FIFO is always readable, at its end. Linux and macOS allow it.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)
