"""The one command that decides: formatting, lint, types, import contracts, tests.

python tests/check.py            everything, as CI runs it
python tests/check.py -k queue   the checks, then the tests that pytest selects with these arguments
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

#: More than there are cores: many tests wait for the processes that they drive.
WORKERS = str((os.cpu_count() or 1) + 2)
STEPS: list[tuple[str, list[str]]] = [
    ("formatting", [str(BIN / "ruff"), "format", "--check", "."]),
    ("lint", [str(BIN / "ruff"), "check", "."]),
    ("types", [str(BIN / "mypy")]),
    ("import contracts", [str(BIN / "lint-imports")]),
    ("tests", [sys.executable, "-m", "pytest", "-n", WORKERS, "--dist", "loadgroup"]),
]


def main(arguments: list[str]) -> int:
    failed = []
    for name, command in STEPS:
        print(f"── {name}", flush=True)
        started = time.monotonic()
        if name == "tests":
            command = command + arguments
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            failed.append(name)
        print(f"── {name}: {time.monotonic() - started:.1f} s", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
