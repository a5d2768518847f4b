"""Handles of what a service keeps and sends: the same verbs on every provider.

A handle knows its name and checks the grant; the provider's ``resources.py`` (a :class:`pys_multi.backend.Backend`)
does the work. A verb that the running function was not granted raises GrantError, as the cloud
would refuse it.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError, GrantError, ResourceError
from pys_multi.messages import current_context, encode_payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from pys_multi.app import App
    from pys_multi.backend import Backend, Condition, Key


#: Values of secrets that this process has read; the log masks them.
revealed_secrets: set[str] = set()


class Outgoing:
    """A message on its way: body, attributes (text by name), delay in seconds, ordering group."""

    __slots__ = ("attributes", "body", "delay", "group")

    def __init__(self, body: bytes, attributes: Mapping[str, str], delay: float = 0.0, group: str = "") -> None:
        self.body = body
        self.attributes = attributes
        self.delay = delay
        self.group = group


class ObjectInfo:
    """An object of a bucket: key, size in bytes, etag, modified (seconds since the epoch), content type."""

    __slots__ = ("content_type", "etag", "key", "modified", "size")

    def __init__(self, key: str, size: int, *, etag: str = "", modified: float = 0.0, content_type: str = "") -> None:
        self.key = key
        self.size = size
        self.etag = etag
        self.modified = modified
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"<ObjectInfo {self.key} {self.size} bytes>"


class Grant:
    """Permission to use these verbs of this resource; what ``uses=[...]`` holds."""

    __slots__ = ("resource", "verbs")

    def __init__(self, resource: Resource, verbs: tuple[str, ...]) -> None:
        self.resource = resource
        self.verbs = verbs

    def __repr__(self) -> str:
        return f"<Grant {self.resource.name}: {', '.join(self.verbs)}>"


class Resource:
    """What every handle has: a name within its service, and verbs."""

    kind = ""
    verbs: tuple[str, ...] = ()

    __slots__ = ("_app", "name", "options")

    def __init__(self, app: App, name: str, options: Mapping[str, Mapping[str, object]]) -> None:
        self._app = app
        self.name = name
        self.options = options

    def _backend(self, verb: str) -> Backend:
        """The provider's backend, after the grant of the running function was checked."""
        app = self._app
        context = current_context()
        # A handler of another app in this process has no say here.
        running = context.function if context is not None and context.service == app.name else app.running_function
        if running and (self.name, verb) not in app.grants_of(running):
            raise GrantError(
                f"function {running!r} may not {verb} {self.kind} {self.name!r}: it is not granted. "
                f"Add it to the function's uses, for example uses=[{self._granting(verb)}]."
            )
        if app.backend is None and app.connect is not None:
            with app._connecting:
                if app.backend is None:
                    app.backend = app.connect()
        if app.backend is None:
            raise ResourceError(
                f"{self.kind} {self.name!r} has no provider behind it here. In a deployed function there is one, from "
                "the first invocation on and not yet while your module is imported; in a unit test, call the handler "
                "inside `with pys_multi_tools.testing.Client(app):`."
            )
        return app.backend

    def _granting(self, verb: str) -> str:
        return f"{_handle_name(self.name)}.{verb}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def _handle_name(name: str) -> str:
    return name.lower().replace("-", "_")


class Queue(Resource):
    """Messages for one consumer, kept until a handler succeeds, dead-lettered after the retries.

    retries: deliveries after the first one. visibility: seconds that a delivered message stays hidden
    before it is delivered again; None derives it from the consumer's timeout. ordered: messages of one
    group are delivered one after the other, in order.
    """

    kind = "queue"
    verbs = ("send",)
    __slots__ = ("ordered", "retries", "visibility")

    def __init__(
        self,
        app: App,
        name: str,
        options: Mapping[str, Mapping[str, object]],
        *,
        retries: int,
        visibility: float | None,
        ordered: bool,
    ) -> None:
        super().__init__(app, name, options)
        self.retries = retries
        self.visibility = visibility
        self.ordered = ordered

    def send(
        self,
        value: object,
        *,
        attributes: Mapping[str, str] | None = None,
        delay: float = 0.0,
        group: str = "",
    ) -> str:
        """Sends one message and returns its id once the provider has it safe.

        value: bytes and str as they are, anything else as JSON. delay: seconds before the first delivery,
        at most 900. group: of an ordered queue. Raises GrantError, ResourceError, ValueError.
        """
        return self.send_many([value], attributes=attributes, delay=delay, group=group)[0]

    def send_many(
        self,
        values: Iterable[object],
        *,
        attributes: Mapping[str, str] | None = None,
        delay: float = 0.0,
        group: str = "",
    ) -> list[str]:
        """Sends messages and returns their ids, in order. Raises as :meth:`send` does."""
        backend = self._backend("send")
        if isinstance(values, str | bytes) or hasattr(values, "keys"):
            raise ValueError("send_many takes a list of messages; send() sends one")
        if not 0 <= delay <= 900:
            raise ValueError(f"delay is 0 to 900 seconds, not {delay}")
        if self.ordered and not group:
            raise ValueError(f"queue {self.name!r} is ordered: say which group the message belongs to")
        if group and not self.ordered:
            raise ValueError(f"queue {self.name!r} is not ordered: declare it with ordered=True to use groups")
        checked = _check_attributes(attributes)
        messages = [Outgoing(encode_payload(value), checked, delay, group) for value in values]
        return backend.queue_send(self.name, messages) if messages else []


