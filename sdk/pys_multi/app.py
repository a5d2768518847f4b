"""App and Function: what a service is made of, recorded by decorators.

A decorated function comes back as it is, so that a unit test calls it directly. Nothing here looks at
annotations or builds tables: importing the user's module must stay cheap, and the runtime does that
for the one function it runs.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError
from pys_multi.routing import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol, TypedDict, TypeVar, Unpack

    from pys_multi.cors import CORS
    from pys_multi.http import Request
    from pys_multi.model import Service
    from pys_multi.resources import Backend, Bucket, Grant, Queue, Resource, Secret, Table, Topic

    Handler = TypeVar("Handler", bound=Callable[..., Any])
    Middleware = Callable[[Any, Callable[[Any], Any]], Any]

    class RouteOptions(TypedDict, total=False):
        """What a route decorator takes beside method and path; see :meth:`App.route`."""

        status: int
        public: bool
        auth: Authenticator
        uses: Iterable[object]
        middleware: Iterable[Middleware]

    class Authenticator(Protocol):
        """Who is calling: the principal, or None for nobody (401). Raises HTTPError 403 for "not you"."""

        def authenticate(self, request: Request) -> object: ...

        def describe(self) -> Mapping[str, Any]: ...


_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_ANY = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")


def place_of(handler: Any) -> str:
    """``file:line`` of a function, for messages."""
    code = getattr(handler, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(handler)


def _check_name(what: str, name: object, letters: frozenset[str], limit: int) -> str:
    if (
        not isinstance(name, str)
        or not name
        or len(name) > limit
        or not letters.issuperset(name)
        or not name[0].isalpha()
    ):
        kind = "lower-case letters, digits and '-'" if letters is _LOWER else "letters, digits, '-' and '_'"
        raise DefinitionError(f"{name!r} is not a {what} name: write 1 to {limit} {kind}, beginning with a letter")
    return name


def _check_options(owner: str, options: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    for key, value in options.items():
        if not isinstance(value, dict):
            raise DefinitionError(
                f"{owner} has no parameter {key!r}. Options of one provider are given as a mapping under its name, "
                f"for example {key}={{...}}"
            )
    return dict(options)


_ROUTE_OPTIONS = ("status", "public", "auth", "uses", "middleware")


def _check_options_of_route(options: Mapping[str, Any]) -> None:
    for key in options:
        if key not in _ROUTE_OPTIONS:
            raise DefinitionError(f"a route has no option {key!r}; it has {', '.join(_ROUTE_OPTIONS)}")


class Endpoint:
    """A route as it was defined."""

    __slots__ = ("auth", "function", "handler", "id", "method", "middleware", "public", "status", "template")

    def __init__(
        self,
        function: Function,
        method: str,
        template: Template,
        handler: Callable[..., Any],
        status: int | None,
        public: bool,
        auth: Authenticator | None,
        middleware: tuple[Middleware, ...],
    ) -> None:
        self.function = function
        self.method = method
        self.template = template
        self.handler = handler
        self.status = status
        self.public = public
        self.auth = auth
        self.middleware = middleware
        self.id = f"{function.name}:{method} {template.text}"


class Mount:
    """An ASGI or WSGI application as it was mounted."""

    __slots__ = ("application", "auth", "function", "id", "interface", "path", "public")

    def __init__(
        self, function: Function, interface: str, application: Any, path: str, public: bool, auth: Authenticator | None
    ) -> None:
        self.function = function
        self.interface = interface
        self.application = application
        self.path = path
        self.public = public
        self.auth = auth
        self.id = f"{function.name}:{interface} {path or '/'}"


class Reaction:
    """A handler of anything but HTTP: kind is `schedule`, `consume`, `subscribe` or `object`.

    settings: the fields of the model's trigger of that kind.
    """

    __slots__ = ("function", "handler", "id", "kind", "settings")

    def __init__(self, function: Function, kind: str, handler: Callable[..., Any], settings: dict[str, Any]) -> None:
        self.function = function
        self.kind = kind
        self.handler = handler
        self.settings = settings
        self.id = function.trigger_id(getattr(handler, "__name__", kind))


class _Routes:
    """The route decorators, shared by App, Function and Router."""

    __slots__ = ()

    def route(self, method: str, path: str, **options: Unpack[RouteOptions]) -> Callable[[Handler], Handler]:
        """Binds a method and a path template to the decorated handler.

        status: of a success; 200 unless said otherwise, 204 where the handler returns None. public: whoever
        reaches it may call it. auth: says who is calling; without public and auth a route is private. uses:
        grants of this handler, added to its function's. middleware: around this route alone.
        Raises DefinitionError.
        """
        _check_options_of_route(options)

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


class Router(_Routes):
    """Routes of one module, put under a prefix of an App, a Function or another Router with ``include``."""

    __slots__ = ("_auth", "_included", "_middleware", "_prefix", "_public", "_routes")

    def __init__(
        self,
        prefix: str = "",
        *,
        public: bool | None = None,
        auth: Authenticator | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._prefix = _check_prefix(prefix)
        self._public = public
        self._auth = auth
        self._middleware = tuple(middleware)
        self._routes: list[tuple[str, str, Callable[..., Any], RouteOptions]] = []
        self._included: list[tuple[_Routes, str]] = []

    def include(self, router: Router, prefix: str = "") -> None:
        """Puts the routes of another router under this one."""
        router._include_in(self, _check_prefix(prefix))

    def _add_route(self, method: str, path: str, handler: Callable[..., Any], options: RouteOptions) -> None:
        inherited = options.copy()
        if "public" not in options and "auth" not in options:
            if self._public is not None:
                inherited["public"] = self._public
            if self._auth is not None:
                inherited["auth"] = self._auth
        inherited["middleware"] = (*self._middleware, *options.get("middleware", ()))
        route = (method, path, handler, inherited)
        self._routes.append(route)
        # Routes that are defined after the router was included arrive as well.
        for target, prefix in self._included:
            self._pass_on(target, prefix, route)

    def _include_in(self, target: _Routes, prefix: str) -> None:
        self._included.append((target, prefix))
        for route in self._routes:
            self._pass_on(target, prefix, route)

    def _pass_on(self, target: _Routes, prefix: str, route: tuple[str, str, Callable[..., Any], RouteOptions]) -> None:
        method, path, handler, options = route
        target._add_route(method, prefix + self._prefix + path or "/", handler, options)


def _check_prefix(prefix: str) -> str:
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise DefinitionError(f"prefix {prefix!r} begins with '/' and does not end with it")
    return prefix


class Function(_Routes):
    """The deployable and scalable unit; made by :meth:`App.function`."""

    __slots__ = (
        "_ids",
        "app",
        "auth",
        "concurrency",
        "cors",
        "dependencies",
        "endpoints",
        "environment",
        "memory",
        "middlewares",
        "mounts",
        "name",
        "options",
        "public",
        "reactions",
        "timeout",
        "uses",
    )

    def __init__(
        self,
        app: App,
        name: str,
        *,
        memory: int,
        timeout: float,
        concurrency: int,
        uses: Iterable[object],
        environment: Mapping[str, str] | None,
        dependencies: Iterable[str],
        public: bool | None,
        auth: Authenticator | None,
        cors: CORS | None,
        options: dict[str, Mapping[str, Any]],
    ) -> None:
        for what, value in (("memory", memory), ("timeout", timeout), ("concurrency", concurrency)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
                raise DefinitionError(f"function {name!r}: {what} is a positive number, not {value!r}")
        for key, text in (environment or {}).items():
            if not isinstance(key, str) or not isinstance(text, str) or not key or "=" in key or "\0" in key + text:
                raise DefinitionError(f"function {name!r}: environment is text by name, not {key!r}: {text!r}")
        self.app = app
        self.name = name
        self.memory = memory
        self.timeout = timeout
        self.concurrency = concurrency
        self.uses: list[object] = list(uses)
        self.environment = dict(environment or {})
        self.dependencies = tuple(dependencies)
        self.public = public
        self.auth = auth
        self.cors = cors
        self.options = options
        self.endpoints: list[Endpoint] = []
        self.mounts: list[Mount] = []
        self.reactions: list[Reaction] = []
        self.middlewares: list[Middleware] = []
        self._ids: set[str] = set()

    # ---- HTTP

    def _add_route(self, method: str, path: str, handler: Callable[..., Any], options: RouteOptions) -> None:
        where = place_of(handler)
        status, public, auth = options.get("status"), options.get("public"), options.get("auth")
        if not method.isascii() or not method.isalpha():
            raise DefinitionError(f"{where}: {method!r} is not an HTTP method")
        method = method.upper()
        if status is not None and not 100 <= status <= 599:
            raise DefinitionError(f"{where}: {status} is not an HTTP status")
        if public and auth is not None:
            raise DefinitionError(f"{where}: a route is public or names an authenticator, not both")
        if public is None and auth is None:
            public, auth = self.public, self.auth
            if public is None and auth is None:
                public, auth = self.app.public, self.app.auth
        try:
            template = Template(path)
        except DefinitionError as error:
            raise DefinitionError(f"{where}: {error}") from None
        shape = (method, template.shape)
        known = self.app._shapes.get(shape)
        if known is not None:
            raise DefinitionError(
                f"{where}: {method} {path} matches the same paths as {known.method} {known.template.text} "
                f"at {place_of(known.handler)}"
            )
        endpoint = Endpoint(
            self, method, template, handler, status, bool(public), auth, tuple(options.get("middleware", ()))
        )
        self.app._shapes[shape] = endpoint
        self.endpoints.append(endpoint)
        self.uses.extend(options.get("uses", ()))

    def include(self, router: Router, prefix: str = "") -> None:
        """Puts the routes of a router into this function."""
        router._include_in(self, _check_prefix(prefix))

    def asgi(
        self,
        application: Any,
        path: str = "",
        *,
        public: bool | None = None,
        auth: Authenticator | None = None,
    ) -> None:
        """Mounts an ASGI application (FastAPI, Starlette, Django, …) as it is, for every path below ``path``."""
        self._mount("asgi", application, path, public, auth)

    def wsgi(
        self,
        application: Any,
        path: str = "",
        *,
        public: bool | None = None,
        auth: Authenticator | None = None,
    ) -> None:
        """Mounts a WSGI application (Flask, Django, …) as it is, for every path below ``path``."""
        self._mount("wsgi", application, path, public, auth)

    def _mount(
        self, interface: str, application: Any, path: str, public: bool | None, auth: Authenticator | None
    ) -> None:
        if not callable(application):
            raise DefinitionError(f"function {self.name!r}: {application!r} is not an {interface.upper()} application")
        path = _check_prefix("" if path == "/" else path)
        if "{" in path:
            raise DefinitionError(f"function {self.name!r}: a mount path is plain text, not {path!r}")
        if public is None and auth is None:
            public, auth = self.public, self.auth
            if public is None and auth is None:
                public, auth = self.app.public, self.app.auth
        for function in self.app.functions.values():
            for mount in function.mounts:
                if mount.path == path:
                    raise DefinitionError(
                        f"function {self.name!r}: {path or '/'!r} is mounted already by {function.name!r}"
                    )
        self.mounts.append(Mount(self, interface, application, path, bool(public), auth))

    # ---- events

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
        otherwise, each message of the batch is run alone so that only the guilty fail.
        """
        if type(queue).__name__ != "Queue":
            raise DefinitionError(f"consume takes a queue of the app, not {queue!r}")
        if not 1 <= batch <= 10_000:
            raise DefinitionError(f"consume: batch is 1 to 10,000 messages, not {batch}")
        if not 0 <= window <= 300:
            raise DefinitionError(f"consume: window is 0 to 300 seconds, not {window}")
        for function in self.app.functions.values():
            for other in function.reactions:
                if other.kind == "consume" and other.settings["queue"] == queue.name:
                    raise DefinitionError(
                        f"queue {queue.name!r} has a consumer already, {other.id!r}: a message goes to one consumer; "
                        "use a topic where several want it"
                    )
        return self._react("consume", {"queue": queue.name, "batch": batch, "window": float(window)}, uses)

    def subscribe(self, topic: Topic, *, retries: int = 3, uses: Iterable[object] = ()) -> Callable[[Handler], Handler]:
        """Gives every message of the topic to the decorated handler, up to ``retries`` times more when it raises."""
        if type(topic).__name__ != "Topic":
            raise DefinitionError(f"subscribe takes a topic of the app, not {topic!r}")
        return self._react("subscribe", {"topic": topic.name, "retries": _check_retries(retries)}, uses)

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
        if type(bucket).__name__ != "Bucket":
            raise DefinitionError(f"{event} takes a bucket of the app, not {bucket!r}")
        settings = {
            "bucket": bucket.name,
            "event": event,
            "prefix": prefix,
            "suffix": suffix,
            "retries": _check_retries(retries),
        }
        return self._react("object", settings, uses)

    def _react(self, kind: str, settings: dict[str, Any], uses: Iterable[object]) -> Callable[[Handler], Handler]:
        def decorate(handler: Handler) -> Handler:
            self.reactions.append(Reaction(self, kind, handler, settings))
            self.uses.extend(uses)
            return handler

        return decorate

    def trigger_id(self, name: str) -> str:
        """An id for one more trigger of this function: its handler's name, numbered where it repeats."""
        wanted = candidate = f"{self.name}:{name}"
        number = 1
        while candidate in self._ids:
            number += 1
            candidate = f"{wanted}-{number}"
        self._ids.add(candidate)
        return candidate

    # ---- around both

    def middleware(self, middleware: Middleware) -> Middleware:
        """Puts ``middleware(request_or_event, call_next)`` around every handler of this function."""
        self.middlewares.append(middleware)
        return middleware

    def __repr__(self) -> str:
        return f"<Function {self.name}>"


