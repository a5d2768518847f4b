"""The service as it was deployed last from a folder.

What is live is looked at, taken back and removed most of all when the code is broken; so none of that may need
code that imports. The model is kept in ``.pys-multi/deployed`` of the project, by stage; it holds no secret.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from pys_multi.model import ModelError, Service

if TYPE_CHECKING:
    from pathlib import Path

    from pys_multi_tools.project import Project


def remember(project: Project, reference: str, service: Service) -> None:
    """Notes what was deployed. A folder that cannot be written keeps no deploy from having worked."""
    path = _path(project)
    text = json.dumps({"reference": reference, "model": service.to_json()}, indent=1)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        (project.root / ".pys-multi" / ".gitignore").write_text("*\n")
        path.write_text(text, encoding="utf-8")


def recall(project: Project) -> tuple[str, Service] | None:
    """The reference of the App and the service that were deployed last; None where that is not known."""
    try:
        found = json.loads(_path(project).read_text(encoding="utf-8"))
        return str(found["reference"]), Service.from_json(found["model"])
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return None


def _path(project: Project) -> Path:
    return project.root / ".pys-multi" / "deployed" / f"{project.stage}.json"
