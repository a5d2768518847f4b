"""The one dispatch path: neutral request, messages or event → handler → neutral response.

A provider's ``runtime.py`` makes the neutral values from its cloud's events and hands them to a
:class:`Runtime`. Sync hosts call ``http``; hosts that run an event loop await ``http_async``.
A handler is inspected at its first call and never again.
"""

from __future__ import annotations

import sys
from _contextvars import copy_context  # contextvars would be one more file to read at a cold start
from os import environ, urandom

from pys_multi.app import Mount
from pys_multi.encoding import parse_json, to_json_bytes
from pys_multi.errors import HTTPError, InvalidInput, PysMultiError, is_failure
from pys_multi.http import MAX_BODY_BYTES, Request, Response, checked
from pys_multi.messages import Context, _current
from pys_multi.routing import RouteTable, Template
from pys_multi.triggers import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeAlias

    from pys_multi.app import App, Endpoint, Function
    from pys_multi.backend import Backend
    from pys_multi.cors import CORS
    from pys_multi.messages import Event, Message
    from pys_multi.reactions import Failure, Reactions
    from pys_multi.triggers import Auth, Middleware

    Step: TypeAlias = Callable[[Request], Any]
    #: Whether the step must be awaited, and the step.
    Chain: TypeAlias = tuple[bool, Step]

#: No Content and Not Modified end after the header fields (RFC 9112, section 6.3).
BODILESS = (204, 304)
#: Where every function says that it is alive, and which build it is.
HEALTH_PATH = "/.pys-multi/health"
#: The file at the root of a bundle that says what is in it.
BUILD_FILE = "pys_multi_build.json"

_modules = sys.modules