class Topic(Resource):
    """Messages for every subscriber."""

    kind = "topic"
    verbs = ("publish",)
    __slots__ = ()

    def publish(self, value: object, *, attributes: Mapping[str, str] | None = None) -> str:
        """Publishes one message and returns its id once the provider has it safe.

        value: bytes and str as they are, anything else as JSON. Raises GrantError, ResourceError.
        """
        return self._backend("publish").topic_publish(
            self.name, Outgoing(encode_payload(value), _check_attributes(attributes))
        )


class Bucket(Resource):
    """Objects by key."""

    kind = "bucket"
    verbs = ("get", "list", "exists", "put", "delete")
    __slots__ = ()

    @property
    def read(self) -> Grant:
        """The grant of get, list and exists, and of presigned downloads."""
        return Grant(self, ("get", "list", "exists"))

    @property
    def write(self) -> Grant:
        """The grant of put and delete, and of presigned uploads."""
        return Grant(self, ("put", "delete"))

    def get(self, key: str) -> bytes:
        """The content of an object. Raises NotFound, GrantError, ResourceError."""
        return self._backend("get").bucket_get(self.name, _check_key(key))

    def put(
        self,
        key: str,
        data: bytes | str,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Writes an object, replacing what was there, and returns its etag once it is safe.

        content_type: guessed from the key when empty. Raises GrantError, ResourceError.
        """
        backend = self._backend("put")
        if not content_type:
            from mimetypes import guess_type

            content_type = guess_type(key)[0] or "application/octet-stream"
        payload = data.encode() if isinstance(data, str) else bytes(data)
        return backend.bucket_put(self.name, _check_key(key), payload, content_type, _check_attributes(metadata))

    def delete(self, key: str) -> None:
        """Deletes an object; no error where there is none. Raises GrantError, ResourceError."""
        self._backend("delete").bucket_delete(self.name, _check_key(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects whose key begins with the prefix, in order of their keys."""
        return self._backend("list").bucket_list(self.name, prefix)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._backend("exists").bucket_head(self.name, _check_key(key)) is not None

    def presign(self, key: str, *, method: str = "GET", expires: int = 3600) -> str:
        """A URL that lets whoever has it GET or PUT this object for ``expires`` seconds (at most 604,800)."""
        if method not in ("GET", "PUT"):
            raise ValueError(f"method is 'GET' or 'PUT', not {method!r}")
        if not 1 <= expires <= 604_800:
            raise ValueError(f"expires is 1 to 604,800 seconds, not {expires}")
        backend = self._backend("get" if method == "GET" else "put")
        return backend.bucket_presign(self.name, _check_key(key), method, expires)


class Table(Resource):
    """Items by key, each a mapping of attribute names to JSON values.

    key: the attribute that identifies an item. sort: a second one, which orders the items of one key.

    A condition maps attributes to what they must be for a write to happen: a value (equal to it), None
    (absent), or ``(operator, value)`` with one of ``= != < <= > >=``. ``{"sku": None}`` on the key
    attribute therefore says "only if there is no such item", ``{"sku": ("!=", None)}`` "only if there is".
    """

    kind = "table"
    verbs = ("get", "query", "put", "delete", "update")
    __slots__ = ("key", "sort")

    def __init__(
        self,
        app: App,
        name: str,
        options: Mapping[str, Mapping[str, object]],
        *,
        key: str,
        sort: str | None,
    ) -> None:
        super().__init__(app, name, options)
        self.key = key
        self.sort = sort

    @property
    def read(self) -> Grant:
        """The grant of get and query."""
        return Grant(self, ("get", "query"))

    @property
    def write(self) -> Grant:
        """The grant of put, delete and update."""
        return Grant(self, ("put", "delete", "update"))

    def get(self, key: object, sort: object = None) -> dict[str, Any] | None:
        """The item, or None. Raises GrantError, ResourceError."""
        return self._backend("get").table_get(self.name, self._key(key, sort))

    def put(self, item: object, *, condition: Condition | None = None) -> None:
        """Writes a whole item (a mapping, dataclass, pydantic or msgspec value), replacing what was there.

        Raises ConditionFailed, GrantError, ResourceError, ValueError.
        """
        backend = self._backend("put")
        from pys_multi.encoding import to_json_value

        plain = to_json_value(item)
        if not isinstance(plain, dict):
            raise ValueError(f"an item of table {self.name!r} is a mapping, not {type(item).__name__}")
        for name in (self.key, self.sort):
            if name is not None:
                self._check_key_value(name, plain.get(name))
        backend.table_put(self.name, plain, _check_condition(condition))

    def delete(self, key: object, sort: object = None, *, condition: Condition | None = None) -> None:
        """Deletes an item; no error where there is none. Raises ConditionFailed, GrantError, ResourceError."""
        self._backend("delete").table_delete(self.name, self._key(key, sort), _check_condition(condition))

    def update(
        self,
        key: object,
        sort: object = None,
        *,
        set: Mapping[str, object] | None = None,
        add: Mapping[str, float] | None = None,
        remove: Iterable[str] = (),
        condition: Condition | None = None,
    ) -> dict[str, Any]:
        """Changes attributes of one item in one step and returns the item; creates it where there is none.

        set: new values. add: numbers to add (an absent attribute counts as 0). remove: attributes to drop.
        Raises ConditionFailed, GrantError, ResourceError, ValueError.
        """
        backend = self._backend("update")
        from pys_multi.encoding import to_json_value

        changes = {name: to_json_value(value) for name, value in (set or {}).items()}
        removed = tuple(remove)
        for name, number in (add or {}).items():
            if isinstance(number, bool) or not isinstance(number, int | float) or number - number != 0:
                raise ValueError(f"update: add is numbers by attribute, not {name!r}: {number!r}")
        names = [*changes, *(add or {}), *removed]
        for name in names:
            if name in (self.key, self.sort):
                raise ValueError(f"{name!r} is the key of table {self.name!r} and cannot be updated")
            if names.count(name) > 1:
                raise ValueError(f"update: {name!r} is changed twice, by set, add or remove")
        return backend.table_update(
            self.name, self._key(key, sort), changes, add or {}, removed, _check_condition(condition)
        )

    def query(
        self,
        key: object = None,
        *,
        prefix: str | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """The items of one key in the order of the sort key, or every item when no key is given.

        prefix: of the sort key. limit: how many at most. reverse: descending. Raises GrantError, ResourceError.
        """
        if (prefix is not None or reverse) and (self.sort is None or key is None):
            raise ValueError("prefix and reverse need a key and a table with a sort key")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValueError(f"limit is a whole number from 1, not {limit!r}")
        if key is not None:
            self._check_key_value(self.key, key)
        return self._backend("query").table_query(self.name, key, prefix, limit, reverse)

    def _key(self, key: object, sort: object) -> Key:
        self._check_key_value(self.key, key)
        if self.sort is None:
            if sort is not None:
                raise ValueError(f"table {self.name!r} has no sort key")
            return (key,)
        self._check_key_value(self.sort, sort)
        return (key, sort)

    def _check_key_value(self, name: str, value: object) -> None:
        # bool is an int to Python, and no key type of any provider.
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise ValueError(f"key {name!r} of table {self.name!r} is a non-empty str or an int, not {value!r}")


class Secret(Resource):
    """A value that only the provider's secret store holds."""

    kind = "secret"
    verbs = ("value",)
    __slots__ = ()

    @property
    def value(self) -> str:
        """The secret's text. Raises NotFound, GrantError, ResourceError."""
        value = self._backend("value").secret_value(self.name)
        if value:
            revealed_secrets.add(value)
        return value

    def _granting(self, verb: str) -> str:  # noqa: ARG002  (the only one)
        return _handle_name(self.name)

    def __str__(self) -> str:
        # Formatting a secret into a text by accident must not leak it.
        return f"<Secret {self.name}>"


_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")


def _check_condition(condition: Condition | None) -> Condition:
    for name, wanted in (condition or {}).items():
        if not isinstance(wanted, tuple):
            continue
        if len(wanted) != 2 or wanted[0] not in _OPERATORS:
            raise ValueError(f"condition on {name!r}: write (operator, value) with one of {' '.join(_OPERATORS)}")
        if wanted[1] is None and wanted[0] not in ("=", "!="):
            raise ValueError(f"condition on {name!r}: None is absent, which is neither less nor more than anything")
    return condition or {}


def _check_attributes(attributes: Mapping[str, str] | None) -> Mapping[str, str]:
    for name, value in (attributes or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(f"attributes are text by name, not {name!r}: {value!r}")
    return attributes or {}


def _check_key(key: str) -> str:
    # 1,024 bytes is the limit of S3 and Cloud Storage; Azure allows 1,024 characters.
    if not isinstance(key, str) or not key or len(key.encode()) > 1024 or "\0" in key:
        raise ValueError(f"an object key is 1 to 1,024 bytes of text, not {key!r}")
    if key.startswith("/") or any(part in (".", "..") for part in key.split("/")):
        raise ValueError(f"an object key does not begin with '/' and has no '.' or '..' in it: {key!r}")
    return key


def grant_of(entry: object) -> Grant:
    """The grant that an entry of ``uses`` means. Raises DefinitionError."""
    if isinstance(entry, Grant):
        return entry
    if isinstance(entry, Resource):
        return Grant(entry, entry.verbs)
    owner = getattr(entry, "__self__", None)
    verb = getattr(entry, "__name__", "")
    if isinstance(owner, Resource):
        verb = "send" if verb == "send_many" else verb
        if verb == "presign":
            return Grant(owner, ("get",))
        if verb in owner.verbs:
            return Grant(owner, (verb,))
    raise DefinitionError(
        "uses holds verbs of resources, such as orders.send or stock.read, or a whole resource for all of its "
        f"verbs; not {entry!r}"
    )
