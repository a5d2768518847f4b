"""Builds a project's artefact and prints what it is; run by every Python that the tool supports."""

from __future__ import annotations

import json
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from tests.support.bundle_project import LAMBDA, built, host, one


def main() -> None:
    """Arguments: the project's folder, the cache ("-" for a new one), "lambda" or "host"."""
    root, cache, target = sys.argv[1:]
    folder = Path(tempfile.mkdtemp()) if cache == "-" else Path(cache)
    artefact = one(built(Path(root), folder, LAMBDA if target == "lambda" else host()))
    digests = {
        path.name: sha256(path.read_bytes()).hexdigest() for path in (artefact.path, artefact.sbom, artefact.record)
    }
    print(json.dumps({"build_id": artefact.build_id, "path": str(artefact.path), "digests": digests}))


if __name__ == "__main__":
    main()
