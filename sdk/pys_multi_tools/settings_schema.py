"""The JSON Schema of the settings, which editors read; ``settings.schema.json`` is its published copy.

python -m pys_multi_tools.settings_schema     writes the copy anew
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pys_multi_tools import provider
from pys_multi_tools.settings import Settings

PUBLISHED = Path(__file__).with_name("settings.schema.json")
DISTRIBUTION = "pys-multi"


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of pys-multi.toml and of [tool.pys-multi], built-in providers' tables included.

    A table of any other name is left to the provider that it belongs to.
    """
    own = Settings.model_json_schema()
    definitions: dict[str, Any] = own.pop("$defs")
    properties: dict[str, Any] = own["properties"]
    del properties["providers"]
    del properties["python"]["default"]  # it is the interpreter's that wrote the schema
    for name in ("environment", "secrets"):  # pydantic checks their keys, and its schema allows any
        properties[name]["additionalProperties"] = False
    for name, entry in provider.installed().items():
        if entry.dist is None or entry.dist.name != DISTRIBUTION:
            continue
        template = f"#/$defs/{name}.{{model}}"  # two providers may name a model alike
        table = provider.load(name).settings_model.model_json_schema(ref_template=template)
        definitions.update({f"{name}.{model}": schema for model, schema in table.pop("$defs", {}).items()})
        properties[name] = {"$ref": f"#/$defs/{name}"}
        definitions[name] = table
    stage = {key: value for key, value in properties.items() if key != "stage"}
    definitions["Stage"] = {
        "description": "What differs from the settings of the file for one stage.",
        "type": "object",
        "properties": stage,
        "additionalProperties": {"type": "object"},
    }
    stages = {
        "description": "One table per stage, by its name.",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/Stage"},
        "propertyNames": {"pattern": properties["stage"]["pattern"]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of pys-multi",
        "description": own["description"],
        "type": "object",
        "properties": {**properties, "stages": stages},
        "additionalProperties": {"type": "object"},
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """Return the schema as it is published."""
    return json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PUBLISHED.write_text(text(), encoding="utf-8")
