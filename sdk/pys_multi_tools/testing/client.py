"""A service in this process, for its unit tests: HTTP calls, events, and resources in a temporary folder.

Everything goes through the same runtime as in a deployed function, and through the resources of the local
provider, so that grants, retries and dead letters are the real ones. Only time is not: it passes when the
test says so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import SimpleCookie
from json import dumps, loads
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast
from urllib.parse import unquote_to_bytes, urlencode
from uuid import uuid4

from pys_multi.app import App
from pys_multi.http import Headers, Request, Response
from pys_multi.messages import Context, Event, Message, encode_payload
from pys_multi.model import Service, Trigger
from pys_multi.runtime import Runtime, stream_of
from pys_multi_tools import provider as providers
from pys_multi_tools.errors import ToolError
from pys_multi_tools.suggest import did_you_mean

if TYPE_CHECKING:
    from pys_multi.backend import Backend

#: Deliveries that one ``run_pending`` makes at most; more means that handlers feed each other without an end.
_MOST_DELIVERIES = 10_000


class Sandbox(Protocol):
    """What a provider gives for tests in one process: the service's resources, kept in a folder.

    A provider that has one offers ``sandbox(service, directory, secrets=…, clock=…)``; the local provider does.
    """

    @property
    def backend(self) -> Backend: ...

    def next_due(self) -> float | None:
        """When the next delivery is, or was, due; None when nothing waits."""

    def take(self, trigger: Trigger) -> Sequence[Message]:
        """The deliveries of a trigger that are due now, at most its batch."""

    def event(self, delivery: Message) -> Event:
        """What a delivery to a trigger of bucket events carries."""

    def settle(self, deliveries: Sequence[Message], failed: Mapping[str, str]) -> Sequence[str]:
        """Ends deliveries; failed: message id → error. Returns the ids that became dead letters."""

    def dead_letters(self, trigger: Trigger) -> Sequence[Message]:
        """What a trigger gave up, oldest first."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One delivery that :meth:`Client.run_pending` made. error: empty when it was handled. dead: it was the last."""

    trigger: str
    id: str
    attempt: int
    error: str = ""
    dead: bool = False


class Reply:
    """What a route answered."""

    def __init__(self, response: Response, request_id: str) -> None:
        self._response = response
        self._body: bytes | None = None
        #: Also in every log record of the request.
        self.request_id = request_id

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Headers:
        """The header fields, without regard to case; repeated ones through ``get_all``."""
        return Headers(self._response.headers)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the response sets."""
        jar = SimpleCookie()
        for field in self.headers.get_all("set-cookie"):
            jar.load(field)
        return {name: morsel.value for name, morsel in jar.items()}

    @property
    def body(self) -> bytes:
        """The whole body; of a streamed one, all of its chunks."""
        if self._body is None:
            self._body = b"".join(self.chunks())
        return self._body

    def chunks(self) -> Iterator[bytes]:
        """The body as the handler produces it; a streamed one can be read once."""
        body = self._response.body
        return iter([body]) if isinstance(body, bytes) else stream_of(self._response)

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body parsed as JSON."""
        return loads(self.body)

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"


