"""Once per key: a handler that may be delivered twice has its effect once, and both get its result.

Before the handler runs, a record is written to a table: pending, with a lease and the token of who holds it.
After it, the record is done and holds the result. Both writes have a condition, so that of two who come at once
one runs.

    the same key again, while it runs      InProgress: a message is delivered again, HTTP answers 409 with Retry-After
    after it is done                       the stored result, without running
    after it raised                        it runs again
    after a crash between effect and record, once the lease has run out
                                           it runs again, with the same idempotency_key() and attempt() 2

So the record alone makes an effect happen at least once and mostly once. Who hands ``idempotency_key()`` on to what
has the effect (a payment service, a conditional write) makes it exactly once.
"""

from __future__ import annotations

from contextvars import ContextVar
from os import urandom
from time import time

from pys_multi.errors import ConditionFailed, DefinitionError, HTTPError
from pys_multi.http import Request, Response
from pys_multi.messages import Context, Event, Message, current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from pys_multi.resources import Table

    Handler = TypeVar("Handler", bound=Callable[..., Any])

#: Seconds that a run may take where nobody says when it must end.
_LEASE = 300
#: Seconds that a lease outlasts the deadline of the invocation, for clocks that differ.
_GRACE = 5
_ATTRIBUTES = ("state", "owner", "attempt", "fingerprint", "lease_until", "expires_at", "result")


