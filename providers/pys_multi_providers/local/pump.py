"""Takes due work out of the store and gives it to functions; runs in the supervisor, on its event loop.

What the supervisor provides (and `instances.py` implements)::

    capacity(function) -> async context manager that yields `invoke`

Entering waits until an instance of the function has room and holds that place until it is left. Only
then is anything taken from a queue, so that no message's visibility time runs while it waits for a place::

    async with capacity("worker") as invoke:
        failures = await invoke("worker:ship", "messages", deliveries)   # {message id: error}, {} = all handled
        failures = await invoke("worker:report", "event", event)         # the same, by event id

`deliveries` is a list of `store.Delivery`, which is a `Message`; `event` an `Event`. `invoke` raises where nothing
is known to be handled: the instance crashed or ran out of time. Everything is then delivered again. The
function's timeout is the invoker's to enforce.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from json import loads
from logging import getLogger
from time import monotonic, time
from typing import TYPE_CHECKING, Any, TypeVar

from pys_multi.messages import Event
from pys_multi.model import Consume, Function, ObjectEvent, Queue, Schedule, Service, Subscribe
from pys_multi.schedules import parse
from pys_multi_providers.local.definitions import queue_of
from pys_multi_providers.local.doorbell import listen

if TYPE_CHECKING:
    from pys_multi import schedules
    from pys_multi_providers.local.store import Delivery, Store

#: (trigger id, "messages" or "event", deliveries or event) → errors by message id
Invoke = Callable[[str, str, Any], Awaitable[Mapping[str, str] | None]]
Capacity = Callable[[str], AbstractAsyncContextManager[Invoke]]
T = TypeVar("T")

#: Seconds between two looks without being rung: a sender may be killed between its commit and its ring.
_LOOK_EVERY = 0.5
#: Seconds that a wall clock may be off the steady one before it counts as set, or as back from sleep.
_CLOCK_JUMP = 2.0
#: Seconds between two attempts: doubles from the first to the second.
_FIRST_BACKOFF, _LAST_BACKOFF = 1.0, 60.0
#: Seconds a trigger rests after the store or the supervisor failed.
_REST = 1.0
#: A missed tick older than this is not made up for.
_MISSED = timedelta(days=1)

log = getLogger("pys_multi.local")


def backoff(attempt: int, visibility: float) -> float:
    """Seconds until a message that failed is delivered again: 1, 2, 4, … 60, and never more than its visibility."""
    return min(_FIRST_BACKOFF * 2.0 ** min(attempt - 1, 16), _LAST_BACKOFF, visibility)


class Source:
    """A queue, and the trigger that takes from it. times in seconds."""

    def __init__(self, function: Function, trigger: Consume | Subscribe | ObjectEvent | Schedule, service: Service):
        self.function = function.name
        self.trigger = trigger.id
        self.queue: str = queue_of(trigger) or ""
        self.is_event = isinstance(trigger, ObjectEvent | Schedule)
        self.batch = trigger.batch if isinstance(trigger, Consume) else 1
        self.window = trigger.window if isinstance(trigger, Consume) else 0.0
        # Six times the timeout is what AWS advises for SQS in front of Lambda.
        self.visibility = function.timeout * 6
        if isinstance(trigger, Consume):
            queue = service.resource(trigger.queue)
            if isinstance(queue, Queue) and queue.visibility is not None:
                self.visibility = queue.visibility
        self.due = asyncio.Event()


class Clockwork:
    """A schedule and where it stands. Times are aware datetimes."""

    def __init__(self, trigger: Schedule) -> None:
        self.trigger = trigger.id
        self.schedule = parse(trigger.expression, trigger.timezone)
        self.schedule.zone()  # Raises DefinitionError now, and not at each tick.
        self.next: datetime | None = None


def latest_tick(schedule: schedules.Schedule, after: datetime, until: datetime) -> datetime | None:
    """The last tick in (after, until], or None. Halves the time that is left, for there may be 1,440 in a day."""

    def following(moment: datetime) -> datetime:
        # In UTC, for sums of times in a zone forget its daylight saving.
        return schedule.next_after(moment).astimezone(UTC)

    tick, high = following(after), until
    if tick > until:
        return None
    # No tick is in (high, until]; ticks are whole minutes, so the halving ends.
    while (second := following(tick)) <= until:
        middle = tick + (high - tick) / 2
        later = following(middle)
        if later <= until:
            tick = later
        else:
            high, tick = middle, second
    return tick


class Pump:
    """Delivers what the store holds to the functions of a service, and runs its schedules.

    Each trigger takes as much as there is capacity for. What fails comes back after `backoff`; a message that
    an invocation left unsettled (the supervisor was killed) after its visibility.
    """

    def __init__(
        self, store: Store, service: Service, capacity: Capacity, *, clock: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._capacity = capacity
        self._clock = clock
        triggers = [
            (function, trigger)
            for function in service.functions
            for trigger in function.triggers
            if isinstance(trigger, Consume | Subscribe | ObjectEvent | Schedule)
        ]
        self._sources = {queue_of(trigger): Source(function, trigger, service) for function, trigger in triggers}
        self._clockworks = [Clockwork(trigger) for _, trigger in triggers if isinstance(trigger, Schedule)]
        self._threads = ThreadPoolExecutor(2, "pys-multi-store")
        self._rung = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._loops: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._bell = -1

    async def start(self) -> None:
        """Begins to take work, on the running event loop. The service has been applied to the store before."""
        self._bell = listen(self._store.bell)
        asyncio.get_running_loop().add_reader(self._bell, self._answer)
        for loop in (self._look(), self._watch(), *(self._take(source) for source in self._sources.values())):
            self._loops.append(asyncio.create_task(loop))

    def wake(self) -> None:
        """Makes the pump look for due work now."""
        self._rung.set()

    def pause(self) -> None:
        """Takes nothing more until `resume`; what runs goes on."""
        self._open.clear()

    def resume(self) -> None:
        self._open.set()
        self.wake()

    @property
    def running(self) -> int:
        """How many invocations run."""
        return len(self._running)

    async def drain(self, timeout: float) -> bool:
        """Takes nothing more, ever, and waits for what runs. False where some of it runs on after ``timeout`` seconds;
        it still is settled when it ends, until `close`."""
        self.pause()
        await self._stop_loops()
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)
        return not self._running

    async def close(self) -> None:
        """Ends at once. What still runs is not settled and comes back after its visibility."""
        self.pause()
        await self._stop_loops()
        await asyncio.sleep(0)  # A task that never began would not give its place back.
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def _stop_loops(self) -> None:
        if self._bell >= 0:
            asyncio.get_running_loop().remove_reader(self._bell)
            os.close(self._bell)
            self._bell = -1
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops.clear()

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        # A commit waits for the disk, and for other writers: not on the loop that also serves HTTP.
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    # ---- what is due

    def _answer(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell, 65536)
        self.wake()

    async def _watch(self) -> None:
        """Looks at the file that every commit changes, and at the clock."""
        wal = f"{self._store.database.path}-wal"
        seen: tuple[int, int] | None = None
        offset = self._clock() - monotonic()
        while True:
            try:
                status = os.stat(wal)
                now = (status.st_mtime_ns, status.st_size)
            except OSError:
                now = (0, 0)
            drift = abs(self._clock() - monotonic() - offset)
            if now != seen or drift > _CLOCK_JUMP:
                seen, offset = now, self._clock() - monotonic()
                for clockwork in self._clockworks:
                    clockwork.next = None if drift > _CLOCK_JUMP else clockwork.next
                self.wake()
            await asyncio.sleep(_LOOK_EVERY)

    async def _look(self) -> None:
        """Lets schedules tick and tells each source when something is due for it."""
        while True:
            self._rung.clear()
            try:
                wait = await self.look()
            except Exception:
                log.exception("looking for due work failed; it goes on")
                wait = _REST
            await _wait(self._rung, wait)

    async def look(self) -> float | None:
        """One look; returns the seconds until the next thing is due, None where nothing is."""
        for clockwork in self._clockworks:
            await self._tick(clockwork)
        now = self._clock()
        coming = [clockwork.next.timestamp() for clockwork in self._clockworks if clockwork.next is not None]
        for queue, at in (await self._in_thread(self._store.due)).items():
            source = self._sources.get(queue)
            if source is None:
                continue
            if at <= now:
                source.due.set()
            else:
                coming.append(at)
        return max(0.0, min(coming) - now) if coming else None

    async def _tick(self, clockwork: Clockwork) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        if clockwork.next is not None and clockwork.next > now:
            return
        last = await self._in_thread(self._store.last_tick, clockwork.trigger)
        # None: the next build's service has been applied already, and has no such schedule.
        if last is not None:
            after = max(datetime.fromtimestamp(last, UTC), now - _MISSED)
            tick = latest_tick(clockwork.schedule, after, now)
            if (
                tick is not None
                and await self._in_thread(self._store.tick, clockwork.trigger, tick.timestamp()) is False
            ):
                log.warning("schedule %s: the run of %s is left out, the former is not over", clockwork.trigger, tick)
        # Last, so that a tick which could not be recorded is tried again.
        clockwork.next = clockwork.schedule.next_after(now)

    # ---- taking and handling

    async def _take(self, source: Source) -> None:
        while True:
            await source.due.wait()
            source.due.clear()
            try:
                while await self.take(source):
                    pass
            except Exception:
                log.exception("taking work for %s failed; it goes on", source.trigger)
                await asyncio.sleep(_REST)
                source.due.set()

    async def take(self, source: Source) -> bool:
        """Starts one invocation, or waits for its batch to fill. False where nothing is due."""
        await self._open.wait()
        count, since = await self._in_thread(self._store.ready, source.queue, source.batch)
        if not count:
            return False
        left = since + source.window - self._clock()
        if count < source.batch and left > 0:
            # Rung for every message that comes, so that a full batch does not wait for its window.
            await _wait(source.due, left)
            source.due.clear()
            return True
        async with AsyncExitStack() as place:
            invoke = await place.enter_async_context(self._capacity(source.function))
            if not self._open.is_set():
                return True
            taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            # A task of its own, so that whoever stops this loop does not stop what was taken.
            task = asyncio.create_task(self._handle(source, invoke, place.pop_all(), taken))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await taken

    async def _handle(self, source: Source, invoke: Invoke, place: AsyncExitStack, taken: asyncio.Future[bool]) -> None:
        async with place:
            try:
                deliveries = await self._in_thread(self._store.receive, source.queue, source.batch, source.visibility)
            except Exception as error:
                if taken.done():
                    log.exception("taking work for %s failed", source.trigger)
                else:
                    taken.set_exception(error)
                return
            if not taken.done():
                taken.set_result(bool(deliveries))
            if not deliveries:
                return
            failures = await self._invoke(source, invoke, deliveries)
        await self._settle(source, deliveries, failures)

    async def _invoke(self, source: Source, invoke: Invoke, deliveries: list[Delivery]) -> Mapping[str, str]:
        try:
            if source.is_event:
                return await invoke(source.trigger, "event", _event(deliveries[0])) or {}
            return await invoke(source.trigger, "messages", deliveries) or {}
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return {delivery.id: reason for delivery in deliveries}

    async def _settle(self, source: Source, deliveries: list[Delivery], failures: Mapping[str, str]) -> None:
        done = [delivery.receipt for delivery in deliveries if delivery.id not in failures]
        failed = [
            (delivery.receipt, failures[delivery.id], backoff(delivery.attempt, source.visibility))
            for delivery in deliveries
            if delivery.id in failures
        ]
        try:
            dead = await self._in_thread(self._store.settle, done, failed)
        except Exception:
            log.exception("%s: what was handled could not be recorded and is delivered again", source.trigger)
            return
        for id in dead:
            log.error("%s: message %s failed at its last retry: %s", source.trigger, id, failures[id])


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _event(delivery: Delivery) -> Event:
    return Event(**loads(delivery.body), id=delivery.id, attempt=delivery.attempt)