class Client:
    """Calls a service in this process.

    app: the App under test. secrets: values by name; a secret without one raises NotFound. headers: sent with
    every call. stage: what ``context.stage`` says. One client of an app at a time.
    """

    def __init__(
        self,
        app: App,
        *,
        secrets: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        stage: str = "test",
    ) -> None:
        self.app = app
        self.headers = dict(headers or {})
        self._secrets = dict(secrets or {})
        self._stage = stage
        self._ahead = 0.0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="pys-multi-test-")
        service = self.app.service()
        self._triggers = {t.id: t for function in service.functions for t in function.triggers}
        self._sandbox = _sandbox(service, Path(self._folder.name), self._secrets, self._now)
        self._runtime = Runtime(
            self.app, stage=self._stage, build_id="test", connect=lambda: self._sandbox.backend, logs=False
        )
        try:
            self._runtime.start()
        except BaseException:
            self._close()
            raise
        # Also for what the test itself does with the handles, outside of every handler.
        self.app.backend = self._sandbox.backend
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._runtime.stop()
        self._close()

    def _close(self) -> None:
        self.app.backend = self.app.connect = None
        self._sandbox.close()
        self._folder.cleanup()

    def _now(self) -> float:
        return time.time() + self._ahead

    # ---- HTTP

    def request(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        cookies: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        json: object = None,
        form: Mapping[str, str | Sequence[str]] | None = None,
    ) -> Reply:
        """Makes one HTTP call.

        url: path and query string, percent-encoded. query: added to it. body, json, form: one of them; json
        is any value a handler may return. Redirects are not followed.
        """
        fields = [*self.headers.items(), *(headers.items() if isinstance(headers, Mapping) else headers)]
        names = {name.lower() for name, _ in fields}
        if json is not None:
            body, kind = encode_payload(json if not isinstance(json, str | bytes) else dumps(json)), "application/json"
        elif form is not None:
            body, kind = urlencode(form, doseq=True), "application/x-www-form-urlencoded"
        else:
            kind = ""
        if kind and "content-type" not in names:
            fields.append(("content-type", kind))
        if cookies:
            fields.append(("cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())))
        if "host" not in names:
            fields.append(("host", "testserver"))
        path, _, query_string = url.partition("?")
        if query:
            query_string = "&".join(filter(None, (query_string, urlencode(query, doseq=True))))
        context = Context(_new_id(), trace_parent=dict(fields).get("traceparent", ""))
        request = Request(
            method.upper(),
            unquote_to_bytes(path).decode("utf-8", "replace"),
            query_string=query_string,
            headers=fields,
            body=body if isinstance(body, bytes) else body.encode(),
            client="127.0.0.1",
            context=context,
        )
        return Reply(self._runtime.http(request), context.request_id)

    def get(self, url: str, **options: Any) -> Reply:
        """GET; options as for :meth:`request`, here and below."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> Reply:
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Reply:
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> Reply:
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> Reply:
        return self.request("DELETE", url, **options)

    # ---- events

    def trigger(self, name: str, payload: object = None, **event: Any) -> None:
        """Runs one handler with one event, and raises ``AssertionError`` with its error when it fails.

        name: the trigger's id ("worker:ship") or the part after the colon. payload: of a queue or topic, what
        ``send`` takes, a Message, or a list of them for a batch. event: fields of the Event for a schedule or
        bucket, such as ``key="a.pdf"``.
        """
        trigger = self._trigger(name)
        if trigger.kind in ("consume", "subscribe"):
            values = payload if isinstance(payload, list) else [payload]
            messages = [
                v if isinstance(v, Message) else Message.of(v, id=_new_id(), sent_at=self._now()) for v in values
            ]
            failures = self._runtime.messages(trigger.id, messages)
            if failures:
                raise AssertionError(f"{trigger.id}: {'; '.join(failure.error for failure in failures)}")
        elif trigger.kind in ("schedule", "object"):
            fields = {"id": _new_id(), "time": self._now(), "bucket": getattr(trigger, "bucket", ""), **event}
            self._runtime.event(trigger.id, Event(getattr(trigger, "event", "schedule"), **fields))
        else:
            raise ToolError(f"{trigger.id!r} is called over HTTP", hint="use client.get, client.post, …")

    def _message(self, value: object) -> Message:
        return value if isinstance(value, Message) else Message.of(value, id=_new_id(), sent_at=self._now())

    def run_pending(self) -> list[Outcome]:
        """Handles everything that waits in queues, subscriptions and bucket events, until nothing does.

        Also what is delayed or to be retried: time jumps ahead to the next delivery. Schedules are run by
        :meth:`trigger` alone. Returns every delivery, in order.
        """
        outcomes: list[Outcome] = []
        while (due := self._sandbox.next_due()) is not None:
            self._ahead += max(0.0, due - self._now())
            for trigger in self._triggers.values():
                if trigger.kind in ("consume", "subscribe", "object"):
                    outcomes += self._deliver(trigger)
            if len(outcomes) > _MOST_DELIVERIES:
                raise AssertionError(f"no end after {_MOST_DELIVERIES:,} deliveries: handlers feed each other")
        return outcomes

    def _deliver(self, trigger: Trigger) -> list[Outcome]:
        deliveries = self._sandbox.take(trigger)
        failed: dict[str, str] = {}
        if trigger.kind == "object":
            for delivery in deliveries:
                try:
                    self._runtime.event(trigger.id, self._sandbox.event(delivery))
                except Exception as error:
                    failed[delivery.id] = f"{type(error).__name__}: {error}"
        elif deliveries:
            failed = {f.id: f.error for f in self._runtime.messages(trigger.id, list(deliveries))}
        dead = self._sandbox.settle(deliveries, failed)
        return [
            Outcome(trigger=trigger.id, id=d.id, attempt=d.attempt, error=failed.get(d.id, ""), dead=d.id in dead)
            for d in deliveries
        ]

    def dead_letters(self, name: str) -> list[Message]:
        """What failed at its last retry. name: of the trigger, as for :meth:`trigger`."""
        return list(self._sandbox.dead_letters(self._trigger(name)))

    def _trigger(self, name: str) -> Trigger:
        for trigger in self._triggers.values():
            if name in (trigger.id, trigger.id.partition(":")[2]):
                return trigger
        raise ToolError(f"there is no trigger {name!r}", where=self.app.name, hint=did_you_mean(name, self._triggers))


def _new_id() -> str:
    return uuid4().hex


def _sandbox(service: Service, directory: Path, secrets: Mapping[str, str], clock: Callable[[], float]) -> Sandbox:
    # Not part of the contract of every provider: only the one that comes with pys-multi must have it.
    make: Callable[..., Sandbox] = cast(Any, providers.load("local")).sandbox
    return make(service, directory, secrets=secrets, clock=clock)