class InProgress(HTTPError):
    """Somebody runs with this key at this moment; later there is a result, or it can be run again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(409, "this is being worked on; ask again later", headers={"retry-after": str(max(1, seconds))})


class KeyReused(HTTPError):
    """The key was used before, for something else."""

    def __init__(self) -> None:
        super().__init__(422, "this idempotency key was used before, for something else")


def idempotent(
    *,
    key: Callable[..., str] | str,
    store: Table,
    ttl: float = 86_400,
    lease: float | None = None,
    name: str | None = None,
) -> Callable[[Handler], Handler]:
    """Runs the decorated handler, sync or async, once per key.

    key: a callable that takes what the handler takes and returns the key, or the name of a request's header field
    (``"Idempotency-Key"``; then the handler takes a ``request: Request``, and a request without it is a 400).
    store: a table without a sort key; the function needs its get and update. ttl: seconds that a result is kept.
    lease: seconds after which a run that left no trace counts as crashed; without it the time that the invocation
    may take. name: what the keys belong to, the handler's own unless said otherwise.

    The result is stored as JSON, or as a Response that is not streamed: a dataclass comes back as a dict. An answer
    of 500 and more counts as a failure. The same key with another payload raises KeyReused (HTTP 422). Several
    messages at once are not possible: decorate what handles one of them.

    Raises DefinitionError.
    """
    if not callable(key) and not isinstance(key, str):
        raise DefinitionError(f"idempotent: key is a callable or the name of a header field, not {key!r}")
    if getattr(store, "kind", None) != "table" or getattr(store, "sort", None) is not None:
        raise DefinitionError(f"idempotent: store is a table of the app without a sort key, not {store!r}")
    if store.key in _ATTRIBUTES:
        raise DefinitionError(f"idempotent: a table whose key is {store.key!r} cannot be the store; name it otherwise")
    if ttl <= 0 or (lease is not None and lease <= 0):
        raise DefinitionError("idempotent: ttl and lease are seconds, more than none")

    def decorate(handler: Handler) -> Handler:
        own_name: str = getattr(handler, "__qualname__", type(handler).__qualname__)
        guard = _Guard(key, store, ttl, lease, name or own_name)
        wrapper: Any
        if _is_async(handler):

            async def run_async(*arguments: Any, **named: Any) -> Any:
                from asyncio import to_thread

                run = await to_thread(guard.begin, arguments, named)
                if run.is_done:
                    return run.result
                token = _current.set(run)
                try:
                    result = await handler(*arguments, **named)
                except BaseException:
                    guard.release(run)  # not in a thread: a cancelled task must not wait
                    raise
                finally:
                    _current.reset(token)
                await to_thread(guard.finish, run, result)
                return result

            wrapper = run_async
        else:

            def run_sync(*arguments: Any, **named: Any) -> Any:
                run = guard.begin(arguments, named)
                if run.is_done:
                    return run.result
                token = _current.set(run)
                try:
                    result = handler(*arguments, **named)
                except BaseException:
                    guard.release(run)
                    raise
                finally:
                    _current.reset(token)
                guard.finish(run, result)
                return result

            wrapper = run_sync
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            if hasattr(handler, attribute):
                setattr(wrapper, attribute, getattr(handler, attribute))
        wrapper.needs_request = not callable(key)  # whoever binds the handler sees to it
        wrapper.__wrapped__ = handler  # the parameters of the handler are those of the wrapper
        return wrapper  # type: ignore[no-any-return]

    return decorate


class _Run:
    """One run under a key, or the result of an earlier one."""

    __slots__ = ("attempt", "is_done", "key", "owner", "result")

    def __init__(self, key: str) -> None:
        self.key = key
        self.owner = urandom(8).hex()
        self.attempt = 1
        self.is_done = False
        self.result: object = None


_current: ContextVar[_Run | None] = ContextVar("pys_multi_idempotent_run", default=None)


def _running() -> _Run:
    run = _current.get()
    if run is None:
        raise RuntimeError("there is an idempotency key only while an @idempotent handler runs")
    return run


def idempotency_key() -> str:
    """A key of 64 hexadecimal digits, the same at every attempt at the same thing, for whatever has the effect.

    Raises RuntimeError outside of an ``@idempotent`` handler.
    """
    import hashlib

    return hashlib.sha256(_running().key.encode()).hexdigest()


def attempt() -> int:
    """1 at the first run under a key; more after one that raised or crashed. Raises RuntimeError as above."""
    return _running().attempt


class _Guard:
    """The records of one handler."""

    __slots__ = ("_key", "_lease", "_name", "_store", "_ttl")

    def __init__(self, key: Callable[..., str] | str, store: Table, ttl: float, lease: float | None, name: str) -> None:
        self._key = key
        self._store = store
        self._ttl = ttl
        self._lease = lease
        self._name = name

    def begin(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> _Run:
        """Takes the lease, or finds the result. Raises InProgress, KeyReused, HTTPError 400, ValueError."""
        run = _Run(self._record_key(arguments, named))
        fingerprint = _fingerprint(arguments, named)
        # Each turn finds what the other one did meanwhile; nobody loses more than a few races in a row.
        for _ in range(10):
            try:
                item = self._claim(run, fingerprint, {"state": None})
                break
            except ConditionFailed:
                found = self._store.get(run.key)
            if found is None:
                continue
            now = time()
            fresh = found["state"] == "done" and now < _number(found["expires_at"])
            left = _number(found.get("lease_until", 0)) - now if found["state"] == "pending" else 0.0
            if (fresh or left > 0) and found["fingerprint"] != fingerprint:
                raise KeyReused
            if fresh:
                run.is_done, run.result = True, _decode(str(found["result"]))
                return run
            if left > 0:
                raise InProgress(int(left) + 1)
            try:
                condition = {"owner": found["owner"], "state": found["state"]}
                item = self._claim(run, fingerprint, condition, anew=found["state"] == "done")
                break
            except ConditionFailed:
                continue
        else:
            raise InProgress(1)
        run.attempt = int(_number(item["attempt"]))
        return run

    def _claim(
        self, run: _Run, fingerprint: str, condition: dict[str, object], *, anew: bool = False
    ) -> dict[str, object]:
        now = time()
        lease = self._lease
        if lease is None:
            context = current_context()
            until_deadline = context.remaining() if context is not None else float("inf")
            lease = _LEASE if until_deadline == float("inf") else max(until_deadline, 0) + _GRACE
        record: dict[str, object] = {
            "state": "pending",
            "owner": run.owner,
            "fingerprint": fingerprint,
            # Whole seconds, rounded up: every table has integers, and clouds expire items by them.
            "lease_until": int(now + lease) + 1,
            "expires_at": int(now + self._ttl) + 1,
        }
        if anew:
            record["attempt"] = 1
        return self._store.update(
            run.key, set=record, add={} if anew else {"attempt": 1}, remove=["result"], condition=condition
        )

    def finish(self, run: _Run, result: object) -> None:
        """Records the result. Raises TypeError for one that cannot be stored, after giving the lease back."""
        if _status_of(result) >= 500:
            self.release(run)
            return
        try:
            text = _encode(result)
        except (TypeError, ValueError):
            self.release(run)
            raise
        done = {"state": "done", "result": text, "expires_at": int(time() + self._ttl) + 1}
        try:
            self._store.update(run.key, set=done, remove=["lease_until"], condition={"owner": run.owner})
        except ConditionFailed:
            _warn(f"{self._name} took longer than its lease, and was run again meanwhile")

    def release(self, run: _Run) -> None:
        """Lets the next one run at once. Never raises an Exception: the lease runs out by itself too."""
        try:
            self._store.update(run.key, set={"state": "failed"}, remove=["lease_until"], condition={"owner": run.owner})
        except Exception as error:
            _warn(f"{self._name} could not give its lease back: {error}")

    def _record_key(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
        values = (*arguments, *named.values())
        if any(isinstance(value, list) and value and isinstance(value[0], Message) for value in values):
            raise TypeError(f"{self._name} handles a batch; decorate what handles one message of it")
        if callable(self._key):
            key: object = self._key(*arguments, **named)
        else:
            request = next((value for value in values if isinstance(value, Request)), None)
            if request is None:
                raise TypeError(f"{self._name} takes its key from a header: give it a parameter of type Request")
            key = request.headers.get(self._key)
            if not key or len(request.headers.get_all(self._key)) > 1:
                raise HTTPError(400, f"the header {self._key} is missing: one new value for each thing to be done")
            if request.principal is not None:
                # Callers invent their keys independently of each other, and must never see each other's results.
                key = f"{_hash(repr(_caller(request.principal)).encode())[:16]}/{key}"
        if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
            raise ValueError(f"the idempotency key of {self._name} is text that is not empty, or a number; not {key!r}")
        text = str(key)
        if len(text.encode()) > 200:
            text = _hash(text.encode())
        return f"idempotent/{self._name}/{text}"


def _fingerprint(arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    """What was asked for: equal for two deliveries of one thing."""
    from pys_multi.encoding import to_json_bytes

    parts: list[bytes] = []
    for value in (*arguments, *(named[name] for name in sorted(named))):
        plain: object = value
        if isinstance(value, Request):
            plain = [value.method, value.path, value.query_string, _hash(value.body), _caller(value.principal)]
        elif isinstance(value, Message):
            plain = _hash(value.body)
        elif isinstance(value, Event):
            plain = [value.kind, value.bucket, value.key, value.etag, value.time]
        elif isinstance(value, Context):
            continue
        try:
            parts.append(to_json_bytes(plain))
        except (TypeError, ValueError):
            parts.append(type(value).__qualname__.encode())  # an object that carries nothing: a client, a handle
    return _hash(b"\n".join(parts))


def _caller(principal: object) -> object:
    """What stays the same of a principal from one call to the next: not the times of its token."""
    if isinstance(principal, dict):
        return {name: principal[name] for name in ("iss", "sub", "key", "webhook") if name in principal} or principal
    return principal


def _status_of(result: object) -> int:
    if isinstance(result, Response):
        return result.status
    if isinstance(result, tuple) and len(result) in (2, 3) and type(result[1]) is int:
        return result[1]
    return 200


def _encode(result: object) -> str:
    from base64 import b64encode

    from pys_multi.encoding import to_json_bytes

    stored: dict[str, object]
    if isinstance(result, Response):
        if not isinstance(result.body, bytes):
            raise TypeError("a streamed response cannot be stored; return its content as a whole")
        stored = {"response": [result.status, result.headers, b64encode(result.body).decode()]}
    elif isinstance(result, bytes):
        stored = {"bytes": b64encode(result).decode()}
    elif isinstance(result, tuple):
        stored = {"tuple": list(result)}
    else:
        stored = {"value": result}
    return to_json_bytes(stored).decode()


def _decode(text: str) -> object:
    from base64 import b64decode
    from json import loads

    stored = loads(text)
    if "response" in stored:
        status, headers, body = stored["response"]
        return Response(b64decode(body), status=status, headers=[(name, value) for name, value in headers])
    if "bytes" in stored:
        return b64decode(stored["bytes"])
    return tuple(stored["tuple"]) if "tuple" in stored else stored["value"]


def _number(value: object) -> float:
    return float(value)  # type: ignore[arg-type]  # written as a number above


def _hash(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _is_async(handler: Any) -> bool:
    from pys_multi.triggers import is_async

    return is_async(handler)


def _warn(text: str) -> None:
    import logging

    logging.getLogger("pys_multi").warning(text)
