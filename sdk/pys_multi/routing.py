"""Path templates and the table that finds the route of a path.

A template is literal text and parameters: ``/orders/{id:int}/files/{name}.pdf``, ``/static/{rest:path}``.
The table is a tree of path segments, so what a request costs depends on the length of its path and
hardly on the number of routes. Of several routes that match, the most specific one wins, segment by
segment from the left: literal text, text with parameters in it (the more text the more specific), uuid, int,
float, str, path. Between routes that are alike in that, the one that was defined first wins.
"""

from __future__ import annotations

from pys_multi.errors import DefinitionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    #: Literal text, or literal texts and (name, converter) parameters in order.
    Segment: TypeAlias = str | tuple[str | tuple[str, str], ...]

_HEX = frozenset("0123456789abcdefABCDEF")
_UUID = "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"
#: Converter → its regular expression. Digits are bounded by what int() (sys.set_int_max_str_digits may go down to
#: 640) and float() (309 digits are infinity) take: a number that cannot be converted is no such path.
_PATTERNS = {
    "str": "[^/]+",
    "int": "[0-9]{1,640}",
    "float": r"[0-9]{1,300}(?:\.[0-9]{1,300})?",
    "uuid": _UUID,
    "path": ".*",
}
_SPECIFICITY = {"uuid": 1, "int": 2, "float": 3, "str": 4, "path": 5}
#: Behind every other: a bare path parameter.
_LAST = (1, 0)

#: How long a text may be that str and path parameters share, by how many boundaries between them are free. Their
#: regular expression tries every way to share it, so that a long text which does not match at last would cost
#: seconds: this keeps it under 20 ms.
_LONGEST = {0: 1_000_000, 1: 2_000, 2: 200}


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
        if not isinstance(text, str) or not text.startswith("/"):
            raise DefinitionError(f"path {text!r} does not begin with '/'")
        if not text.isprintable():
            raise DefinitionError(f"path {text!r} has a character in it that cannot be printed")
        if "?" in text or "#" in text:
            raise DefinitionError(f"path {text!r} has '?' or '#' in it: query parameters are parameters of the handler")
        if any(_HEX.issuperset(part[:2]) and len(part) > 1 for part in text.split("%")[1:]):
            raise DefinitionError(f"path {text!r} is percent-encoded: paths are decoded before they are matched")
        self.text = text
        self.parameters: dict[str, str] = {}
        self.segments: list[Segment] = []
        for segment in text[1:].split("/"):
            self.segments.append(self._parse(segment) if "{" in segment or "}" in segment else segment)
        self._check_sharing()
        self.shape = "/".join(
            segment if type(segment) is str else "".join(p if type(p) is str else f"{{{p[1]}}}" for p in segment)
            for segment in self.segments
        )

    def _check_sharing(self) -> None:
        for index, segment in enumerate(self.segments):
            has_path = _count(segment, "path") > 0
            if _free_boundaries(self.segments[index:] if has_path else [segment]) not in _LONGEST:
                raise DefinitionError(
                    f"path {self.text!r}: at most three str or path parameters can share one segment or what follows "
                    "a path parameter; take the text as one parameter and split it in the handler"
                )
            if has_path:
                break

    def _parse(self, segment: str) -> Segment:
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
        #: Segments that mix text and parameters, most specific first.
        self.patterns: list[tuple[_Pattern, _Node]] = []
        #: Whole-segment parameters, most specific first: (converter, what the segment must match if anything, node).
        self.parameters: list[tuple[str, Any, _Node]] = []
        #: Everything from a path parameter on, most specific first; without a pattern it takes what is left.
        self.rest: list[tuple[_Pattern | None, _Leaf]] = []
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
            elif _count(segment, "path"):
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
    def _rest_leaf(node: _Node, segments: list[Segment]) -> _Leaf:
        pattern = None if segments == [(segments[0][0],)] else _Pattern(segments)
        for known, leaf in node.rest:
            if known == pattern:
                return leaf
        leaf = _Leaf()
        node.rest.append((pattern, leaf))
        node.rest.sort(key=lambda entry: entry[0].order if entry[0] is not None else _LAST)
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
        if path[:1] != "/":  # "*", or a path that its sender did not absolutise: nothing of ours
            return None
        return _descend(self._root, path[1:].split("/"), 0, (), method, None)

    def allowed(self, path: str) -> set[str]:
        """The methods of every route that matches the path; empty where none does."""
        methods: set[str] = set()
        if path[:1] == "/":
            _descend(self._root, path[1:].split("/"), 0, (), "", methods)
        if "GET" in methods:
            methods.add("HEAD")
        return methods


