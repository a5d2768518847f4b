"""App and Function: what a service is made of, as the decorators of ``triggers.py`` record it."""

from __future__ import annotations

from _thread import allocate_lock

from pys_multi.errors import DefinitionError
from pys_multi.routing import Template
from pys_multi.triggers import Triggers, check_number, check_prefix, place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from pys_multi.backend import Backend
    from pys_multi.cors import CORS
    from pys_multi.model import Service
    from pys_multi.resources import Bucket, Grant, Queue, Resource, Secret, Table, Topic
    from pys_multi.triggers import AnyMiddleware, Auth, Middleware, RouteOptions

#: Paths below it answer for the runtime itself, such as the health of a function.
OWN_PATHS = "/.pys-multi"

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_ANY = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")


def _check_name(what: str, name: object, letters: frozenset[str], limit: int) -> str:
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= limit
        or not letters.issuperset(name)
        or not name[0].isalpha()
        or name.endswith("-")
    ):
        kind = "lower-case letters, digits and '-'" if letters is _LOWER else "letters, digits, '-' and '_'"
        raise DefinitionError(
            f"{name!r} is not a {what} name: write 1 to {limit} {kind}, beginning with a letter and not ending in '-'"
        )
    return name


def _check_options(owner: str, options: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    for key, value in options.items():
        if not isinstance(value, dict):
            raise DefinitionError(
                f"{owner} has no parameter {key!r}. Options of one provider are given as a mapping under its name, "
                f"for example {key}={{...}}"
            )
    return dict(options)


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
        auth: Auth | None,
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

    __slots__ = ("application", "auth", "function", "id", "interface", "path", "public", "template")

    def __init__(
        self,
        function: Function,
        interface: str,
        application: Any,
        path: str,
        template: Template,
        public: bool,
        auth: Auth | None,
    ) -> None:
        self.function = function
        self.interface = interface
        self.application = application
        self.path = path
        self.template = template
        self.public = public
        self.auth = auth
        self.id = f"{function.name}:{interface} {path or '/'}"


class Reaction:
    """A handler of anything but HTTP: kind is `schedule`, `consume`, `subscribe` or `object`.

    settings: the fields of the model's trigger of that kind.
    """

    __slots__ = ("function", "handler", "id", "kind", "settings")

    def __init__(self, function: Function, kind: str, handler: Callable[..., Any], settings: Mapping[str, Any]) -> None:
        self.function = function
        self.kind = kind
        self.handler = handler
        self.settings = settings
        self.id = function.trigger_id(handler, kind)


class Function(Triggers):
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
        auth: Auth | None,
        cors: CORS | None,
        options: dict[str, Mapping[str, Any]],
    ) -> None:
        where = f"function {name!r}"
        # Bounds that only catch what nobody can mean; what a provider allows, it says itself.
        check_number(f"{where}: memory (MB)", memory, int, 1, 1_048_576)
        check_number(f"{where}: timeout (seconds)", timeout, float, 0.001, 604_800)
        check_number(f"{where}: concurrency", concurrency, int, 1, 10_000)
        if public and auth is not None:
            raise DefinitionError(f"{where} is public or names an authenticator, not both")
        for key, text in (environment or {}).items():
            if not isinstance(key, str) or not isinstance(text, str) or not key or "=" in key or "\0" in key + text:
                raise DefinitionError(f"{where}: environment is text by name, not {key!r}: {text!r}")
            if key.startswith("PYS_MULTI_"):
                raise DefinitionError(f"{where}: {key!r} is taken: names that begin with PYS_MULTI_ are the runtime's")
        if isinstance(dependencies, str):
            raise DefinitionError(f"{where}: dependencies is a list of names, such as [{dependencies!r}]")
        self.app = app
        self.name = name
        self.memory = memory
        self.timeout = timeout
        self.concurrency = concurrency
        self.uses: list[Grant] = app._grants_in(where, uses)
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

    def _function(self) -> Function:
        return self

    def _access(self, where: str, public: bool | None, auth: Auth | None) -> tuple[bool, Auth | None]:
        """Who may call: what the route says, else its function, else the app; nobody from outside without that."""
        for says_public, says_auth in ((public, auth), (self.public, self.auth), (self.app.public, self.app.auth)):
            if says_public and says_auth is not None:
                raise DefinitionError(f"{where}: a route is public or names an authenticator, not both")
            if says_public is not None or says_auth is not None:
                return bool(says_public), says_auth
        return False, None

    def _add_uses(self, where: str, uses: Iterable[object]) -> None:
        """Grants of one more trigger: its own, and the secrets that its authenticator reads."""
        self.uses += self.app._grants_in(where, uses)
        self.app._grants.pop(self.name, None)

    def _add_route(self, method: str, path: str, handler: Callable[..., Any], options: RouteOptions) -> None:
        where = place_of(handler)
        status = options.get("status")
        if not isinstance(method, str) or not method.isascii() or not method.isalpha():
            raise DefinitionError(f"{where}: {method!r} is not an HTTP method")
        method = method.upper()
        if status is not None:
            check_number(f"{where}: the status of a success", status, int, 200, 599)
        try:
            template = Template(path)
        except DefinitionError as error:
            raise DefinitionError(f"{where}: {error}") from None
        if template.text == OWN_PATHS or template.text.startswith(OWN_PATHS + "/"):
            raise DefinitionError(f"{where}: paths below {OWN_PATHS} belong to pys-multi")
        public, auth = self._access(where, options.get("public"), options.get("auth"))
        shape = (method, template.shape)
        known = self.app._shapes.get(shape)
        if known is not None:
            raise DefinitionError(
                f"{where}: {method} {path} matches the same paths as {known.method} {known.template.text} "
                f"at {place_of(known.handler)}"
            )
        self._add_uses(where, getattr(auth, "secrets", ()))
        self._add_uses(where, options.get("uses", ()))
        endpoint = Endpoint(self, method, template, handler, status, public, auth, tuple(options.get("middleware", ())))
        self.app._shapes[shape] = endpoint
        self.endpoints.append(endpoint)

    def _mount(self, interface: str, application: Any, path: str, public: bool | None, auth: Auth | None) -> None:
        where = f"function {self.name!r}"
        if not callable(application):
            raise DefinitionError(f"{where}: {application!r} is not an {interface.upper()} application")
        path = check_prefix("" if path == "/" else path)
        if path and ("{" in path or "}" in path or path.startswith(OWN_PATHS)):
            raise DefinitionError(f"{where}: a mount path is plain text and not below {OWN_PATHS}, not {path!r}")
        known = self.app._mounts.get(path)
        if known is not None:
            raise DefinitionError(f"{where}: {path or '/'!r} is mounted already by {known.function.name!r}")
        try:
            template = Template(path + "/{path:path}")
        except DefinitionError as error:
            raise DefinitionError(f"{where}: {error}") from None
        public, auth = self._access(where, public, auth)
        self._add_uses(where, getattr(auth, "secrets", ()))
        mount = self.app._mounts[path] = Mount(self, interface, application, path, template, public, auth)
        self.mounts.append(mount)

    def _add_reaction(
        self, kind: str, settings: Mapping[str, Any], handler: Callable[..., Any], uses: Iterable[object]
    ) -> None:
        self._add_uses(place_of(handler), uses)
        reaction = Reaction(self, kind, handler, settings)
        if kind == "consume":
            known = self.app._consumers.setdefault(settings["queue"], reaction)
            if known is not reaction:
                raise DefinitionError(
                    f"{place_of(handler)}: queue {settings['queue']!r} has a consumer already, {known.id!r}: a message "
                    "goes to one consumer; use a topic where several want it"
                )
        self.reactions.append(reaction)

    def trigger_id(self, handler: object, kind: str) -> str:
        """An id for one more trigger of this function: its handler's name, numbered where it repeats."""
        name = getattr(handler, "__name__", kind)
        wanted = candidate = f"{self.name}:{name if name.isidentifier() else kind}"
        number = 1
        while candidate in self._ids:
            number += 1
            candidate = f"{wanted}-{number}"
        self._ids.add(candidate)
        return candidate

    def middleware(self, middleware: AnyMiddleware) -> AnyMiddleware:
        """Puts ``middleware(request_or_event, call_next)`` around every handler of this function."""
        self.middlewares.append(middleware)
        return middleware

    def __repr__(self) -> str:
        return f"<Function {self.name}>"


