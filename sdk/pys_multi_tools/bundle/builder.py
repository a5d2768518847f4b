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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pys_multi_tools.bundle import archive, local_projects, preflight
from pys_multi_tools.bundle.archive import Entry
from pys_multi_tools.bundle.bytecode import find_interpreter
from pys_multi_tools.bundle.cache import Cache
from pys_multi_tools.bundle.inputs import Inputs, find_inputs, with_dependencies
from pys_multi_tools.bundle.inputs import local_projects as named_projects
from pys_multi_tools.bundle.layer import Layer, build_layer, tool_digest
from pys_multi_tools.bundle.own_files import PROJECT_ORIGIN, own_entries, runtime_files
from pys_multi_tools.bundle.preflight import Outcome
from pys_multi_tools.bundle.selection import select
from pys_multi_tools.bundle.values import MB, Artefact, Bundle, Distribution, Module, Report
from pys_multi_tools.errors import BundleError
from pys_multi_tools.target import Target

if TYPE_CHECKING:
    from pys_multi.model import Service
    from pys_multi_tools.deployment import Progress
    from pys_multi_tools.project import Project

BUILD_FILE = "pys_multi_build.json"
REQUIREMENTS_FILE = "pys_multi_requirements.txt"


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
    when nothing has changed. preflight: False leaves the import out. cache: where to work; default
    PYS_MULTI_CACHE_DIR, else the user's cache folder.
    Raises BundleError: where, what is wrong, and what to do.
    """
    store = Cache(cache)
    with store.in_use():
        return _Build(project, app, target, progress, preflight, store).run(service)


class _Build:
    def __init__(
        self,
        project: Project,
        app: str,
        target: Target,
        progress: Callable[[Progress], None],
        with_preflight: bool,
        cache: Cache,
    ) -> None:
        self.project, self.app, self.target, self.cache = project, app, target, cache
        self.settings = project.settings.bundle
        self.with_preflight = with_preflight
        self.progress, self.telling = progress, threading.Lock()
        self.interpreter = find_interpreter(target.python, cache)
        self.inputs = find_inputs(project.root, self.settings.requirements, self.settings.extras, self.settings.groups)
        self.local = named_projects(self.inputs)
        self.selection = select(
            project.root, app, include=self.settings.include, exclude=self.settings.exclude, skip=self.local
        )

    def run(self, service: Service | Callable[[], Service]) -> Bundle:
        key = self._key()
        known = self.cache.read_object(key)
        if known is not None:
            bundle = self._known(json.loads(known), service)
            if bundle:
                return bundle
        model = service() if callable(service) else service
        bundle, services = self._build(model)
        state = {
            "service": bundle.service,
            "model": services,
            "artefacts": {name: str(artefact.path.parent.name) for name, artefact in bundle.artefacts.items()},
        }
        self.cache.write_object(key, json.dumps(state).encode())
        return bundle

    def _known(self, state: Mapping[str, Any], service: Service | Callable[[], Service]) -> Bundle | None:
        """The bundle of the same inputs, if it is still in the cache and of the same service."""
        if not callable(service) and json.loads(json.dumps(service.to_json(), default=str)) != state["model"]:
            return None
        folders = {name: self.cache.path("artefacts", key) for name, key in state["artefacts"].items()}
        loaded = {folder: _load(folder) for folder in set(folders.values()) if folder}
        if None in folders.values():
            return None
        return Bundle(
            state["service"],
            self.target.provider,
            {name: loaded[folder] for name, folder in folders.items() if folder},
        )

    def _build(self, model: Service) -> tuple[Bundle, Any]:
        sets = {function.name: tuple(sorted(set(function.dependencies))) for function in model.functions}
        distinct = sorted(set(sets.values()) or {()})
        wanted = {
            names: with_dependencies(self.inputs, names, next((f for f, n in sets.items() if n == names), ""))
            for names in distinct
        }
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor() as pool:
            layers = {
                names: pool.submit(
                    build_layer, inputs, self.target, self.interpreter, self.settings.include, self.cache, self._tell
                )
                for names, inputs in wanted.items()
            }
            own = own_entries(self.selection.files, self.target, self.interpreter, self.cache)
            results = {names: layer.result() for names, layer in layers.items()}
            artefacts = {
                names: pool.submit(self._artefact, model, own, results[names], inputs)
                for names, inputs in wanted.items()
            }
            made = {names: artefact.result() for names, artefact in artefacts.items()}
        by_function = {name: made[names] for name, names in sets.items()}
        bundle = Bundle(model.name, self.target.provider, by_function or {"": made[()]})
        return bundle, json.loads(json.dumps(model.to_json(), default=str))

    def _artefact(self, model: Service, own: Sequence[Entry], layer: Layer, inputs: Inputs) -> Artefact:
        own, build_id = self._identified(model.name, own, layer)
        entries = [*own, *layer.entries]
        archive.check_paths(entries)
        self._check_unzipped(entries, layer)
        outcome = self._inspected(model, own, layer, build_id)
        from pys_multi_tools.bundle import record as records

        record = records.record(
            build_id=build_id,
            app=self.app,
            service=model.name,
            target=self.target,
            inputs=inputs,
            layer=layer,
            interpreter=self.interpreter,
        )
        bill = records.sbom(service=model.name, build_id=build_id, packages=layer.packages)
        report = self._report(entries, layer, outcome)

        def make(folder: Path) -> None:
            with (folder / "bundle.zip").open("wb") as file:
                archive.write_zip(entries, file)
            self._check_zip((folder / "bundle.zip").stat().st_size, report)
            _write_json(folder / "record.json", record)
            _write_json(folder / "sbom.cdx.json", bill)
            _write_json(folder / "report.json", {**asdict(report), "unzipped": sum(e.size for e in entries)})

        key = sha256(json.dumps([record, asdict(report)], sort_keys=True).encode()).hexdigest()[:32]
        return _load(self.cache.get("artefacts", key, make))

    def _identified(self, service: str, own: Sequence[Entry], layer: Layer) -> tuple[list[Entry], str]:
        """The own entries with the build file, and the build id that stands in it."""
        fields = {"schema_version": 1, "app": self.app, "provider": self.target.provider, "service": service}
        entries = list(own)
        if layer.requirements:
            text = layer.requirements.encode()
            entries.append(archive.pack(REQUIREMENTS_FILE, text, origin="what was resolved"))
        content = archive.content_hash([*entries, *layer.entries])
        build_id = sha256(f"{content}\n{json.dumps(fields, sort_keys=True)}".encode()).hexdigest()[:16]
        document = json.dumps({**fields, "build_id": build_id}, sort_keys=True).encode()
        entries.append(archive.pack(BUILD_FILE, document, origin="the build file"))
        return entries, build_id

    def _inspected(self, model: Service, own: Sequence[Entry], layer: Layer, build_id: str) -> Outcome | None:
        if not self.with_preflight:
            return None
        environment = getattr(self.project.settings, "environment", {})
        version = self.interpreter.version if self.interpreter else None
        key = json.dumps(["preflight", tool_digest(), build_id, version, environment, dict(self.target.environment)])

        def make(folder: Path) -> None:
            self._tell("import", self.app)
            subject = preflight.Subject(self.app, self.target, own, layer, environment, self.selection.left_out)
            found = preflight.inspect(subject, self.interpreter, self.cache)
            (folder / "outcome.json").write_text(json.dumps(found.to_json()))

        folder = self.cache.get("preflights", sha256(key.encode()).hexdigest()[:32], make)
        outcome = Outcome.from_json(json.loads((folder / "outcome.json").read_text()))
        if outcome.service is not None:
            preflight.compare(model.to_json(), outcome.service)
        self._check_import(outcome)
        return outcome

    def _report(self, entries: Sequence[Entry], layer: Layer, outcome: Outcome | None) -> Report:
        sizes: dict[str, list[int]] = {}
        for entry in entries:
            origin = entry.origin.partition(":")[0] if entry.origin.startswith(PROJECT_ORIGIN) else entry.origin
            size = sizes.setdefault(origin, [0, 0])
            size[0] += entry.size
            size[1] += len(entry.packed)
        versions = {package["name"]: package["version"] for package in layer.packages}
        distributions = [
            Distribution(name or "other files", versions.get(name, ""), size, packed)
            for name, (size, packed) in sizes.items()
        ]
        notes = list(layer.notes)
        if self.interpreter is None:
            notes.append(f"no bytecode: there is no Python {self.target.python} on this machine to compile with")
        if layer.carried:
            notes.append(f"carried by the target itself: {', '.join(layer.carried)}")
        return Report(
            distributions=tuple(sorted(distributions, key=lambda one: (-one.packed, one.name))),
            modules=tuple(Module(*row) for row in outcome.modules) if outcome else (),
            import_ms=outcome.milliseconds if outcome else None,
            preflight=outcome.how if outcome else "skipped",
            left_out=self.selection.left_out,
            notes=tuple(notes),
        )

    def _check_unzipped(self, entries: Sequence[Entry], layer: Layer) -> None:
        size, limit = sum(entry.size for entry in entries), self.target.max_unzipped_bytes
        if limit is not None and size > limit:
            culprits = self._report(entries, layer, None).distributions
            by_size = sorted(culprits, key=lambda one: -one.bytes)
            raise BundleError(
                f"the artefact is {size / MB:.1f} MB unpacked; {self.target.provider} takes {limit / MB:.1f} MB",
                hint=_culprits([(one.name, one.bytes) for one in by_size]),
            )

    def _check_zip(self, size: int, report: Report) -> None:
        hint = _culprits([(one.name, one.packed) for one in report.distributions])
        limit = self.target.max_zip_bytes
        if limit is not None and size > limit:
            raise BundleError(
                f"the zip is {size / MB:.1f} MB; {self.target.provider} takes {limit / MB:.1f} MB", hint=hint
            )
        if self.settings.max_mb is not None and size > self.settings.max_mb * MB:
            raise BundleError(
                f"the zip is {size / MB:.2f} MB; bundle.max_mb allows {self.settings.max_mb:g} MB", hint=hint
            )

    def _check_import(self, outcome: Outcome) -> None:
        limit = self.settings.max_import_ms
        if limit is not None and outcome.milliseconds is not None and outcome.milliseconds > limit:
            slowest = ", ".join(
                f"{name} {own:.0f} ms" for name, own, _ in sorted(outcome.modules, key=lambda r: -r[1])[:5]
            )
            raise BundleError(
                f"importing {self.app} takes {outcome.milliseconds:.0f} ms; bundle.max_import_ms allows {limit:g} ms",
                hint=f"import what is rarely needed inside the handler. Slowest alone: {slowest}",
            )

    def _key(self) -> str:
        """What a build's result depends on, beside the model."""
        target = {
            **self.target.to_json(),
            "limits": [self.target.max_zip_bytes, self.target.max_unzipped_bytes],
            "environment": dict(self.target.environment),
        }
        files = [[f.path, f.source, f.executable, sha256(f.data).hexdigest()] for f in self.selection.files]
        runtime = {path: sha256(data).hexdigest() for path, (data, _) in runtime_files(self.target).items()}
        return json.dumps(
            [
                "build", tool_digest(), self.app, target, runtime, files, self.selection.left_out, self.with_preflight,
                asdict(self.interpreter) if self.interpreter else None,
                self.settings.model_dump(mode="json"), dict(getattr(self.project.settings, "environment", {})),
                str(self.project.root), self.inputs.describe(), [local_projects.digest(path) for path in self.local],
            ],
            sort_keys=True,
        )  # fmt: skip

    def _tell(self, step: str, text: str) -> None:
        from pys_multi_tools.deployment import Progress

        with self.telling:
            self.progress(Progress(step=step, text=text))


def _load(folder: Path) -> Artefact:
    report = json.loads((folder / "report.json").read_text())
    return Artefact(
        path=folder / "bundle.zip",
        build_id=json.loads((folder / "record.json").read_text())["build_id"],
        size=(folder / "bundle.zip").stat().st_size,
        unzipped=report["unzipped"],
        sbom=folder / "sbom.cdx.json",
        record=folder / "record.json",
        report=Report(
            distributions=tuple(Distribution(**row) for row in report["distributions"]),
            modules=tuple(Module(**row) for row in report["modules"]),
            import_ms=report["import_ms"],
            preflight=report["preflight"],
            left_out=tuple((path, reason) for path, reason in report["left_out"]),
            notes=tuple(report["notes"]),
        ),
    )


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")


def _culprits(sizes: Sequence[tuple[str, int]]) -> str:
    largest = ", ".join(f"{name} {size / MB:.1f} MB" for name, size in sizes[:5])
    return f"leave out what is not needed, or split functions by their dependencies. Largest: {largest}"
