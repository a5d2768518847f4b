"""What AWS's Python runtime has before a function comes: an interpreter, its runtime client, and boto3.

Nothing of this project and of its environment is on the path of a function: what is not in the bundle is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from pys_multi_tools.bundle.bytecode import find_interpreter
from pys_multi_tools.bundle.cache import Cache


@dataclass(frozen=True, slots=True)
class Image:
    """An interpreter, the folder of what is installed, and the minor version."""

    python: str
    packages: Path
    version: str

    def command(self, handler: str) -> list[str]:
        """What starts the runtime client; the working directory is the unpacked bundle."""
        return [self.python, "-S", "-m", "awslambdaric", handler]

    def environment(self) -> dict[str, str]:
        """Variables that the platform sets ("Defined runtime environment variables")."""
        return {
            "PATH": os.defpath,
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(self.packages),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{self.version}",
        }


def image(version: str) -> Image | None:
    """The image of a minor version of Python; None where this machine has no such Python. It is made once, and kept
    in the cache of bundles."""
    cache = Cache()
    with cache.in_use():
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            python = str(Path(sys.base_prefix, "bin", f"python{version}"))
        else:
            found = find_interpreter(version, cache)
            if found is None:
                return None
            python = found.path
        # A new one every week, so that it does not grow old.
        key = f"lambda-{version}-{time.strftime('%Y-%U')}"
        packages = cache.get("images", key, lambda folder: _install(python, folder))
    return Image(python, packages, version)


def _install(python: str, folder: Path) -> None:
    subprocess.run(
        [
            *(
                find_uv_bin(),
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                python,
            ),
            *("--target", str(folder), "--only-binary", ":all:", "awslambdaric>=4", "boto3>=1.35"),
        ],
        check=True,
        env={**os.environ, "VIRTUAL_ENV": ""},
    )