class App(Triggers):
    """A service: functions, their triggers, and the resources they use.

    name: of the service. public and auth: what holds for routes that say neither. cors: for all routes.
    Raises DefinitionError.
    """

    def __init__(
        self,
        name: str,
        *,
        public: bool | None = None,
        auth: Auth | None = None,
        cors: CORS | None = None,
    ) -> None:
        self.name = _check_name("service", name, _LOWER, 40)
        if public and auth is not None:
            raise DefinitionError(f"app {name!r} is public or names an authenticator, not both")
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
        self._connecting = allocate_lock()
        #: What there can be only one of: a route's method and shape, a mount's path, a queue's consumer.
        self._shapes: dict[tuple[str, str], Endpoint] = {}
        self._mounts: dict[str, Mount] = {}
        self._consumers: dict[str, Reaction] = {}
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
        auth: Auth | None = None,
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

    def _function(self) -> Function:
        """The function that the app's own decorators add to."""
        return self.functions.get("main") or self.function("main")

    def _add_route(self, method: str, path: str, handler: Callable[..., Any], options: RouteOptions) -> None:
        self._function()._add_route(method, path, handler, options)

    def middleware(self, middleware: AnyMiddleware) -> AnyMiddleware:
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

        if visibility is not None:
            check_number(f"queue {name!r}: visibility (seconds)", visibility, float, 1, 43_200)
        check_number(f"queue {name!r}: retries", retries, int, 0, 100)
        queue = Queue(
            self,
            _check_name("queue", name, _ANY, 60),
            _check_options(f"queue {name!r}", options),
            retries=retries,
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

        if not isinstance(key, str) or not key or not isinstance(sort, str | None) or sort in ("", key):
            raise DefinitionError(f"table {name!r}: key and sort are two attribute names, not {key!r} and {sort!r}")
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
        """(resource, verb) pairs that a function was granted; none for a function that is not here."""
        grants = self._grants.get(function)
        if grants is None:
            uses = self.functions[function].uses if function in self.functions else []
            grants = frozenset((grant.resource.name, verb) for grant in uses for verb in grant.verbs)
            self._grants[function] = grants
        return grants

    def _grants_in(self, where: str, uses: Iterable[object]) -> list[Grant]:
        if isinstance(uses, tuple | list) and not uses:
            return []
        from pys_multi.resources import grant_of

        if isinstance(uses, str) or not hasattr(uses, "__iter__"):
            raise DefinitionError(f"{where}: uses is a list, such as [orders.send, stock.read], not {uses!r}")
        grants = []
        for entry in uses:
            try:
                grant = grant_of(entry)
            except DefinitionError as error:
                raise DefinitionError(f"{where}: {error}") from None
            if self.resources.get(grant.resource.name) is not grant.resource:
                raise DefinitionError(f"{where}: uses {grant.resource!r}, which belongs to another app")
            grants.append(grant)
        return grants

    def service(self) -> Service:
        """The frozen, provider-neutral model of this service. Raises DefinitionError."""
        from pys_multi.describe import describe

        return describe(self)

    def __repr__(self) -> str:
        return f"<App {self.name}>"
