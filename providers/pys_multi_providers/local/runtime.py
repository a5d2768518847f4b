"""An instance: one process that runs one function of an unpacked bundle for the supervisor.

Frames come in, go to the runtime's one dispatch path, and the answers go back. A function of
concurrency 1 runs its handlers on the main thread, as the clouds do; one of more has that many
worker threads, while the main thread reads.
"""

from __future__ import annotations

import os
import sys
from _thread import start_new_thread

from pys_multi.http import Request
from pys_multi.messages import Context, Event, Message
from pys_multi.runtime import load, stream_of
from pys_multi_providers.local.frames import CHUNK, WINDOW, Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pys_multi.backend import Backend
    from pys_multi.runtime import Runtime
    from pys_multi_providers.local.frames import Frame


_CONTROL = ("consumed", "cancel", "stop")


class Cancelled(Exception):
    """Nobody reads the rest of this streamed response."""


class Instance:
    """The main loop. It ends when the supervisor says stop; without a supervisor the process ends at once."""

    def __init__(self, channel: Channel, runtime: Runtime, concurrency: int) -> None:
        self._channel = channel
        self._runtime = runtime
        self._concurrency = concurrency
        self._streams: dict[int, _Stream] = {}
        self._stopping = False

    def run(self) -> None:
        if self._concurrency == 1:
            while not self._stopping:
                self._handle(self._read())
        else:
            self._run_threads()
        self._runtime.stop()

    def _run_threads(self) -> None:
        from queue import SimpleQueue
        from threading import Thread

        work: SimpleQueue[Frame | None] = SimpleQueue()

        idle: list[None] = []  # one entry per waiting worker: append and pop of a list are atomic

        def worker() -> None:
            while (frame := work.get()) is not None:
                try:
                    self._handle(frame)
                except BaseException as error:  # ends the process, as it does where there is one thread
                    from traceback import print_exception

                    print_exception(error)
                    os._exit(1)
                idle.append(None)

        workers: list[Thread] = []
        while not self._stopping:
            frame = self._read()
            if frame[0]["kind"] in _CONTROL:
                self._handle(frame)
                continue
            try:
                idle.pop()
            except IndexError:
                # The supervisor never has more than `concurrency` calls outstanding, which bounds the threads.
                workers.append(Thread(target=worker, name=f"pys-multi-{len(workers) + 1}", daemon=True))
                workers[-1].start()
            work.put(frame)
        for _ in workers:
            work.put(None)
        for thread in workers:
            thread.join()

    def _read(self) -> Frame:
        frame = self._channel.read()
        if frame is None:
            # The supervisor is gone, and with it whoever waited for an answer.
            os._exit(0)
        return frame

    def _handle(self, frame: Frame) -> None:
        header, body = frame
        kind = header["kind"]
        if kind == "http":
            self._http(header, body)
        elif kind == "messages":
            self._messages(header, body)
        elif kind == "event":
            self._event(header)
        elif kind == "stop":
            self._stopping = True
        else:
            stream = self._streams.get(header["id"])
            if stream is not None:
                stream.control(header)

    # ---- the three things a function does

    def _http(self, header: dict[str, Any], body: bytes) -> None:
        request = Request(
            header["method"],
            header["path"],
            query_string=header["query"],
            headers=[(name, value) for name, value in header["headers"]],
            body=body,
            client=header["client"],
            scheme=header["scheme"],
            context=self._context(header),
        )
        response = self._runtime.http(request)
        answer = {
            "kind": "response",
            "id": header["id"],
            "status": response.status,
            "headers": response.headers,
            "stream": False,
        }
        content = response.body
        if isinstance(content, bytes) and len(content) <= CHUNK:
            self._channel.write(answer, content)
            return
        answer["stream"] = True
        if isinstance(content, bytes):
            others = [pair for pair in response.headers if pair[0].lower() != "content-length"]
            answer["headers"] = [*others, ("content-length", str(len(content)))]
            chunks = iter((content,))
        else:
            chunks = stream_of(response)
        self._send_stream(answer, chunks, request)

    def _send_stream(self, answer: dict[str, Any], chunks: Iterator[bytes], request: Request) -> None:
        call = answer["id"]
        # Before the head is out: its reader may cancel as soon as it is.
        stream = self._streams[call] = _Stream(self, call)
        self._channel.write(answer)
        ended = "end"
        try:
            for chunk in chunks:
                for start in range(0, len(chunk), CHUNK):
                    stream.send(chunk[start : start + CHUNK])
        except Cancelled:
            pass  # nobody sees whether it is whole
        except Exception as error:
            self._runtime.broke_off(request, error)
            ended = "broken"
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()  # the handler's generator, where it was not read to its end
            del self._streams[call]
        self._channel.write({"kind": ended, "id": call})

    def _messages(self, header: dict[str, Any], body: bytes) -> None:
        messages, start = [], 0
        for fields in header["messages"]:
            size = fields.pop("size")
            messages.append(Message(body[start : start + size], **fields))
            start += size
        failures = self._runtime.messages(header["trigger"], messages, self._context(header))
        failed = [[failure.id, str(failure.error)] for failure in failures]
        self._channel.write({"kind": "handled", "id": header["id"], "failures": failed})

    def _event(self, header: dict[str, Any]) -> None:
        answer = {"kind": "handled", "id": header["id"], "failures": []}
        try:
            self._runtime.event(header["trigger"], Event(**header["event"]), self._context(header))
        except Exception as error:
            answer["failures"] = [[header["event"]["id"], f"{type(error).__name__}: {error}"]]
        self._channel.write(answer)

    def _context(self, header: dict[str, Any]) -> Context:
        return Context(
            header["request_id"],
            trigger=header["trigger"],
            trace_parent=header["trace_parent"],
            deadline=header["deadline"],
        )

    # ---- for streams

    def write(self, header: dict[str, Any], body: bytes) -> None:
        self._channel.write(header, body)

    def wait(self, stream: _Stream, *, block: bool) -> None:
        """Lets control frames of the stream arrive."""
        if self._concurrency > 1:
            if block:
                stream.wait()
        elif block or self._channel.has_frame():
            # This thread is the reader: what it finds is about this stream, or "stop".
            self._handle(self._read())


