"""The line of the source that a problem is about, from the text of the project alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pys_multi_tools.discover import import_roots

_FILE = re.compile(r"(?P<file>[^\s:][^:\n]*\.(?:py|toml|txt|lock)):(?P<line>\d+)\b")
_KINDS = ("function", "queue", "topic", "bucket", "table", "secret")


class Place(NamedTuple):
    """A file, and a line of it; 0 for none."""

    file: Path
    line: int


def place_of(where: str, root: Path, service: Mapping[str, Any]) -> Place | None:
    """Where in the project at ``root`` something is, as a message names it; None where that cannot be told.

    where: "file:line", the id of a trigger, or a kind and a name, such as "queue orders".
    service: the model, as ``show --json`` prints it; may be empty.
    """
    if match := _FILE.search(where):
        file = root / match["file"]
        return Place(file, int(match["line"])) if file.is_file() else None
    for function in service.get("functions", ()):
        for trigger in function.get("triggers", ()):
            if trigger.get("id") == where:
                return _handler(str(trigger.get("handler", "")), root) or _named("function", function["name"], root)
    kind, _, name = where.partition(" ")
    if kind in _KINDS and name:
        return _named(kind, name.strip("'\""), root)
    return None


def _handler(reference: str, root: Path) -> Place | None:
    """The definition of "module:qualified.name"."""
    module, _, name = reference.partition(":")
    for folder in import_roots(root):
        path = folder.joinpath(*module.split("."))
        for file in (path.with_name(path.name + ".py"), path / "__init__.py"):
            if not file.is_file():
                continue
            for node in ast.walk(_tree(file)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name.rpartition(".")[2]:
                    return Place(file, min([node.lineno, *(d.lineno for d in node.decorator_list)]))
            return Place(file, 1)
    return None


def _named(kind: str, name: str, root: Path) -> Place | None:
    """The call that defines it: app.queue("orders")."""
    for file in _modules(root):
        for node in ast.walk(_tree(file)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == kind
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and node.args[0].value == name
            ):
                return Place(file, node.lineno)
    return None


def _modules(root: Path) -> Iterator[Path]:
    for file in sorted(root.rglob("*.py")):
        inside = file.relative_to(root).parts
        if not any(part.startswith(".") or part in ("node_modules", "site-packages", "tests") for part in inside):
            yield file


@lru_cache(maxsize=512)
def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
