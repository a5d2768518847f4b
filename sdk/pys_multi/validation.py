"""Annotations become decoders: closures made once per handler that turn a value from outside into what the
handler asks for, or say everything that is wrong with it.

    annotation ─ shapes.py → Shape ─ here → decode(value) → the value, or Invalid with every problem

Two kinds of input: JSON, where types are strict ("5" is not an integer), and text (path, query, header,
cookie and form values), where "5" is read as one.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError
from pys_multi.scalars import NOT_EMPTY, Invalid, choice, scalar
from pys_multi.shape import Shape, full_name
from pys_multi.shapes import shape_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pys_multi.scalars import Decode, Problem

#: Problems told at once: a hostile list of a million wrong items gets no million answers.
MAX_PROBLEMS = 100

_JSON_TYPES: tuple[type, ...] = (str, int, float, bool, type(None), list, dict)
_KIND_TYPES: dict[str, tuple[type, ...]] = {"array": (list,), "tuple": (list,), "map": (dict,), "object": (dict,)}
_SCALAR_TYPES: dict[str, tuple[type, ...]] = {
    "builtins.int": (int, float),
    "builtins.float": (int, float),
    "builtins.bool": (bool,),
    "builtins.NoneType": (type(None),),
    "decimal.Decimal": (str, int, float),
}
#: Types whose JSON value is the value: it needs no call to be decoded.
_EXACT = (str, int, float, bool)
_missing: Any = object()


def decoder(annotation: object, namespace: Mapping[str, Any] | None = None, *, text: bool = False) -> Decode:
    """A function that makes the annotated type of a parsed JSON value (or of text), or raises Invalid.

    namespace: where the names of a string annotation are looked up, the handler's globals.
    Raises DefinitionError for a type that no value from outside can be made into.
    """
    return compile_shape(shape_of(annotation, namespace), text=text)


def compile_shape(shape: Shape, *, text: bool = False) -> Decode:
    """The decoder of a shape; see `decoder`."""
    return _Compiler(text).compile(shape)


def form_decoder(shape: Shape) -> Decode:
    """The decoder of a form field, or of a whole form: where text is expected a file is refused."""
    return _text_unless_file(shape, compile_shape(shape, text=True))


def is_list(shape: Shape) -> bool:
    """Whether all values of a repeated query parameter or form field go into it together."""
    if shape.kind in ("union", "constrained"):
        return any(is_list(item) for item in shape.items)
    return shape.kind in ("array", "tuple")


def is_nullable(shape: Shape) -> bool:
    """Whether the empty text is None, as in HTML forms: where None is allowed, and no other text is empty."""
    if shape.kind == "constrained":
        return is_nullable(shape.items[0])
    members = shape.items if shape.kind == "union" else [shape]
    return any(member.type is type(None) for member in members) and not any(map(_is_str, members))


class _Compiler:
    """Shapes to closures; a shape that refers to itself gets a decoder that looks itself up when it runs."""

    def __init__(self, text: bool) -> None:
        self.text = text
        self.made: dict[int, Decode] = {}
        self.builders: dict[str, Callable[[Shape], Decode]] = {
            "any": lambda shape: lambda value: value,  # noqa: ARG005
            "scalar": lambda shape: scalar(full_name(shape.type), shape.type, self.text),
            "choice": lambda shape: choice(shape.choices, self.text, _own_missing(shape.type)),
            "array": self.array,
            "tuple": self.tuple,
            "map": self.map,
            "object": self.object,
            "union": self.union,
            "constrained": self.constrained,
            "foreign": self.foreign,
            "file": self.file,
        }

    def compile(self, shape: Shape) -> Decode:
        known = self.made.get(id(shape))
        if known is not None:
            return known
        cell: list[Decode] = []
        self.made[id(shape)] = lambda value: cell[0](value)
        decode = self.made[id(shape)] = self.builders[shape.kind](shape)
        cell.append(decode)
        return decode

    def exact(self, shape: Shape) -> Any:
        """The type that needs no decoding, or a type that nothing has."""
        return shape.type if not self.text and shape.kind == "scalar" and shape.type in _EXACT else Invalid

    def array(self, shape: Shape) -> Decode:
        decode_item, exact, make = self.compile(shape.items[0]), self.exact(shape.items[0]), shape.type

        def decode(value: Any) -> Any:
            if type(value) is not list:
                raise Invalid("must be an array")
            result = []
            problems: list[Problem] = []
            for index, item in enumerate(value):
                if type(item) is exact:
                    result.append(item)
                    continue
                try:
                    result.append(decode_item(item))
                except Invalid as error:
                    if _note(problems, index, error):
                        break
            if problems:
                raise Invalid(problems=problems)
            if make is list:
                return result
            try:
                return make(result)
            except TypeError:
                raise Invalid("must be an array of values that are no arrays or objects") from None

        return decode

    def tuple(self, shape: Shape) -> Decode:
        decoders = [self.compile(item) for item in shape.items]
        most = len(decoders)
        least = sum(field.required for field in shape.fields) if shape.fields else most
        count = f"{most}" if least == most else f"{least} to {most}"
        make = shape.type

        def decode(value: Any) -> Any:
            if type(value) is not list or not least <= len(value) <= most:
                raise Invalid(f"must be an array of {count} item{'' if count == '1' else 's'}")
            result = []
            problems: list[Problem] = []
            for index, item in enumerate(value):
                try:
                    result.append(decoders[index](item))
                except Invalid as error:
                    _note(problems, index, error)
            if problems:
                raise Invalid(problems=problems)
            return tuple(result) if make is tuple else _build(make, result, {})

        return decode

    def map(self, shape: Shape) -> Decode:
        if self.text:
            raise DefinitionError("a dict cannot be read from text; take the fields one by one, or a body")
        key, item = shape.items
        decode_key = None if key.type is str and key.kind == "scalar" else compile_shape(key, text=True)
        if decode_key is None and item.kind == "any":
            return _plain_dict
        decode_item, exact = self.compile(item), self.exact(item)

        def decode(value: Any) -> Any:
            if type(value) is not dict:
                raise Invalid("must be an object")
            result = {}
            problems: list[Problem] = []
            for name, item in value.items():
                try:
                    made = name if decode_key is None else decode_key(name)
                except Invalid as error:
                    error.problems = [(path, f"the name {message}") for path, message in error.problems]
                    if _note(problems, name, error):
                        break
                    continue
                if type(item) is exact:
                    result[made] = item
                    continue
                try:
                    result[made] = decode_item(item)
                except Invalid as error:
                    if _note(problems, name, error):
                        break
            if problems:
                raise Invalid(problems=problems)
            return result

        return decode

    def object(self, shape: Shape) -> Decode:
        fields = []
        for field in shape.fields:
            convert = self.compile(field.shape)
            if self.text:
                convert = _text_unless_file(field.shape, convert)
            fields.append((field.name, field.key, self.exact(field.shape), convert, field.required))
        make = None if issubclass(shape.type, dict) else shape.type
        take = {field.key: is_list(field.shape) for field in shape.fields} if self.text else None

        def decode(value: Any) -> Any:
            if type(value) is not dict:
                raise Invalid("must be an object")
            if take is not None:
                value = pick(value, take)
            made = {}
            problems: list[Problem] = []
            for name, key, exact, convert, required in fields:
                item = value.get(key, _missing)
                if type(item) is exact:
                    made[name] = item
                elif item is _missing:
                    if required:
                        problems.append(((key,), "is required"))
                else:
                    try:
                        made[name] = convert(item)
                    except Invalid as error:
                        _note(problems, key, error)
            if problems:
                raise Invalid(problems=problems)
            return made if make is None else _build(make, (), made)

        return decode

    def union(self, shape: Shape) -> Decode:
        members = sorted(shape.items, key=_is_str)  # any text fits `str`, so it is asked last
        if self.text:
            return self.text_union(members)
        decoders = {id(member): self.compile(member) for member in members}
        objects = [member for member in members if member.kind == "object"]
        tag = tag_of(objects)
        if tag:
            choose = self.tagged_union(tag, objects)
            decoders.update((id(member), choose) for member in objects)
            members = [member for member in members if member not in objects[1:]]
        table: dict[type, list[Decode]] = {}
        for kind in _JSON_TYPES:
            fitting = [member for member in members if kind in _json_types(member)]
            if kind in (dict, list) and len(fitting) > 1 and any(_reaches(member, shape) for member in fitting):
                # Trying them in turn at every level takes time exponential in the depth of the input.
                raise DefinitionError(
                    f"{' | '.join(_name(member) for member in fitting)} contains itself, and its members cannot be "
                    f"told apart: give each a required field of the same name with a Literal of its own"
                )
            if kind in (int, float):  # 1.0 stays a float in `int | float`
                fitting.sort(key=lambda member: member.type is not kind)
            table[kind] = [decoders[id(member)] for member in fitting]
        # For a value that no member could be made of: null is what its message names last.
        everything = [decoders[id(member)] for member in sorted(members, key=lambda m: m.type is type(None))]

        def decode(value: Any) -> Any:
            options = table.get(type(value)) or everything
            return options[0](value) if len(options) == 1 else _first_that_fits(options, value)

        return decode

    def text_union(self, members: list[Shape]) -> Decode:
        if _is_str(members[-1]):  # then the empty text is the empty string; otherwise, as in HTML forms, it is None
            members = [member for member in members if member.type is not type(None)]
        lists = [self.compile(member) for member in members if is_list(member)]
        others = [self.compile(member) for member in members if not is_list(member)]

        def decode(value: Any) -> Any:
            return _first_that_fits(lists if type(value) is list else others, value)

        return decode

    def tagged_union(self, tag: str, objects: list[Shape]) -> Decode:
        options: dict[Any, Decode] = {}
        for member in objects:
            for wire in _tags(member, tag):
                options[wire] = self.compile(member)
        allowed = ", ".join(repr(wire) for wire in options)

        def decode(value: Any) -> Any:
            if type(value) is not dict:
                raise Invalid("must be an object")
            wire = value.get(tag)
            option = options.get(wire) if type(wire) is str else None
            if option is None:
                raise Invalid(problems=[((tag,), f"must be one of {allowed}")])
            return option(value)

        return decode

    def constrained(self, shape: Shape) -> Decode:
        inner = self.compile(shape.items[0])
        if not shape.constraints:
            return inner
        from pys_multi.constraints import checks_of

        checks = checks_of(shape)

        def decode(value: Any) -> Any:
            result = inner(value)
            if result is not None:
                broken = [message for fits, message in checks if not fits(result)]
                if broken:
                    raise Invalid(problems=[((), message) for message in broken])
            return result

        return decode

    def foreign(self, shape: Shape) -> Decode:
        from pys_multi import foreign

        return foreign.decoder(shape, self.text)

    def file(self, shape: Shape) -> Decode:
        if not self.text:
            raise DefinitionError(f"{shape.name} comes in a form: mark the parameter with Form()")
        kind = shape.type

        def decode(value: Any) -> Any:
            if isinstance(value, kind):
                return value
            raise Invalid("must be a file")

        return decode


def pick(fields: Mapping[str, list[Any]], take: Mapping[str, bool]) -> dict[str, Any]:
    """Of each field of a form or query: every value where the field takes a list, the last one otherwise."""
    return {name: values if take.get(name, False) else values[-1] for name, values in fields.items() if values}


def _text_unless_file(shape: Shape, decode: Decode) -> Decode:
    if shape.kind in ("object", "foreign") or _has_file(shape):
        return decode

    def decode_text(value: Any) -> Any:
        for item in value if type(value) is list else (value,):
            if type(item) is not str:
                raise Invalid("must be text, not a file")
        return decode(value)

    return decode_text


def _has_file(shape: Shape) -> bool:
    if shape.kind in ("union", "constrained"):
        return any(_has_file(item) for item in shape.items)
    return shape.kind == "file" or (shape.kind == "array" and shape.items[0].kind == "file")


def _plain_dict(value: Any) -> Any:
    if type(value) is dict:
        return value
    raise Invalid("must be an object")


def _note(problems: list[Problem], part: object, error: Invalid) -> bool:
    """Adds what is wrong below `part`; tells whether that is enough."""
    problems.extend(((part, *path), message) for path, message in error.problems)
    del problems[MAX_PROBLEMS:]
    return len(problems) >= MAX_PROBLEMS


def _build(make: Any, places: Any, named: dict[str, Any]) -> Any:
    try:
        return make(*places, **named)
    except ValueError as error:
        # What the class itself refuses, in `__post_init__` for example, is the caller's mistake too.
        raise Invalid(str(error) or "is not valid") from error


def _first_that_fits(options: list[Decode], value: Any) -> Any:
    failures: list[Invalid] = []
    for option in options:
        try:
            return option(value)
        except Invalid as error:
            failures.append(error)
    # An option that looks at the inside came nearer than one that fails at once.
    inside = [error for error in failures if any(path for path, _ in error.problems)]
    if inside:
        raise min(inside, key=lambda error: len(error.problems))
    messages = dict.fromkeys(message for error in failures for _, message in error.problems)
    raise Invalid(", or ".join(message for message in messages if message != NOT_EMPTY) or NOT_EMPTY)


def _json_types(shape: Shape) -> tuple[type, ...]:
    """The types of JSON values that this shape can be made of."""
    if shape.kind == "scalar":
        return _SCALAR_TYPES.get(full_name(shape.type), (str,))
    if shape.kind == "choice":
        wires = {type(wire) for wire, _ in shape.choices}
        return tuple(wires | ({int, float} if int in wires or float in wires else set()))
    if shape.kind == "constrained":
        return _json_types(shape.items[0])
    return _KIND_TYPES.get(shape.kind, _JSON_TYPES)


def _is_str(shape: Shape) -> bool:
    return shape.kind == "scalar" and shape.type is str


def _name(shape: Shape) -> str:
    return shape.name or shape.kind


def _reaches(start: Shape, target: Shape) -> bool:
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        shape = waiting.pop()
        if shape is target:
            return True
        if id(shape) not in seen:
            seen.add(id(shape))
            waiting += shape.items
            waiting += [field.shape for field in shape.fields]
    return False


def _tags(shape: Shape, key: str) -> list[str]:
    """The Literal strings of a required field, nothing where it is something else."""
    for field in shape.fields:
        if field.key == key and field.shape.kind == "choice":
            wires = [wire for wire, _ in field.shape.choices]
            return wires if all(type(wire) is str for wire in wires) else []
    return []


def tag_of(objects: list[Shape]) -> str:
    """The field that tells these objects apart: a string Literal in each, with no string in two of them."""
    if len(objects) < 2:
        return ""
    required = [{field.key for field in member.fields if field.required} for member in objects]
    for key in (field.key for field in objects[0].fields):
        wires = [_tags(member, key) for member in objects]
        distinct = {wire for some in wires for wire in some}
        if all(wires) and all(key in keys for keys in required) and len(distinct) == sum(map(len, wires)):
            return key
    return ""


def _own_missing(kind: Any) -> Decode | None:
    """The class itself where an Enum has a ``_missing_`` that its author wrote."""
    if kind is None:
        return None
    owner = next(base for base in kind.__mro__ if "_missing_" in vars(base))
    return kind if owner.__module__ != "enum" else None
