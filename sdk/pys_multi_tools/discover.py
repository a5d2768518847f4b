"""From "module:attribute" to the App it names; a failing import shows the user's own traceback.

Projects are imported under their own names (``shop.app``), and two projects of one process may use the same
ones. ``importable`` therefore gives a project's modules for the time of a ``with`` block and takes them away
again; ``load`` keeps them until the next load.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import linecache
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pys_multi.errors import PysMultiError
from pys_multi_tools.errors import DiscoveryError
from pys_multi_tools.suggest import did_you_mean

if TYPE_CHECKING:
    from pys_multi.app import App

_IMPORTS_SDK = re.compile(rb"^[ \t]*(?:from|import)[ \t]+pys_multi\b", re.MULTILINE)

Modules = dict[str, ModuleType]

# sys.path and sys.modules belong to one project at a time.
_LOCK = threading.RLock()
_ACTIVE: list[Path] = []
_KEPT = contextlib.ExitStack()
atexit.register(_KEPT.close)
_OWN_PACKAGES = ("pys_multi", "pys_multi_tools", "pys_multi_providers", "pys_multi_templates")
_OWN_CODE = tuple(str(Path(__file__).parents[1] / name) + os.sep for name in _OWN_PACKAGES)
_NOT_SEARCHED = ("tests", "test", "docs", "examples", "node_modules", "build", "dist", "venv")


def import_roots(root: Path) -> tuple[Path, ...]:
    """Return the folders that the project's modules are imported from: ``src`` where it exists, and the root."""
    source = root / "src"
    return (source, root) if source.is_dir() else (root,)


@contextlib.contextmanager
def importable(
    root: Path, environment: Mapping[str, str] | None = None, modules: Modules | None = None
) -> Iterator[Modules]:
    """Make the modules of the project in ``root`` importable inside a ``with`` block.

    After it sys.path, sys.modules and the environment are as they were. Blocks of one root may be nested;
    another thread waits.

    environment: variables that are set inside the block, beside those of the process.
    modules: what an earlier block gave, so that this one goes on with those modules instead of fresh ones.
    Gives the project's own modules by name; complete after the block.
    """
    with _LOCK, _swapped_in(root.resolve(), environment or {}, modules or {}) as own:
        yield own


def find_app(root: Path) -> str:
    """Return "module:attribute" of the one App of the project.

    Looks in app.py and main.py: of the root, of its packages, and of both below src.
    Raises DiscoveryError when there is none, when there are several, or when one of them does not import.
    """
    root = root.resolve()
    found: dict[int, str] = {}
    candidates = _candidates(root)
    with importable(root):
        for name in candidates:
            for attribute, app in _apps_of(_import(name, root)).items():
                found.setdefault(id(app), f"{name}:{attribute}")
    references = list(found.values())
    if len(references) == 1:
        return references[0]
    if references:
        what = f"there are several apps: {', '.join(references)}"
        hint = f'say which one in the settings: app = "{references[0]}"'
        raise DiscoveryError(what, where=str(root), hint=hint)
    looked = f"looked in {', '.join(candidates)}" if candidates else "no app.py or main.py uses pys_multi"
    hint = 'write app = App("name") in app.py, or say in the settings where it is: app = "module:attribute"'
    raise DiscoveryError(f"there is no App: {looked}", where=str(root), hint=hint)


def import_app(reference: str, root: Path) -> App:
    """Return the App at ``reference`` ("module:attribute") of the project in ``root``.

    Its modules stay importable as long as the ``importable`` block around the call lasts. What the project
    prints while it is imported goes to stderr.
    Raises DiscoveryError, with the user's own traceback when an import fails.
    """
    name, _, attribute = reference.partition(":")
    with importable(root):
        return _app_at(_import(name, root.resolve()), attribute, reference)


def load(reference: str, root: Path, environment: Mapping[str, str] | None = None) -> App:
    """Return the App at ``reference`` and keep the project's modules importable until the next ``load``."""
    with _LOCK:
        _KEPT.close()
        _KEPT.enter_context(_swapped_in(root.resolve(), environment or {}, {}))
        return import_app(reference, root)


@contextlib.contextmanager
def _swapped_in(root: Path, environment: Mapping[str, str], modules: Modules) -> Iterator[Modules]:
    if _ACTIVE and _ACTIVE[-1] == root:
        with _set(os.environ, environment):
            yield dict(modules)
        return
    roots = [str(folder) for folder in import_roots(root)]
    path_before, modules_before = list(sys.path), dict(sys.modules)
    own = dict(modules)
    for name in _shadowing(roots):
        del sys.modules[name]
    sys.modules.update(own)
    sys.path[:0] = roots
    importlib.invalidate_caches()
    _ACTIVE.append(root)
    try:
        with _set(os.environ, environment):
            yield own
    finally:
        _ACTIVE.remove(root)
        sys.path[:] = path_before
        # All of them are found before the first is taken out: the path of a namespace package below another one
        # is asked of its parent in sys.modules.
        found = [
            name
            for name, module in list(sys.modules.items())
            if modules_before.get(name) is not module and _is_below(module, roots)
        ]
        own.update((name, sys.modules.pop(name)) for name in found)
        sys.modules.update({**modules_before, **sys.modules})


