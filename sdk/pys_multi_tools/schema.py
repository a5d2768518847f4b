"""Annotations as JSON Schema 2020-12: the same reading of a type that the runtime's decoders are made from.

What the decoder of an annotation accepts is what its schema says, down to the formats.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from pys_multi.encoding import to_json_value
from pys_multi.shape import Shape, full_name
from pys_multi.shapes import shape_of
from pys_multi.validation import tag_of

Schema = dict[str, Any]

_SCALARS: dict[str, Schema] = {
    "builtins.str": {"type": "string"},
    "builtins.int": {"type": "integer"},
    "builtins.float": {"type": "number"},
    "builtins.bool": {"type": "boolean"},
    "builtins.NoneType": {"type": "null"},
    "builtins.bytes": {"type": "string", "contentEncoding": "base64"},
    "datetime.datetime": {"type": "string", "format": "date-time"},
    "datetime.date": {"type": "string", "format": "date"},
    "datetime.time": {"type": "string", "format": "time"},
    "datetime.timedelta": {"type": "string", "format": "duration"},
    "uuid.UUID": {"type": "string", "format": "uuid"},
    "decimal.Decimal": {
        "anyOf": [
            {"type": "number"},
            {"type": "string", "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"},
        ]
    },
}
#: The names of an object are text: what they must look like to be read as a key of that type.
_KEYS: dict[str, Schema] = {
    "builtins.int": {"pattern": "^-?[0-9]+$"},
    "builtins.float": {"pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"},
    "decimal.Decimal": {"pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"},
}
_NUMBER_WORDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
_LENGTH_WORDS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


def json_schema(annotation: object, namespace: Mapping[str, Any] | None = None) -> Schema:
    """The schema of an annotation, with what it refers to under ``$defs``. Raises DefinitionError."""
    writer = SchemaWriter("#/$defs/")
    schema = writer.write(shape_of(annotation, namespace))
    document: Schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    if writer.definitions:
        document["$defs"] = writer.definitions
    return document


class SchemaWriter:
    """Writes shapes as schemas; a named type becomes a definition that the others refer to.

    prefix: in front of the name in a reference. definitions: name → schema of what was referred to.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.definitions: dict[str, Schema] = {}
        self._names: dict[object, str] = {}
        self._adopted: dict[str, Schema] = {}

    def write(self, shape: Shape, *, output: bool = False) -> Schema:
        """The schema of a shape. output: of what is sent, which a library may describe otherwise."""
        if shape.kind == "foreign":
            return self._foreign(shape, output)
        if not shape.name or shape.kind in ("scalar", "file", "any"):
            return self._plain(shape, output)
        name = self._names.get(shape.origin)
        if name is None:
            name = self._names[shape.origin] = self._free_name(shape.name)
            self.definitions[name] = {}  # reserves the name, and the place in the order
            self.definitions[name].update(self._plain(shape, output))
        return {"$ref": self.prefix + name}

    def _free_name(self, wanted: str, adopted: Schema | None = None, *, output: bool = False) -> str:
        """A name that no other definition has; adopted: as its library wrote it, told again it keeps its name."""
        # What OpenAPI allows as the name of a component.
        wanted = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted).strip("_") or "Type"
        name, number = wanted, 1
        while name in self.definitions and (adopted is None or self._adopted.get(name) != adopted):
            # A model that is sent otherwise than it is read is called so.
            number += 1
            name = f"{wanted}Output" if output and number == 2 else f"{wanted}{number}"
        return name

    def _plain(self, shape: Shape, output: bool) -> Schema:
        match shape.kind:
            case "any":
                return {}
            case "scalar":
                return dict(_SCALARS[full_name(shape.type)])
            case "file":
                return {"type": "string", "contentMediaType": "application/octet-stream"}
            case "choice":
                return _choice(shape)
            case "array":
                items = self.write(shape.items[0], output=output)
                return {"type": "array", "items": items} if items else {"type": "array"}
            case "tuple":
                return self._tuple(shape, output)
            case "map":
                return self._map(shape, output)
            case "object":
                return self._object(shape, output)
            case "union":
                return self._union(shape, output)
            case "constrained":
                return self._constrained(shape, output)
        raise AssertionError(shape.kind)

    def _tuple(self, shape: Shape, output: bool) -> Schema:
        schema: Schema = {"type": "array"}
        if shape.items:
            schema["prefixItems"] = [self.write(item, output=output) for item in shape.items]
        schema["minItems"] = sum(field.required for field in shape.fields) if shape.fields else len(shape.items)
        schema["maxItems"] = len(shape.items)
        return schema

    def _map(self, shape: Shape, output: bool) -> Schema:
        key, value = shape.items
        schema: Schema = {"type": "object"}
        values = self.write(value, output=output)
        if values:
            schema["additionalProperties"] = values
        names = self._key(key, output)
        if names:
            schema["propertyNames"] = names
        return schema

    def _key(self, key: Shape, output: bool) -> Schema:
        if key.kind == "constrained":
            return {**self._key(key.items[0], output), **_constraints(key)}
        if key.kind == "choice":
            return {"enum": [_as_name(wire) for wire, _ in key.choices]}
        if key.kind == "scalar":
            name = full_name(key.type)
            written = _KEYS.get(name, _SCALARS[name])
            return {word: value for word, value in written.items() if word != "type"}
        return {}

    def _object(self, shape: Shape, output: bool) -> Schema:
        properties: Schema = {}
        for field in shape.fields:
            schema = self.write(field.shape, output=output)
            if field.default is not Shape.NOTHING:
                with suppress(TypeError, ValueError):  # JSON has no form for it: still a default, not shown
                    schema = {**schema, "default": to_json_value(field.default)}
            properties[field.key] = schema
        schema = {"type": "object"}
        description = own_docstring(shape.type)
        if description:
            schema["description"] = description
        schema["properties"] = properties
        required = [field.key for field in shape.fields if field.required]
        if required:
            schema["required"] = required
        return schema

    def _union(self, shape: Shape, output: bool) -> Schema:
        members = [self.write(item, output=output) for item in shape.items]
        unique = [member for index, member in enumerate(members) if member not in members[:index]]
        if len(unique) == 1:
            return unique[0]
        schema: Schema = {"anyOf": unique}
        objects = [item for item in shape.items if item.kind == "object"]
        tag = tag_of(objects) if len(objects) == len(shape.items) else ""
        if tag:
            mapping: dict[Any, str] = {}
            for item, member in zip(shape.items, members, strict=True):
                field = next(field for field in item.fields if field.key == tag)
                mapping.update((wire, member["$ref"]) for wire, _ in field.shape.choices)
            schema["discriminator"] = {"propertyName": tag, "mapping": mapping}
        return schema

    def _constrained(self, shape: Shape, output: bool) -> Schema:
        schema = {**self.write(shape.items[0], output=output), **_constraints(shape)}
        if shape.description:
            schema["description"] = shape.description
        return schema

    def _foreign(self, shape: Shape, output: bool) -> Schema:
        template = f"{self.prefix}{{{'model' if shape.library == 'pydantic' else 'name'}}}"
        if shape.library == "pydantic":
            adapter = sys.modules["pydantic"].TypeAdapter(shape.type)
            schema = adapter.json_schema(ref_template=template, mode="serialization" if output else "validation")
            definitions = schema.pop("$defs", {})
            name = schema.get("title") if shape.name and schema.get("type") == "object" else None
            if name:
                definitions[name] = schema
                schema = {"$ref": self.prefix + name}
        else:
            msgspec = sys.modules["msgspec"]
            (schema,), definitions = msgspec.json.schema_components([shape.type], ref_template=template)
        return self._adopt(schema, definitions, output)

    def _adopt(self, schema: Schema, definitions: dict[str, Schema], output: bool) -> Schema:
        """Takes over a library's definitions, under other names where another type has theirs."""
        names = {}
        for name, definition in definitions.items():
            names[name] = self._free_name(name, definition, output=output)
            self._adopted[names[name]] = definition
            self.definitions.setdefault(names[name], {})
        for name, definition in definitions.items():
            self.definitions[names[name]] = _renamed(definition, self.prefix, names)
            if names[name] != name and definition.get("title") == name:  # what generators call a class after
                self.definitions[names[name]]["title"] = names[name]
        renamed: Schema = _renamed(schema, self.prefix, names)
        return renamed


