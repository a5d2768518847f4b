"""A function as Google's buildpack starts it: functions-framework, under gunicorn, in a process of its own.

Nothing of this project and of its environment is on the path of a function: what is not in the bundle is missing.
functions-framework is what the buildpack adds to a source without a requirements.txt; it puts the source last on the
path, behind its own packages, as here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.gcp_emulators import free_port
from uv import find_uv_bin

from pys_multi_tools.bundle.bytecode import find_interpreter
from pys_multi_tools.bundle.cache import Cache


@dataclass(frozen=True, slots=True)
class Image:
    """An interpreter, the folder of what is installed, and the minor version."""

    python: str
    packages: Path
    version: str


def image(version: str) -> Image | None:
    """The image of a minor version of Python; None where this machine has no such Python. It is made once a week, and
    kept in the cache of bundles."""
    cache = Cache()
    with cache.in_use():
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            python = str(Path(sys.base_prefix, "bin", f"python{version}"))
        else:
            found = find_interpreter(version, cache)
            if found is None:
                return None
            python = found.path
        key = f"functions-framework-{version}-{time.strftime('%Y-%U')}"
        packages = cache.get("images", key, lambda folder: _install(python, folder))
    return Image(python, packages, version)


def _install(python: str, folder: Path) -> None:
    subprocess.run(
        [
            *(find_uv_bin(), "pip", "install", "--quiet", "--compile-bytecode", "--python", python),
            *("--target", str(folder), "--only-binary", ":all:", "functions-framework>=3.8"),
        ],
        check=True,
        env={**os.environ, "VIRTUAL_ENV": ""},
    )


class Function:
    """One instance of one function. on_line: told of every line that it writes."""

    def __init__(
        self,
        image: Image,
        folder: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            # What the console script does, whose own folder is the first of the path.
            [image.python, "-S", "-P", "-m", "functions_framework", "--host", "127.0.0.1"],
            cwd=folder,
            env={
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(image.packages),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
                "FUNCTION_TARGET": "handler",
                "FUNCTION_SIGNATURE_TYPE": "http",
                "PORT": str(self.port),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._on_line = on_line
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip("\n"))
            self._on_line(line.rstrip("\n"))

    def wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "the function ended:\n" + "\n".join(self._lines)
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the function does not listen:\n" + "\n".join(self._lines)
                time.sleep(0.05)

    def terminate(self) -> int:
        """Ends it as Cloud Run ends an instance, and returns its exit status."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """The exit status, once it has ended by itself."""
        status = self._process.wait(60)
        self._reader.join(20)
        return status

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        self._reader.join(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
