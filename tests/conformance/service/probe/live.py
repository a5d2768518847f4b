"""Functions that take their time: streaming, server-sent events, timeouts, concurrency."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

from probe.resources import app, gates
from pys_multi import Request, Response

live = app.function("live", timeout=20, concurrency=4, uses=[gates])
slow = app.function("slow", timeout=1)


def wait_for_gate(key: str) -> None:
    while gates.get(key) is None:
        time.sleep(0.01)


@live.put("/gates/{key}")
def open_gate(key: str) -> None:
    gates.put({"key": key})


@live.get("/live/stream/{key}")
def stream(key: str) -> Response:
    def chunks() -> Iterator[str]:
        yield "before the gate\n"
        wait_for_gate(key)
        yield "after the gate\n"

    return Response.stream(chunks(), content_type="text/plain; charset=utf-8")


@live.get("/live/events")
def events() -> Response:
    return Response.events(
        [
            "plain",
            {"event": "named", "id": "7", "data": {"grüße": 1}},
            {"data": "two\nlines"},
        ]
    )


@live.get("/live/async-events")
async def async_events() -> Response:
    async def produce() -> AsyncIterator[object]:
        for number in range(3):
            yield {"event": "count", "data": number}

    return Response.events(produce())


@live.get("/live/large")
def large() -> Response:
    return Response.stream((b"x" * 65536 for _ in range(64)), content_type="application/octet-stream")


@live.get("/live/together/{key}")
def together(key: str) -> dict[str, object]:
    """Answers once a second request of the same key has arrived: only concurrent requests get an answer."""
    met = gates.update(key, add={"arrived": 1})
    while met["arrived"] < 2:  # type: ignore[operator]
        time.sleep(0.01)
        met = gates.get(key) or met
    return {"arrived": met["arrived"]}


@slow.get("/slow/forever")
def forever() -> None:
    while True:
        time.sleep(0.05)


@slow.get("/slow/quick")
def quick(request: Request) -> dict[str, object]:
    return {"deadline": request.deadline, "now": time.time()}
