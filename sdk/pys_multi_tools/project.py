"""The settings of one project and stage as one typed object.

    flag  >  PYS_MULTI_* in the environment  >  stage table  >  pys-multi.toml, else [tool.pys-multi]  >  default

Each layer is validated by itself, so that an error names the very file and line, variable or flag it came from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from pys_multi_tools.errors import SettingsError
from pys_multi_tools.settings import (
    BundleSettings,
    Settings,
    SettingsTable,
    StageSettings,
    Table,
    as_settings_error,
    keys_of,
    validate,
)
from pys_multi_tools.suggest import did_you_mean, nearest
from pys_multi_tools.toml_file import KeyPath, TomlFile

PROVIDER_GROUP = "pys_multi.providers"
ENV_PREFIX = "PYS_MULTI_"
# Set by the tools themselves for an instance, or read by a provider: no settings, and no typos of one either.
_NO_SETTINGS = ("FUNCTION", "STATE_DIR", "BUILD_ID")

Where = Callable[[KeyPath], str]


@dataclass(frozen=True)
class Project:
    """A project folder with its settings for one stage.

    root: the project folder, absolute.
    settings: the merged settings; ``settings.providers`` holds the raw table of each provider.
    stage: the stage that the settings are for.
    sources: where each setting came from: dotted key → "file:line", "env PYS_MULTI_X", "flag --x"; a key that is
        missing has its default.
    notices: what a person should know although it is no error, such as settings that are ignored.
    """

    root: Path
    settings: Settings
    stage: str
    sources: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

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
        Raises SettingsError with file and line (or variable, or flag), what is allowed, and the nearest match.
        """
        folder = Path(root).resolve()
        if not folder.is_dir():
            raise SettingsError("is not a folder", where=str(root))
        file, notices = _read_file(folder)
        given = {key: value for key, value in (flags or {}).items() if value is not None}
        if stage is not None:
            given["stage"] = stage

        merged = _Merged()
        stages = _add_file(merged, file) if file else {}
        environment = _from_environment(env)
        current = _stage_of(merged, environment, given)
        if file and current in stages:
            merged.add(stages[current], lambda keys: file.where(("stages", current, *keys)))
        for key, value in environment.items():
            _add_one(merged, key, value, f"env {ENV_PREFIX}{key.replace('.', '_').upper()}")
        for key, value in given.items():
            _add_one(merged, key, value, f"flag --{key.rsplit('.', 1)[-1].replace('_', '-')}")
        settings = validate(Settings, merged.known(), merged.where)
        settings = settings.model_copy(update={"stage": current, "providers": merged.providers()})
        return cls(folder, settings, current, merged.sources, notices)

    def provider_settings(self, name: str, model: type[Table]) -> Table:
        """Return the table of provider ``name`` as that provider's own model.

        Raises SettingsError as ``load`` does.
        """
        table = dict(self.settings.providers.get(name, {}))
        for key, value in table.items():
            source = self.sources.get(f"{name}.{key}", "")
            if isinstance(value, str) and source.startswith(("env ", "flag ")) and key in model.model_fields:
                table[key] = _from_text(model, key, value, source)
        return validate(model, table, lambda keys: _source(self.sources, keys), (name,))


def find_root(start: str | Path = ".") -> Path:
    """Return the nearest folder at or above ``start`` with a pys-multi.toml or pyproject.toml, else ``start``."""
    folder = Path(start).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "pys-multi.toml").is_file() or (candidate / "pyproject.toml").is_file():
            return candidate
    return folder


class _Merged:
    """Layers put over one another: tables are merged key by key, everything else is replaced."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, layer: Mapping[str, Any], where: Where) -> None:
        self._merge(self.data, layer, where, ())

    def _merge(self, into: dict[str, Any], layer: Mapping[str, Any], where: Where, path: KeyPath) -> None:
        for key, value in layer.items():
            keys = (*path, key)
            if isinstance(value, dict):
                below = into.get(key)
                into[key] = dict(below) if isinstance(below, dict) else {}
                self._merge(into[key], value, where, keys)
            else:
                into[key] = value
            self.sources[".".join(keys)] = where(keys)

    def where(self, keys: KeyPath) -> str:
        return _source(self.sources, keys)

    def known(self) -> dict[str, Any]:
        return {key: value for key, value in self.data.items() if key in Settings.model_fields}

    def providers(self) -> dict[str, dict[str, Any]]:
        return {key: value for key, value in self.data.items() if key not in Settings.model_fields}


def _source(sources: Mapping[str, str], keys: KeyPath) -> str:
    for end in range(len(keys), 0, -1):
        found = sources.get(".".join(keys[:end]))
        if found:
            return found
    return ""


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
    """Add the file's own settings, check those of all its stages, and return the stages."""
    data = dict(file.data)
    stages = data.pop("stages", {})
    if not isinstance(stages, dict) or not all(isinstance(table, dict) for table in stages.values()):
        hint = "write [tool.pys-multi.stages.prod], or [stages.prod] in pys-multi.toml"
        raise SettingsError(
            "'stages' must hold one table per stage", where=file.where(("stages",)), hint=hint
        )
    _check_layer(Settings, data, file.where, ())
    for name, table in stages.items():
        at = ("stages", name)
        validate(Settings, {"stage": name}, lambda _, at=at: file.where(at))  # type: ignore[misc]
        _check_layer(StageSettings, table, file.where, at)
    merged.add(data, file.where)
    return stages


