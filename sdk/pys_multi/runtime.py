"""The one dispatch path: neutral request, messages or event → handler → neutral response.

A provider's ``runtime.py`` makes the neutral values from its cloud's events and hands them to a
:class:`Runtime`. Sync hosts call ``http``; hosts that run an event loop await ``http_async``.
A handler is inspected at its first call and never again.
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from json import JSONEncoder
from os import environ, urandom

from pys_multi.errors import HTTPError, InvalidInput, PysMultiError
from pys_multi.http import MAX_BODY_BYTES, Request, Response
from pys_multi.messages import Context, _current
from pys_multi.routing import RouteTable, Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pys_multi.app import App, Authenticator, Endpoint, Middleware, Mount
    from pys_multi.cors import CORS
    from pys_multi.messages import Event, Message
    from pys_multi.reactions import Failure, Runner
    from pys_multi.resources import Backend

    #: Whether the chain must be awaited, and the chain: middleware around authentication around the handler.
    Chain = tuple[bool, Callable[[Request], Any]]

#: Where every function says that it is alive, and which build it is.
HEALTH_PATH = "/.pys-multi/health"
#: The file at the root of a bundle that says what is in it.
BUILD_FILE = "pys_multi_build.json"

_JSON = "application/json"
_encode = JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_modules = sys.modules


class Runtime:
    """Dispatches what arrives at one function, or at every function of an app when ``function`` is None.

    connect makes the provider's backend of the resources, at their first use. max_body: bytes.
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
        app.running_function = self.function
        app.connect = connect
        app.backend = None
        self._functions = [f for f in app.functions.values() if function is None or f.name == function]
        self._table = RouteTable()
        self._chains: dict[Endpoint | Mount, Chain] = {}
        self._hosts: dict[Mount, Any] = {}
        self._runners: dict[str, Runner] = {}
        self._logs_configured = False
        for owner in self._functions:
            for endpoint in owner.endpoints:
                self._table.add(endpoint.method, endpoint.template, endpoint)
            for mount in owner.mounts:
                self._table.add("*", Template(mount.path + "/{path:path}"), mount)
                if mount.path:
                    self._table.add("*", Template(mount.path), mount)

    # ---- life

    def start(self) -> None:
        """Starts mounted applications. An exception means that this instance cannot serve."""
        if "logging" in _modules:
            self._configure_logs()
        for owner in self._functions:
            for mount in owner.mounts:
                if mount not in self._hosts:
                    from pys_multi.web import host

                    self._hosts[mount] = started = host(mount.interface, mount.application)
                    started.start()

    def stop(self) -> None:
        """Shuts mounted applications and the background event loop down."""
        for mounted in self._hosts.values():
            mounted.stop()
        self._hosts.clear()
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
        """The response to a request. Never raises."""
        context = request.context
        if context is None:
            request.context = context = Context(urandom(16).hex())
        self._describe(context)
        token = _current.set(context)
        try:
            if not self._logs_configured and "logging" in _modules:
                self._configure_logs()
            is_async, chain = self._route(request, context)
            if is_async:
                from pys_multi.loop import run

                response: Response = run(chain(request))
            else:
                response = chain(request)
        except Exception as error:
            response = self._failed(request, error)
        finally:
            _current.reset(token)
        return response if request.method != "HEAD" else _without_body(response)

    async def http_async(self, request: Request) -> Response:
        """As :meth:`http`, for a host that runs an event loop: async handlers run on it, sync ones in a thread."""
        context = request.context
        if context is None:
            request.context = context = Context(urandom(16).hex())
        self._describe(context)
        token = _current.set(context)
        try:
            if not self._logs_configured and "logging" in _modules:
                self._configure_logs()
            is_async, chain = self._route(request, context)
            if is_async:
                response: Response = await chain(request)
            else:
                from asyncio import to_thread

                response = await to_thread(chain, request)
        except Exception as error:
            response = self._failed(request, error)
        finally:
            _current.reset(token)
        return response if request.method != "HEAD" else _without_body(response)

    def _describe(self, context: Context) -> None:
        context.service = self.app.name
        context.stage = self.stage
        context.build_id = self.build_id
        context.function = self.function

    def _route(self, request: Request, context: Context) -> Chain:
        """The chain for a request, from the table; compiled at the first request of a route."""
        if len(request._body) > self.max_body:
            raise HTTPError(413, f"the body is larger than {self.max_body:,} bytes")
        path = request.path
        if path == HEALTH_PATH and request.method in ("GET", "HEAD"):
            return False, lambda _: _json_response(_encode(self.health()), 200)
        found = self._table.find(request.method, path)
        if found is None:
            if self.app.cors is None and not self.app.middlewares:
                return False, self._no_route
            return self._around(self._no_route, False, tuple(self.app.middlewares), self.app.cors)
        target, parameters = found
        context.trigger = target.id
        if not context.function:
            context.function = target.function.name
        request.path_params = parameters
        chain = self._chains.get(target)
        if chain is None:
            chain = self._chains[target] = self._compile(target)
        return chain

    def _compile(self, target: Endpoint | Mount) -> Chain:
        owner = target.function
        middlewares = (*self.app.middlewares, *owner.middlewares)
        cors = owner.cors or self.app.cors
        auth = target.auth
        host = self._hosts.get(target)  # type: ignore[call-overload]  # only a Mount has one
        if host is not None:
            inner, is_async = self._mounted(target, host, auth)  # type: ignore[arg-type]
            return self._around(inner, is_async, middlewares, cors)
        return self._around(*self._bound(target, auth), (*middlewares, *target.middleware), cors)  # type: ignore[union-attr,arg-type]

    def _bound(self, endpoint: Endpoint, auth: Authenticator | None) -> tuple[Callable[[Request], Any], bool]:
        """Authentication, the handler's parameters, the handler, and its result as a response."""
        from pys_multi.parameters import bind

        status = endpoint.status
        call = bind(endpoint.handler, endpoint.template.parameters, endpoint.method).call

        if is_async(endpoint.handler):

            async def run_async(request: Request) -> Response:
                try:
                    if auth is not None:
                        from asyncio import to_thread

                        await to_thread(authenticate, auth, request)  # a key set may be fetched: not on the loop
                    return to_response(await call(request, request.path_params), status)
                except (HTTPError, InvalidInput) as error:
                    return problem(error, request)

            return run_async, True

        def run(request: Request) -> Response:
            try:
                if auth is not None:
                    authenticate(auth, request)
                return to_response(call(request, request.path_params), status)
            except (HTTPError, InvalidInput) as error:
                return problem(error, request)

        return run, False

    def _mounted(self, mount: Mount, host: Any, auth: Authenticator | None) -> tuple[Callable[[Request], Any], bool]:
        prefix = mount.path

        def enter(request: Request) -> None:
            if auth is not None:
                authenticate(auth, request)
            request.root_path += prefix
            request.path = request.path[len(prefix) :] or "/"

        if mount.interface == "asgi":

            async def run_async(request: Request) -> Response:
                try:
                    if auth is not None:
                        from asyncio import to_thread

                        await to_thread(enter, request)
                    else:
                        enter(request)
                except HTTPError as error:
                    return problem(error, request)
                response: Response = await host.handle_async(request)
                return response

            return run_async, True

        def run(request: Request) -> Response:
            try:
                enter(request)
            except HTTPError as error:
                return problem(error, request)
            response: Response = host.handle(request)
            return response

        return run, False

    def _around(
        self, inner: Callable[[Request], Any], inner_async: bool, middlewares: tuple[Middleware, ...], cors: CORS | None
    ) -> Chain:
        """Puts middleware around the innermost step, the first one outermost, CORS around all."""
        chain, chain_async = wrap(inner, inner_async, middlewares)
        if cors is None:
            return chain_async, chain

        if chain_async:

            async def decorated_async(request: Request) -> Response:
                return cors.decorate(request, await chain(request))

            return True, decorated_async

        def decorated(request: Request) -> Response:
            return cors.decorate(request, chain(request))

        return False, decorated

    def _no_route(self, request: Request) -> Response:
        """404, 405, the answer to OPTIONS, and the way to the other form of a trailing slash."""
        path, method = request.path, request.method
        allowed = self._table.allowed(path)
        if not allowed:
            other = path[:-1] if path.endswith("/") else path + "/"
            # A path that begins with two slashes would make a location on another host.
            if len(path) > 1 and not path.startswith(("//", "/\\")) and self._table.find(method, other) is not None:
                query = f"?{request.query_string}" if request.query_string else ""
                return Response.redirect(request.root_path + _quote(other) + query)
            return problem(HTTPError(404, "there is nothing at this path"), request)
        allowed.discard("*")
        allow = ", ".join(sorted(allowed | {"OPTIONS"}))
        if method == "OPTIONS":
            preflight = self._preflight(request)
            return preflight or Response(status=204, headers={"allow": allow})
        return problem(HTTPError(405, f"{method} is not allowed here", headers={"allow": allow}), request)

    def _preflight(self, request: Request) -> Response | None:
        wanted = request.headers.get("access-control-request-method")
        if wanted is None or "origin" not in request.headers:
            return None
        found = self._table.find(wanted, request.path)
        cors = (found[0].function.cors if found is not None else None) or self.app.cors
        return cors.preflight(request) if cors is not None else None

    def _failed(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPError | InvalidInput):
            return problem(error, request)
        self._log_exception(f"{request.method} {request.path} failed")
        return problem(HTTPError(500, "the request failed; its id finds the reason in the log"), request)

    # ---- events

    def messages(self, trigger: str, messages: list[Message], context: Context | None = None) -> list[Failure]:
        """Hands messages to the handler of a `consume` or `subscribe` trigger; what failed comes back.

        Raises LookupError for a trigger that is not here, DefinitionError for a handler that takes something else.
        """
        runner = self._runner(trigger)
        token = _current.set(self._event_context(runner, context))
        try:
            return runner.messages(messages)
        finally:
            _current.reset(token)

    def event(self, trigger: str, event: Event, context: Context | None = None) -> None:
        """Hands an event to the handler of a `schedule` or `object` trigger. Raises what the handler raised."""
        runner = self._runner(trigger)
        token = _current.set(self._event_context(runner, context))
        try:
            runner.event(event)
        except Exception:
            self._log_exception(f"{trigger} failed")
            raise
        finally:
            _current.reset(token)

    def _runner(self, trigger: str) -> Runner:
        runner = self._runners.get(trigger)
        if runner is None:
            from pys_multi.reactions import Runner

            for owner in self._functions:
                for reaction in owner.reactions:
                    if reaction.id == trigger:
                        runner = self._runners[trigger] = Runner(reaction, (*self.app.middlewares, *owner.middlewares))
                        return runner
            known = ", ".join(reaction.id for owner in self._functions for reaction in owner.reactions)
            raise LookupError(f"no trigger {trigger!r} is here; there is {known or 'none'}")
        return runner

    def _event_context(self, runner: Runner, context: Context | None) -> Context:
        if not self._logs_configured and "logging" in _modules:
            self._configure_logs()
        context = context or Context(urandom(16).hex())
        self._describe(context)
        context.function = runner.reaction.function.name
        context.trigger = runner.reaction.id
        return context

    # ---- logs

    def _configure_logs(self) -> None:
        from pys_multi.logs import configure

        self._logs_configured = True
        configure()

    def _log_exception(self, text: str) -> None:
        import logging

        if not self._logs_configured:
            self._configure_logs()
        logging.getLogger("pys_multi").exception(text)


