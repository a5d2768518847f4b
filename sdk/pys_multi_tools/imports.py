"""Which modules of a repository can be reached from others by import, from their text alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

#: A string that may name a module, as in Django's settings or "module:attribute".
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?::\w+)?")


def reachable(files: Iterable[Path], roots: Iterable[Path]) -> set[Path]:
    """The files, and every module below ``roots`` that they import, directly or through others.

    A string that reads like the name of such a module counts as an import of it.
    """
    folders = list(dict.fromkeys(roots))
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for name in _names(file, folders):
            waiting += [module for module in _modules(name, folders) if module not in found]
    return found


def _names(file: Path, roots: list[Path]) -> Iterator[str]:
    """Dotted names that the module may import."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, (_package(file, roots, node.level), base)))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.value.replace(":", ".")


def _package(file: Path, roots: list[Path], level: int) -> str:
    root = max((root for root in roots if file.is_relative_to(root)), key=lambda root: len(root.parts), default=None)
    if root is None:
        return ""
    parts = file.relative_to(root).parent.parts
    return ".".join(parts[: len(parts) - (level - 1)])


def _modules(name: str, roots: list[Path]) -> Iterator[Path]:
    """The files of a module and of the packages it lies in; of "a.b.thing" those of a.b too."""
    parts = name.split(".")
    for root in roots:
        for end in range(1, len(parts) + 1):
            path = root.joinpath(*parts[:end])
            if (init := path / "__init__.py").is_file():
                yield init
            elif (module := path.with_name(path.name + ".py")).is_file():
                yield module
