"""Expressions of ARM templates, evaluated strictly: what is not known here is an error, never a guess.

Syntax and functions: "Syntax and expressions in ARM templates", "ARM template functions" (2026-11).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

Function = Callable[..., Any]

_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|(-?\d+)|([A-Za-z_][\w]*)|([()\[\],.]))")


class InvalidTemplate(Exception):
    """What ARM answers to a template that it cannot process."""

    code = "InvalidTemplate"


class Refused(Exception):
    """What a resource provider answers to a request."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        self.code, self.status = code, status
        super().__init__(message)


def is_expression(value: str) -> bool:
    return value.startswith("[") and value.endswith("]") and not value.startswith("[[")


def evaluate(value: Any, functions: Mapping[str, Function]) -> Any:
    """A value of a template with all of its expressions replaced by what they stand for."""
    if isinstance(value, str):
        if is_expression(value):
            return parse(value[1:-1])(functions)
        return value[1:] if value.startswith("[[") and value.endswith("]") else value
    if isinstance(value, list):
        return [evaluate(item, functions) for item in value]
    if isinstance(value, dict):
        return {evaluate(key, functions): evaluate(item, functions) for key, item in value.items()}
    return value


Node = Callable[[Mapping[str, Function]], Any]


def parse(text: str) -> Node:
    """An expression, without its brackets, as what evaluates it."""
    tokens = _tokens(text)
    node, rest = _expression(tokens, 0, text)
    if rest != len(tokens):
        raise InvalidTemplate(f"the expression {text!r} goes on after its end")
    return node


def _tokens(text: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidTemplate(f"the expression {text!r} is not valid at {text[at:]!r}")
        string, number, name, sign = match.groups()
        if string is not None:
            found.append(("text", string.replace("''", "'")))
        elif number is not None:
            found.append(("number", int(number)))
        else:
            found.append(("name", name) if name is not None else ("sign", sign))
        at = match.end()
    return found


def _expression(tokens: list[tuple[str, Any]], at: int, text: str) -> tuple[Node, int]:
    if at >= len(tokens):
        raise InvalidTemplate(f"the expression {text!r} ends too soon")
    kind, value = tokens[at]
    at += 1
    if kind in ("text", "number"):
        node: Node = lambda _, value=value: value  # noqa: E731
    elif kind == "name":
        arguments, at = _arguments(tokens, at, text)
        node = _call(value, arguments)
    else:
        raise InvalidTemplate(f"the expression {text!r} is not valid at {value!r}")
    while at < len(tokens) and tokens[at] in (("sign", "."), ("sign", "[")):
        if tokens[at][1] == ".":
            if at + 1 >= len(tokens) or tokens[at + 1][0] != "name":
                raise InvalidTemplate(f"a name must come after the dot in {text!r}")
            index: Node = lambda _, name=tokens[at + 1][1]: name  # noqa: E731
            at += 2
        else:
            index, at = _expression(tokens, at + 1, text)
            at = _expect(tokens, at, "]", text)
        node = _index(node, index)
    return node, at


def _arguments(tokens: list[tuple[str, Any]], at: int, text: str) -> tuple[list[Node], int]:
    at = _expect(tokens, at, "(", text)
    found: list[Node] = []
    if at < len(tokens) and tokens[at] == ("sign", ")"):
        return found, at + 1
    while True:
        node, at = _expression(tokens, at, text)
        found.append(node)
        if at < len(tokens) and tokens[at] == ("sign", ","):
            at += 1
            continue
        return found, _expect(tokens, at, ")", text)


def _expect(tokens: list[tuple[str, Any]], at: int, sign: str, text: str) -> int:
    if at >= len(tokens) or tokens[at] != ("sign", sign):
        raise InvalidTemplate(f"{sign!r} is missing in the expression {text!r}")
    return at + 1


def _call(name: str, arguments: list[Node]) -> Node:
    def node(functions: Mapping[str, Function]) -> Any:
        function = functions.get(name.lower())
        if function is None:
            raise InvalidTemplate(f"The template function '{name}' is not valid.")
        if name.lower() == "if":
            condition, yes, no = arguments
            return yes(functions) if condition(functions) is True else no(functions)
        try:
            return function(*(argument(functions) for argument in arguments))
        except TypeError as error:
            raise InvalidTemplate(f"the function '{name}' does not take that: {error}") from error

    return node


def _index(node: Node, index: Node) -> Node:
    def indexed(functions: Mapping[str, Function]) -> Any:
        value, key = node(functions), index(functions)
        if isinstance(value, list) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise InvalidTemplate(f"The index '{key}' is out of bounds.")
            return value[key]
        if isinstance(value, dict) and isinstance(key, str):
            for name, item in value.items():
                if name.lower() == key.lower():
                    return item
            raise InvalidTemplate(f"The language expression property '{key}' doesn't exist: {', '.join(value)}.")
        raise InvalidTemplate(f"{key!r} cannot be asked of {type(value).__name__}")

    return indexed


# ---- the functions that hang on nothing but their arguments


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    return str(value) if isinstance(value, int) else json.dumps(value, separators=(",", ":"))


def _concat(*values: Any) -> Any:
    if values and all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    if any(isinstance(value, list | dict) for value in values):
        raise TypeError("texts or arrays only")
    return "".join(_text(value) for value in values)


def _format(template: str, *values: Any) -> str:
    def filled(match: re.Match[str]) -> str:
        if match.group() in ("{{", "}}"):
            return match.group()[0]
        number = int(match.group(1))
        if number >= len(values):
            raise TypeError(f"no value for {match.group()}")
        return _text(values[number])

    if re.sub(r"\{\{|\}\}|\{\d+\}", "", template).strip("{}") != re.sub(r"\{\{|\}\}|\{\d+\}", "", template):
        raise TypeError("an unbalanced brace")
    return re.sub(r"\{\{|\}\}|\{(\d+)\}", filled, template)


def _union(*values: Any) -> Any:
    if all(isinstance(value, dict) for value in values):
        found: dict[str, Any] = {}
        for value in values:
            found |= value
        return found
    return list({json.dumps(item): item for value in values for item in value}.values())


def _object(*pairs: Any) -> dict[str, Any]:
    if len(pairs) % 2:
        raise TypeError("an odd number of arguments")
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _unique(*values: str) -> str:
    digest = hashlib.sha256("-".join(values).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:13]


PURE: dict[str, Function] = {
    "concat": _concat,
    "format": _format,
    "guid": lambda *values: str(uuid.uuid5(uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830"), "-".join(values))),
    "uniquestring": _unique,
    "tolower": lambda value: value.lower(),
    "toupper": lambda value: value.upper(),
    "string": _text,
    "int": int,
    "true": lambda: True,
    "false": lambda: False,
    "null": lambda: None,
    "if": lambda *_: None,  # evaluated lazily where it is called
    "equals": lambda one, other: one == other,
    "not": lambda value: not value,
    "and": lambda *values: all(values),
    "or": lambda *values: any(values),
    "empty": lambda value: not value,
    "length": len,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "createarray": lambda *values: list(values),
    "createobject": _object,
    "union": _union,
    "split": lambda value, by: value.split(by),
    "join": lambda values, by: by.join(values),
    "replace": lambda value, old, new: value.replace(old, new),
    "substring": lambda value, start, length=None: value[start:] if length is None else value[start : start + length],
    "take": lambda value, count: value[:count],
    "last": lambda value: value[-1],
    "first": lambda value: value[0],
    "contains": lambda value, item: item in value,
    "json": json.loads,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "uricomponent": lambda value: quote(value, safe=""),
}