class Runtime:
    """Dispatches what arrives at one function, or at every function of an app when ``function`` is None.

    connect makes the provider's backend of the resources, at their first use. max_body: bytes. logs: whether log
    records go to stdout as JSON; a test keeps its own handlers. private: the authenticator of private routes, for hosts
    that let others reach them.
    Thread-safe once started.
    """

    def __init__(
        self,
        app: App,
        function: str | None = None,
        *,
        stage: str = "",
        build_id: str = "",
        connect: Callable[[], Backend] | None = None,
        max_body: int = MAX_BODY_BYTES,
        logs: bool = True,
        private: Auth | None = None,
    ) -> None:
        if function is not None and function not in app.functions:
            raise PysMultiError(
                f"{app.name!r} has no function {function!r}; it has {', '.join(app.functions) or 'none'}"
            )
        self.app = app
        self.function = function or ""
        self.stage = stage
        self.build_id = build_id
        self.max_body = max_body
        self._private = private
        app.running_function = self.function
        app.connect = connect
        app.backend = None
        self._functions = [f for f in app.functions.values() if function is None or f.name == function]
        self._table = RouteTable()
        self._chains: dict[Endpoint | Mount | None, Chain] = {None: (False, self._answer_health)}
        self._missing: Chain | None = None
        self._hosts: dict[Mount, Any] = {}
        self._reactions: Reactions | None = None
        self._logs_configured = not logs
        self._table.add("GET", Template(HEALTH_PATH), None)
        for owner in self._functions:
            for endpoint in owner.endpoints:
                self._table.add(endpoint.method, endpoint.template, endpoint)
            for mount in owner.mounts:
                self._table.add("*", mount.template, mount)
                if mount.path:
                    self._table.add("*", Template(mount.path), mount)

    # ---- life

    def start(self) -> None:
        """Starts mounted applications. An exception means that this instance cannot serve."""
        if not self._logs_configured and "logging" in _modules:
            self._configure_logs()
        for owner in self._functions:
            if owner.endpoints:
                # Needed at the first request; here it is not a caller who waits for it.
                import pys_multi.parameters  # noqa: F401
            for mount in owner.mounts:
                if mount not in self._hosts:
                    from pys_multi.web import host

                    self._hosts[mount] = started = host(mount.interface, mount.application)
                    started.start()

    def stop(self) -> None:
        """Shuts mounted applications and the background event loop down."""
        hosts, self._hosts = list(self._hosts.values()), {}
        try:
            while hosts:
                hosts.pop().stop()
        finally:
            for rest in hosts:  # one that fails to stop keeps no other from it
                rest.stop()
            if "pys_multi.loop" in _modules:
                from pys_multi.loop import close

                close()

    def health(self) -> dict[str, str]:
        """What the health path answers."""
        return {
            "status": "ok",
            "service": self.app.name,
            "function": self.function,
            "stage": self.stage,
            "build_id": self.build_id,
        }

    # ---- HTTP

    def http(self, request: Request) -> Response:
        """The response to a request. Never raises an Exception: what a handler raises becomes an error response.

        What a handler sets in context variables is gone afterwards: no request sees those of the one before.
        """
        return copy_context().run(self._http, request)

    def _http(self, request: Request) -> Response:
        context = request.context
        if context is None:
            request.context = context = Context(urandom(16).hex())
        _current.set(context)
        try:
            must_await, step = self._route(request, context)
            if must_await:
                from pys_multi.loop import run

                response: Response = run(step(request))
            else:
                response = step(request)
            if type(response.body) is bytes and request.method != "HEAD" and response.status not in BODILESS:
                return response
            from pys_multi.bodies import finished

            return finished(request, response)
        except BaseException as error:
            if not is_failure(error):
                raise
            return self._failed(request, error)

    async def http_async(self, request: Request) -> Response:
        """As :meth:`http`, for a host that runs an event loop: async handlers run on it, sync ones in a thread."""
        context = request.context
        if context is None:
            request.context = context = Context(urandom(16).hex())
        token = _current.set(context)
        try:
            must_await, step = self._route(request, context)
            if must_await:
                response: Response = await step(request)
            else:
                from asyncio import to_thread

                response = await to_thread(step, request)
            from pys_multi.bodies import finished

            return finished(request, response)
        except BaseException as error:
            if not is_failure(error) or _is_cancelled():
                raise
            return self._failed(request, error)
        finally:
            _current.reset(token)

    def _route(self, request: Request, context: Context) -> Chain:
        """The chain for a request, compiled at the first request of a route; the context is told what it is."""
        context.service = self.app.name
        context.stage = self.stage
        context.build_id = self.build_id
        context.function = self.function
        if not self._logs_configured and "logging" in _modules:
            self._configure_logs()
        if len(request._body) > self.max_body or (len(request._body) * 4 > self.max_body and self._is_large(request)):
            raise HTTPError(413, f"the body is larger than {self.max_body:,} bytes")
        found = self._table.find(request.method, request.path)
        if found is None:
            preflight = self._preflight(request) if request.method == "OPTIONS" else None
            if preflight is not None:
                return False, lambda _: preflight
            if self._missing is None:
                self._missing = self._around(self._no_route, False, tuple(self.app.middlewares), self._cors_of(None))
            return self._missing
        target, request.path_params = found
        if target is not None:
            context.trigger = target.id
            context.function = target.function.name
        return self._chains.get(target) or self._compile(target)

    def _is_large(self, request: Request) -> bool:
        body = request._body
        return isinstance(body, str) and len(body.encode()) > self.max_body

    def _cors_of(self, owner: Function | None) -> CORS | None:
        if owner is None and self.function:
            owner = self._functions[0]
        return (owner.cors if owner is not None else None) or self.app.cors

    def _compile(self, target: Endpoint | Mount) -> Chain:
        """App and function middleware around authentication around route middleware around the handler.

        What is only for those who may call, such as a cache, goes into route middleware; what sees every call,
        such as a log of refused ones, into the others.
        """
        owner = target.function
        middlewares: tuple[Middleware, ...] = ()
        if isinstance(target, Mount):
            from pys_multi.middleware import mounted

            step, must_await = mounted(target, self._hosts.get(target))
        else:
            step, must_await = _bound(target)
            middlewares = target.middleware
        must_await, step = self._around(step, must_await, middlewares, None)
        auth = target.auth or (None if target.public else self._private)
        if auth is not None:
            from pys_multi.middleware import guard

            step = guard(step, must_await, auth)
        around = (*self.app.middlewares, *owner.middlewares)
        chain = self._chains[target] = self._around(step, must_await, around, self._cors_of(owner))
        return chain

    def _around(self, step: Step, must_await: bool, middlewares: tuple[Middleware, ...], cors: CORS | None) -> Chain:
        """Puts middleware around a step, the first one outermost, and CORS around all."""
        if middlewares:
            from pys_multi.middleware import answer_always, wrap

            step, must_await = wrap(step, must_await, tuple(map(answer_always, middlewares)))
        if cors is None:
            return must_await, step

        from pys_multi.middleware import with_cors

        return must_await, with_cors(step, must_await, cors, self._failed)

    def _answer_health(self, request: Request) -> Response:  # noqa: ARG002
        return Response.json(self.health(), headers={"cache-control": "no-store"})

    def _no_route(self, request: Request) -> Response:
        from pys_multi.unmatched import answer

        return answer(self._table, request)

    def _preflight(self, request: Request) -> Response | None:
        """The answer of the function whose route the browser asks about, which may have CORS of its own."""
        wanted = request.headers.get("access-control-request-method")
        if wanted is None:
            return None
        found = self._table.find(wanted, request.path)
        cors = self._cors_of(found[0].function if found is not None and found[0] is not None else None)
        return cors.preflight(request) if cors is not None else None

    def _failed(self, request: Request, error: BaseException, cors: CORS | None = None) -> Response:
        """The response to what was raised; the log has the rest."""
        response = None
        if isinstance(error, HTTPError | InvalidInput):
            try:
                response = problem(error, request)
            except Exception as wrong:  # such as a header that HTTP cannot carry
                error = wrong
        if response is None:
            self._log(f"{request.method} {request.path} failed", error)
            response = problem(HTTPError(500, "the request failed; its id finds the reason in the log"), request)
        cors = cors or self._cors_of(None)
        if cors is not None:
            response = cors.decorate(request, response)
        from pys_multi.bodies import finished

        return finished(request, response)

    def refuse(self, request: Request, error: Exception, *, cause: BaseException | None = None) -> Response:
        """The response to what went wrong with a request outside of :meth:`http`: a stream that broke before any of it
        was sent, more than the provider carries, no time left. cause: what the log shows."""
        token = _current.set(request.context)
        try:
            if cause is not None:
                self._log(f"{request.method} {request.path} failed", cause)
            return self._failed(request, error)
        finally:
            _current.reset(token)

    def broke_off(self, request: Request, error: BaseException) -> None:
        """Logs what ended a streamed response after its head was sent, where no status can tell the caller any more."""
        token = _current.set(request.context)
        try:
            self._log(f"{request.method} {request.path} broke off while it was streamed", error)
        finally:
            _current.reset(token)

    # ---- events

    def messages(self, trigger: str, messages: list[Message], context: Context | None = None) -> list[Failure]:
        """Hands messages to the handler of a `consume` or `subscribe` trigger; what failed comes back.

        Raises LookupError for a trigger that is not here, DefinitionError for a handler that takes something else.
        """
        return self._events().messages(trigger, messages, context)

    def event(self, trigger: str, event: Event, context: Context | None = None) -> None:
        """Hands an event to the handler of a `schedule` or `object` trigger. Raises what the handler raised, and
        as :meth:`messages` does."""
        self._events().event(trigger, event, context)

    def object_event(self, event: Event, context: Context | None = None) -> None:
        """Hands a bucket's event to every trigger here that it fits, by kind, prefix and suffix of the key.

        For clouds whose events do not say which trigger they are for. Every handler is called; then the first
        exception that one raised is raised.
        """
        self._events().object_event(event, context)

    def kind_of(self, trigger: str) -> str:
        """`consume`, `subscribe`, `schedule` or `object`. Raises LookupError for a trigger that is not here."""
        return self._events().runner(trigger).reaction.kind

    def settings_of(self, trigger: str) -> Mapping[str, Any]:
        """The fields of the model's trigger, such as the prefix of `object`. Raises as :meth:`kind_of` does."""
        return self._events().runner(trigger).reaction.settings

    def _events(self) -> Reactions:
        if not self._logs_configured and "logging" in _modules:
            self._configure_logs()
        if self._reactions is None:
            from pys_multi.reactions import Reactions

            self._reactions = Reactions(self.app, self._functions, self._log, stage=self.stage, build_id=self.build_id)
        return self._reactions

    # ---- logs

    def _configure_logs(self) -> None:
        from pys_multi.logs import configure

        self._logs_configured = True
        configure()

    def _log(self, text: str, error: BaseException | None = None) -> None:
        import logging

        if not self._logs_configured:
            self._configure_logs()
        logging.getLogger("pys_multi").error(text, exc_info=error)