def load(directory: str, *, connect: Callable[[App], Backend] | None = None, max_body: int = MAX_BODY_BYTES) -> Runtime:
    """The runtime of the bundle in a directory, which is on ``sys.path``.

    Which function it is comes from ``PYS_MULTI_FUNCTION``, the stage from ``PYS_MULTI_STAGE``. What the user's
    module raises while it is imported is raised here.
    """
    from json import loads

    with open(f"{directory}/{BUILD_FILE}", encoding="utf-8") as file:
        build = loads(file.read())
    module, _, attribute = build["app"].partition(":")
    __import__(module)
    app: App = getattr(_modules[module], attribute)
    return Runtime(
        app,
        environ.get("PYS_MULTI_FUNCTION") or None,
        stage=environ.get("PYS_MULTI_STAGE", ""),
        build_id=build["build_id"],
        connect=(lambda: connect(app)) if connect is not None else None,
        max_body=max_body,
    )


def is_async(function: Any) -> bool:
    """Whether calling it gives something to await; without the inspect module, which is slow to import."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)
    return code is not None and bool(code.co_flags & 0x80)  # inspect.CO_COROUTINE


def wrap(
    inner: Callable[[Any], Any], inner_async: bool, middlewares: tuple[Middleware, ...]
) -> tuple[Callable[[Any], Any], bool]:
    """Middleware, the first one outermost, around a step; sync and async ones mix freely."""
    for middleware in reversed(middlewares):
        inner, inner_async = _wrap_one(middleware, inner, inner_async), is_async(middleware)
    return inner, inner_async


def _wrap_one(middleware: Middleware, inner: Callable[[Any], Any], inner_async: bool) -> Callable[[Any], Any]:
    call_next = inner
    if is_async(middleware) and not inner_async:

        async def call_next_async(value: Any) -> Any:
            from asyncio import to_thread

            return await to_thread(inner, value)

        call_next = call_next_async
    elif inner_async and not is_async(middleware):

        def call_next_sync(value: Any) -> Any:
            from pys_multi.loop import run

            return run(inner(value))

        call_next = call_next_sync
    return lambda value: middleware(value, call_next)


def authenticate(auth: Authenticator, request: Request) -> None:
    """Sets the principal of a request. Raises HTTPError 401 for nobody."""
    check = getattr(auth, "authenticate", auth)
    principal = check(request)
    if hasattr(principal, "__await__"):
        from pys_multi.loop import run

        principal = run(principal)
    if principal is None:
        challenge = getattr(auth, "challenge", "")
        headers = {"www-authenticate": challenge} if challenge else {}
        raise HTTPError(401, "who is calling is not known: credentials are missing or not valid", headers=headers)
    request.principal = principal


def to_response(value: Any, status: int | None) -> Response:
    """What a handler returned, as a response.

    dict, list, dataclass, pydantic or msgspec value → JSON; str → text; bytes → octet stream; None → 204 unless
    the route has a status; tuple → (body, status) or (body, status, headers); Response as it is; a generator is
    streamed. Raises TypeError for what cannot be JSON.
    """
    kind = type(value)
    if kind is dict or kind is list:
        try:
            return _json_response(_encode(value), status or 200)
        except TypeError:
            pass  # a value inside needs more than plain JSON
    elif kind is Response:
        return value  # type: ignore[no-any-return]
    elif value is None:
        return Response(status=status or 204)
    elif kind is str:
        return Response(value, status=status or 200)
    elif kind is bytes:
        return Response(value, status=status or 200, content_type="application/octet-stream")
    elif kind is tuple:
        return _from_tuple(value)
    elif isinstance(value, Response):
        return value
    elif hasattr(value, "__anext__") or hasattr(value, "__next__"):
        return Response.stream(value, status=status or 200)
    elif hasattr(value, "__await__"):  # a sync wrapper around an async handler
        from pys_multi.loop import run

        return to_response(run(value), status)
    return Response.json(value, status=status or 200)


def _from_tuple(value: tuple[Any, ...]) -> Response:
    if len(value) not in (2, 3) or isinstance(value[1], bool) or not isinstance(value[1], int):
        raise TypeError("a handler's tuple is (body, status) or (body, status, headers)")
    response = to_response(value[0], value[1])
    if response.status != value[1]:
        response.status = value[1]
    if len(value) == 3:
        pairs = value[2].items() if hasattr(value[2], "items") else value[2]
        added = Response(headers=pairs).headers
        replaced = {name.lower() for name, _ in added}
        response.headers = [pair for pair in response.headers if pair[0].lower() not in replaced] + added
    return response


def _json_response(text: str, status: int) -> Response:
    response = Response.__new__(Response)
    response.body = text.encode("utf-8", "surrogatepass") if not text.isascii() else text.encode()
    response.headers = [("content-type", _JSON)]
    response.status = status
    return response


def _without_body(response: Response) -> Response:
    """The response to HEAD: the header fields of GET, and no body."""
    body = response.body
    if isinstance(body, bytes):
        if not any(name.lower() == "content-length" for name, _ in response.headers):
            response.header("content-length", str(len(body)))
    else:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    response.body = b""
    return response


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def problem(error: HTTPError | InvalidInput, request: Request) -> Response:
    """An error as a problem-details response (RFC 9457)."""
    document: dict[str, Any]
    if isinstance(error, InvalidInput):
        status, headers = 422, {}
        fields = [field.to_json() for field in error.errors]
        document = {
            "type": "about:blank",
            "title": _TITLES[422],
            "status": 422,
            "detail": "the input does not fit: " + str(error),
            "errors": fields,
        }
    else:
        status, headers = error.status, error.headers
        document = {
            "type": error.type,
            "title": error.title or _title(status),
            "status": status,
            "detail": error.detail,
            **error.extensions,
        }
    document["request_id"] = request.request_id
    response = Response.json(document, status=status, headers=headers)
    response.headers = [("content-type", "application/problem+json"), *response.headers[1:]]
    return response


def _title(status: int) -> str:
    title = _TITLES.get(status)
    if title is None:
        from http import HTTPStatus

        try:
            title = HTTPStatus(status).phrase
        except ValueError:
            title = "Error"
    return title


def _quote(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/:@!$&'()*+,;=-._~")


def stream_of(response: Response) -> Iterator[bytes]:
    """The chunks of a streamed body, as bytes, for a sync host; each is made in the context of this call."""
    body: Any = response.body
    if hasattr(body, "__aiter__"):
        from pys_multi.loop import iterate

        chunks: Iterator[bytes | str] = iterate(body)
    else:
        chunks = iter(body)
    context = copy_context()
    while True:
        try:
            chunk = context.run(next, chunks)
        except StopIteration:
            return
        yield chunk.encode() if isinstance(chunk, str) else chunk


def whole_body(response: Response) -> bytes:
    """The body as bytes, joined where it is streamed, for a provider that cannot stream."""
    body = response.body
    return body if isinstance(body, bytes) else b"".join(stream_of(response))


__all__ = ["BUILD_FILE", "HEALTH_PATH", "Runtime", "load", "stream_of", "to_response", "whole_body"]
