"""What an annotation asks for, resolved once: the one reading of annotations that the decoders and the
JSON Schema share.

    annotation (a type, a string, an alias, …) → Shape (kind and parts; refers to itself where the type does)

`typing`, `dataclasses` and every library of models are recognised without being imported: an
annotation that uses one of them has already imported it.
"""

from __future__ import annotations

import sys

from pys_multi.errors import DefinitionError
from pys_multi.scalars import NAMES
from pys_multi.shape import Field, Shape, full_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_UNION: Any = type(int | str)
_CONSTRAINTS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")
_ARRAYS: dict[str, Any] = {
    "builtins.list": list,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "collections.abc.Sequence": list,
    "collections.abc.MutableSequence": list,
    "collections.abc.Collection": list,
    "collections.abc.Iterable": list,
    "collections.abc.Set": frozenset,
    "collections.abc.MutableSet": set,
}
_MAPS = ("builtins.dict", "collections.abc.Mapping", "collections.abc.MutableMapping")


def shape_of(annotation: object, namespace: Mapping[str, Any] | None = None) -> Shape:
    """The shape an annotation asks for. namespace: where the names of a string annotation are looked up.

    Raises DefinitionError for a type that no value from outside can be made into.
    """
    try:
        return _Reader().read(annotation, _Scope(namespace or {}))
    except RecursionError:
        raise DefinitionError(f"{describe(annotation)} refers to ever new forms of itself") from None