def _check_layer(model: type[StageSettings], data: Mapping[str, Any], where: Where, at: KeyPath) -> None:
    known = {key: value for key, value in data.items() if key in keys_of(model)}
    validate(model, known, lambda keys: where(keys), at)
    others = [key for key in data if key not in known]
    installed = _installed_providers() if others else []
    for key in others:
        if key in installed and isinstance(data[key], dict):
            continue
        place = where((*at, key))
        name = ".".join((*at, key))
        if key in installed:
            raise SettingsError(f"'{name}' must be a table", where=place)
        allowed = [*keys_of(model), *installed, *(["stages"] if not at else [])]
        what = f"unknown setting '{name}': neither a setting nor an installed provider"
        raise SettingsError(what, where=place, hint=did_you_mean(key, allowed))


def _installed_providers() -> list[str]:
    return sorted({entry.name for entry in entry_points(group=PROVIDER_GROUP)})


def _from_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return dotted key → text of every PYS_MULTI_* variable that is a setting."""
    found: dict[str, str] = {}
    keys = {key.replace(".", "_").upper(): key for key in _scalar_keys()}
    unknown = [name.removeprefix(ENV_PREFIX) for name in env if name.startswith(ENV_PREFIX)]
    providers = _installed_providers() if any(name not in keys for name in unknown) else []
    for name in sorted(unknown):
        if name in keys:
            found[keys[name]] = env[ENV_PREFIX + name]
            continue
        provider = next((p for p in providers if name.startswith(f"{p.replace('-', '_').upper()}_")), None)
        if provider:
            found[f"{provider}.{name[len(provider) + 1 :].lower()}"] = env[ENV_PREFIX + name]
        elif name not in _NO_SETTINGS and (guess := nearest(name, keys, cutoff=0.8)):
            # Only what looks like a typo is refused: other PYS_MULTI_* variables may belong to something else.
            hint = f"did you mean {ENV_PREFIX}{guess}?"
            raise SettingsError("is no setting", where=f"env {ENV_PREFIX}{name}", hint=hint)
    return found


def _scalar_keys() -> list[str]:
    """Dotted keys that one variable or flag can set; tables (environment, secrets) belong into the file."""
    top = [key for key in keys_of(Settings) if key not in ("environment", "secrets", "bundle")]
    return [*top, *(f"bundle.{key}" for key in keys_of(BundleSettings))]


def _stage_of(merged: _Merged, environment: Mapping[str, str], flags: Mapping[str, object]) -> str:
    for value, source in (
        (flags.get("stage"), "flag --stage"),
        (environment.get("stage"), f"env {ENV_PREFIX}STAGE"),
        (merged.data.get("stage"), merged.where(("stage",))),
    ):
        if value is not None:
            return validate(Settings, {"stage": value}, lambda _, source=source: source).stage  # type: ignore[misc]
    return Settings().stage


def _add_one(merged: _Merged, dotted: str, value: object, source: str) -> None:
    keys = tuple(dotted.split("."))
    model: type[SettingsTable] = BundleSettings if keys[0] == "bundle" else Settings
    name = keys[-1]
    if dotted not in _scalar_keys() and keys[0] not in _installed_providers():
        raise SettingsError(
            f"unknown setting '{dotted}'", where=source, hint=did_you_mean(dotted, _scalar_keys())
        )
    if isinstance(value, str) and dotted in _scalar_keys():
        value = _from_text(model, name, value, source)
    layer: dict[str, Any] = {name: value}
    if dotted in _scalar_keys():
        validate(model, layer, lambda _: source, keys[:-1])
    for key in reversed(keys[:-1]):
        layer = {key: layer}
    merged.add(layer, lambda _: source)


def _from_text(model: type[BaseModel], key: str, text: str, source: str) -> Any:
    """Convert the text of a variable or flag to the type of the setting; a list is separated by commas."""
    info = model.model_fields[key]
    adapter: TypeAdapter[Any] = TypeAdapter(info.annotation)
    listed = str(info.annotation).startswith(("tuple[", "list["))
    try:
        if listed:
            return adapter.validate_python([part.strip() for part in text.split(",") if part.strip()])
        return adapter.validate_strings(text)
    except ValidationError as exc:
        raise as_settings_error(exc, model, lambda _: source, (key,)) from None
