"""A new project from the templates: it runs at once, and its own tests are green."""

from __future__ import annotations

import re
from pathlib import Path

from pys_multi_tools.errors import ToolError
from pys_multi_tools.render import render

PACKAGE = "pys_multi_templates"
#: File of the project → its template.
FILES = {
    ".gitignore": "project/gitignore.j2",
    "README.md": "project/README.md.j2",
    "app.py": "project/app.py.j2",
    "pyproject.toml": "project/pyproject.toml.j2",
    "tests/test_app.py": "project/tests/test_app.py.j2",
}
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def create(folder: Path, name: str | None = None) -> tuple[Path, ...]:
    """Write a new project into ``folder``, which is made where it does not exist, and return its files.

    name: of the service; without it the folder's name in lower case.
    Raises ToolError for a name that is none, and rather than overwrite a file.
    """
    folder = folder.resolve()
    service = name if name is not None else re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")
    if not _NAME.fullmatch(service):
        hint = "give one with --name: up to 40 lower-case letters, digits and hyphens, beginning with a letter"
        raise ToolError(f"'{service}' is not a service name", where=str(folder), hint=hint)
    existing = [path for path in FILES if (folder / path).exists()]
    if existing or (folder.exists() and not folder.is_dir()):
        taken = f"it has {', '.join(existing)}" if existing else "it is a file"
        raise ToolError(f"would be overwritten: {taken}", where=str(folder), hint="name another folder")
    written: list[Path] = []
    for path, template in FILES.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(PACKAGE, template, {"name": service}), encoding="utf-8")
        written.append(target)
    return tuple(written)
