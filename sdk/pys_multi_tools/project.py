"""The settings of one project and stage as one typed object.

    flag  >  PYS_MULTI_* variable  >  the stage's table  >  pys-multi.toml or [tool.pys-multi]  >  default

Each layer is validated by itself, so that an error names the file and line, variable or flag it came from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from pys_multi_tools.errors import SettingsError
from pys_multi_tools.provider import installed
from pys_multi_tools.settings import (
    BundleSettings,
    KeyPath,
    Settings,
    SettingsTable,
    StageSettings,
    Table,
    Where,
    as_settings_error,
    keys_of,
    validate,
)
from pys_multi_tools.suggest import did_you_mean, nearest
from pys_multi_tools.toml_file import TomlFile

ENV_PREFIX = "PYS_MULTI_"
# What the tools themselves set for an instance or read elsewhere: no settings, and no typos of one either.
_NOT_SETTINGS = ("FUNCTION", "STATE_DIR", "CACHE_DIR", "BUILD_ID")


@dataclass(frozen=True)
class Project:
    """A project folder with its settings for one stage.

    root: the project folder, absolute.
    settings: the merged settings; ``settings.providers`` holds the raw table of each provider.
    stage: the stage that the settings are for.
    sources: dotted key → "file:line", "env PYS_MULTI_X" or "flag --x"; a missing key has its default.
    notices: what a person should know although it is no error, such as settings that are ignored.
    secret_files: the files that hold secrets, of every stage, as the settings name them.
    """

    root: Path
    settings: Settings
    stage: str
    sources: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        root: str | Path = ".",
        stage: str | None = None,
        env: Mapping[str, str] = os.environ,
        flags: Mapping[str, object] | None = None,
    ) -> Project:
        """Read the settings of the project in ``root``.

        stage: the stage to act on; None takes PYS_MULTI_STAGE, else the file's ``stage``, else "dev".
        env: the environment that PYS_MULTI_* variables are read from.
        flags: dotted key → value given on the command line; None values are not set.
        Raises SettingsError: where, what is allowed, and the nearest match.
        """
        folder = Path(root).resolve()
        if not folder.is_dir():
            raise SettingsError("is not a folder", where=str(root))
        file, notices = _read_file(folder)
        merged = _Merged()
        stages = _add_file(merged, file) if file else {}
        overrides = [*_from_environment(env), *_from_flags({**(flags or {}), "stage": stage or None})]
        for override in overrides:
            override.check()
        current = _stage_of(merged, overrides)
        if file and current in stages:
            merged.add(stages[current], lambda keys: file.where(("stages", current, *keys)))
        for override in overrides:
            merged.add(override.layer(), lambda _, source=override.source: source)  # type: ignore[misc]
        settings = validate(Settings, {**merged.own(), "stage": current}, merged.where)
        settings = settings.model_copy(update={"providers": merged.provider_tables()})
        return cls(folder, settings, current, merged.sources, notices, _secret_files(file) if file else ())

    def provider_settings(self, name: str, model: type[Table]) -> Table:
        """Return the table of provider ``name`` as that provider's own model.

        Raises SettingsError as ``load`` does.
        """
        table = dict(self.settings.providers.get(name, {}))
        for key, value in table.items():
            source = self.sources.get(f"{name}.{key}", "")
            if key not in model.model_fields:  # whatever the model itself does with unknown keys
                hint = did_you_mean(key, keys_of(model))
                raise SettingsError(f"unknown setting '{name}.{key}'", where=source, hint=hint)
            if isinstance(value, str) and source.startswith(("env ", "flag ")):
                table[key] = _from_text(model, key, value, (name,), source)
        return validate(model, table, lambda keys: _nearest_source(self.sources, keys), (name,))


def _secret_files(file: TomlFile) -> tuple[str, ...]:
    tables = [file.data, *file.data.get("stages", {}).values()]
    references = {reference for table in tables for reference in table.get("secrets", {}).values()}
    return tuple(sorted(reference.removeprefix("file:") for reference in references if reference.startswith("file:")))


def find_root(start: str | Path = ".") -> Path:
    """Return the nearest folder from ``start`` upwards that holds a settings file, else ``start``."""
    folder = Path(start).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "pys-multi.toml").is_file() or (candidate / "pyproject.toml").is_file():
            return candidate
    return folder


class _Override(NamedTuple):
    """One setting from a variable or a flag; ``key`` is dotted, such as "bundle.max_mb"."""

    key: str
    value: object
    source: str

    def check(self) -> None:
        model, table, name = self._place()
        if model is not None:
            validate(model, {name: self._converted()}, lambda _: self.source, table)
        elif table and table[0] in installed():
            return  # the provider's own model checks it when that provider is loaded
        else:
            hint = did_you_mean(self.key, _loose_keys())
            raise SettingsError(f"unknown setting '{self.key}'", where=self.source, hint=hint)

    def layer(self) -> dict[str, Any]:
        _, table, name = self._place()
        layer: dict[str, Any] = {name: self._converted()}
        for part in reversed(table):
            layer = {part: layer}
        return layer

    def _place(self) -> tuple[type[SettingsTable] | None, KeyPath, str]:
        *table, name = self.key.split(".")
        model: type[SettingsTable] = BundleSettings if table else Settings
        return (model if self.key in _loose_keys() else None), tuple(table), name

    def _converted(self) -> Any:
        model, table, name = self._place()
        if model is None or not isinstance(self.value, str):
            return self.value
        return _from_text(model, name, self.value, table, self.source)


class _Merged:
    """Layers put over one another: tables are merged key by key, everything else is replaced."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, layer: Mapping[str, Any], where: Where) -> None:
        self._merge(self.data, layer, where, ())

    def _merge(self, into: dict[str, Any], layer: Mapping[str, Any], where: Where, path: KeyPath) -> None:
        for key, value in layer.items():
            if isinstance(value, dict):
                below = into.get(key)
                into[key] = dict(below) if isinstance(below, dict) else {}
                self._merge(into[key], value, where, (*path, key))
            else:
                into[key] = value
            self.sources[".".join((*path, key))] = where((*path, key))

    def where(self, keys: KeyPath) -> str:
        return _nearest_source(self.sources, keys)

    def own(self) -> dict[str, Any]:
        return {key: value for key, value in self.data.items() if key in Settings.model_fields}

    def provider_tables(self) -> dict[str, dict[str, Any]]:
        return {key: value for key, value in self.data.items() if key not in Settings.model_fields}


