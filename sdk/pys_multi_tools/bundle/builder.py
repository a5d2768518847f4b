"""The story of a build.

what goes in is read and hashed ──► seen before? then that artefact is the answer
  ▼
layers: the dependencies of each distinct set, for the target      (from the cache, or installed by uv)
own files: the user's code, the SDK, the provider's runtime        (only what changed is compiled)
  ▼
one zip per layer; its paths and sizes are checked; its build id is the hash of its content
  ▼
the artefact is imported as the target would, and its service compared with the model
  ▼
zip, SBOM, record of inputs and report lie in one folder of the cache
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pys_multi_tools.bundle import folder as artefact_folder
from pys_multi_tools.bundle.bytecode import find_interpreter
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.inputs import Inputs, find_inputs, with_dependencies
from pys_multi_tools.bundle.inputs import local_projects as named_projects
from pys_multi_tools.bundle.selection import select
from pys_multi_tools.bundle.values import Artefact, Bundle, Distribution, Module, Options, Report
from pys_multi_tools.target import Target

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from pys_multi.model import Service
    from pys_multi_tools.bundle.archive import Entry
    from pys_multi_tools.bundle.layer import Layer
    from pys_multi_tools.bundle.preflight import Outcome
    from pys_multi_tools.deployment import Progress
    from pys_multi_tools.project import Project

BUILD_FILE = "pys_multi_build.json"
REQUIREMENTS_FILE = "pys_multi_requirements.txt"

Names = tuple[str, ...]


def silent(_: Progress) -> None:
    """Shows no progress."""


def build(
    project: Project,
    app: str,
    service: Service | Callable[[], Service],
    target: Target,
    *,
    progress: Callable[[Progress], None] = silent,
    preflight: bool = True,
    cache: Path | None = None,
) -> Bundle:
    """The artefacts of a service for a target, each imported once as the target would.

    app: "module:attribute" of the App. service: the model, or a function that gives it, which is not called
    when nothing has changed, and runs beside the rest of the build. preflight: False leaves the import out.
    cache: where to work; default PYS_MULTI_CACHE_DIR, else the user's cache folder.
    Raises BundleError: where, what is wrong, and what to do.
    """
    store = Cache(cache)
    with store.in_use():
        return Build(project.root, options_of(project), app, target, store, progress, preflight).run(service)


def options_of(project: Project) -> Options:
    """What a build takes from a project's settings."""
    settings = project.settings.bundle
    return Options(
        requirements=tuple(settings.requirements),
        extras=tuple(settings.extras),
        groups=tuple(settings.groups),
        include=tuple(settings.include),
        exclude=tuple(settings.exclude),
        max_mb=settings.max_mb,
        max_import_ms=settings.max_import_ms,
        environment=tuple(sorted(project.settings.environment.items())),
        secret_files=project.secret_files,
    )


class Build:
    """One build of one service for one target, in a cache that is in use."""

    def __init__(
        self,
        root: Path,
        options: Options,
        app: str,
        target: Target,
        cache: Cache,
        progress: Callable[[Progress], None] = silent,
        with_preflight: bool = True,
    ) -> None:
        root = root.absolute()
        self.root, self.options, self.app, self.target, self.cache = root, options, app, target, cache
        self.with_preflight = with_preflight
        self.progress, self.telling = progress, threading.Lock()
        self.interpreter = find_interpreter(target.python, cache)
        self.inputs = find_inputs(root, options.requirements, options.extras, options.groups)
        self.local = named_projects(self.inputs)
        self.selection = select(
            root,
            app,
            include=options.include,
            exclude=options.exclude,
            skip=self.local,
            secret_files=[root / Path(name).expanduser() for name in options.secret_files],
        )

    def run(self, service: Service | Callable[[], Service]) -> Bundle:
        """The bundle; what is known is not made again."""
        known = self.known(None if callable(service) else service)
        if known:
            return known
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor() as pool:
            work = _Work(self, pool)
            if callable(service):
                work.begin()
                service = service()
            artefacts = work.artefacts(service)
        bundle = Bundle(service.name, self.target.provider, artefacts)
        state = {
            "service": service.name,
            "model": plain(service),
            "artefacts": {name: artefact.path.parent.name for name, artefact in artefacts.items()},
        }
        self.cache.write_object(self.key, json.dumps(state).encode())
        return bundle

    def known(self, service: Service | None = None) -> Bundle | None:
        """The bundle of the same inputs, if it is still in the cache; of the same service, if one is given."""
        stored = self.cache.read_object(self.key)
        if stored is None:
            return None
        state = json.loads(stored)
        if service is not None and plain(service) != state["model"]:
            return None
        folders = {name: self.cache.path("artefacts", key) for name, key in state["artefacts"].items()}
        loaded = {
            folder: artefact_folder.load(folder, self.selection.left_out) for folder in set(folders.values()) if folder
        }
        if None in folders.values():
            return None
        artefacts = {name: loaded[folder] for name, folder in folders.items() if folder}
        return Bundle(state["service"], self.target.provider, artefacts)

    @cached_property
    def key(self) -> str:
        """What a build's result depends on, beside the model."""
        from pys_multi_tools.bundle.local_projects import digest
        from pys_multi_tools.bundle.own_files import runtime_files

        target = {
            **self.target.to_json(),
            "limits": [self.target.max_zip_bytes, self.target.max_unzipped_bytes],
            "environment": dict(self.target.environment),
        }
        files = [[f.path, f.source, f.executable, sha256(f.data).hexdigest()] for f in self.selection.files]
        runtime = {path: sha256(data).hexdigest() for path, (data, _) in runtime_files(self.target).items()}
        return json.dumps(
            [
                "build", tool_digest(), self.app, target, runtime, files, self.with_preflight,
                asdict(self.interpreter) if self.interpreter else None, asdict(self.options), str(self.root),
                self.inputs.describe(), [digest(path) for path in self.local],
            ],
            sort_keys=True,
        )  # fmt: skip

    def tell(self, step: str, text: str) -> None:
        """Reports a step, from whichever thread."""
        from pys_multi_tools.deployment import Progress

        with self.telling:
            self.progress(Progress(step=step, text=text))


