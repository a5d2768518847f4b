"""CloudFormation's own reading of a template, as far as templates of pys-multi go.

Parses JSON strictly (a repeated name is an error) and evaluates the functions as the user guide describes them
("Intrinsic function reference", 2026-11).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Region": "eu-central-1",
    "AWS::Partition": "aws",
    "AWS::StackName": "stack",
}


class Template:
    """A template with values for its parameters; references to resources become ``<id>`` and ``<id.attribute>``."""

    def __init__(self, text: str, parameters: Mapping[str, str] | None = None) -> None:
        self.document: Json = json.loads(text, object_pairs_hook=_unique)
        defaults = {name: entry.get("Default", f"<{name}>") for name, entry in self.document["Parameters"].items()}
        self._known = {**PSEUDO, **defaults, **(parameters or {})}
        self.resources: Json = self.document["Resources"]

    def properties(self, id: str) -> Json:
        """The properties of a resource, evaluated."""
        found: Json = self.value(self.resources[id].get("Properties", {}))
        return found

    def of_type(self, kind: str) -> dict[str, Json]:
        """Logical id → properties of the resources of one type."""
        return {id: self.properties(id) for id, entry in self.resources.items() if entry["Type"] == kind}

    def value(self, value: Any) -> Any:
        """A value with its functions evaluated. Raises LookupError for what the template does not have."""
        if isinstance(value, str):
            assert "{{resolve:" not in value, "a dynamic reference"
            return value
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        match value:
            case {"Ref": str(name)}:
                return self._reference(name)
            case {"Fn::GetAtt": [str(id), str(attribute)]}:
                return self._reference(f"{id}.{attribute}")
            case {"Fn::Join": [str(separator), list(parts)]}:
                return separator.join(self.value(part) for part in parts)
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{([^}]*)\}", self._substituted, text)
        assert not any(name.startswith("Fn::") or name == "Ref" for name in value), value
        return {name: self.value(item) for name, item in value.items()}

    def references(self) -> set[str]:
        """Every logical id that something refers to."""
        found: set[str] = set()

        def visit(value: Any) -> None:
            if isinstance(value, list):
                for item in value:
                    visit(item)
            elif isinstance(value, dict):
                if "Ref" in value:
                    found.add(value["Ref"])
                elif "Fn::GetAtt" in value:
                    found.add(value["Fn::GetAtt"][0])
                elif "Fn::Sub" in value:
                    found.update(name.partition(".")[0] for name in re.findall(r"\$\{([^}!][^}]*)\}", value["Fn::Sub"]))
                for item in value.values():
                    visit(item)

        visit(self.document)
        return found

    def _substituted(self, match: re.Match[str]) -> str:
        name = match[1]
        return f"${{{name[1:]}}}" if name.startswith("!") else str(self._reference(name))

    def _reference(self, name: str) -> str:
        if name in self._known:
            return self._known[name]
        if name.partition(".")[0] not in self.resources:
            raise LookupError(f"the template has no {name}")
        return f"<{name}>"


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    assert len(found) == len(pairs), f"a name stands twice: {[name for name, _ in pairs]}"
    return found
