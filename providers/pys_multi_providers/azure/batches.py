"""Messages of a queue or topic on their way to their handler, one invocation each, and back.

Azure settles a message by how its invocation ends: completed where it returns, abandoned where it raises, which counts
and at the last delivery makes a dead letter of it. A handler that takes batches gets the messages whose invocations
wait at the same time: a batch is full, or its window is over. Of an ordered queue the host has one message of each
group under way, so a batch never has two of one.

An abandoned message is there again at once. So that what is down for a moment does not use up every attempt, a message
that failed is held, without a thread, before it is abandoned: 1, 2, 4, … 60 seconds, and never longer than the
visibility that its queue names.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pys_multi.messages import Context, Message

    #: Runs a batch in the context of its first message, and returns what failed, id → why.
    Run = Callable[[list[Message], Context], Mapping[str, str]]
    Waiting = tuple[Message, Context, asyncio.Future[str]]

#: Seconds between two attempts: doubles from the first to the last.
_FIRST, _LAST = 1.0, 60.0
#: Seconds that a batch without a window is open for what arrives with its first message: the host hands messages
#: over one by one.
_TOGETHER = 0.05


class Inbox:
    """The messages of one trigger; used on the worker's event loop alone.

    run: called in a thread. batch, window: as the trigger says. visibility: seconds, None without. attempts: how often
    a message is delivered at most.
    """

    def __init__(
        self,
        run: Run,
        threads: ThreadPoolExecutor,
        *,
        batch: int = 1,
        window: float = 0.0,
        visibility: float | None = None,
        attempts: int = 1,
    ) -> None:
        self._run = run
        self._threads = threads
        self._batch = batch
        self._window = max(window, _TOGETHER)
        self._most = _LAST if visibility is None else visibility
        self._attempts = attempts
        self._waiting: list[Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: set[asyncio.Task[None]] = set()

    async def handle(self, message: Message, about: Context) -> str:
        """Returns once the message was handled, with why it failed, empty where it did not."""
        if self._batch == 1:
            loop = asyncio.get_running_loop()
            failures = await loop.run_in_executor(self._threads, self._run, [message], about)
            failure = failures.get(message.id, "")
        else:
            failure = await self._together(message, about)
        if failure and message.attempt < self._attempts:
            await asyncio.sleep(min(_FIRST * 2 ** min(message.attempt - 1, 16), _LAST, self._most))
        return failure

    async def _together(self, message: Message, about: Context) -> str:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[str] = loop.create_future()
        self._waiting.append((message, about, result))
        if len(self._waiting) >= self._batch:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._window, self._flush)
        return await result

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        # The loop itself holds tasks weakly.
        task = asyncio.get_running_loop().create_task(self._run_together(batch))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _run_together(self, batch: list[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        messages, about = [message for message, _, _ in batch], batch[0][1]
        try:
            failures = await loop.run_in_executor(self._threads, self._run, messages, about)
        except Exception as error:
            failures = {message.id: f"{type(error).__name__}: {error}" for message in messages}
        for message, _, result in batch:
            if not result.done():  # an invocation that Azure has cancelled waits no more
                result.set_result(failures.get(message.id, ""))
