"""The settings of a project as pydantic models, and their errors as a person reads them.

A provider describes its own table (``[tool.pys-multi.<provider>]``) with a subclass of ``SettingsTable``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from pys_multi_tools.errors import SettingsError
from pys_multi_tools.suggest import did_you_mean

KeyPath = tuple[str, ...]
Where = Callable[[KeyPath], str]
Table = TypeVar("Table", bound="SettingsTable")

_REFERENCE = re.compile(r"[a-z][a-z0-9+.-]*:(?!//)\S.*", re.DOTALL)


class SettingsTable(BaseModel):
    """One table of the settings: unknown keys are refused, values are frozen, and no message repeats a value."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


def _is_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise PydanticCustomError("secret_value", "must be a reference, never the value itself")
    return value


def _pattern(pattern: str, meaning: str) -> Any:
    """A string constraint whose error says what is meant, not the regular expression."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("pattern", "must be {meaning}", {"meaning": meaning})
        return value

    return Annotated[str, AfterValidator(check), Field(json_schema_extra={"pattern": f"^{pattern}$"})]


def _no_number(value: object) -> object:
    if isinstance(value, float):
        raise PydanticCustomError("version_number", "must be in quotes: 3.10 without them is the number 3.1")
    return value


Reference = Annotated[
    str, AfterValidator(_is_reference), Field(json_schema_extra={"pattern": r"^[a-z][a-z0-9+.-]*:(?!//)\S"})
]
StageName = _pattern(
    r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
    "lower-case letters, digits and inner hyphens, 32 characters at most",
)
EnvName = _pattern(r"[A-Za-z_][A-Za-z0-9_]*", "a name of letters, digits and underscores")
AppReference = _pattern(
    r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", 'of the form "module:attribute", such as "shop.app:app"'
)
PythonVersion = Annotated[
    _pattern(r"3\.(1[1-9]|[2-9][0-9])", 'a version from "3.11" on, without its patch number'),
    BeforeValidator(_no_number),
]


class BundleSettings(SettingsTable):
    """What goes into a bundle, and how large and slow to import it may be."""

    requirements: tuple[str, ...] = ()
    """Requirement files, relative to the project. Empty: uv.lock, else pylock.toml, requirements.txt, pyproject.toml."""
    extras: tuple[str, ...] = ()
    """Extras of the project that are installed into every function."""
    groups: tuple[str, ...] = ()
    """Dependency groups of the project that are installed into every function."""
    include: tuple[str, ...] = ()
    """Globs of files that go in although they would be left out otherwise."""
    exclude: tuple[str, ...] = ()
    """Globs of files that stay out."""
    max_mb: float = Field(default=50, gt=0)
    """Size of the zip in megabytes (10^6 bytes) above which the bundle is refused."""
    max_import_ms: float = Field(default=2000, gt=0)
    """Import time of the service in milliseconds above which the bundle is refused."""


class StageSettings(SettingsTable):
    """The settings that a stage can override."""

    app: AppReference | None = None
    """Where the App is: "module:attribute". Without it app.py and main.py are searched."""
    cloud: tuple[str, ...] = Field(default=("local",), min_length=1)
    """Providers that deploy goes to when no --cloud is given."""
    python: PythonVersion = Field(default=f"{sys.version_info[0]}.{sys.version_info[1]}")
    """Python version of the functions. Default: the version of the running interpreter."""
    environment: dict[EnvName, str] = {}
    """Plain environment variables of every function."""
    secrets: dict[EnvName, Reference] = {}
    """Secrets as references: env:NAME, file:PATH, or a provider's own scheme. Never the value."""
    bundle: BundleSettings = BundleSettings()


class Settings(StageSettings):
    """All settings of a project, for one stage."""

    stage: StageName = "dev"
    """Stage that commands act on when no --stage is given."""
    providers: dict[str, dict[str, Any]] = Field(default={}, exclude=True)
    """One raw table per provider; the provider's own model validates it when the provider is loaded."""


def validate(model: type[Table], data: Mapping[str, Any], where: Where, at: KeyPath = ()) -> Table:
    """Return ``data`` as a ``model``; wrong types are refused, not converted.

    data: the table as TOML gave it.
    where: tells "file:line" of a key path.
    at: the path of this table, put before the names in messages.
    Raises SettingsError for the first wrong key; the others are named in its detail.
    """
    try:
        # Through JSON, because strict mode then takes an array for a tuple but still refuses "50" for a number.
        return model.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as exc:
        raise as_settings_error(exc, model, where, at) from None


def as_settings_error(
    exc: ValidationError, model: type[BaseModel], where: Where, at: KeyPath = ()
) -> SettingsError:
    """Translate pydantic's errors into one error that names the place, what is allowed and the nearest match."""
    errors = [
        _describe(error, model, where, at) for error in exc.errors(include_url=False, include_input=False)
    ]
    first, rest = errors[0], errors[1:]
    return SettingsError(first.what, where=first.where, hint=first.hint, detail="\n".join(map(str, rest)))


def _describe(error: ErrorDetails, model: type[BaseModel], where: Where, at: KeyPath) -> SettingsError:
    loc = tuple(str(part) for part in error["loc"] if part != "[key]")
    name = ".".join((*at, *loc))
    place = where((*at, *loc))
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(loc[-1], keys_of(model, loc[:-1]))
        return SettingsError(f"unknown setting '{name}'", where=place, hint=hint)
    if error["type"] == "secret_value":
        hint = f'write {loc[-1]} = "env:{loc[-1]}" (environment of the deploy), "file:PATH", or a scheme of the provider'
        return SettingsError(
            f"'{name}' must be a reference to a secret, never its value", where=place, hint=hint
        )
    message = _MESSAGES.get(error["type"], error["msg"].removeprefix("Input should be").strip())
    return SettingsError(
        f"'{name}' {message if message.startswith('must') else f'must be {message}'}", where=place
    )


# Pydantic's words for the types that settings are made of, in TOML's words.
_MESSAGES = {
    "string_type": "must be a string in quotes",
    "tuple_type": 'must be a list, such as ["one", "two"]',
    "list_type": 'must be a list, such as ["one", "two"]',
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "missing": "is required; it must be set",
    "too_short": "must not be empty",
}


def keys_of(model: type[BaseModel], path: KeyPath = ()) -> list[str]:
    """Return the names that are allowed in the table at ``path`` inside ``model``."""
    current: type[BaseModel] = model
    for part in path:
        annotation = current.model_fields[part].annotation if part in current.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return [name for name in current.model_fields if name != "providers"]
