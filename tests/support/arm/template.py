"""An ARM template as Resource Manager reads it: parameters, resources, what they hang on, outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.arm.expressions import PURE, Function, InvalidTemplate, evaluate, is_expression

Json = dict[str, Any]

_TOP = {"$schema", "contentVersion", "metadata", "parameters", "variables", "resources", "outputs"}
#: "Understand the structure and syntax of ARM templates": what a resource may have; the rest is its type's.
_COMMON = {"type", "apiVersion", "name", "dependsOn", "scope", "condition", "comments", "metadata"}
_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"


class Pending(Exception):
    """A value hangs on a resource that is not there yet."""


class Unresolved(Exception):
    """A value that only a deployment knows."""


@dataclass(frozen=True)
class Context:
    """Where a template is deployed."""

    subscription: str
    tenant: str
    group: str
    location: str
    suffixes: Mapping[str, str]
    deployer: str
    group_tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def group_id(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"


@dataclass(frozen=True)
class Resource:
    """A resource of a template. body: as it is written, with expressions. needs: ids in lower case."""

    id: str
    type: str
    name: str
    api: str
    body: Json
    needs: frozenset[str]


class Template:
    """One template with its parameters. Raises InvalidTemplate."""

    def __init__(self, text: Json, parameters: Mapping[str, Any], context: Context) -> None:
        if unknown := set(text) - _TOP:
            raise InvalidTemplate(f"a template has no {sorted(unknown)}")
        if text.get("$schema") != _SCHEMA or not text.get("contentVersion"):
            raise InvalidTemplate("$schema or contentVersion is not right")
        self.text, self.context = text, context
        self.parameters = self._given(parameters)
        self._variables: Mapping[str, Any] = text.get("variables", {})
        self.resources = [self._resource(entry) for entry in text["resources"]]
        self.by_id: dict[str, Resource] = {}
        for resource in self.resources:
            if self.by_id.setdefault(resource.id.lower(), resource) is not resource:
                raise InvalidTemplate(f"The resource '{resource.id}' is defined multiple times in a template.")
        for resource in self.resources:
            for need in resource.needs:
                if need not in self.by_id:
                    raise InvalidTemplate(f"The resource '{need}' is not defined in the template.")

    def _given(self, parameters: Mapping[str, Any]) -> Json:
        known = self.text.get("parameters", {})
        for name, entry in parameters.items():
            if name not in known:
                raise InvalidTemplate(f"The template parameters '{name}' in the parameters file are not valid.")
            if set(entry) != {"value"}:
                raise InvalidTemplate(f"parameter {name} is {sorted(entry)}, not a value")
        found = {}
        for name, definition in known.items():
            if name not in parameters and "defaultValue" not in definition:
                raise InvalidTemplate(f"The value for the template parameter '{name}' is not provided.")
            value = parameters[name]["value"] if name in parameters else self.evaluate(definition["defaultValue"])
            kinds = {"string": str, "int": int, "bool": bool, "object": dict, "array": list, "securestring": str}
            if not isinstance(value, kinds[definition["type"].lower()]):
                raise InvalidTemplate(f"parameter {name} is not {definition['type']}")
            if not definition.get("minLength", 0) <= len(value) <= definition.get("maxLength", 10**6):
                raise InvalidTemplate(f"parameter {name} is not of the length that it must be")
            if "allowedValues" in definition and value not in definition["allowedValues"]:
                raise InvalidTemplate(f"parameter {name} is not among {definition['allowedValues']}")
            found[name] = value
        return found

    def _resource(self, entry: Json) -> Resource:
        missing = {"type", "apiVersion", "name"} - set(entry)
        if missing:
            raise InvalidTemplate(f"a resource lacks {sorted(missing)}: {entry.get('type')} {entry.get('name')}")
        if "copy" in entry:
            raise InvalidTemplate("copy is not known here")
        kind, api = entry["type"], entry["apiVersion"]
        name = self.evaluate(entry["name"])
        scope = self.evaluate(entry["scope"]) if "scope" in entry else self.context.group_id
        if not scope.startswith("/"):
            scope = f"{self.context.group_id}/providers/{scope}"
        id = scope + self._path(kind, name.split("/"))
        return Resource(id, kind, name, api, entry, frozenset(self._needs(entry)))

    def _needs(self, entry: Json) -> Iterator[str]:
        for given in entry.get("dependsOn", ()):
            need = self.evaluate(given)
            if not need.startswith("/"):
                raise InvalidTemplate(f"dependsOn {given!r} is no resource id")
            yield need.lower()

    @staticmethod
    def _path(kind: str, names: list[str]) -> str:
        """The end of an id: /providers/<namespace>/<type>/<name>/…"""
        namespace, *types = kind.split("/")
        if len(types) != len(names) or not all(names):
            raise InvalidTemplate(f"'{'/'.join(names)}' for type '{kind}' has incorrect segment lengths.")
        return f"/providers/{namespace}/" + "/".join(f"{t}/{n}" for t, n in zip(types, names, strict=True))

    # ---- evaluation

    def evaluate(self, value: Any, runtime: Mapping[str, Function] | None = None) -> Any:
        return evaluate(value, {**PURE, **self._own(), **(runtime or {})})

    def body(self, resource: Resource, runtime: Mapping[str, Function]) -> Json:
        """What is put for a resource. Raises Pending."""
        found = {key: value for key, value in resource.body.items() if key not in _COMMON}
        return dict(self.evaluate(found, runtime))

    def foreseen(self, resource: Resource) -> Json:
        """What is put for a resource as far as what-if knows it: what has reference() in it stays as it is written."""

        def unresolved(*_: Any) -> Any:
            raise Unresolved

        def seen(value: Any) -> Any:
            if isinstance(value, str) and is_expression(value):
                try:
                    return self.evaluate(value, {"reference": unresolved})
                except Unresolved:
                    return value
            if isinstance(value, list):
                return [seen(item) for item in value]
            if isinstance(value, dict):
                return {seen(key): seen(item) for key, item in value.items()}
            return self.evaluate(value)

        return {key: seen(value) for key, value in resource.body.items() if key not in _COMMON}

    def outputs(self, runtime: Mapping[str, Function]) -> Json:
        return {
            name: {"type": entry["type"].capitalize(), "value": self.evaluate(entry["value"], runtime)}
            for name, entry in self.text.get("outputs", {}).items()
        }

    def _own(self) -> dict[str, Function]:
        context = self.context

        def parameters(name: str) -> Any:
            if name not in self.parameters:
                raise InvalidTemplate(f"The template parameter '{name}' is not found.")
            return self.parameters[name]

        def variables(name: str) -> Any:
            if name not in self._variables:
                raise InvalidTemplate(f"The template variable '{name}' is not found.")
            return self.evaluate(self._variables[name])

        def resource_id(*parts: str) -> str:
            first = next((number for number, part in enumerate(parts) if "/" in part), None)
            if first not in (0, 1, 2):
                raise InvalidTemplate(f"Unable to evaluate template language function 'resourceId': {parts}")
            group = context.group if first == 0 else parts[first - 1]
            subscription = parts[0] if first == 2 else context.subscription
            scope = f"/subscriptions/{subscription}/resourceGroups/{group}"
            return scope + self._path(parts[first], list(parts[first + 1 :]))

        def no_reference(*_: Any) -> Any:
            raise InvalidTemplate("The template function 'reference' is not expected at this location.")

        return {
            "parameters": parameters,
            "variables": variables,
            "resourceid": resource_id,
            "subscriptionresourceid": lambda kind, *names: (
                f"/subscriptions/{context.subscription}" + self._path(kind, list(names))
            ),
            "tenantresourceid": lambda kind, *names: self._path(kind, list(names)),
            "extensionresourceid": lambda base, kind, *names: base + self._path(kind, list(names)),
            "resourcegroup": lambda: {
                "id": context.group_id,
                "name": context.group,
                "type": "Microsoft.Resources/resourceGroups",
                "location": context.location,
                "tags": dict(context.group_tags),
                "properties": {"provisioningState": "Succeeded"},
            },
            "subscription": lambda: {
                "id": f"/subscriptions/{context.subscription}",
                "subscriptionId": context.subscription,
                "tenantId": context.tenant,
                "displayName": "tests",
            },
            "tenant": lambda: {"tenantId": context.tenant},
            "environment": lambda: {"suffixes": dict(context.suffixes)},
            "deployer": lambda: {"objectId": context.deployer, "tenantId": context.tenant},
            "reference": no_reference,
        }