def describe(annotation: object) -> str:
    """An annotation as a person wrote it."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__") and type(annotation) is not _ALIAS:
        return annotation.__qualname__
    return repr(annotation).replace("typing.", "")


_ALIAS = type(list[int])


class _Scope:
    """Where names are looked up, and what the type variables and Self stand for."""

    __slots__ = ("names", "outer", "own", "variables")

    def __init__(
        self,
        names: Mapping[str, Any],
        variables: Mapping[Any, Shape] | None = None,
        outer: _Scope | None = None,
    ) -> None:
        self.names = names
        self.variables = dict(variables or {})
        self.outer = outer
        self.own: Shape | None = outer.own if outer is not None else None

    def evaluate(self, text: str) -> Any:
        # A class made inside of a function sees the names of its module, then those its user sees.
        names: dict[str, Any] = {}
        scope: _Scope | None = self
        while scope is not None:
            names = {**scope.names, **names}
            scope = scope.outer
        return evaluate(text, names)


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    """The annotation that a string stands for. Raises DefinitionError."""
    try:
        return eval(text, dict(names))  # noqa: S307  (an annotation in the user's own source)
    except NameError as error:
        raise DefinitionError(
            f"the annotation {text!r} names {error.name!r}, which its module does not have at run time: "
            f"import it outside of `if TYPE_CHECKING:`, and define it at the top level of a module"
        ) from None
    except Exception as error:
        raise DefinitionError(f"the annotation {text!r} cannot be evaluated: {error!r}") from error


class _Reader:
    """Reads annotations; remembers named types, for they may refer to themselves."""

    def __init__(self) -> None:
        self.known: dict[object, Shape] = {}

    def read(self, a: Any, scope: _Scope) -> Shape:
        if isinstance(a, str):
            return self.read(scope.evaluate(a), scope)
        if a is None:
            a = type(None)
        if isinstance(a, type) and type(a) is not _ALIAS:
            return self._class(a, scope)
        if type(a) is _UNION:
            return self._union(a, a.__args__, scope)
        if hasattr(a, "__metadata__"):
            return self._annotated(a, scope)
        if hasattr(a, "__supertype__"):
            return self.read(a.__supertype__, scope)
        if hasattr(a, "__forward_arg__"):
            return self._forward(a, scope)
        if type(a).__name__ == "TypeAliasType":
            return self._named(a, (), scope)
        if type(a).__name__ == "TypeVar":
            return self._variable(a, scope)
        origin = getattr(a, "__origin__", None)
        if origin is not None:
            return self._generic(a, origin, scope)
        if getattr(a, "_name", "") in ("Any",) or a is ...:
            return Shape("any")
        if getattr(a, "_name", "") == "Self" and scope.own is not None:
            return scope.own
        raise _refused(a)

    def _forward(self, a: Any, scope: _Scope) -> Shape:
        module = getattr(a, "__forward_module__", None)
        if isinstance(module, str):
            module = sys.modules.get(module)
        if module is not None:
            scope = _Scope(vars(module), scope.variables, scope)
        return self.read(a.__forward_arg__, scope)

    def _variable(self, a: Any, scope: _Scope) -> Shape:
        if a in scope.variables:
            known: Shape = scope.variables[a]
            return known
        default = getattr(a, "__default__", None)
        if default is not None and type(default).__name__ not in ("NoDefaultType", "_NoDefaultType"):
            return self.read(default, scope)
        if a.__constraints__:
            return self._union(a, a.__constraints__, scope)
        return self.read(a.__bound__, scope) if a.__bound__ is not None else Shape("any")

    def _annotated(self, a: Any, scope: _Scope) -> Shape:
        inner = self.read(a.__origin__, scope)
        if inner.kind == "foreign":
            # The library knows what its own metadata means, such as a discriminator.
            inner.type = a if not isinstance(a.__origin__, str) else inner.type
            return inner
        return constrained(inner, a.__metadata__)

    def _union(self, a: Any, members: Iterable[Any], scope: _Scope) -> Shape:
        items: list[Shape] = []
        for member in members:
            item = self.read(member, scope)
            items.extend(item.items if item.kind == "union" else [item])
        libraries = {item.library for item in items if item.type is not type(None)}
        if len(libraries) == 1 and (library := libraries.pop()):
            shape = Shape("foreign", a)
            shape.library = library
            return shape
        return Shape("union", items=items) if len(items) > 1 else items[0]

    def _generic(self, a: Any, origin: Any, scope: _Scope) -> Shape:
        arguments: tuple[Any, ...] = a.__args__
        name = getattr(origin, "_name", None) or getattr(origin, "__name__", "")
        if origin is sys.modules["typing"].Union if "typing" in sys.modules else False:
            return self._union(a, arguments, scope)
        if name == "Literal":
            return _choice(a, arguments)
        if name in ("Required", "NotRequired", "ReadOnly", "Final"):
            return self.read(arguments[0], scope)
        if type(origin).__name__ == "TypeAliasType":
            return self._named(origin, arguments, scope)
        full = full_name(origin)
        if full in _ARRAYS:
            return Shape("array", _ARRAYS[full], items=[self.read(arguments[0], scope)])
        if full in _MAPS:
            return self._map(arguments, scope)
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is ...:
                return Shape("array", tuple, items=[self.read(arguments[0], scope)])
            return Shape("tuple", tuple, items=[self.read(argument, scope) for argument in arguments])
        if isinstance(origin, type):
            return self._class(origin, scope, arguments, a)
        raise _refused(a)

    def _map(self, arguments: tuple[Any, Any], scope: _Scope) -> Shape:
        key, value = (self.read(argument, scope) for argument in arguments)
        bare = key.items[0] if key.kind == "constrained" else key
        if bare.kind not in ("any", "scalar", "choice") or bare.type in (type(None), bytes, bool):
            raise DefinitionError(
                f"the keys of a dict come as strings: a key can be str, int, float, an Enum, UUID or a date, "
                f"not {describe(arguments[0])}"
            )
        return Shape("map", dict, items=[key, value])

    def _class(self, a: Any, scope: _Scope, arguments: tuple[Any, ...] = (), whole: Any = None) -> Shape:
        full = full_name(a)
        if full in NAMES:
            # One object per type, for a generic type is known by the shapes it is made of.
            return self.known.setdefault(a, Shape("scalar", a, a.__name__))
        if a is object or full == "typing.Any":
            return self.known.setdefault(object, Shape("any"))
        if full in _ARRAYS or a is tuple:
            return Shape("array", _ARRAYS.get(full, tuple), items=[Shape("any")])
        if full in _MAPS:
            return Shape("map", dict, items=[Shape("scalar", str, "str"), Shape("any")])
        for attribute, library in (("__pydantic_validator__", "pydantic"), ("__struct_fields__", "msgspec")):
            if hasattr(a, attribute):
                shape = Shape("foreign", a if whole is None else whole, a.__name__)
                shape.library = library
                return shape
        if hasattr(a, "__members__") and any(full_name(base) == "enum.Enum" for base in a.__mro__):
            return self.known.setdefault(a, _enum(a))
        if full == "pys_multi.multipart.UploadedFile":
            return Shape("file", a, a.__name__)
        if _is_object(a):
            return self._named(a, arguments, scope)
        raise _refused(a)

    def _named(self, a: Any, arguments: tuple[Any, ...], scope: _Scope) -> Shape:
        """A type or alias that may refer to itself: others may point to its shape before it is filled."""
        given = [self.read(argument, scope) for argument in arguments]
        key = (a, *(id(shape) for shape in given))
        shape = self.known.get(key)
        if shape is not None:
            return shape
        name = "_".join([a.__name__, *(part.name or getattr(part.type, "__name__", part.kind) for part in given)])
        shape = self.known[key] = Shape("placeholder", a, name)
        shape.origin = (a, name)
        parameters = getattr(a, "__type_params__", ()) or getattr(a, "__parameters__", ())
        module = sys.modules.get(a.__module__)
        names = {**(vars(module) if module is not None else {}), a.__name__: a}
        names.update((parameter.__name__, parameter) for parameter in getattr(a, "__type_params__", ()))
        inner = _Scope(names, dict(zip(parameters, given, strict=False)), scope)
        if type(a).__name__ == "TypeAliasType":
            value = self.read(_value_of(a), inner)
            if value is shape:
                raise DefinitionError(f"the alias {a.__name__} stands for itself")
            shape.become(value)
            if not value.name:
                shape.name, shape.origin = name, (a, name)
            return shape
        inner.own = shape
        if issubclass(a, tuple):
            shape.kind = "tuple"
            shape.fields = self._tuple_fields(a, inner)
            shape.items = [field.shape for field in shape.fields]
        else:
            shape.kind = "object"
            shape.fields = self._fields(a, inner)
        return shape

    def _tuple_fields(self, a: Any, scope: _Scope) -> list[Field]:
        hints = _annotations(a)
        return [
            Field(
                name,
                name,
                self.read(hints[name][0], scope),
                name not in a._field_defaults,
                a._field_defaults.get(name, Shape.NOTHING),
            )
            for name in a._fields
        ]

    def _fields(self, a: Any, scope: _Scope) -> list[Field]:
        if hasattr(a, "__dataclass_fields__"):
            return self._dataclass_fields(a, scope)
        if hasattr(a, "__attrs_attrs__"):
            return self._attrs_fields(a, scope)
        fields = []
        for name, (annotation, _) in _annotations(a).items():
            if hasattr(annotation, "__forward_arg__") or isinstance(annotation, str):
                text = getattr(annotation, "__forward_arg__", annotation)
                annotation = self._module_scope(annotation, scope).evaluate(text)
            required = name in a.__required_keys__
            inner = annotation
            while hasattr(inner, "__origin__"):  # Required[] under Annotated[], and the other way round
                qualifier = getattr(inner.__origin__, "_name", "")
                if qualifier in ("Required", "NotRequired"):
                    required = qualifier == "Required"
                inner = inner.__origin__ if hasattr(inner, "__metadata__") else inner.__args__[0] if qualifier else None
            fields.append(Field(name, name, self.read(annotation, scope), required, Shape.NOTHING))
        return fields

    @staticmethod
    def _module_scope(annotation: Any, scope: _Scope) -> _Scope:
        module = getattr(annotation, "__forward_module__", None)
        module = sys.modules.get(module) if isinstance(module, str) else module
        return scope if module is None else _Scope(vars(module), scope.variables, scope)

    def _dataclass_fields(self, a: Any, scope: _Scope) -> list[Field]:
        from dataclasses import MISSING, fields

        declared = {field.name for field in fields(a)}
        hints = _annotations(a)
        for name, field in a.__dataclass_fields__.items():
            if name not in declared and field._field_type.name == "_FIELD_INITVAR":
                raise DefinitionError(
                    f"{a.__qualname__}.{name} is an InitVar: such a field can be filled but not shown in an answer "
                    f"or a schema; make it a field, or take another type for the body"
                )
        scopes = self._variable_scopes(a, scope)
        result = []
        for field in fields(a):
            if not field.init:
                continue
            # What dataclass() saw may have been half done: since 3.14 a class is no name yet inside of itself.
            annotation, owner = hints.get(field.name, (field.type, a))
            shape = self.read(annotation, scopes.get(owner, scope))
            required = field.default is MISSING and field.default_factory is MISSING
            default = Shape.NOTHING if field.default is MISSING else field.default
            result.append(Field(field.name, field.name, shape, required, default))
        return result

    def _attrs_fields(self, a: Any, scope: _Scope) -> list[Field]:
        nothing = sys.modules["attr"].NOTHING
        hints = _annotations(a)
        scopes = self._variable_scopes(a, scope)
        result = []
        for attribute in a.__attrs_attrs__:
            if not attribute.init:
                continue
            annotation, owner = hints.get(attribute.name, (attribute.type or object, a))
            made = hasattr(attribute.default, "factory")
            result.append(
                Field(
                    attribute.alias,
                    attribute.alias,
                    self.read(annotation, scopes.get(owner, scope)),
                    attribute.default is nothing,
                    Shape.NOTHING if made or attribute.default is nothing else attribute.default,
                )
            )
        return result

    def _variable_scopes(self, a: Any, scope: _Scope) -> dict[type, _Scope]:
        """For each class that `a` inherits fields from: its module's names, and its type variables' meaning."""
        scopes = {a: scope}
        for child in a.__mro__:
            for base in getattr(child, "__orig_bases__", ()) if child in scopes else ():
                origin = getattr(base, "__origin__", None)
                if isinstance(origin, type) and origin not in scopes and full_name(origin) != "typing.Generic":
                    parameters = getattr(origin, "__parameters__", ())
                    given = [self.read(argument, scopes[child]) for argument in base.__args__]
                    names = vars(sys.modules[origin.__module__]) if origin.__module__ in sys.modules else {}
                    scopes[origin] = _Scope(names, dict(zip(parameters, given, strict=False)), scope)
            if child not in scopes and child.__module__ in sys.modules:
                scopes[child] = _Scope(vars(sys.modules[child.__module__]), scope.variables, scope)
        return scopes


def constrained(inner: Shape, metadata: Iterable[Any]) -> Shape:
    """The shape with the constraints and description that the metadata of `Annotated` adds to it."""
    constraints, description = read_metadata(metadata)
    if not constraints and not description:
        return inner
    shape = Shape("constrained", inner.type, items=[inner])
    shape.constraints = constraints
    shape.description = description
    return shape


def read_metadata(metadata: Iterable[Any]) -> tuple[dict[str, Any], str]:
    """Constraints and description in the metadata of `Annotated`: ours, annotated_types', pydantic's and
    msgspec's all call them by the same attribute names."""
    constraints: dict[str, Any] = {}
    description = ""
    for item in metadata:
        nested = getattr(item, "metadata", None)
        if isinstance(nested, list):  # pydantic's Field()
            constraints.update(read_metadata(nested)[0])
        for name in _CONSTRAINTS:
            value = getattr(item, name, None)
            if value is not None:
                constraints[name] = value
        if isinstance(item, slice):
            continue
        said = getattr(item, "description", None) or getattr(item, "documentation", None)
        if isinstance(said, str):
            description = said
    return constraints, description


