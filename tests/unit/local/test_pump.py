"""The pump: what is due reaches its function when there is room, and comes back when it failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pys_multi.errors import DefinitionError, ResourceError
from pys_multi.messages import Event
from pys_multi.model import Bucket, Consume, Function, ObjectEvent, Queue, Schedule, Service, Subscribe, Topic
from pys_multi.resources import Outgoing
from pys_multi.schedules import parse
from pys_multi_providers.local.pump import Pump, backoff, latest_tick
from pys_multi_providers.local.resources import LocalBackend
from pys_multi_providers.local.store import Delivery, Store

SHIP = Consume(id="worker:ship", queue="orders", handler="ship", batch=3)
MOVE = Consume(id="worker:move", queue="moves", handler="move")
AUDIT = Subscribe(id="worker:audit", topic="events", handler="audit", retries=0)
INDEX = ObjectEvent(id="worker:index", bucket="files", event="created", handler="index")
REPORT = Schedule(id="worker:report", expression="every 5 minutes", handler="report")
SERVICE = Service(
    name="shop",
    resources=(
        Queue(name="orders", retries=1),
        Queue(name="moves", ordered=True, visibility=5.0),
        Topic(name="events"),
        Bucket(name="files"),
    ),
    functions=(Function(name="worker", timeout=10.0, triggers=(SHIP, MOVE, AUDIT, INDEX)),),
)
SCHEDULED = replace(SERVICE, functions=(Function(name="worker", timeout=200.0, triggers=(REPORT,)),))

#: How long a test waits for what must happen; far longer than it takes.
DEADLINE = 20.0


class Clock:
    now = 1_000_000_200.0  # a multiple of five minutes

    def __call__(self) -> float:
        return self.now


class Call:
    """An invocation that runs until the test ends it."""

    def __init__(self, trigger: str, kind: str, payload: Any) -> None:
        self.trigger = trigger
        self.kind = kind
        self.payload = payload
        self.ended: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.payload]

    def succeed(self) -> None:
        self.ended.set_result({})

    def fail(self, *bodies: bytes, error: str = "broken") -> None:
        self.ended.set_result({d.id: error for d in self.payload if d.body in bodies})

    def crash(self) -> None:
        self.ended.set_exception(RuntimeError("the instance ended with signal 9"))


class World:
    """A store, a pump and a function with so many places."""

    def __init__(self, directory: Path, service: Service, places: int = 1) -> None:
        self.clock = Clock()
        self.store = Store(directory, clock=self.clock)
        self.store.apply(service)
        self.places = asyncio.Semaphore(places)
        self.queueing = 0
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self.pump = Pump(self.store, service, self.capacity, clock=self.clock)

    @asynccontextmanager
    async def capacity(self, function: str) -> AsyncIterator[Callable[..., Any]]:
        assert function == "worker"
        self.queueing += 1
        async with self.places:
            self.queueing -= 1
            yield self.invoke

    async def invoke(self, trigger: str, kind: str, payload: Any) -> dict[str, str]:
        call = Call(trigger, kind, payload)
        self.calls.put_nowait(call)
        return await call.ended

    async def call(self) -> Call:
        async with asyncio.timeout(DEADLINE):
            return await self.calls.get()

    async def settled(self) -> None:
        await until(lambda: not self.pump.running)

    def send(self, *bodies: bytes, queue: str = "orders", group: str = "", delay: float = 0.0) -> None:
        self.store.send(queue, [Outgoing(body, {}, delay, group) for body in bodies])

    def advance(self, seconds: float) -> None:
        self.clock.now += seconds
        self.pump.wake()

    async def __aenter__(self) -> World:
        await self.pump.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pump.close()
        self.store.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


# ---- messages


def test_a_batch_reaches_its_handler_and_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.send(b"1", b"2", b"3", b"4")
            call = await world.call()
            assert (call.trigger, call.kind, call.bodies) == ("worker:ship", "messages", [b"1", b"2", b"3"])
            assert all(isinstance(delivery, Delivery) for delivery in call.payload)
            call.succeed()
            rest = await world.call()
            assert rest.bodies == [b"4"]
            rest.succeed()
            await world.settled()
            assert world.store.due() == {}

    run(test())


def test_another_process_wakes_the_pump(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            assert await world.pump.look() is None
            other = Store(tmp_path, clock=world.clock)
            await asyncio.to_thread(other.send, "orders", [Outgoing(b"1", {})])
            (await world.call()).succeed()
            other.close()

    run(test())


def test_a_message_whose_sender_died_before_it_rang_is_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            other = Store(tmp_path, clock=world.clock)
            other.ring = lambda: None  # type: ignore[method-assign]
            other.send("orders", [Outgoing(b"1", {})])
            (await world.call()).succeed()
            other.close()

    run(test())


def test_only_what_failed_is_delivered_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.send(b"1", b"2", b"3")
            (await world.call()).fail(b"2")
            await world.settled()
            assert await world.pump.look() == 1.0  # the first back-off
            world.advance(1)
            again = await world.call()
            assert [(d.body, d.attempt) for d in again.payload] == [(b"2", 2)]
            again.fail(b"2", error="still broken")
            await world.settled()
            [dead] = world.store.dead("orders")
            assert (dead.body, dead.reason) == (b"2", "still broken")

    run(test())


def test_after_a_crash_each_message_is_delivered_again_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.send(b"1", b"2")
            (await world.call()).crash()
            await world.settled()
            world.advance(1)
            guilty = await world.call()
            assert guilty.bodies == [b"1"]
            guilty.crash()
            innocent = await world.call()
            assert innocent.bodies == [b"2"]
            innocent.succeed()
            await world.settled()
            [dead] = world.store.dead("orders")
            assert dead.body == b"1"
            assert "signal 9" in dead.reason

    run(test())


def test_nothing_is_taken_before_there_is_room(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            await world.places.acquire()
            world.send(b"1")
            await until(lambda: world.queueing == 1)
            assert world.store.stats("orders").waiting == 1
            world.places.release()
            call = await world.call()
            assert world.store.stats("orders").in_flight == 1
            call.succeed()

    run(test())


def test_as_many_run_as_there_is_room_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE, places=2) as world:
            world.send(*(b"%d" % n for n in range(9)))
            first, second = await world.call(), await world.call()
            assert world.pump.running == 2
            assert world.store.stats("orders").waiting == 3
            first.succeed()
            second.succeed()
            (await world.call()).succeed()

    run(test())


def test_a_group_of_an_ordered_queue_runs_one_after_the_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE, places=5) as world:
            world.send(b"a1", b"a2", queue="moves", group="a")
            world.send(b"b1", queue="moves", group="b")
            calls = {call.bodies[0]: call for call in (await world.call(), await world.call())}
            assert sorted(calls) == [b"a1", b"b1"]
            calls[b"a1"].succeed()
            (await world.call()).succeed()
            calls[b"b1"].succeed()

    run(test())


def test_a_batch_that_is_not_full_waits_for_its_window(tmp_path: Path) -> None:
    windowed = replace(SHIP, window=60.0)
    service = replace(SERVICE, functions=(Function(name="worker", triggers=(windowed,)),))

    async def test() -> None:
        async with World(tmp_path, service) as world:
            world.send(b"1")
            world.send(b"2")
            await world.pump.look()
            world.send(b"3")  # full
            call = await world.call()
            assert call.bodies == [b"1", b"2", b"3"]
            call.succeed()
            world.send(b"4")
            await world.settled()
            world.advance(60)
            call = await world.call()
            assert call.bodies == [b"4"]
            call.succeed()

    run(test())


def test_messages_left_by_a_killed_supervisor_come_back_after_their_visibility(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.send(b"1")
            await world.call()
            await world.pump.close()
        async with World(tmp_path, SERVICE) as world:
            assert await world.pump.look() == 60.0  # six times the timeout
            world.advance(60)
            call = await world.call()
            assert call.payload[0].attempt == 2
            call.succeed()

    run(test())


def test_a_delayed_message_and_a_stated_visibility(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.send(b"1", delay=30)
            assert await world.pump.look() == 30.0
            world.send(b"a", queue="moves", group="g")
            await world.call()
            assert await world.pump.look() == 5.0

    run(test())


@pytest.mark.parametrize(
    ("attempt", "visibility", "seconds"),
    [(1, 60, 1), (2, 60, 2), (3, 60, 4), (9, 600, 60), (10_000, 600, 60), (4, 5, 5)],
)
def test_backoff_doubles_up_to_its_limits(attempt: int, visibility: float, seconds: float) -> None:
    assert backoff(attempt, visibility) == seconds


# ---- topics and buckets


def test_topics_and_buckets_reach_their_triggers(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE, places=2) as world:
            backend = LocalBackend(world.store, buckets=tmp_path / "buckets")
            backend.topic_publish("events", Outgoing(b"news", {}))
            etag = backend.bucket_put("files", "a/ä.pdf", b"123", "", {})
            calls = {call.trigger: call for call in (await world.call(), await world.call())}
            assert calls["worker:audit"].bodies == [b"news"]
            event = calls["worker:index"].payload
            assert calls["worker:index"].kind == "event"
            assert isinstance(event, Event)
            assert (event.kind, event.bucket, event.key, event.size, event.etag) == (
                "created",
                "files",
                "a/ä.pdf",
                3,
                etag,
            )
            assert (event.attempt, event.time) == (1, world.clock.now)
            calls["worker:audit"].fail(b"news")
            calls["worker:index"].ended.set_result({event.id: "ValueError: no pdf"})
            await world.settled()
            assert world.store.stats("topic/events/worker:audit").dead == 1
            world.advance(1)
            again = await world.call()
            assert (again.payload.id, again.payload.attempt) == (event.id, 2)
            again.succeed()

    run(test())


# ---- schedules


def test_a_schedule_runs_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SCHEDULED) as world:
            assert await world.pump.look() == 300.0
            world.advance(300)
            call = await world.call()
            assert (call.trigger, call.kind, call.payload.kind) == ("worker:report", "event", "schedule")
            assert call.payload.time == world.clock.now
            call.succeed()
            await world.settled()
            assert await world.pump.look() == 300.0

    run(test())


def test_of_missed_runs_the_latest_is_made_up_for(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path, SCHEDULED)
        start = world.clock.now
        world.clock.now += 3600 + 100
        async with world:
            call = await world.call()
            assert call.payload.time == start + 3600
            call.succeed()
            await world.settled()
            assert await world.pump.look() == 200.0
            assert world.store.due() == {}

    run(test())


def test_a_run_missed_for_longer_than_a_day_is_left_out(tmp_path: Path) -> None:
    daily = replace(REPORT, expression="0 0 * * 1")
    service = replace(SERVICE, functions=(Function(name="worker", triggers=(daily,)),))

    async def test() -> None:
        world = World(tmp_path, service)
        world.clock.now = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
        world.store.apply(replace(service, functions=()))
        world.store.apply(service)
        world.clock.now = datetime(2026, 3, 3, 0, 0, 1, tzinfo=UTC).timestamp()  # the tick was on Monday the 2nd
        async with world:
            assert await world.pump.look() == 6 * 86400 - 1
            assert world.store.due() == {}

    run(test())


def test_a_run_that_overlaps_the_former_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with World(tmp_path, SCHEDULED, places=5) as world:
            world.advance(300)
            call = await world.call()
            world.advance(300)
            assert await world.pump.look() is not None
            call.succeed()
            await world.settled()
            assert world.store.due() == {}
            world.advance(300)
            call = await world.call()
            assert call.payload.time == world.clock.now
            call.succeed()

    with caplog.at_level(logging.WARNING):
        run(test())
    assert "is left out" in caplog.text


def test_a_failing_run_is_tried_twice_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SCHEDULED) as world:
            world.advance(300)
            due = world.clock.now
            for attempt in (1, 2, 3):
                call = await world.call()
                assert (call.payload.attempt, call.payload.time) == (attempt, due)
                call.crash()
                await world.settled()
                world.advance(2)
            assert world.store.due() == {}

    run(test())


def test_a_run_taken_by_a_killed_supervisor_is_repeated(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SCHEDULED) as world:
            world.advance(300)
            due = (await world.call()).payload.time
            await world.pump.close()
        world = World(tmp_path, SCHEDULED)
        world.clock.now = due + 1
        assert world.store.release() == 1
        async with world:
            call = await world.call()
            assert (call.payload.time, call.payload.attempt) == (due, 2)
            call.succeed()

    run(test())


def test_a_schedule_that_the_next_build_no_longer_has_stops(tmp_path: Path) -> None:
    service = replace(
        SCHEDULED, functions=(replace(SCHEDULED.functions[0], triggers=(REPORT, SHIP)),), resources=SERVICE.resources
    )

    async def test() -> None:
        async with World(tmp_path, service) as world:
            world.store.apply(SERVICE)
            world.send(b"1")
            world.advance(300)
            call = await world.call()
            assert call.trigger == "worker:ship"
            call.succeed()

    run(test())


def test_a_tick_that_could_not_be_recorded_is_tried_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SCHEDULED) as world:
            tick = world.store.tick

            def full(*_: object) -> bool:
                world.store.tick = tick  # type: ignore[method-assign]
                raise ResourceError("the disk is full")

            world.store.tick = full  # type: ignore[method-assign]
            world.advance(300)
            call = await world.call()
            assert call.payload.time == world.clock.now
            call.succeed()

    run(test())


def test_a_zone_nobody_knows_is_refused_at_once(tmp_path: Path) -> None:
    nowhere = replace(REPORT, expression="0 0 * * *", timezone="Europe/Nowhere")
    service = replace(SERVICE, functions=(Function(name="worker", triggers=(nowhere,)),))
    with pytest.raises(DefinitionError, match="Nowhere"):
        World(tmp_path, service)


SCHEDULES = ["every 1 minute", "every 7 hours", "*/10 9-17 * * *", "0 2 * * *", "30 2 29 3 *", "0 0 1 1 *"]


@settings(deadline=None)
@given(
    text=st.sampled_from(SCHEDULES),
    after=st.integers(0, 60 * 24 * 400),
    minutes=st.integers(-10, 60 * 24),
    seconds=st.integers(0, 59),
)
def test_the_latest_tick_is_the_last_of_them_all(text: str, after: int, minutes: int, seconds: int) -> None:
    schedule = parse(text) if text.startswith("every") else parse(text, "Europe/Berlin")
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=after, seconds=seconds)
    end = begin + timedelta(minutes=minutes)
    expected, tick = None, schedule.next_after(begin)
    while tick <= end:
        expected, tick = tick, schedule.next_after(tick)
    assert latest_tick(schedule, begin, end) == expected


# ---- pausing and draining


def test_a_paused_pump_takes_nothing_until_it_resumes(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.pump.pause()
            world.send(b"1")
            await world.pump.look()
            assert world.store.stats("orders").waiting == 1
            world.pump.resume()
            (await world.call()).succeed()

    run(test())


def test_one_that_pauses_while_it_waits_for_room_takes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            await world.places.acquire()
            world.send(b"1")
            await until(lambda: world.queueing == 1)
            world.pump.pause()
            world.places.release()
            await until(lambda: not world.places.locked())
            assert world.store.stats("orders").waiting == 1
            world.pump.resume()
            (await world.call()).succeed()

    run(test())


def test_draining_waits_for_what_runs_and_takes_nothing_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE, places=2) as world:
            world.send(b"1")
            call = await world.call()
            draining = asyncio.create_task(world.pump.drain(DEADLINE))
            await until(lambda: not world.pump._loops)
            world.send(b"2")
            call.succeed()
            assert await draining is True
            stats = world.store.stats("orders")
            assert (stats.waiting, stats.in_flight) == (1, 0)

    run(test())


def test_draining_gives_up_and_what_ends_later_is_still_settled(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.send(b"1")
            call = await world.call()
            assert await world.pump.drain(0) is False
            call.succeed()
            await world.settled()
            assert world.store.due() == {}

    run(test())


def test_closing_gives_the_places_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            world.send(b"1")
            await world.call()
            await world.pump.close()
            assert not world.places.locked()
            assert world.store.stats("orders").in_flight == 1

    run(test())


def test_the_pump_survives_a_store_that_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pys_multi_providers.local.pump._REST", 0.001)

    async def test() -> None:
        async with World(tmp_path, SERVICE) as world:
            receive = world.store.receive

            def full(*_: object) -> list[Delivery]:
                raise ResourceError("the disk is full")

            world.store.receive = full  # type: ignore[method-assign]
            world.send(b"1")
            await until(lambda: "the disk is full" in caplog.text)
            world.store.receive = receive  # type: ignore[method-assign]
            (await world.call()).succeed()

    run(test())