def load(
    directory: str,
    *,
    connect: Callable[[App], Backend] | None = None,
    max_body: int = MAX_BODY_BYTES,
    private: Auth | None = None,
) -> Runtime:
    """The runtime of the bundle in a directory, which is on ``sys.path``.

    Which function it is comes from ``PYS_MULTI_FUNCTION``, the stage from ``PYS_MULTI_STAGE``. What the user's
    module raises while it is imported is raised here.
    """
    with open(f"{directory}/{BUILD_FILE}", encoding="utf-8") as file:
        build = parse_json(file.read())
    module, _, attribute = build["app"].partition(":")
    __import__(module)
    app: Any = _modules[module]
    for part in attribute.split("."):
        app = getattr(app, part)
    return Runtime(
        app,
        environ.get("PYS_MULTI_FUNCTION") or None,
        stage=environ.get("PYS_MULTI_STAGE", ""),
        build_id=build["build_id"],
        connect=(lambda: connect(app)) if connect is not None else None,
        max_body=max_body,
        private=private,
    )


def _is_cancelled() -> bool:
    """Whether the host has cancelled the task that runs here: then it is not the handler that failed."""
    from asyncio import current_task

    task = current_task()
    return task is not None and task.cancelling() > 0


def _bound(endpoint: Endpoint) -> tuple[Step, bool]:
    """The handler's parameters, the handler, and its result as a response."""
    from pys_multi.parameters import bind

    handler, status = endpoint.handler, endpoint.status
    call = bind(handler, endpoint.template.parameters, endpoint.method).call

    if is_async(handler):

        async def run_async(request: Request) -> Response:
            try:
                return to_response(await call(request, request.path_params), status)
            except (HTTPError, InvalidInput) as error:
                return problem(error, request)

        return run_async, True

    def run(request: Request) -> Response:
        try:
            return to_response(call(request, request.path_params), status)
        except (HTTPError, InvalidInput) as error:
            return problem(error, request)

    return run, False


