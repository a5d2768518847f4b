"""The decorators: what may invoke a function, written beside the handler that answers.

A decorated function comes back as it is, so that a unit test calls it directly. Nothing here looks at
annotations or builds tables: importing the user's module must stay cheap, and the runtime does that
for the one function it runs.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol, TypeAlias, TypedDict, TypeVar, Unpack

    from pys_multi.app import Function
    from pys_multi.http import Request
    from pys_multi.resources import Bucket, Queue, Topic

    Handler = TypeVar("Handler", bound=Callable[..., Any])
    #: ``middleware(request_or_event, call_next)``, sync or async; of HTTP it returns what a handler may return.
    Middleware: TypeAlias = Callable[[Any, Callable[[Any], Any]], Any]
    AnyMiddleware = TypeVar("AnyMiddleware", bound=Middleware)

    class Authenticator(Protocol):
        """Who is calling: the principal, or None or False for nobody (401). Raises HTTPError 403 for "not you".

        It may be ``async``. A ``challenge`` attribute becomes the ``WWW-Authenticate`` of a 401, and a ``describe()``
        method says in the model what it is; both can be missing.
        """

        def authenticate(self, request: Request) -> Any: ...

    #: An authenticator, or a function that does the same.
    Auth: TypeAlias = Authenticator | Callable[[Request], Any]

    class RouteOptions(TypedDict, total=False):
        """What a route decorator takes beside method and path; see :meth:`Routes.route`."""

        status: int
        public: bool
        auth: Auth
        uses: Iterable[object]
        middleware: Iterable[Middleware]

    Defined = tuple[str, str, Callable[..., Any], RouteOptions]


_ROUTE_OPTIONS = ("status", "public", "auth", "uses", "middleware")


class Routes:
    """The route decorators, shared by App, Function and Router."""

    __slots__ = ()

    def route(self, method: str, path: str, **options: Unpack[RouteOptions]) -> Callable[[Handler], Handler]:
        """Binds a method and a path template to the decorated handler.

        status: of a success; 200 unless said otherwise, 204 where the handler returns None. public: whoever
        reaches it may call it; False makes it private whatever holds around it. auth: says who is calling. A route
        that says neither takes what its router, function or app says, in that order, and is private where none
        does. uses: grants of this handler, added to its function's. middleware: around this route alone, after
        authentication. Raises DefinitionError.
        """
        for key in options:
            if key not in _ROUTE_OPTIONS:
                raise DefinitionError(f"a route has no option {key!r}; it has {', '.join(_ROUTE_OPTIONS)}")

        def decorate(handler: Handler) -> Handler:
            self._add_route(method, path, handler, options)
            return handler

        return decorate

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Handler], Handler]:
        """A GET (and HEAD) route; options as for :meth:`route`."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Handler], Handler]:
        """A POST route; options as for :meth:`route`."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Handler], Handler]:
        """A PUT route; options as for :meth:`route`."""
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Handler], Handler]:
        """A PATCH route; options as for :meth:`route`."""
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Handler], Handler]:
        """A DELETE route; options as for :meth:`route`."""
        return self.route("DELETE", path, **options)

    if TYPE_CHECKING:

        def _add_route(self, method: str, path: str, handler: Callable[..., Any], options: RouteOptions) -> None: ...


class Router(Routes):
    """Routes of one module, put under a prefix of an App, a Function or another Router with ``include``.

    public, auth: what holds for its routes that say neither. middleware: around each of its routes, after
    authentication. It may be included before or after its routes are defined, and more than once.
    """

    __slots__ = ("_auth", "_included", "_middleware", "_prefix", "_public", "_routes")

    def __init__(
        self,
        prefix: str = "",
        *,
        public: bool | None = None,
        auth: Auth | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._prefix = check_prefix(prefix)
        self._public = public
        self._auth = auth
        self._middleware = tuple(middleware)
        self._routes: list[Defined] = []
        self._included: list[tuple[Routes, str]] = []

    def include(self, router: Router, prefix: str = "") -> None:
        """Puts the routes of another router under this one. Raises DefinitionError."""
        router._include_in(self, check_prefix(prefix))

    def _add_route(self, method: str, path: str, handler: Callable[..., Any], options: RouteOptions) -> None:
        if path and not path.startswith("/"):
            raise DefinitionError(f"{place_of(handler)}: path {path!r} does not begin with '/'")
        inherited = options.copy()
        if "public" not in options and "auth" not in options:
            if self._public is not None:
                inherited["public"] = self._public
            if self._auth is not None:
                inherited["auth"] = self._auth
        inherited["middleware"] = (*self._middleware, *options.get("middleware", ()))
        defined = (method, self._prefix + path, handler, inherited)
        self._routes.append(defined)
        # Routes that are defined after the router was included arrive as well.
        for target, prefix in self._included:
            _pass_on(target, prefix, defined)

    def _include_in(self, target: Routes, prefix: str) -> None:
        if isinstance(target, Router) and target._is_in(self):
            raise DefinitionError(f"router {self._prefix or '/'!r} is included in itself")
        self._included.append((target, prefix))
        for defined in self._routes:
            _pass_on(target, prefix, defined)

    def _is_in(self, other: Router) -> bool:
        return self is other or any(isinstance(target, Router) and target._is_in(other) for target, _ in self._included)


def _pass_on(target: Routes, prefix: str, defined: Defined) -> None:
    method, path, handler, options = defined
    target._add_route(method, prefix + path or "/", handler, options)


def check_prefix(prefix: str) -> str:
    """The prefix. Raises DefinitionError where a path cannot begin with it."""
    if not isinstance(prefix, str) or (prefix and (not prefix.startswith("/") or prefix.endswith("/"))):
        raise DefinitionError(f"prefix {prefix!r} begins with '/' and does not end with it")
    return prefix


def place_of(handler: Any) -> str:
    """``file:line`` of a function, for messages."""
    while hasattr(handler, "__wrapped__"):  # what functools.wraps leaves behind
        handler = handler.__wrapped__
    code = getattr(handler, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(handler)


def is_async(function: Any) -> bool:
    """Whether calling it gives something to await; without the inspect module, which is slow to import."""
    while type(function).__name__ == "partial":
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004  (its code is wanted)
    return code is not None and bool(code.co_flags & 0x80)  # inspect.CO_COROUTINE


class Triggers(Routes):
    """Everything that may invoke a function: the decorators that App and Function share.

    Those of an App add to its function ``main``, which they make.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def _function(self) -> Function: ...

    def include(self, router: Router, prefix: str = "") -> None:
        """Puts the routes of a router here. Raises DefinitionError."""
        router._include_in(self._function(), check_prefix(prefix))

    def asgi(self, application: Any, path: str = "", *, public: bool | None = None, auth: Auth | None = None) -> None:
        """Mounts an ASGI application (FastAPI, Starlette, Django, …) as it is, for every path below ``path``.

        Raises DefinitionError.
        """
        self._function()._mount("asgi", application, path, public, auth)

    def wsgi(self, application: Any, path: str = "", *, public: bool | None = None, auth: Auth | None = None) -> None:
        """Mounts a WSGI application (Flask, Django, …) as it is, for every path below ``path``.

        Raises DefinitionError.
        """
        self._function()._mount("wsgi", application, path, public, auth)

    def every(self, interval: str, *, uses: Iterable[object] = ()) -> Callable[[Handler], Handler]:
        """Runs the decorated handler at an interval, such as ``"15 minutes"``, ``"1 hour"``, ``"2 days"``.

        The handler takes nothing, or an Event (its ``time`` is when it was due).
        """
        return self._react("schedule", {"expression": f"every {interval}", "timezone": "UTC"}, uses)

    def schedule(
        self, cron: str, *, timezone: str = "UTC", uses: Iterable[object] = ()
    ) -> Callable[[Handler], Handler]:
        """Runs the decorated handler at times given by five cron fields, in an IANA time zone."""
        return self._react("schedule", {"expression": cron, "timezone": timezone}, uses)

    def consume(
        self, queue: Queue, *, batch: int = 1, window: float = 0.0, uses: Iterable[object] = ()
    ) -> Callable[[Handler], Handler]:
        """Gives the queue's messages to the decorated handler: one Message, or a list of up to ``batch``.

        window: seconds to wait for a batch to fill. A handler of one Message that raises fails that message;
        a handler of a list fails those it marks (``with message:`` or ``message.fail()``), and where it raises
        otherwise, each message it did not mark is run alone, so that only the guilty fail. Raises DefinitionError.
        """
        self._check_own("consume", "queue", queue)
        check_number("consume: batch", batch, int, 1, 10_000)
        check_number("consume: window", window, float, 0, 300)
        return self._react("consume", {"queue": queue.name, "batch": batch, "window": float(window)}, uses)

    def subscribe(self, topic: Topic, *, retries: int = 3, uses: Iterable[object] = ()) -> Callable[[Handler], Handler]:
        """Gives every message of the topic to the decorated handler, up to ``retries`` times more when it raises."""
        self._check_own("subscribe", "topic", topic)
        check_number("subscribe: retries", retries, int, 0, 100)
        return self._react("subscribe", {"topic": topic.name, "retries": retries}, uses)

    def created(
        self, bucket: Bucket, *, prefix: str = "", suffix: str = "", retries: int = 3, uses: Iterable[object] = ()
    ) -> Callable[[Handler], Handler]:
        """Runs the decorated handler with an Event for every object that is created or replaced."""
        return self._object_event(bucket, "created", prefix, suffix, retries, uses)

    def deleted(
        self, bucket: Bucket, *, prefix: str = "", suffix: str = "", retries: int = 3, uses: Iterable[object] = ()
    ) -> Callable[[Handler], Handler]:
        """Runs the decorated handler with an Event for every object that is deleted."""
        return self._object_event(bucket, "deleted", prefix, suffix, retries, uses)

    def _object_event(
        self, bucket: Bucket, event: str, prefix: str, suffix: str, retries: int, uses: Iterable[object]
    ) -> Callable[[Handler], Handler]:
        self._check_own(event, "bucket", bucket)
        if not isinstance(prefix, str) or not isinstance(suffix, str):
            raise DefinitionError(f"{event}: prefix and suffix are text, not {prefix!r} and {suffix!r}")
        check_number(f"{event}: retries", retries, int, 0, 100)
        settings = {"bucket": bucket.name, "event": event, "prefix": prefix, "suffix": suffix, "retries": retries}
        return self._react("object", settings, uses)

    def _check_own(self, decorator: str, kind: str, resource: Any) -> None:
        app = self._function().app
        if getattr(resource, "kind", "") != kind:
            raise DefinitionError(f"{decorator} takes a {kind} of the app, not {resource!r}")
        if app.resources.get(resource.name) is not resource:
            raise DefinitionError(f"{decorator}: {resource!r} belongs to another app than {app.name!r}")

    def _react(self, kind: str, settings: Mapping[str, Any], uses: Iterable[object]) -> Callable[[Handler], Handler]:
        function = self._function()

        def decorate(handler: Handler) -> Handler:
            function._add_reaction(kind, settings, handler, uses)
            return handler

        return decorate


def check_number(what: str, value: object, kind: type, low: float, high: float) -> None:
    """Raises DefinitionError for what is no whole number (or number, for kind float) in these bounds."""
    kinds = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        whole = "a whole number" if kind is int else "a number"
        raise DefinitionError(f"{what} is {whole} from {low:,} to {high:,}, not {value!r}")
