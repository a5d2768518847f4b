"""What Azure's Python image has before an app comes: an interpreter, the worker library and azure-functions.

Nothing of this project and of its environment is on the path of an app: what is not in the bundle is missing.
CPython 3.13 and later have a worker library on PyPI (azure-functions-runtime, with azure-functions 2.x). Before that
the worker is in the image alone: there, ``objects.py`` indexes and calls with azure-functions 1.x.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from pys_multi_tools.bundle.bytecode import find_interpreter
from pys_multi_tools.bundle.cache import Cache

#: The Python whose worker runs apps in tests: this one, where Microsoft's library is for it.
WORKER_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}" if sys.version_info >= (3, 13) else "3.13"
NO_WORKER = f"Microsoft's worker library needs Python {WORKER_PYTHON}, which is not on this machine"
_PROTOS = Path(__file__).parent / "protos"


@dataclass(frozen=True, slots=True)
class Image:
    """An interpreter, the folder of what is installed, and the minor version."""

    python: str
    packages: Path
    version: str

    @property
    def has_worker(self) -> bool:
        """Whether there is a worker library for this Python."""
        return _has_worker(self.version)

    def environment(self) -> dict[str, str]:
        """Variables that the platform sets ("Environment variables and app settings reference")."""
        return {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONPATH": str(self.packages),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "FUNCTIONS_EXTENSION_VERSION": "~4",
            "WEBSITE_SKU": "FlexConsumption",
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
        # A new one every month, so that it does not grow old.
        key = f"azure-{version}-{time.strftime('%Y-%m')}"
        packages = cache.get("images", key, lambda folder: _install(python, version, folder))
    return Image(python, packages, version)


def _has_worker(version: str) -> bool:
    return tuple(map(int, version.split("."))) >= (3, 13)


def _install(python: str, version: str, folder: Path) -> None:
    wanted = ["azure-functions<2", "azurefunctions-extensions-base"]
    if _has_worker(version):
        wanted = ["azure-functions-runtime>=1.3,<2", "azure-functions>=2,<3", "protobuf>=6,<8"]
    _pip(python, folder, wanted, "--compile-bytecode")
    if _has_worker(version):
        with tempfile.TemporaryDirectory() as tools:
            _pip(python, Path(tools), ["grpcio-tools"])
            # The compiler alone: what it wrote runs on the protobuf that was just installed.
            subprocess.run(
                [
                    python,
                    *("-S", "-m", "grpc_tools.protoc", f"--proto_path={_PROTOS}", f"--python_out={folder}"),
                    *(str(path.relative_to(_PROTOS)) for path in sorted(_PROTOS.rglob("*.proto"))),
                ],
                check=True,
                env={"PATH": os.defpath, "PYTHONPATH": tools},
            )


def _pip(python: str, folder: Path, wanted: list[str], *options: str) -> None:
    install = [find_uv_bin(), "pip", "install", "--quiet", "--python", python, "--target", str(folder)]
    subprocess.run(
        [*install, "--only-binary", ":all:", *options, *wanted],
        check=True,
        env={**os.environ, "VIRTUAL_ENV": ""},
    )
