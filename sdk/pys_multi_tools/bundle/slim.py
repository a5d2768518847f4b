"""What of an installed distribution a function does not need."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_FILES = (
    ("*.py[co]", "a cache"),
    ("*.pyi", "a stub"),
    ("py.typed", "a stub"),
    ("*.pxd", "a stub"),
    ("*.pyx", "source of a native module"),
    ("*.a", "for building"),
    ("*.lib", "for building"),
)
# Of *.dist-info what importlib.metadata reads, and the licences, which must go with a copy.
_METADATA = ("METADATA", "RECORD", "entry_points.txt", "top_level.txt")
_READS_STUBS = re.compile(rb"""\battach_stub\b|["'][^"'\n]*\.pyi["']""")
_LICENCE = re.compile(r"(^|/)(licen[cs]es?(/|\.|$)|copying|notice)", re.IGNORECASE)


def reason(path: str, info: str) -> str:
    """Why a file of the distribution with that dist-info folder stays out; empty where it goes in."""
    parts = path.split("/")
    if parts[0] == info:
        inner = "/".join(parts[1:])
        return "" if inner in _METADATA or _LICENCE.search(inner) else "metadata of the installation"
    if path.startswith(("../", "/")) or parts[0] == "bin":
        return "a script"
    if path.startswith(("share/man/", "share/doc/")):
        return "documentation"
    if "__pycache__" in parts:
        return "a cache"
    return next((why for pattern, why in _FILES if fnmatchcase(parts[-1], pattern)), "")


def tests_folder(path: str) -> str:
    """The outermost folder named tests or test below a package, without a slash; empty for none."""
    parts = path.split("/")[:-1]
    for index, part in enumerate(parts):
        if part in ("tests", "test"):
            return "/".join(parts[: index + 1])
    return ""


def reads_stubs(source: bytes) -> bool:
    """Whether a module reads stubs at run time, to import lazily what they name or to tell types."""
    return bool(_READS_STUBS.search(source))


def short_metadata(data: bytes) -> bytes:
    """The headers of a METADATA file without the description, which is a page for people."""
    text = data.replace(b"\r\n", b"\n")
    return text.partition(b"\n\n")[0] + b"\n"


def is_bytecode_only(path: str, packages: frozenset[str]) -> bool:
    """Whether a module can ship as its bytecode alone.

    Only where the import system alone reads it: an importable name in a regular package or at the top.
    A file beside no ``__init__.py`` may be a template that something reads as text.
    """
    folder, _, name = path.rpartition("/")
    names = [*folder.split("/"), name.removesuffix(".py")] if folder else [name.removesuffix(".py")]
    return all(part.isidentifier() for part in names) and (not folder or folder in packages)
