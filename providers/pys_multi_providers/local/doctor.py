"""What ``pys-multi doctor`` looks at on this machine."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys

from pys_multi_providers.local.client import Client
from pys_multi_providers.local.control import own_version
from pys_multi_providers.local.state import State
from pys_multi_tools.deployment import Deployment, Finding
from pys_multi_tools.errors import ProviderError


def findings(deployment: Deployment | None, state: State | None) -> list[Finding]:
    """Everything, or what can be said without a project."""
    found = [_sqlite_finding()]
    if deployment is None or state is None:
        return found
    try:
        python = find_python(deployment.project.settings.python)
        found.append(Finding(subject="local python", ok=True, text=python))
    except ProviderError as error:
        found.append(Finding(subject="local python", ok=False, text=error.what, hint=error.hint))
    found.append(_state_finding(state))
    try:
        hello = Client(state).hello()
    except ProviderError as error:
        found.append(Finding(subject="local supervisor", ok=False, text=error.what, hint=error.hint))
        return found
    if hello is None:
        deployed = bool(state.releases())
        text = "does not run" if deployed else "not started: nothing is deployed"
        hint = "deploy again: that starts it" if deployed else ""
        found.append(Finding(subject="local supervisor", ok=not deployed, text=text, hint=hint))
    else:
        same = hello["version"] == own_version()
        text = f"version {hello['version']}, process {hello['pid']}, {hello['url']}"
        hint = "" if same else f"deploy again: this is version {own_version()}"
        found.append(Finding(subject="local supervisor", ok=same, text=text, hint=hint))
    return found


def find_python(version: str) -> str:
    """The interpreter of that version on this machine, and not one of a virtual environment. Raises ProviderError."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return str(getattr(sys, "_base_executable", sys.executable))
    # The one that compiled the bundle, so that its bytecode is of use.
    from pys_multi_tools.bundle.bytecode import find_interpreter
    from pys_multi_tools.bundle.cache import Cache

    cache = Cache()
    with cache.in_use():
        found = find_interpreter(version, cache)
    if found is not None:
        return found.path
    hint = f"install it (uv python install {version}), or set python to a version that is here"
    raise ProviderError(f"there is no Python {version} on this machine", where="python", hint=hint)


def _sqlite_finding() -> Finding:
    # The store upserts, which came with 3.24 (https://sqlite.org/lang_upsert.html).
    ok = sqlite3.sqlite_version_info >= (3, 24, 0)
    hint = "" if ok else "use a Python with SQLite 3.24 or newer"
    return Finding(subject="local sqlite", ok=ok, text=sqlite3.sqlite_version, hint=hint)


def _state_finding(state: State) -> Finding:
    folder = state.root
    while not folder.exists():
        folder = folder.parent
    ok = os.access(folder, os.W_OK | os.X_OK)
    free = shutil.disk_usage(folder).free // 1_000_000
    hint = "" if ok else "set PYS_MULTI_STATE_DIR to a folder that you can write"
    return Finding(subject="local state", ok=ok, text=f"{state.root}, {free:,} MB free", hint=hint)