def _nearest_source(sources: Mapping[str, str], keys: KeyPath) -> str:
    known = (sources.get(".".join(keys[:end])) for end in range(len(keys), 0, -1))
    return next((source for source in known if source), "")


def _read_file(root: Path) -> tuple[TomlFile | None, tuple[str, ...]]:
    own, shared = root / "pys-multi.toml", root / "pyproject.toml"
    pyproject = TomlFile(shared, ("tool", "pys-multi")) if shared.is_file() else None
    if not own.is_file():
        return pyproject, ()
    if pyproject and pyproject.data:
        notice = f"{pyproject.where(())}: [tool.pys-multi] is ignored, because pys-multi.toml exists"
        return TomlFile(own), (notice,)
    return TomlFile(own), ()


def _add_file(merged: _Merged, file: TomlFile) -> dict[str, dict[str, Any]]:
    """Add the file's own settings, check those of every stage, and return the stages."""
    data = dict(file.data)
    stages = data.pop("stages", {})
    if not isinstance(stages, dict) or not all(isinstance(table, dict) for table in stages.values()):
        header = ".".join((*file.table, "stages", "prod"))
        hint = f"write one table per stage, such as [{header}]"
        raise SettingsError("'stages' must hold tables", where=file.where(("stages",)), hint=hint)
    _check_table(Settings, data, file.where)
    for name, table in stages.items():
        at = ("stages", name)
        validate(Settings, {"stage": name}, lambda _, at=at: file.where(at))  # type: ignore[misc]
        _check_table(StageSettings, table, file.where, at)
    merged.add(data, file.where)
    return stages


def _check_table(model: type[StageSettings], data: Mapping[str, Any], where: Where, at: KeyPath = ()) -> None:
    own = keys_of(model)
    validate(model, {key: value for key, value in data.items() if key in own}, where, at)
    others = [key for key in data if key not in own]
    providers = list(installed()) if others else []
    for key in others:
        name, place = ".".join((*at, key)), where((*at, key))
        if key not in providers:
            what = f"'{name}' is neither a setting nor an installed provider"
            allowed = [*own, *providers, *([] if at else ["stages"])]
            raise SettingsError(what, where=place, hint=did_you_mean(key, allowed))
        if not isinstance(data[key], dict):
            raise SettingsError(f"'{name}' must be a table", where=place)


def _from_environment(env: Mapping[str, str]) -> list[_Override]:
    found: list[_Override] = []
    variables = {key.replace(".", "_").upper(): key for key in _loose_keys()}
    given = sorted(name.removeprefix(ENV_PREFIX) for name in env if name.startswith(ENV_PREFIX))
    providers = list(installed()) if any(name not in variables for name in given) else []
    for name in given:
        key = variables.get(name) or _provider_key(name, providers)
        source = f"env {ENV_PREFIX}{name}"
        if key:
            found.append(_Override(key, env[ENV_PREFIX + name], source))
        elif name not in _NOT_SETTINGS and (guess := nearest(name, variables, cutoff=0.8)):
            # Only what looks like a typo is refused: other PYS_MULTI_* variables may not be ours.
            hint = f"did you mean {ENV_PREFIX}{guess.upper()}?"
            raise SettingsError("is no setting", where=source, hint=hint)
    return found


def _provider_key(variable: str, providers: list[str]) -> str | None:
    for provider in providers:
        prefix = provider.replace("-", "_").upper() + "_"
        if variable.startswith(prefix):
            return f"{provider}.{variable.removeprefix(prefix).lower()}"
    return None


def _from_flags(flags: Mapping[str, object]) -> list[_Override]:
    return [
        _Override(key, value, f"flag --{key.rsplit('.', 1)[-1].replace('_', '-')}")
        for key, value in flags.items()
        if value is not None
    ]


def _loose_keys() -> list[str]:
    """What one variable or flag can set; whole tables (environment, secrets, profile) belong into the file."""
    top = [key for key in keys_of(Settings) if key not in ("environment", "secrets", "bundle", "profile")]
    return [*top, *(f"bundle.{key}" for key in keys_of(BundleSettings))]


def _stage_of(merged: _Merged, overrides: list[_Override]) -> str:
    given = [override.value for override in overrides if override.key == "stage"]
    return str(given[-1]) if given else str(merged.data.get("stage", Settings().stage))


def _from_text(model: type[BaseModel], key: str, text: str, table: KeyPath, source: str) -> Any:
    """Convert the text of a variable or flag to the type of the setting; commas separate a list."""
    annotation: Any = model.model_fields[key].annotation
    adapter = TypeAdapter[Any](annotation)
    try:
        if str(annotation).startswith(("tuple[", "list[")):
            return adapter.validate_python([part.strip() for part in text.split(",") if part.strip()])
        return adapter.validate_strings(text)
    except ValidationError as exc:
        raise as_settings_error(exc, model, lambda _: source, (*table, key)) from None