class _Work:
    """The steps of a build that is not known yet. Each runs once, in a pool, as soon as it can."""

    def __init__(self, build: Build, pool: ThreadPoolExecutor) -> None:
        from pys_multi_tools.bundle.own_files import own_entries

        self.build, self.pool = build, pool
        self.layers: dict[Names, Future[Layer]] = {}
        self.outcomes: dict[str, Future[Outcome]] = {}
        self.own = pool.submit(own_entries, build.selection.files, build.target, build.interpreter, build.cache)

    def begin(self) -> None:
        """Starts what the last build of this project did, while somebody finds the model: it is seldom another."""
        stored = self.build.cache.read_object(self._last_key())
        last: dict[str, Any] = json.loads(stored) if stored else {"service": "", "sets": [[]]}
        for names in map(tuple, last["sets"]):
            layer = self._layer(names, self.build.inputs if not names else None)
            if layer and last["service"]:
                self.pool.submit(self._prepare, last["service"], layer)

    def artefacts(self, model: Service) -> dict[str, Artefact]:
        """The artefact of each function."""
        sets = {function.name: tuple(sorted(set(function.dependencies))) for function in model.functions}
        asking = {names: function for function, names in sets.items()}
        if not sets:
            asking = {(): ""}
        wanted = {names: with_dependencies(self.build.inputs, names, asking[names]) for names in sorted(asking)}
        for names, inputs in wanted.items():
            self._layer(names, inputs)
        running = {
            names: self.pool.submit(self._artefact, model, self.layers[names], inputs)
            for names, inputs in wanted.items()
        }
        made = {names: one.result() for names, one in running.items()}
        last = {"service": model.name, "sets": [list(names) for names in wanted]}
        self.build.cache.write_object(self._last_key(), json.dumps(last).encode())
        return {function: made[names] for function, names in sets.items()} or {"": made[()]}

    def _layer(self, names: Names, inputs: Inputs | None) -> Future[Layer] | None:
        from pys_multi_tools.bundle.layer import build_layer

        build = self.build
        if names not in self.layers and inputs is not None:
            self.layers[names] = self.pool.submit(
                build_layer, inputs, build.target, build.interpreter, build.options.include, build.cache, build.tell
            )
        return self.layers.get(names)

    def _prepare(self, service: str, layer: Future[Layer]) -> None:
        """Imports what the artefact will be if the service keeps its name."""
        found = layer.result()
        entries, build_id = self._identified(service, found)
        self._outcome(entries, found, build_id)

    def _artefact(self, model: Service, waiting: Future[Layer], inputs: Inputs) -> Artefact:
        from pys_multi_tools.bundle import archive, limits, preflight
        from pys_multi_tools.bundle import record as records

        build, layer = self.build, waiting.result()
        own, build_id = self._identified(model.name, layer)
        entries = [*own, *layer.entries]
        archive.check_paths(entries)
        unzipped = sum(entry.size for entry in entries)
        distributions = _distributions(entries, layer)
        limits.check_unpacked(unzipped, distributions, build.target)
        outcome = self._outcome(own, layer, build_id) if build.with_preflight else None
        if outcome:
            if outcome.service is not None:
                preflight.compare(model.to_json(), outcome.service)
            limits.check_import(outcome, build.app, build.options)
        record = records.record(
            build_id=build_id,
            app=build.app,
            service=model.name,
            target=build.target,
            inputs=inputs,
            layer=layer,
            interpreter=build.interpreter,
        )
        bill = records.sbom(service=model.name, build_id=build_id, packages=layer.packages)
        report = self._report(distributions, layer, outcome)

        def make(folder: Path) -> None:
            with (folder / artefact_folder.ZIP).open("wb") as file:
                archive.write_zip(entries, file)
            size = (folder / artefact_folder.ZIP).stat().st_size
            limits.check_zip(size, distributions, build.target, build.options)
            artefact_folder.write(folder, record, bill, report, unzipped)

        said = {**asdict(report), "left_out": ()}
        key = _digest([record, said, asdict(build.options), build.target.max_zip_bytes])
        return artefact_folder.load(build.cache.get("artefacts", key, make), report.left_out)

    def _identified(self, service: str, layer: Layer) -> tuple[list[Entry], str]:
        """The own entries with the build file, and the build id that stands in it."""
        from pys_multi_tools.bundle import archive
        from pys_multi_tools.bundle.own_files import own_metadata

        build = self.build
        fields = {"schema_version": 1, "app": build.app, "provider": build.target.provider, "service": service}
        entries = list(self.own.result())
        metadata = own_metadata(build.root)
        if metadata:
            entries.append(metadata)
        if layer.requirements:
            text = layer.requirements.encode()
            entries.append(archive.pack(REQUIREMENTS_FILE, text, origin="what was resolved"))
        content = archive.content_hash([*entries, *layer.entries])
        build_id = sha256(f"{content}\n{json.dumps(fields, sort_keys=True)}".encode()).hexdigest()[:16]
        document = json.dumps({**fields, "build_id": build_id}, sort_keys=True).encode()
        entries.append(archive.pack(BUILD_FILE, document, origin="the build file"))
        return entries, build_id

    def _outcome(self, own: Sequence[Entry], layer: Layer, build_id: str) -> Outcome:
        """What the import shows; one process does it, and the others of the same build wait for it."""
        from pys_multi_tools.bundle import preflight

        build = self.build
        environment = {**build.target.environment, **dict(build.options.environment)}
        version = build.interpreter.version if build.interpreter else None
        key = _digest([tool_digest(), build_id, version, environment, build.app, build.options.max_import_ms])

        def make(folder: Path) -> None:
            build.tell("import", build.app)
            subject = preflight.Subject(build.app, build.target, own, layer, environment, build.selection.left_out)
            found = preflight.inspect(subject, build.interpreter, build.cache, build.options.max_import_ms)
            (folder / "outcome.json").write_text(json.dumps(found.to_json()))

        folder = build.cache.get("preflights", key, make)
        return preflight.Outcome.from_json(json.loads((folder / "outcome.json").read_text()))

    def _report(self, distributions: tuple[Distribution, ...], layer: Layer, outcome: Outcome | None) -> Report:
        notes = list(layer.notes)
        if self.build.interpreter is None:
            python = self.build.target.python
            notes.append(f"no bytecode: there is no Python {python} on this machine to compile with")
        if layer.carried:
            notes.append(f"carried by the target itself: {', '.join(layer.carried)}")
        return Report(
            distributions=distributions,
            modules=tuple(Module(*row) for row in outcome.modules) if outcome else (),
            import_ms=outcome.milliseconds if outcome else None,
            preflight=outcome.how if outcome else "skipped",
            left_out=self.build.selection.left_out,
            notes=tuple(notes),
        )

    def _last_key(self) -> str:
        return json.dumps(["last", str(self.build.root), self.build.app, self.build.target.provider])


def _distributions(entries: Sequence[Entry], layer: Layer) -> tuple[Distribution, ...]:
    """The sizes by distribution, the largest in the zip first."""
    from pys_multi_tools.bundle.own_files import PROJECT_ORIGIN

    sizes: dict[str, list[int]] = {}
    for entry in entries:
        origin = PROJECT_ORIGIN if entry.origin.startswith(PROJECT_ORIGIN) else entry.origin or "other files"
        size = sizes.setdefault(origin, [0, 0])
        size[0] += entry.size
        size[1] += len(entry.packed)
    versions = {package["name"]: package["version"] for package in layer.packages}
    found = [Distribution(name, versions.get(name, ""), size, packed) for name, (size, packed) in sizes.items()]
    return tuple(sorted(found, key=lambda one: (-one.packed, one.name)))


def tool_digest() -> str:
    """SHA-256 over the bundler itself: another release of it makes its own artefacts."""
    from pys_multi_tools.bundle.layer import tool_digest as digest

    return digest()


def plain(service: Service) -> Any:
    """A model as JSON gives it back, to compare."""
    return json.loads(json.dumps(service.to_json(), default=str))


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