def _import(name: str, root: Path) -> ModuleType:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise _import_error(name, root, exc) from exc
        found = _candidates(root)
        hint = f"looked in {' and '.join(str(folder) for folder in import_roots(root))}"
        if found:
            hint += f"; {did_you_mean(name, found)}"
        raise DiscoveryError(f"there is no module '{exc.name}'", where=f"app = {name}", hint=hint) from exc
    except (Exception, SystemExit) as exc:
        raise _import_error(name, root, exc) from exc


def _import_error(name: str, root: Path, exc: BaseException) -> DiscoveryError:
    """Build the error with the user's traceback, without the frames of this package and of importlib."""
    linecache.checkcache()
    shown = traceback.TracebackException.from_exception(exc)
    # What the SDK says about a definition is said about the user's line; its other errors are its own.
    _cut_own_frames(shown, _OWN_CODE if isinstance(exc, PysMultiError) else _OWN_CODE[1:])
    where = name
    for frame in shown.stack:
        if Path(frame.filename).is_relative_to(root):
            where = f"{Path(frame.filename).relative_to(root)}:{frame.lineno}"
    if isinstance(exc, SyntaxError) and exc.filename:
        where = f"{os.path.relpath(exc.filename, root)}:{exc.lineno}"
    what = f"importing '{name}' failed: {type(exc).__name__}: {exc}"
    hint = ""
    if isinstance(exc, ModuleNotFoundError):
        hint = f"install what provides '{exc.name}' into this environment ({sys.prefix})"
    return DiscoveryError(what, where=where, hint=hint, detail="".join(shown.format()).rstrip())


def _cut_own_frames(shown: traceback.TracebackException, own_code: tuple[str, ...]) -> None:
    cut = (*own_code, "<frozen importlib", str(importlib.__file__))
    frames = [frame for frame in shown.stack if not frame.filename.startswith(cut)]
    shown.stack = traceback.StackSummary.from_list(frames)
    for chained in (shown.__cause__, shown.__context__):
        if chained is not None:
            _cut_own_frames(chained, own_code)


def _app_at(module: ModuleType, attribute: str, reference: str) -> App:
    from pys_multi.app import App

    value: object = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if isinstance(value, App):
        return value
    apps = list(_apps_of(module))
    hint = f"{module.__name__} has {', '.join(apps)}" if apps else 'write app = App("name") in it'
    what = "is not there" if value is None else f"is of type {type(value).__name__}, not an App"
    raise DiscoveryError(f"'{reference}' {what}", where=module.__file__ or module.__name__, hint=hint)


def _apps_of(module: ModuleType) -> dict[str, App]:
    from pys_multi.app import App

    return {name: value for name, value in vars(module).items() if isinstance(value, App)}


def _candidates(root: Path) -> list[str]:
    """The modules app and main that import pys_multi: of the roots, then of their packages."""
    found: list[str] = []
    for folder in import_roots(root):
        packages = sorted(
            entry
            for entry in folder.iterdir()
            if entry.name.isidentifier() and entry.name not in _NOT_SEARCHED and entry.is_dir()
        )
        for place in (folder, *(package for package in packages if package != root / "src")):
            prefix = "" if place == folder else f"{place.name}."
            found += [f"{prefix}{stem}" for stem in ("app", "main") if _uses_sdk(place / f"{stem}.py")]
    return list(dict.fromkeys(found))


def _uses_sdk(file: Path) -> bool:
    try:
        return _IMPORTS_SDK.search(file.read_bytes()) is not None
    except OSError:
        return False


def _shadowing(roots: list[str]) -> list[str]:
    """Loaded modules that bear the name of one of the project's own, wherever they came from."""
    own: set[str] = set()
    for entry in (entry for folder in roots for entry in os.scandir(folder)):
        if entry.is_dir() and any(name.endswith(".py") for name in os.listdir(entry)):
            own.add(entry.name)
        elif entry.name.endswith(".py"):
            own.add(entry.name.removesuffix(".py"))
    own -= {*_OWN_PACKAGES, *sys.stdlib_module_names}
    return [name for name in sys.modules if name.partition(".")[0] in own]


def _is_below(module: ModuleType, roots: list[str]) -> bool:
    """Whether a module is the project's own; an environment inside the project is not."""
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", []))
    return any(
        str(place).startswith(root + os.sep) and "site-packages" not in Path(place).parts
        for place in places
        for root in roots
    )


@contextlib.contextmanager
def _set(environ: os._Environ[str], values: Mapping[str, str]) -> Iterator[None]:
    before = {name: environ.get(name) for name in values}
    environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value