def _parameter_node(node: _Node, converter: str) -> _Node:
    for known, _, child in node.parameters:
        if known == converter:
            return child
    child = _Node()
    node.parameters.append((converter, _fits(converter), child))
    node.parameters.sort(key=lambda entry: _SPECIFICITY[entry[0]])
    return child


def _fits(converter: str) -> Callable[[str], object] | None:
    if converter == "str":
        return None
    if converter == "int":
        return _is_int
    from re import compile

    return compile(_PATTERNS[converter]).fullmatch


def _is_int(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 640


def _pattern_node(node: _Node, segment: Segment) -> _Node:
    pattern = _Pattern([segment])
    for known, child in node.patterns:
        if known == pattern:
            return child
    child = _Node()
    node.patterns.append((pattern, child))
    node.patterns.sort(key=lambda entry: entry[0].order)
    return child


class _Pattern:
    """A regular expression for one segment or several, and how specific it is: the more text the more, then the
    stricter its parameters; the lowest ``order`` is the most specific."""

    __slots__ = ("_longest", "_match", "_text", "order")

    def __init__(self, segments: list[Segment]) -> None:
        parts: list[str | tuple[str, str]] = []
        for segment in segments:
            parts += (segment,) if type(segment) is str else segment
        self._text = "/".join(_regex(segment) for segment in segments)
        from re import DOTALL, compile

        self._match = compile(self._text, DOTALL).fullmatch
        self._longest = _LONGEST[_free_boundaries(segments)]
        self.order = (
            -sum(len(part) for part in parts if type(part) is str),
            sum(_SPECIFICITY[part[1]] for part in parts if type(part) is tuple),
        )

    def match(self, text: str) -> tuple[str, ...] | None:
        """The texts of the parameters, or None."""
        found = self._match(text) if len(text) <= self._longest else None
        return found.groups() if found is not None else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pattern) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def _regex(segment: Segment) -> str:
    from re import escape

    if type(segment) is str:
        return escape(segment)
    return "".join(escape(part) if type(part) is str else f"({_PATTERNS[part[1]]})" for part in segment)


def _count(segment: Segment, converter: str) -> int:
    return 0 if type(segment) is str else sum(1 for part in segment if type(part) is tuple and part[1] == converter)


def _free_boundaries(segments: list[Segment]) -> int:
    """How many boundaries between parameters the text alone does not fix; see `_LONGEST`."""
    paths = sum(_count(segment, "path") for segment in segments)
    free = max(0, paths - 1)
    for segment in segments:
        # A str ends at the next slash; only a second one beside it, or a path, leaves a choice.
        texts = _count(segment, "str")
        free += texts if _count(segment, "path") else max(0, texts - 1)
    return free


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
            found_values = pattern.match(segment)
            if found_values is not None:
                found = _descend(child, segments, index + 1, values + found_values, method, allowed)
                if found is not None:
                    return found
        for _, fits, child in node.parameters:
            if fits is None or fits(segment):
                found = _descend(child, segments, index + 1, (*values, segment), method, allowed)
                if found is not None:
                    return found
    if node.rest:
        rest = "/".join(segments[index:])
        for rest_pattern, leaf in node.rest:
            found_values = (rest,) if rest_pattern is None else rest_pattern.match(rest)
            if found_values is not None:
                found = _pick(leaf, values + found_values, method, allowed)
                if found is not None:
                    return found
    return None


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
        parameters[name] = value if convert is None else convert(value)
    return target, parameters