def own_docstring(kind: Any) -> str:
    """The docstring a class's author wrote: not an inherited one, nor the one `dataclass` makes."""
    text = vars(kind).get("__doc__") if isinstance(kind, type) else None
    if not isinstance(text, str) or text.startswith(f"{kind.__name__}("):
        return ""
    from inspect import cleandoc

    return cleandoc(text)


def _choice(shape: Shape) -> Schema:
    wires = [wire for wire, _ in shape.choices]
    if len(wires) == 1:
        return {"const": wires[0]}
    kinds = {type(wire) for wire in wires}
    schema: Schema = {"enum": wires}
    if kinds == {str}:
        schema = {"type": "string", **schema}
    elif kinds == {int}:
        schema = {"type": "integer", **schema}
    return schema


def _as_name(wire: object) -> str:
    return "null" if wire is None else str(wire).lower() if isinstance(wire, bool) else str(wire)


def _constraints(shape: Shape) -> Schema:
    schema: Schema = {}
    kinds = _json_kinds(shape.items[0])
    for name, limit in shape.constraints.items():
        if name in _NUMBER_WORDS:
            if isinstance(limit, int | float | Decimal):
                schema[_NUMBER_WORDS[name]] = float(limit) if isinstance(limit, Decimal) else limit
        elif name == "pattern":
            schema["pattern"] = getattr(limit, "pattern", limit)
        else:
            for kind in sorted(kinds & _LENGTH_WORDS.keys()):
                schema[_LENGTH_WORDS[kind][name == "max_length"]] = limit
    return schema


def _json_kinds(shape: Shape) -> set[str]:
    match shape.kind:
        case "scalar":
            return {"string"} if shape.type is str else set()
        case "array" | "tuple":
            return {"array"}
        case "map":
            return {"object"}
        case "union" | "constrained":
            return set().union(*(_json_kinds(item) for item in shape.items))
    return set()


def _renamed(value: Any, prefix: str, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: prefix + names.get(item.removeprefix(prefix), item.removeprefix(prefix))
            if key == "$ref" and isinstance(item, str) and item.startswith(prefix)
            else _renamed(item, prefix, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, prefix, names) for item in value]
    if isinstance(value, str) and value.startswith(prefix):  # the mapping of a discriminator
        return prefix + names.get(value.removeprefix(prefix), value.removeprefix(prefix))
    return value
