"""The end of a handler's time: an exception in the thread that runs it.

Azure itself knows one time for all functions of an app, and ends the worker with everything in it. Threads cannot be
ended from outside, but an exception can be raised in one, which arrives between two steps of its Python code; what
waits in one long call into the system is left to Azure.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from threading import Event, Thread
from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
    V = TypeVar("V")


class TimeIsUp(BaseException):
    """The function's time is over. No Exception, so that no handler takes it for one of its own."""


class Deadlines:
    """Runs calls in the calling thread, until their time is up; for many threads at once."""

    def __init__(self) -> None:
        # A plain lock: one made of Python code could be left locked by the exception that arrives in it.
        self._lock = allocate_lock()
        #: Thread → when its call must end.
        self._until: dict[int, float] = {}
        #: The shortest time that a call had. The watcher looks at least as often, so that only a call with a shorter
        #: one has to wake it: waking it for every call would cost more than most calls do.
        self._shortest = 3600.0
        self._looks_at = 0.0
        self._wake = Event()
        self._watches = False

    def run(self, call: Callable[[V], T], value: V, deadline: float) -> T:
        """What the call returns for the value. deadline: seconds since the epoch. Raises TimeIsUp, and what the call
        raises."""
        thread = get_ident()
        with self._lock:
            self._until[thread] = deadline
            starts, self._watches = not self._watches, True
        if deadline < self._looks_at or starts:
            self._hurry(deadline, starts=starts)
        try:
            return call(value)
        finally:
            with self._lock:
                is_over = self._until.pop(thread, None) is None
            if is_over:  # what was raised must not reach whatever this thread does next
                _raise_in(thread, None)

    def _hurry(self, deadline: float, *, starts: bool) -> None:
        with self._lock:
            self._shortest = min(self._shortest, max(deadline - time(), 0.001))
        if starts:
            Thread(target=self._watch, name="pys-multi-deadlines", daemon=True).start()
        else:
            self._wake.set()

    def _watch(self) -> None:
        while True:
            with self._lock:
                now = time()
                for thread in [thread for thread, until in self._until.items() if until <= now]:
                    del self._until[thread]
                    _raise_in(thread, TimeIsUp)
                self._looks_at = (
                    min(*self._until.values(), now + self._shortest) if self._until else now + self._shortest
                )
            self._wake.wait(max(self._looks_at - time(), 0.001))
            self._wake.clear()


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raises an exception in a thread; None takes back one that has not arrived."""
    from ctypes import c_ulong, py_object, pythonapi

    pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread), py_object(error) if error is not None else None)
