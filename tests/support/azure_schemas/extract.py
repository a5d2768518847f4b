"""Writes the JSON Schemas beside this file, from Microsoft's own libraries on PyPI.

Those are generated from Azure's published API specifications, and their models carry what a request may have: names,
types, enumerations, patterns, lengths, and what only Azure writes. What no resource of the template can reach is left
out. Run it in an environment that has the libraries at the versions named below::

    uv run --no-project --python 3.13 --with azure-mgmt-web==10.0.0 --with … python extract.py
"""

from __future__ import annotations

import enum
import importlib
import importlib.metadata
import inspect
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

Json = dict[str, Any]
HERE = Path(__file__).parent

#: namespace → (distribution, version, version of the interface, module of the models, {type: model}).
SOURCES: dict[str, tuple[str, str, str, str, dict[str, str]]] = {
    "Microsoft.Web": (
        "azure-mgmt-web",
        "10.0.0",
        "2024-11-01",
        "azure.mgmt.web.models",
        {
            "sites": "Site",
            "serverfarms": "AppServicePlan",
            "sites/basicPublishingCredentialsPolicies": "CsmPublishingCredentialsPoliciesEntity",
        },
    ),
    "Microsoft.Storage": (
        "azure-mgmt-storage",
        "23.0.1",
        "2024-01-01",
        "azure.mgmt.storage.models",
        {
            "storageAccounts": "StorageAccountCreateParameters",
            "storageAccounts/blobServices": "BlobServiceProperties",
            "storageAccounts/blobServices/containers": "BlobContainer",
            "storageAccounts/tableServices/tables": "Table",
        },
    ),
    "Microsoft.ServiceBus": (
        "azure-mgmt-servicebus",
        "9.0.0",
        "2021-11-01",
        "azure.mgmt.servicebus.v2021_11_01.models",
        {
            "namespaces": "SBNamespace",
            "namespaces/queues": "SBQueue",
            "namespaces/topics": "SBTopic",
            "namespaces/topics/subscriptions": "SBSubscription",
        },
    ),
    "Microsoft.EventGrid": (
        "azure-mgmt-eventgrid",
        "10.4.0",
        "2025-02-15",
        "azure.mgmt.eventgrid.models",
        {"systemTopics": "SystemTopic", "systemTopics/eventSubscriptions": "EventSubscription"},
    ),
    "Microsoft.KeyVault": (
        "azure-mgmt-keyvault",
        "13.0.0",
        "2025-05-01",
        "azure.mgmt.keyvault.models",
        {"vaults": "VaultCreateOrUpdateParameters"},
    ),
    "Microsoft.OperationalInsights": (
        "azure-mgmt-loganalytics",
        "13.1.1",
        "2025-07-01",
        "azure.mgmt.loganalytics.models",
        {"workspaces": "Workspace"},
    ),
    "Microsoft.Insights": (
        "azure-mgmt-applicationinsights",
        "4.1.0",
        "2020-02-02",
        "azure.mgmt.applicationinsights.v2020_02_02.models",
        {"components": "ApplicationInsightsComponent"},
    ),
    "Microsoft.ManagedIdentity": (
        "azure-mgmt-msi",
        "7.1.0",
        "2024-11-30",
        "azure.mgmt.msi.v2024_11_30.models",
        {"userAssignedIdentities": "Identity"},
    ),
    "Microsoft.Authorization": (
        "azure-mgmt-authorization",
        "4.0.0",
        "2022-04-01",
        "azure.mgmt.authorization.v2022_04_01.models",
        {"roleAssignments": "RoleAssignmentCreateParameters"},
    ),
}

_PLAIN: dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "long": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "object": {},
    "JSON": {},
    "iso-8601": {"type": "string"},
    "duration": {"type": "string", "format": "duration"},
    "bytearray": {"type": "string"},
}
#: What every resource of a template has beside what its type takes.
_OF_TEMPLATES = {"type", "apiVersion", "name", "id", "systemData"}


