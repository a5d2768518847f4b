"""A handler's turn: as many at once as the function says, and each no longer than it says.

Cloud Run ends a request at its timeout and leaves the handler running; here the caller gets 504 before. Where requests
are handled in the main thread, one at a time, a signal ends a handler; elsewhere a watcher raises an exception in its
thread, which takes effect as soon as that executes Python code again.
"""

from __future__ import annotations

# The module around it brings enum, which is slow to import where nobody has imported it yet.
import _signal  # type: ignore[import-not-found]  # typeshed has only that one
from _thread import allocate_lock, get_ident, start_new_thread
from time import sleep, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import BoundedSemaphore
    from typing import TypeVar

    from pys_multi.messages import Context

    A = TypeVar("A")
    T = TypeVar("T")

#: Seconds between two looks of the watcher.
_LOOK = 0.25


class TimeIsUp(BaseException):
    """The function's time is nearly over. No Exception, so that no handler takes it for one of its own."""


class Turns:
    """Turns of one function's handlers; thread-safe.

    timeout: seconds of a turn. slots: how many at once, None for as many as come.
    """

    def __init__(self, timeout: float, slots: int | None) -> None:
        self._timeout = timeout
        # What is left after it is for the answer.
        self._patience = timeout - (timeout * 0.05 if timeout < 10 else 0.5)
        self._slots: BoundedSemaphore | None = None
        if slots is not None:
            from threading import BoundedSemaphore

            self._slots = BoundedSemaphore(slots)
        self._lock = allocate_lock()
        #: Thread → when its turn ends; None once it was told.
        self._until: dict[int, float | None] = {}
        self._watches = False
        #: The end of the main thread's turn, 0 between turns; and whether an alarm is on its way to it.
        self._main_until = 0.0
        self._armed = True
        self._main = 0

    def take_signals(self) -> None:
        """Called in the main thread of the process that serves. Another's use of SIGALRM is left alone."""
        try:
            if _signal.getsignal(_signal.SIGALRM) == _signal.SIG_DFL:
                _signal.signal(_signal.SIGALRM, self._on_alarm)
                self._armed = False
                self._main = get_ident()
        except (AttributeError, ValueError):  # not on this system; not the main thread
            return

    def run(self, context: Context, function: Callable[[A], T], argument: A) -> T:
        """What the function returns, once it is its turn: then its time begins, as the context says.

        Raises TimeIsUp where it has not returned when the turn ends.
        """
        if self._slots is None:
            return self._run(context, function, argument)
        with self._slots:
            return self._run(context, function, argument)

    def _run(self, context: Context, function: Callable[[A], T], argument: A) -> T:
        now = time()
        context.deadline = now + self._timeout
        ident = get_ident()
        if ident == self._main:
            self._main_until = now + self._patience
            if not self._armed:
                self._arm()
            try:
                return function(argument)
            finally:
                self._main_until = 0.0
        with self._lock:
            self._until[ident] = now + self._patience
            if not self._watches:
                self._watches = True
                start_new_thread(self._watch, ())
        try:
            return function(argument)
        finally:
            with self._lock:
                told = self._until.pop(ident, now) is None
            if told:
                _raise_in(ident, None)  # where it has not arrived yet, it must not arrive later

    def _arm(self) -> None:
        self._armed = True
        _signal.setitimer(_signal.ITIMER_REAL, max(self._main_until - time(), 0.001))

    def _on_alarm(self, number: int, frame: object) -> None:  # noqa: ARG002  (a signal handler's)
        # Setting the alarm for every request would cost more than a request does: it stays set from one to a later
        # one, and looks here whether it is time.
        if self._main_until == 0.0:
            self._armed = False
        elif self._main_until > time():
            self._arm()
        else:
            self._armed = False
            raise TimeIsUp

    def _watch(self) -> None:
        while True:
            sleep(_LOOK)
            now = time()
            with self._lock:
                for ident, until in self._until.items():
                    if until is not None and until <= now:
                        self._until[ident] = None
                        _raise_in(ident, TimeIsUp)


def _raise_in(ident: int, kind: type[BaseException] | None) -> None:
    """Raises an exception in another thread, or takes back one that was not raised yet."""
    from ctypes import c_ulong, py_object, pythonapi

    pythonapi.PyThreadState_SetAsyncExc(c_ulong(ident), py_object(kind) if kind is not None else None)
