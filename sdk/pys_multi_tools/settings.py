"""The settings of a project as pydantic models, and their errors as a person reads them.

A provider describes its own table (``[tool.pys-multi.<provider>]``) with a subclass of ``SettingsTable``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from pys_multi_tools.errors import SettingsError
from pys_multi_tools.suggest import did_you_mean

KeyPath = tuple[str, ...]
Where = Callable[[KeyPath], str]
Table = TypeVar("Table", bound=BaseModel)


class SettingsTable(BaseModel):
    """One table of the settings: unknown keys are refused and no message repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)


class Pattern:
    """A string that must match; the error says what is meant instead of the regular expression."""

    def __init__(self, regex: str, meaning: str) -> None:
        self.regex = regex
        self.meaning = meaning

    def check(self, value: str) -> str:
        if not re.fullmatch(self.regex, value):
            raise PydanticCustomError("pattern", "must be {meaning}", {"meaning": self.meaning})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^{self.regex}$"}


def _in_quotes(value: object) -> object:
    if isinstance(value, float):
        raise PydanticCustomError("version", "must be in quotes: 3.10 without them is the number 3.1")
    return value


AppReference = Annotated[
    str, Pattern(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", 'of the form "module:attribute", like "shop.app:app"')
]
StageName = Annotated[
    str,
    Pattern(
        r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
        "up to 32 lower-case letters, digits and hyphens, with no hyphen at its ends",
    ),
]
PythonVersion = Annotated[
    str,
    Pattern(r"3\.(1[1-9]|[2-9][0-9])", 'a version from "3.11" on, without its patch number'),
    BeforeValidator(_in_quotes),
]
SecretName = Annotated[str, Pattern(r"[A-Za-z_][A-Za-z0-9_]*", "a name of letters, digits and underscores")]
EnvName = Annotated[
    str,
    Pattern(
        r"(?!PYS_MULTI_)[A-Za-z_][A-Za-z0-9_]*",
        "a name of letters, digits and underscores that does not begin with PYS_MULTI_",
    ),
]
EnvValue = Annotated[str, Pattern(r"[^\x00]*", "text without the NUL character")]
# "postgres://user:password@host" has the form scheme:rest too, so that a URL is taken for a value.
Reference = Annotated[
    str,
    Pattern(
        r"[a-z][a-z0-9+.-]*:(?!//)\S[^\r\n]*",
        'a reference to a secret, never its value: "env:NAME" (read when deploying), "file:PATH", '
        "or a scheme of the provider",
    ),
]


class BundleSettings(SettingsTable):
    """What goes into a bundle, and how large and slow to import it may be."""

    requirements: tuple[str, ...] = ()
    """Requirement files. Empty: uv.lock, else pylock.toml, requirements.txt, pyproject.toml."""
    extras: tuple[str, ...] = ()
    """Extras of the project that are installed into every function."""
    groups: tuple[str, ...] = ()
    """Dependency groups of the project that are installed into every function."""
    include: tuple[str, ...] = ()
    """Globs of files that go in although they would be left out otherwise."""
    exclude: tuple[str, ...] = ()
    """Globs of files that stay out."""
    max_mb: float | None = Field(default=None, gt=0)
    """Size of the zip in megabytes (10^6 bytes) above which the bundle is refused."""
    max_import_ms: float | None = Field(default=None, gt=0)
    """Import time of the service in milliseconds above which the bundle is refused."""


class Traffic(SettingsTable):
    """What one function has to do in a month, for an estimate of what it costs."""

    # A stage names only what differs, so each of them may be missing.
    calls: float = Field(default=0.0, ge=0)
    """Calls a month: requests, messages and runs of schedules."""
    duration_ms: float = Field(default=100.0, gt=0)
    """How long a call takes on average, in milliseconds."""
    cold_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the calls, 0 to 1, for which an instance has to start first."""
    start_ms: float = Field(default=0.0, ge=0)
    """How long an instance takes to start, in milliseconds."""


class StageSettings(SettingsTable):
    """The settings that a stage can override."""

    app: AppReference | None = None
    """Where the App is: "module:attribute". Without it app.py and main.py are searched."""
    cloud: tuple[str, ...] = Field(default=("local",), min_length=1)
    """Providers that a command acts on when no --cloud is given."""
    python: PythonVersion = f"{sys.version_info[0]}.{sys.version_info[1]}"
    """Python version of the functions. Default: the version of the running interpreter."""
    environment: dict[EnvName, EnvValue] = {}
    """Plain environment variables of every function."""
    secrets: dict[SecretName, Reference] = {}
    """Secrets as references: env:NAME, file:PATH, or a provider's own scheme. Never the value."""
    bundle: BundleSettings = BundleSettings()
    profile: dict[str, Traffic] = {}
    """What the functions have to do in a month, by name: what the estimate of their cost is made from."""


class Settings(StageSettings):
    """All settings of a project, for one stage."""

    stage: StageName = "dev"
    """Stage that a command acts on when no --stage is given."""
    providers: dict[str, dict[str, Any]] = {}
    """One raw table per provider; that provider's own model validates it when it is loaded."""


def validate(model: type[Table], data: Mapping[str, Any], where: Where, at: KeyPath = ()) -> Table:
    """Return ``data`` as a ``model``; a wrong type is refused, not converted.

    data: the table as TOML gave it.
    where: tells "file:line" of a key path.
    at: the path of this table, put before the names in messages.
    Raises SettingsError for the first wrong key; the others are named in its detail.
    """
    try:
        # Through JSON: strict mode then takes an array for a tuple, and still refuses "50" for a number.
        return model.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as exc:
        raise as_settings_error(exc, model, where, at) from None


def as_settings_error(exc: ValidationError, model: type[BaseModel], where: Where, at: KeyPath = ()) -> SettingsError:
    """Translate pydantic's errors into one that says where, what is allowed, and the nearest match."""
    found = exc.errors(include_url=False, include_input=False)
    first, *rest = [_describe(error, model, where, at) for error in found]
    return SettingsError(first.what, where=first.where, hint=first.hint, detail="\n".join(map(str, rest)))


def keys_of(model: type[BaseModel], path: KeyPath = ()) -> list[str]:
    """Return the names that are allowed in the table at ``path`` inside ``model``."""
    current: Any = model
    for part in path:
        if get_origin(current) is dict:  # a table of tables, whose names are the user's own
            current = get_args(current)[1]
        else:
            field = current.model_fields.get(part) if _is_table(current) else None
            current = field.annotation if field is not None else None
    return [name for name in current.model_fields if name != "providers"] if _is_table(current) else []


def _is_table(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _describe(error: ErrorDetails, model: type[BaseModel], where: Where, at: KeyPath) -> SettingsError:
    loc = tuple(str(part) for part in error["loc"] if part != "[key]")
    name = ".".join((*at, *loc))
    place = where((*at, *loc))
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(loc[-1], keys_of(model, loc[:-1]))
        return SettingsError(f"unknown setting '{name}'", where=place, hint=hint)
    message = _MESSAGES.get(error["type"]) or error["msg"].removeprefix("Input should be ")
    if not message.startswith(("must", "is")):
        message = f"must be {message}"
    return SettingsError(f"'{name}' {message}", where=place)


# Pydantic's words for the types that settings are made of, in TOML's words.
_MESSAGES = {
    "string_type": "must be a string in quotes",
    "tuple_type": 'must be a list, like ["one", "two"]',
    "list_type": 'must be a list, like ["one", "two"]',
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "missing": "is required",
    "too_short": "must not be empty",
}
