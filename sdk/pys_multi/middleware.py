"""What stands around a handler: middleware, the authenticator at the door, CORS, the path of a mount.

Sync and async steps mix freely: a sync one below an async one runs in a thread; an async one below a sync one
runs in the background event loop while the sync one waits.
"""

from __future__ import annotations

from pys_multi.bodies import copy_of
from pys_multi.errors import HTTPError, InvalidInput, PysMultiError
from pys_multi.http import Request, Response
from pys_multi.runtime import problem, to_response
from pys_multi.triggers import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pys_multi.app import Mount
    from pys_multi.cors import CORS
    from pys_multi.triggers import Auth, Middleware
    from pys_multi.web import Host

    Step: TypeAlias = Callable[[Any], Any]


def wrap(inner: Step, inner_async: bool, middlewares: tuple[Middleware, ...]) -> tuple[Step, bool]:
    """The step with middleware around it, and whether it must be awaited."""
    for middleware in reversed(middlewares):
        inner, inner_async = _wrap_one(middleware, inner, inner_async), is_async(middleware)
    return inner, inner_async


def _wrap_one(middleware: Middleware, inner: Step, inner_async: bool) -> Step:
    call_next = inner
    if is_async(middleware) and not inner_async:

        async def call_next_async(value: Any) -> Any:
            from pys_multi.loop import in_thread

            return await in_thread(inner, value)

        call_next = call_next_async
    elif inner_async and not is_async(middleware):

        def call_next_sync(value: Any) -> Any:
            from pys_multi.loop import run

            return run(inner(value))

        call_next = call_next_sync
    return lambda value: middleware(value, call_next)


def guard(step: Step, must_await: bool, auth: Auth) -> Step:
    """Nobody gets to the step whom the authenticator does not know."""
    if must_await:

        def known(request: Request) -> None:
            authenticate(auth, request)

        async def guarded_async(request: Request) -> Response:
            from pys_multi.loop import in_thread

            try:
                await in_thread(known, request)  # a key set may be fetched: not on the loop
            except HTTPError as error:
                return problem(error, request)
            response: Response = await step(request)
            return response

        return guarded_async

    def guarded(request: Request) -> Response:
        try:
            authenticate(auth, request)
        except HTTPError as error:
            return problem(error, request)
        response: Response = step(request)
        return response

    return guarded


def answer_always(middleware: Middleware) -> Middleware:
    """The middleware as one that returns a Response always: what it raises for the caller and returns like a
    handler becomes one, so that whatever is around it can rely on that."""

    def answer(value: Any) -> Response:
        if value is None:
            name = getattr(middleware, "__qualname__", repr(middleware))
            raise TypeError(f"middleware {name} returned None: it returns what call_next returned, or its own answer")
        return to_response(value, None)

    if is_async(middleware):

        async def answering_async(request: Request, call_next: Step) -> Response:
            try:
                return answer(await middleware(request, call_next))
            except (HTTPError, InvalidInput) as error:
                return problem(error, request)

        return answering_async

    def answering(request: Request, call_next: Step) -> Response:
        try:
            return answer(middleware(request, call_next))
        except (HTTPError, InvalidInput) as error:
            return problem(error, request)

    return answering


def authenticate(auth: Auth, request: Request) -> None:
    """Sets the principal of a request. Raises HTTPError 401 for nobody."""
    check: Any = getattr(auth, "authenticate", auth)
    principal = check(request)
    if hasattr(principal, "__await__"):
        from pys_multi.loop import run

        principal = run(principal)
    if principal is None or principal is False:
        challenge = getattr(auth, "challenge", "")
        headers = {"www-authenticate": challenge} if challenge else {}
        raise HTTPError(401, "who is calling is not known: credentials are missing or not valid", headers=headers)
    request.principal = principal


def with_cors(step: Step, must_await: bool, cors: CORS, failed: Callable[[Request, Exception, CORS], Response]) -> Step:
    """The step with CORS around it: preflights never reach it, and a page may read its errors as well."""
    if must_await:

        async def decorated_async(request: Request) -> Response:
            preflight = cors.preflight(request) if request.method == "OPTIONS" else None
            if preflight is not None:
                return preflight
            try:
                response = await step(request)
            except Exception as error:
                return failed(request, error, cors)
            return cors.decorate(request, copy_of(response))

        return decorated_async

    def decorated(request: Request) -> Response:
        preflight = cors.preflight(request) if request.method == "OPTIONS" else None
        if preflight is not None:
            return preflight
        try:
            response = step(request)
        except Exception as error:
            return failed(request, error, cors)
        return cors.decorate(request, copy_of(response))

    return decorated


def mounted(mount: Mount, host: Host | None) -> tuple[Step, bool]:
    """The step into a mounted application, which sees the path below its own. Raises PysMultiError."""
    if host is None:
        raise PysMultiError(f"{mount.id} is not started: Runtime.start() comes before the first request")
    prefix = mount.path

    def enter(request: Request) -> Request:
        below = Request.__new__(Request)  # middleware may look at its own again, or call a second time with it
        for name in Request.__slots__:
            setattr(below, name, getattr(request, name))
        below.root_path += prefix
        below.path = request.path[len(prefix) :] or "/"
        return below

    if mount.interface == "asgi":

        async def run_async(request: Request) -> Response:
            return await host.handle_async(enter(request))

        return run_async, True

    def run(request: Request) -> Response:
        return host.handle(enter(request))

    return run, False