class _Stream:
    """How far one streamed response may run ahead of its reader."""

    __slots__ = ("_call", "_cancelled", "_consumed", "_instance", "_sent", "_signal")

    def __init__(self, instance: Instance, call: int) -> None:
        from threading import Event as Signal

        self._instance = instance
        self._call = call
        # Each number has one writer, the sending and the reading thread, so neither needs a lock.
        self._sent = 0
        self._consumed = 0
        self._cancelled = False
        self._signal = Signal()

    def _is_full(self) -> bool:
        return self._sent - self._consumed > WINDOW and not self._cancelled

    def send(self, chunk: bytes) -> None:
        """Sends a piece once the reader is near enough. Raises Cancelled."""
        self._instance.wait(self, block=False)
        while self._is_full():
            self._signal.clear()
            if self._is_full():
                self._instance.wait(self, block=True)
        if self._cancelled:
            raise Cancelled
        self._sent += len(chunk)
        self._instance.write({"kind": "chunk", "id": self._call}, chunk)

    def control(self, header: dict[str, Any]) -> None:
        if header["kind"] == "cancel":
            self._cancelled = True
        else:
            self._consumed += header["bytes"]
        self._signal.set()

    def wait(self) -> None:
        self._signal.wait()


def _end_with_supervisor(descriptor: int) -> None:
    """Ends the process when the supervisor is gone, also in the middle of a handler: nobody waits for it."""
    from select import poll

    poller = poll()
    poller.register(descriptor, 0)  # hang-up is reported whether asked for or not
    while not poller.poll():
        pass
    os._exit(0)


def _users_traceback(error: BaseException) -> str:
    """The traceback from the first frame of the user's own code on."""
    from traceback import format_exception

    trace = error.__traceback__
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(("<frozen ", own + "/pys_multi/", own + "/pys_multi_providers/")):
            return "".join(format_exception(type(error), error, trace))
        trace = trace.tb_next
    return "".join(format_exception(error))


def _connect(hello: dict[str, Any]) -> Backend:
    """The resources; imported at their first use, for they bring SQLite."""
    from pathlib import Path

    from pys_multi_providers.local.resources import LocalBackend
    from pys_multi_providers.local.store import Store

    data = Path(hello["data"])
    return LocalBackend(Store(data), buckets=data / "buckets", base_url=hello["url"], secrets=hello["secrets"])


def main(descriptor: int) -> None:
    """Runs the bundle in the current directory until the supervisor at the descriptor says stop."""
    os.set_inheritable(descriptor, False)
    start_new_thread(_end_with_supervisor, (descriptor,))
    channel = Channel(descriptor)
    hello = channel.read()
    if hello is None:
        os._exit(0)
    try:
        directory = os.getcwd()
        runtime = load(directory, connect=lambda _: _connect(hello[0]))
        runtime.start()
    except BaseException as error:
        channel.write({"kind": "failed", "error": f"{type(error).__name__}: {error}", "trace": _users_traceback(error)})
        sys.exit(1)
    channel.write({"kind": "ready", **runtime.health()})
    Instance(channel, runtime, hello[0]["concurrency"]).run()