def to_response(value: Any, status: int | None) -> Response:
    """What a handler returned, as a response.

    dict, list, dataclass, pydantic or msgspec value → JSON; str → text; bytes → octet stream; None → 204 unless
    the route has a status; tuple → (body, status) or (body, status, headers); Response as it is; a generator is
    streamed. Raises TypeError for what cannot be JSON.
    """
    kind = type(value)
    if kind is dict or kind is list:
        response = Response.__new__(Response)  # checked by construction, and on the way of most requests
        response.body = to_json_bytes(value)
        response.headers = [("content-type", "application/json")]
        response.status = status or 200
        return response
    if isinstance(value, Response):
        return checked(value)
    if value is None:
        return Response(status=status or 204)
    if isinstance(value, str):
        return Response(value, status=status or 200)
    if isinstance(value, bytes | bytearray | memoryview):
        return Response(bytes(value), status=status or 200, content_type="application/octet-stream")
    if kind is tuple:
        from pys_multi.bodies import from_tuple

        return from_tuple(value)
    if hasattr(value, "__anext__") or hasattr(value, "__next__"):
        return Response.stream(value, status=status or 200)
    if hasattr(value, "__await__"):  # a sync wrapper around an async handler
        from pys_multi.loop import run

        return to_response(run(value), status)
    return Response.json(value, status=status or 200)


def problem(error: HTTPError | InvalidInput, request: Request) -> Response:
    """An error as a problem-details response (RFC 9457). Raises ValueError for headers that HTTP cannot carry."""
    from pys_multi.problems import document_of

    status, document = document_of(error)
    document["request_id"] = request.request_id
    headers = error.headers if isinstance(error, HTTPError) else ()
    response = Response.json(document, status=status, headers=headers)
    response.headers = [pair for pair in response.headers if pair[0].lower() != "content-type"]
    return response.header("content-type", "application/problem+json")


def stream_of(response: Response) -> Iterator[bytes]:
    """The chunks of a streamed body, as bytes, for a sync host."""
    from pys_multi.bodies import chunks_of

    return chunks_of(response.body)


def whole_body(response: Response) -> bytes:
    """The body as bytes, joined where it is streamed, for a provider that cannot stream."""
    body = response.body
    return body if isinstance(body, bytes) else b"".join(stream_of(response))


__all__ = ["BUILD_FILE", "HEALTH_PATH", "Runtime", "load", "stream_of", "to_response", "whole_body"]
