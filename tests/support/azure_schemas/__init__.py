"""What Azure's published interfaces say that a resource may look like; ``extract.py`` says where the data is from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]

_HERE = Path(__file__).parent
#: What is said around the body that a type takes.
_AROUND = {"type", "apiVersion", "name", "scope", "dependsOn"}


def problems(resource: Json) -> list[str]:
    """What is wrong with a resource as it is put, so without expressions: unknown properties, types, enumerations,
    patterns, lengths, what is missing, and another version of the interface than the data is of."""
    kind = resource["type"]
    document = _document(kind.partition("/")[0])
    if document is None or kind not in document["resources"]:
        return [f"{kind} is of no published type"]
    if resource["apiVersion"] != document["apiVersion"]:
        return [f"{kind} is of {resource['apiVersion']}, and the data of {document['apiVersion']}"]
    body = {key: value for key, value in resource.items() if key not in _AROUND}
    return [f"{kind} {error.json_path}: {error.message}" for error in _validator(kind).iter_errors(body)]


@cache
def _document(namespace: str) -> Json | None:
    file = _HERE / f"{namespace}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


@cache
def _validator(kind: str) -> Draft202012Validator:
    document = _document(kind.partition("/")[0])
    assert document is not None
    schema = {**document["resources"][kind], "$defs": document["$defs"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