def _check_retries(retries: int) -> int:
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:
        raise DefinitionError(f"retries is 0 to 100, not {retries!r}")
    return retries


class App(_Routes):
    """A service: functions, their triggers, and the resources they use.

    name: of the service. public and auth: what holds for routes that say neither. cors: for all routes.
    """

    def __init__(
        self,
        name: str,
        *,
        public: bool | None = None,
        auth: Authenticator | None = None,
        cors: CORS | None = None,
    ) -> None:
        self.name = _check_name("service", name, _LOWER, 40)
        self.public = public
        self.auth = auth
        self.cors = cors
        self.functions: dict[str, Function] = {}
        self.resources: dict[str, Resource] = {}
        self.middlewares: list[Middleware] = []
        #: Set by the runtime: what stands behind the resources (made at their first use, since a cloud's SDK
        #: is slow to import), and the one function this process runs.
        self.backend: Backend | None = None
        self.connect: Callable[[], Backend] | None = None
        self.running_function = ""
        self._shapes: dict[tuple[str, str], Endpoint] = {}
        self._grants: dict[str, frozenset[tuple[str, str]]] = {}

    # ---- functions

    def function(
        self,
        name: str,
        *,
        memory: int = 256,
        timeout: float = 30,
        concurrency: int = 1,
        uses: Iterable[object] = (),
        environment: Mapping[str, str] | None = None,
        dependencies: Iterable[str] = (),
        public: bool | None = None,
        auth: Authenticator | None = None,
        cors: CORS | None = None,
        **options: Mapping[str, Any],
    ) -> Function:
        """A new function.

        memory: MB. timeout: seconds. concurrency: requests that one instance handles at once. uses: what it may
        do, such as ``[orders.send, stock.read]``; everything else is refused. dependencies: extras or dependency
        groups of the project that this function needs. options: of one provider, ``aws={...}``.
        Raises DefinitionError.
        """
        _check_name("function", name, _LOWER, 40)
        if name in self.functions:
            raise DefinitionError(f"function {name!r} is defined twice in {self.name!r}")
        function = self.functions[name] = Function(
            self,
            name,
            memory=memory,
            timeout=timeout,
            concurrency=concurrency,
            uses=uses,
            environment=environment,
            dependencies=dependencies,
            public=public,
            auth=auth,
            cors=cors,
            options=_check_options(f"function {name!r}", options),
        )
        return function

    @property
    def main(self) -> Function:
        """The function that the app's own decorators add to, named ``main``."""
        return self.functions.get("main") or self.function("main")

    def _add_route(self, method: str, path: str, handler: Callable[..., Any], options: RouteOptions) -> None:
        self.main._add_route(method, path, handler, options)

    def include(self, router: Router, prefix: str = "") -> None:
        """Puts the routes of a router into the main function."""
        self.main.include(router, prefix)

    def asgi(self, application: Any, path: str = "", **options: Any) -> None:
        """Mounts an ASGI application in the main function; see :meth:`Function.asgi`."""
        self.main.asgi(application, path, **options)

    def wsgi(self, application: Any, path: str = "", **options: Any) -> None:
        """Mounts a WSGI application in the main function; see :meth:`Function.wsgi`."""
        self.main.wsgi(application, path, **options)

    def every(self, interval: str, **options: Any) -> Callable[[Handler], Handler]:
        """:meth:`Function.every` of the main function."""
        return self.main.every(interval, **options)

    def schedule(self, cron: str, **options: Any) -> Callable[[Handler], Handler]:
        """:meth:`Function.schedule` of the main function."""
        return self.main.schedule(cron, **options)

    def consume(self, queue: Queue, **options: Any) -> Callable[[Handler], Handler]:
        """:meth:`Function.consume` of the main function."""
        return self.main.consume(queue, **options)

    def subscribe(self, topic: Topic, **options: Any) -> Callable[[Handler], Handler]:
        """:meth:`Function.subscribe` of the main function."""
        return self.main.subscribe(topic, **options)

    def created(self, bucket: Bucket, **options: Any) -> Callable[[Handler], Handler]:
        """:meth:`Function.created` of the main function."""
        return self.main.created(bucket, **options)

    def deleted(self, bucket: Bucket, **options: Any) -> Callable[[Handler], Handler]:
        """:meth:`Function.deleted` of the main function."""
        return self.main.deleted(bucket, **options)

    def middleware(self, middleware: Middleware) -> Middleware:
        """Puts ``middleware(request_or_event, call_next)`` around every handler of every function."""
        self.middlewares.append(middleware)
        return middleware

    # ---- resources

    def queue(
        self,
        name: str,
        *,
        retries: int = 3,
        visibility: float | None = None,
        ordered: bool = False,
        **options: Mapping[str, Any],
    ) -> Queue:
        """A queue with its dead-letter queue. visibility: seconds, see :class:`pys_multi.Queue`."""
        from pys_multi.resources import Queue

        if visibility is not None and not 1 <= visibility <= 43_200:
            raise DefinitionError(f"queue {name!r}: visibility is 1 to 43,200 seconds, not {visibility}")
        queue = Queue(
            self,
            _check_name("queue", name, _ANY, 60),
            _check_options(f"queue {name!r}", options),
            retries=_check_retries(retries),
            visibility=visibility,
            ordered=ordered,
        )
        self._add_resource(queue)
        return queue

    def topic(self, name: str, **options: Mapping[str, Any]) -> Topic:
        """A topic."""
        from pys_multi.resources import Topic

        topic = Topic(self, _check_name("topic", name, _ANY, 60), _check_options(f"topic {name!r}", options))
        self._add_resource(topic)
        return topic

    def bucket(self, name: str, **options: Mapping[str, Any]) -> Bucket:
        """A bucket."""
        from pys_multi.resources import Bucket

        bucket = Bucket(self, _check_name("bucket", name, _ANY, 60), _check_options(f"bucket {name!r}", options))
        self._add_resource(bucket)
        return bucket

    def table(self, name: str, *, key: str, sort: str | None = None, **options: Mapping[str, Any]) -> Table:
        """A table whose items are identified by the attribute ``key``, and ``sort`` where it has one."""
        from pys_multi.resources import Table

        if not key or key == sort:
            raise DefinitionError(f"table {name!r}: key and sort are two attribute names")
        table = Table(
            self,
            _check_name("table", name, _ANY, 60),
            _check_options(f"table {name!r}", options),
            key=key,
            sort=sort,
        )
        self._add_resource(table)
        return table

    def secret(self, name: str, **options: Mapping[str, Any]) -> Secret:
        """A secret, by the name under which settings or the provider know it."""
        from pys_multi.resources import Secret

        secret = Secret(self, _check_name("secret", name, _ANY, 60), _check_options(f"secret {name!r}", options))
        self._add_resource(secret)
        return secret

    def _add_resource(self, resource: Resource) -> None:
        known = self.resources.get(resource.name)
        if known is not None:
            raise DefinitionError(
                f"{resource.kind} {resource.name!r}: {self.name!r} has a {known.kind} of that name already"
            )
        self.resources[resource.name] = resource

    # ---- what the runtime and the tools ask

    def grants_of(self, function: str) -> frozenset[tuple[str, str]]:
        """(resource, verb) pairs that a function was granted. Raises DefinitionError for what is no grant."""
        grants = self._grants.get(function)
        if grants is None:
            uses = self.functions[function].uses if function in self.functions else ()
            grants = frozenset((grant.resource.name, verb) for grant in self._grants_in(uses) for verb in grant.verbs)
            self._grants[function] = grants
        return grants

    def _grants_in(self, uses: Iterable[object]) -> list[Grant]:
        from pys_multi.resources import grant_of

        grants = [grant_of(entry) for entry in uses]
        for grant in grants:
            if self.resources.get(grant.resource.name) is not grant.resource:
                raise DefinitionError(f"uses: {grant.resource!r} belongs to another app than {self.name!r}")
        return grants

    def service(self) -> Service:
        """The frozen, provider-neutral model of this service. Raises DefinitionError."""
        from pys_multi.describe import describe

        return describe(self)

    def __repr__(self) -> str:
        return f"<App {self.name}>"