def _is_object(a: Any) -> bool:
    return (
        hasattr(a, "__dataclass_fields__")
        or hasattr(a, "__attrs_attrs__")
        or (issubclass(a, dict) and hasattr(a, "__required_keys__"))
        or (issubclass(a, tuple) and hasattr(a, "_field_defaults"))
    )


def _value_of(alias: Any) -> Any:
    try:
        return alias.__value__
    except NameError as error:
        raise DefinitionError(
            f"the alias {alias.__name__} names {error.name!r}, which does not exist at run time"
        ) from None


def _annotations(a: Any) -> dict[str, tuple[Any, Any]]:
    """Name → (annotation, class that says so), of the class and what it inherits."""
    found: dict[str, tuple[Any, Any]] = {}
    for base in reversed(a.__mro__):
        # Until 3.14 `base.__annotations__` may be that of a parent; since 3.14 it is not in `__dict__`.
        try:
            own = base.__annotations__ if sys.version_info >= (3, 14) else vars(base).get("__annotations__", {})
        except AttributeError:
            continue
        except NameError as error:
            raise DefinitionError(
                f"an annotation of {base.__qualname__} names {error.name!r}, which does not exist at run time"
            ) from None
        found.update((name, (annotation, base)) for name, annotation in own.items())
    return found


def _choice(a: Any, arguments: tuple[Any, ...]) -> Shape:
    shape = Shape("choice")
    for value in arguments:
        wire = value.value if hasattr(type(value), "__members__") else value
        if not isinstance(wire, str | int | None):
            raise DefinitionError(f"{describe(a)}: a choice that comes as JSON is a str, int, bool or None")
        shape.choices.append((wire, value))
    return shape


def _enum(a: Any) -> Shape:
    shape = Shape("choice", a, a.__name__)
    for member in a:
        if not isinstance(member.value, str | int | float | None):
            raise DefinitionError(
                f"{a.__qualname__}.{member.name} has a value of type {type(member.value).__name__}: "
                f"an Enum that comes as JSON has values that are str, int, float, bool or None"
            )
        shape.choices.append((member.value, member))
    return shape


def _refused(a: Any) -> DefinitionError:
    return DefinitionError(
        f"{describe(a)} is not a type that a value can be read into; use str, int, float, bool, bytes, datetime, "
        f"date, time, timedelta, UUID, Decimal, an Enum, a Literal, list, tuple, set, dict, a dataclass, "
        f"a TypedDict, a NamedTuple, or a pydantic, msgspec or attrs class"
    )
