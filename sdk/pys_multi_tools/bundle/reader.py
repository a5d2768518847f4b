"""Reading an artefact's zip back."""

from __future__ import annotations

import zipfile
from pathlib import Path

from pys_multi_tools.bundle.archive import check_path
from pys_multi_tools.errors import BundleError


def unpack_zip(path: Path, folder: Path) -> None:
    """Unpacks a zip into a folder that is empty or not there yet. Raises BundleError for an unsafe path."""
    if folder.exists() and any(folder.iterdir()):
        raise BundleError("the folder is not empty", where=str(folder), hint="name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            check_path(info.filename, str(path))
        for info in file.infolist():
            target = folder / info.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read(info))
            target.chmod((info.external_attr >> 16) & 0o777 or 0o644)
