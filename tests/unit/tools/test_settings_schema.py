"""The published JSON Schema of the settings: current, valid, and of one mind with the settings themselves."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pys_multi_tools.errors import SettingsError
from pys_multi_tools.project import Project
from pys_multi_tools.settings_schema import text


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("pys_multi_tools").joinpath("settings.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    return document


def test_the_published_copy_is_current() -> None:
    published = files("pys_multi_tools").joinpath("settings.schema.json").read_text(encoding="utf-8")
    assert published == text(), "run: python -m pys_multi_tools.settings_schema"


WELL: list[dict[str, Any]] = [
    {},
    {"app": "shop.app:app", "cloud": ["local"], "stage": "prod", "python": "3.12"},
    {"environment": {"LEVEL": "info"}, "secrets": {"KEY": "env:KEY"}, "bundle": {"max_mb": 1, "exclude": ["*.md"]}},
    {"local": {}, "stages": {"prod": {"cloud": ["local"], "bundle": {"max_mb": 2}, "local": {}}}},
]
WRONG: list[dict[str, Any]] = [
    {"clouds": ["local"]},
    {"cloud": "local"},
    {"cloud": []},
    {"python": "3.9"},
    {"app": "shop/app.py"},
    {"stage": "Not Valid"},
    {"secrets": {"KEY": "hunter2"}},
    {"secrets": {"KEY": "https://u:p@host"}},
    {"environment": {"A-B": "x"}},
    {"environment": {"A": 1}},
    {"bundle": {"max_mb": "50"}},
    {"bundle": {"max": 50}},
    {"local": {"no_such_setting": 1}},
    {"stages": {"prod": {"stage": "x"}}},
    {"stages": {"PROD": {}}},
    {"stages": {"prod": {"cloud": "local"}}},
]


def loads(root: Path, settings: dict[str, Any]) -> bool:
    (root / "pys-multi.toml").write_text(as_toml(settings))
    try:
        for stage in ("dev", *settings.get("stages", {})):
            project = Project.load(root, stage, env={})
            from pys_multi_tools.provider import load

            project.provider_settings("local", load("local").settings_model)
    except SettingsError:
        return False
    return True


def as_toml(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return "\n".join(f"{key} = {inline(item)}" for key, item in value.items())


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize("settings", WELL)
def test_what_the_settings_take_the_schema_takes(schema: dict[str, Any], tmp_path: Path, settings: Any) -> None:
    jsonschema.validate(settings, schema, jsonschema.Draft202012Validator)
    assert loads(tmp_path, settings)


@pytest.mark.parametrize("settings", WRONG)
def test_what_the_settings_refuse_the_schema_refuses(schema: dict[str, Any], tmp_path: Path, settings: Any) -> None:
    assert not jsonschema.Draft202012Validator(schema).is_valid(settings)
    assert not loads(tmp_path, settings)
