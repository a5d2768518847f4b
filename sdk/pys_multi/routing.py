"""Path templates and the table that finds the route of a path.

A template is literal text and parameters: ``/orders/{id:int}/files/{name}.pdf``, ``/static/{rest:path}``.
The table is a tree of path segments, so what a request costs depends on the length of its path and
hardly on the number of routes. Of several routes that match, the most specific one wins, segment by
segment from the left: literal text, text with parameters in it, uuid, int, float, str, path.
"""

from __future__ import annotations

import re

from pys_multi.errors import DefinitionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_UUID = "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"
#: Converter → its regular expression, the same as Starlette's.
_PATTERNS = {"str": "[^/]+", "int": "[0-9]+", "float": r"[0-9]+(?:\.[0-9]+)?", "uuid": _UUID, "path": ".*"}
_SPECIFICITY = {"uuid": 1, "int": 2, "float": 3, "str": 4, "path": 5}


def _to_uuid(text: str) -> object:
    from uuid import UUID

    return UUID(text)


_CONVERT: dict[str, Callable[[str], object] | None] = {
    "str": None,
    "path": None,
    "int": int,
    "float": float,
    "uuid": _to_uuid,
}


class Template:
    """A parsed path template.

    segments: the parts between slashes, each literal text or a tuple of literal texts and (name, converter)
    parameters. parameters: name → converter. shape: equal for templates that match the same paths.
    Raises DefinitionError for a malformed template.
    """

    __slots__ = ("parameters", "segments", "shape", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        if not text.startswith("/"):
            raise DefinitionError(f"path {text!r} does not begin with '/'")
        if "?" in text or "#" in text:
            raise DefinitionError(f"path {text!r} has '?' or '#' in it: query parameters are parameters of the handler")
        self.parameters: dict[str, str] = {}
        self.segments: list[str | tuple[str | tuple[str, str], ...]] = []
        for segment in text[1:].split("/"):
            self.segments.append(self._parse(segment) if "{" in segment or "}" in segment else segment)
        self.shape = "/".join(
            segment if type(segment) is str else "".join(p if type(p) is str else f"{{{p[1]}}}" for p in segment)
            for segment in self.segments
        )

    def _parse(self, segment: str) -> tuple[str | tuple[str, str], ...]:
        parts: list[str | tuple[str, str]] = []
        rest = segment
        while rest:
            literal, brace, rest = rest.partition("{")
            if "}" in literal:
                raise DefinitionError(f"path {self.text!r} has a '}}' without its '{{'")
            if literal:
                parts.append(literal)
            if not brace:
                break
            inside, brace, rest = rest.partition("}")
            if not brace:
                raise DefinitionError(f"path {self.text!r} has a '{{' without its '}}'")
            name, colon, converter = inside.partition(":")
            if not colon:
                converter = "str"
            if not name.isidentifier():
                raise DefinitionError(f"path {self.text!r}: {name!r} is not a parameter name")
            if name in self.parameters:
                raise DefinitionError(f"path {self.text!r} has parameter {name!r} twice")
            if converter not in _PATTERNS:
                raise DefinitionError(
                    f"path {self.text!r}: converter {converter!r} of parameter {name!r} is not one of "
                    + ", ".join(_PATTERNS)
                )
            if parts and type(parts[-1]) is tuple:
                raise DefinitionError(f"path {self.text!r}: two parameters need text between them")
            self.parameters[name] = converter
            parts.append((name, converter))
        return tuple(parts)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


class _Node:
    """What may follow after the segments so far."""

    __slots__ = ("leaf", "literals", "parameters", "patterns", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        #: Segments that mix text and parameters, most text first: (regular expression, node).
        self.patterns: list[tuple[Any, _Node]] = []
        #: Whole-segment parameters by converter, most specific first: (converter, node).
        self.parameters: list[tuple[str, _Node]] = []
        #: Everything from a path parameter on: (regular expression or None, leaf).
        self.rest: list[tuple[Any, _Leaf]] = []
        self.leaf: _Leaf | None = None


class _Leaf:
    """The routes of one shape, by method; ``*`` stands for every method."""

    __slots__ = ("methods",)

    def __init__(self) -> None:
        # Names differ between methods of one shape ("/a/{x}" and "/a/{y}"), so they stay with the target.
        self.methods: dict[str, tuple[Any, list[tuple[str, str]]]] = {}


class RouteTable:
    """Method and path template → target."""

    __slots__ = ("_root", "_static")

    def __init__(self) -> None:
        self._root = _Node()
        self._static: dict[str, _Leaf] = {}

    def add(self, method: str, template: Template, target: object) -> None:
        """Adds a route. Raises DefinitionError where the table has one of that method and shape."""
        node = self._root
        leaf: _Leaf | None = None
        names = list(template.parameters.items())
        for index, segment in enumerate(template.segments):
            if type(segment) is str:
                node = node.literals.setdefault(segment, _Node())
            elif any(type(part) is tuple and part[1] == "path" for part in segment):
                leaf = self._rest_leaf(node, template.segments[index:])
                break
            elif len(segment) == 1 and type(segment[0]) is tuple:
                node = _parameter_node(node, segment[0][1])
            else:
                node = _pattern_node(node, segment)
        if leaf is None:
            if node.leaf is None:
                node.leaf = _Leaf()
            leaf = node.leaf
        if method in leaf.methods:
            raise DefinitionError(f"{method} {template.text} is defined twice")
        leaf.methods[method] = (target, names)
        if not names:
            self._static["/" + "/".join(template.segments)] = leaf  # type: ignore[arg-type]  # no parameters: all text

    @staticmethod
    def _rest_leaf(node: _Node, segments: list[str | tuple[str | tuple[str, str], ...]]) -> _Leaf:
        if len(segments) == 1 and len(segments[0]) == 1 and type(segments[0]) is tuple:
            pattern = None  # the usual case, "/…/{rest:path}", needs no regular expression
        else:
            pattern = re.compile("/".join(_regex(segment) for segment in segments), re.DOTALL)
        for known, leaf in node.rest:
            if known == pattern:
                return leaf
        leaf = _Leaf()
        node.rest.append((pattern, leaf))
        # The longest text is the most specific; a bare path parameter takes what is left.
        node.rest.sort(key=lambda entry: -len(entry[0].pattern) if entry[0] is not None else 1)
        return leaf

    def find(self, method: str, path: str) -> tuple[Any, dict[str, object]] | None:
        """The target and converted parameters of the most specific route, or None.

        path: percent-decoded. HEAD finds the route of GET where it has none of its own.
        """
        leaf = self._static.get(path)
        if leaf is not None:
            entry = leaf.methods.get(method)
            if entry is not None:
                return entry[0], {}
        return _descend(self._root, path[1:].split("/"), 0, (), method, None)

    def allowed(self, path: str) -> set[str]:
        """The methods of every route that matches the path; empty where none does."""
        methods: set[str] = set()
        _descend(self._root, path[1:].split("/"), 0, (), "", methods)
        if "GET" in methods:
            methods.add("HEAD")
        return methods


def _parameter_node(node: _Node, converter: str) -> _Node:
    for known, child in node.parameters:
        if known == converter:
            return child
    child = _Node()
    node.parameters.append((converter, child))
    node.parameters.sort(key=lambda entry: _SPECIFICITY[entry[0]])
    return child


def _pattern_node(node: _Node, segment: str | tuple[str | tuple[str, str], ...]) -> _Node:
    pattern = re.compile(_regex(segment))
    for known, child in node.patterns:
        if known == pattern:
            return child
    child = _Node()
    node.patterns.append((pattern, child))
    node.patterns.sort(key=lambda entry: -len(re.sub(r"\(.*?\)", "", entry[0].pattern)))
    return child


def _regex(segment: str | tuple[str | tuple[str, str], ...]) -> str:
    if type(segment) is str:
        return re.escape(segment)
    return "".join(re.escape(part) if type(part) is str else f"({_PATTERNS[part[1]]})" for part in segment)


def _descend(
    node: _Node, segments: list[str], index: int, values: tuple[str, ...], method: str, allowed: set[str] | None
) -> tuple[Any, dict[str, object]] | None:
    """Depth first, most specific first; with ``allowed`` it visits every match and gathers the methods."""
    if index == len(segments):
        return _pick(node.leaf, values, method, allowed) if node.leaf is not None else None
    segment = segments[index]
    child = node.literals.get(segment)
    if child is not None:
        found = _descend(child, segments, index + 1, values, method, allowed)
        if found is not None:
            return found
    if segment:
        for pattern, child in node.patterns:
            match = pattern.fullmatch(segment)
            if match is not None:
                found = _descend(child, segments, index + 1, values + match.groups(), method, allowed)
                if found is not None:
                    return found
        for converter, child in node.parameters:
            if converter == "str" or _fits(converter, segment):
                found = _descend(child, segments, index + 1, (*values, segment), method, allowed)
                if found is not None:
                    return found
    for pattern, leaf in node.rest:
        rest = "/".join(segments[index:])
        if pattern is None:
            found = _pick(leaf, (*values, rest), method, allowed)
        else:
            match = pattern.fullmatch(rest)
            found = _pick(leaf, values + match.groups(), method, allowed) if match is not None else None
        if found is not None:
            return found
    return None


def _fits(converter: str, segment: str) -> bool:
    if converter == "int":
        return segment.isascii() and segment.isdigit()
    return re.fullmatch(_PATTERNS[converter], segment) is not None


def _pick(
    leaf: _Leaf, values: tuple[str, ...], method: str, allowed: set[str] | None
) -> tuple[Any, dict[str, object]] | None:
    methods = leaf.methods
    if allowed is not None:
        allowed.update(methods)
        return None
    entry = methods.get(method)
    if entry is None:
        entry = methods.get("GET") if method == "HEAD" else None
        if entry is None:
            entry = methods.get("*")
            if entry is None:
                return None
    target, names = entry
    parameters: dict[str, object] = {}
    for (name, converter), value in zip(names, values):  # noqa: B905  (same length by construction, and hot)
        convert = _CONVERT[converter]
        try:
            parameters[name] = value if convert is None else convert(value)
        except ValueError:  # more digits than int() takes: no such path
            return None
    return target, parameters
