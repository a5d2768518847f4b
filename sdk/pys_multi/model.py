"""The neutral model: what a service is, as frozen values that go to JSON and back.

No cloud has a word in here. What only one provider knows stands in ``options``, under that
provider's name, and that provider validates it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from pys_multi.errors import PysMultiError

#: Version of the JSON form; raised when a reader of the former version would misread it.
SCHEMA_VERSION = 1

Options = Mapping[str, Mapping[str, Any]]


class ModelError(PysMultiError):
    """A JSON document is not a service of this schema version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Which browser origins may call the routes; ``max_age`` in seconds."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method and path template bound to a handler. ``auth`` describes the authenticator, empty without one."""

    kind: ClassVar[str] = "http"
    id: str
    method: str
    path: str
    handler: str
    status: int = 200
    public: bool = False
    auth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """An ASGI or WSGI application that answers every path of its function below ``path``."""

    kind: ClassVar[str] = "mount"
    id: str
    path: str
    interface: str
    handler: str
    public: bool = False
    auth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Runs at times: ``expression`` is ``every 15 minutes`` or five cron fields, in ``timezone`` (IANA)."""

    kind: ClassVar[str] = "schedule"
    id: str
    expression: str
    handler: str
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consume:
    """Takes messages from a queue, up to ``batch`` at once, waiting up to ``window`` seconds to fill one."""

    kind: ClassVar[str] = "consume"
    id: str
    queue: str
    handler: str
    batch: int = 1
    window: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Takes every message of a topic; ``retries`` deliveries after the first one."""

    kind: ClassVar[str] = "subscribe"
    id: str
    topic: str
    handler: str
    retries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvent:
    """Runs when an object is ``created`` (or replaced) or ``deleted``; the key begins and ends as stated."""

    kind: ClassVar[str] = "object"
    id: str
    bucket: str
    event: str
    handler: str
    prefix: str = ""
    suffix: str = ""
    retries: int = 3


Trigger = Route | Mount | Schedule | Consume | Subscribe | ObjectEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a function may do with a resource."""

    resource: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """The deployable and scalable unit.

    memory: MB. timeout: seconds. concurrency: requests one instance handles at once. dependencies: names of
    extras or dependency groups that this function needs beside the project's own.
    """

    name: str
    memory: int = 256
    timeout: float = 30.0
    concurrency: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    grants: tuple[Grant, ...] = ()
    cors: Cors | None = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue and its dead-letter queue; ``visibility`` in seconds, None derives it from the consumer."""

    kind: ClassVar[str] = "queue"
    name: str
    retries: int = 3
    visibility: float | None = None
    ordered: bool = False
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic."""

    kind: ClassVar[str] = "topic"
    name: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket."""

    kind: ClassVar[str] = "bucket"
    name: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: ``key`` and ``sort`` are attribute names."""

    kind: ClassVar[str] = "table"
    name: str
    key: str
    sort: str | None = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret; its value is never in here."""

    kind: ClassVar[str] = "secret"
    name: str
    options: Options = field(default_factory=dict)


Resource = Queue | Topic | Bucket | Table | Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one App defines; deployed as a unit to a stage."""

    name: str
    functions: tuple[Function, ...] = ()
    resources: tuple[Resource, ...] = ()

    def function(self, name: str) -> Function:
        """The function of that name. Raises KeyError."""
        for function in self.functions:
            if function.name == name:
                return function
        raise KeyError(name)

    def resource(self, name: str) -> Resource:
        """The resource of that name. Raises KeyError."""
        for resource in self.resources:
            if resource.name == name:
                return resource
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The service as JSON values, with its schema version."""
        return {"schema_version": SCHEMA_VERSION, **_to_json(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Service:
        """The service that :meth:`to_json` wrote. Raises ModelError, which says where."""
        if not isinstance(document, Mapping):
            raise ModelError("a service is a JSON object")
        version = document.get("schema_version")
        if type(version) is not int or version != SCHEMA_VERSION:
            raise ModelError(f"schema_version is {version!r}; this release reads {SCHEMA_VERSION}")
        rest = {key: value for key, value in document.items() if key != "schema_version"}
        result = _from_json(cls, rest, "service")
        assert isinstance(result, cls)
        return result


def _to_json(value: Any) -> Any:
    if is_dataclass(value):
        kind = getattr(value, "kind", None)
        plain = {f.name: _to_json(getattr(value, f.name)) for f in fields(value)}
        return {"kind": kind, **plain} if kind else plain
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    return value


def _from_json(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _object(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ModelError(f"{where}: a list is expected, not {type(value).__name__}")
        return tuple(_from_json(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if arguments and all(is_dataclass(a) for a in arguments):
        name = value.get("kind") if isinstance(value, Mapping) else None
        for member in arguments:
            if getattr(member, "kind", None) == name:
                return _object(member, {k: v for k, v in value.items() if k != "kind"}, where)
        raise ModelError(f"{where}: kind is one of {', '.join(a.kind for a in arguments)}, not {name!r}")
    if arguments and type(None) in arguments:
        if value is None:
            return None
        return _from_json(next(a for a in arguments if a is not type(None)), value, where)
    if origin is not None:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ModelError(f"{where}: an object is expected, not {type(value).__name__}")
        return {key: _from_json(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is Any:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ModelError(f"{where}: {kind.__name__} is expected, not {type(value).__name__}")
    return value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ModelError(f"{where}: an object is expected, not {type(value).__name__}")
    hints = _hints(kind)
    names = {f.name for f in fields(kind)}
    for key in value:
        if key not in names:
            raise ModelError(f"{where}: {key!r} is not known; {kind.__name__} has {', '.join(sorted(names))}")
    arguments = {key: _from_json(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ModelError(f"{where}: {str(error).partition(') ')[2] or error}") from None