class Reader:
    """The models of one library, read into definitions."""

    def __init__(self, module: str) -> None:
        self.models = importlib.import_module(module)
        self.found: dict[str, Json] = {}

    def reference(self, model: type) -> Json:
        name = model.__name__
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self.either(model) or self.object(model)
        return {"$ref": f"#/$defs/{name}"}

    def either(self, model: type) -> Json | None:
        """A model that stands for others, told apart by one property."""
        kinds = getattr(model, "_subtype_map", {}) if "_subtype_map" in vars(model) else {}
        if not kinds:
            return None
        return {
            "oneOf": [self.reference(getattr(self.models, name)) for names in kinds.values() for name in names.values()]
        }

    def object(self, model: type) -> Json:
        schema: Json = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
        entries = self.old_style(model) if hasattr(model, "_attribute_map") else self.new_style(model)
        for path, value, required in entries:
            if path == [""]:
                continue  # "anything else as well", which is what a typing error would be
            place = schema
            for part in path[:-1]:
                empty = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
                place = place["properties"].setdefault(part, empty)
            place["properties"][path[-1]] = value
            if required:
                place["required"].append(path[-1])
        return _tidy(schema)

    # ---- models with _attribute_map

    def old_style(self, model: type) -> Any:
        rules: dict[str, Json] = getattr(model, "_validation", {})
        hints = _hints(model.__init__, self.models)
        for name, entry in model._attribute_map.items():  # type: ignore[attr-defined]
            rule = rules.get(name, {})
            if rule.get("readonly"):
                continue
            path = [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", entry["key"])]
            value = self.typed(entry["type"], hints.get(name))
            if (constant := _constant(model, name)) is not None:
                value = {"const": constant}
            names = {
                "max_length": "maxLength",
                "min_length": "minLength",
                "maximum_ex": "exclusiveMaximum",
                "minimum_ex": "exclusiveMinimum",
                "max_items": "maxItems",
                "min_items": "minItems",
            }
            for key in ("pattern", "maximum", "minimum", *names):
                if key in rule:
                    value = {**value, names.get(key, key): rule[key]}
            yield path, value, bool(rule.get("required"))

    def typed(self, kind: str, hint: Any) -> Json:
        if kind.startswith("["):
            return {"type": "array", "items": self.typed(kind[1:-1], _inner(hint, 0))}
        if kind.startswith("{"):
            return {"type": "object", "additionalProperties": self.typed(kind[1:-1], _inner(hint, 1))}
        if (known := _enum(hint)) is not None:
            return {"enum": known}
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        model = getattr(self.models, kind)
        return {"enum": [item.value for item in model]} if issubclass(model, enum.Enum) else self.reference(model)

    # ---- models with rest_field

    def new_style(self, model: Any) -> Any:
        model({})  # the fields find their names when a model is first made
        hints = _hints(model, self.models)
        for name, entry in model._attr_to_rest_field.items():
            if entry._visibility == ["read"]:
                continue
            hint = hints[name]
            required = type(None) not in typing.get_args(hint)
            yield [entry._rest_name], self.hinted(hint), required

    def hinted(self, hint: Any) -> Json:
        arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
        origin = typing.get_origin(hint)
        if origin in (typing.Union, types.UnionType):
            if (known := _enum(hint)) is not None:
                return {"enum": known}
            return self.hinted(arguments[0])
        if origin is list:
            return {"type": "array", "items": self.hinted(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.hinted(arguments[1])}
        if origin is typing.Literal:
            return {"enum": [getattr(item, "value", item) for item in arguments]}
        if inspect.isclass(hint) and issubclass(hint, enum.Enum):
            return {"enum": [item.value for item in hint]}
        if inspect.isclass(hint) and hint.__module__.startswith(self.models.__name__):
            return self.reference(hint)
        return dict(_PLAIN.get(getattr(hint, "__name__", "object"), {}))


def _hints(of: Any, models: Any) -> dict[str, Any]:
    space = {**vars(sys.modules[models.__name__]), "_models": models, "JSON": object}
    try:
        return typing.get_type_hints(of, globalns={**vars(sys.modules[of.__module__]), **space})
    except (NameError, TypeError):
        return {}


def _constant(model: type, name: str) -> Any:
    """The value of a discriminator, which __init__ sets by itself."""
    found = re.search(rf"self\.{name}: str = \"([^\"]+)\"", inspect.getsource(model.__init__))
    return found[1] if found else None


def _inner(hint: Any, position: int) -> Any:
    for argument in typing.get_args(hint) or ():
        inner = typing.get_args(argument)
        if typing.get_origin(argument) in (list, dict) and len(inner) > position:
            return inner[position]
    inner = typing.get_args(hint)
    return inner[position] if typing.get_origin(hint) in (list, dict) and len(inner) > position else None


def _enum(hint: Any) -> list[Any] | None:
    for argument in (hint, *typing.get_args(hint)):
        if inspect.isclass(argument) and issubclass(argument, enum.Enum):
            return [item.value for item in argument]
        if typing.get_origin(argument) in (typing.Union, types.UnionType) and argument is not hint:
            return _enum(argument)
    return None


def _tidy(schema: Json) -> Json:
    for value in schema["properties"].values():
        if value.get("additionalProperties") is False:
            _tidy(value)
    if not schema["required"]:
        del schema["required"]
    return schema


def document(namespace: str) -> Json:
    distribution, version, api, module, kinds = SOURCES[namespace]
    installed = importlib.metadata.version(distribution)
    if installed != version:
        raise SystemExit(f"{distribution} {version} is wanted, and {installed} is installed")
    reader = Reader(module)
    resources = {f"{namespace}/{kind}": reader.reference(getattr(reader.models, name)) for kind, name in kinds.items()}
    for reference in resources.values():
        definition = reader.found[reference["$ref"].rpartition("/")[2]]
        definition["properties"] = {k: v for k, v in definition["properties"].items() if k not in _OF_TEMPLATES}
    return {
        "$comment": f"From the models of {distribution} {version} (PyPI, MIT licence, Microsoft Corporation), which "
        "are generated from https://github.com/Azure/azure-rest-api-specs; written by extract.py",
        "apiVersion": api,
        "resources": resources,
        "$defs": dict(sorted(reader.found.items())),
    }


if __name__ == "__main__":
    for namespace in SOURCES:
        text = json.dumps(document(namespace), indent=1, ensure_ascii=False)
        (HERE / f"{namespace}.json").write_text(text + "\n", encoding="utf-8")
        print(namespace, len(text))
