"""What a template is about: the resources that it names, as they are called once the end of names is known; pure.

Names in our templates are text, or texts and the parameter ``unique`` put together (expressions.py); the names of role
assignments are made by ARM itself, so that those are known only after a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pys_multi_providers.azure.kinds import KINDS
from pys_multi_providers.azure.names import is_own

Json = dict[str, Any]

#: Type in lower case → the word for it (kinds.py).
WORDS: Mapping[str, str] = {
    **{type.lower(): word for word, type in KINDS.items()},
    "microsoft.alertsmanagement/smartdetectoralertrules": "alert_rule",  # Azure makes it beside the insights
}
_PART = re.compile(r"'((?:[^']|'')*)'|parameters\('unique'\)")
_CALL = re.compile(r"\[(?:concat\((.*)\)|(parameters\('unique'\)))\]", re.DOTALL)


def resources(template: Mapping[str, Any], group: str, unique: str) -> dict[str, Json]:
    """Id in lower case → resource as it is written, of all but role assignments. group: id of the resource group."""
    found = {}
    for resource in template.get("resources", ()):
        if resource["type"] != KINDS["assignment"]:
            found[id_of(group, resource["type"], named(resource["name"], unique)).lower()] = resource
    return found


def named(text: str, unique: str) -> str:
    """A name of the template as it is in the cloud."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    if text.startswith("[["):
        return text[1:]
    match = _CALL.fullmatch(text)
    if match is None:
        return text
    return "".join(joined(match.group(1) or match.group(2), unique))


def joined(arguments: str, unique: str) -> Iterator[str]:
    """The arguments of a concat."""
    for part in _PART.finditer(arguments):
        yield unique if part.group(1) is None else part.group(1).replace("''", "'")


def id_of(group: str, type: str, name: str) -> str:
    """The id of a resource of a group."""
    namespace, *types = type.split("/")
    pairs = zip(types, name.split("/"), strict=False)
    return f"{group}/providers/{namespace}/" + "/".join(f"{kind}/{part}" for kind, part in pairs)


def split(id: str) -> tuple[str, str, tuple[str, ...]]:
    """(what it extends or is in, type, names) of an id."""
    scope, _, rest = id.rpartition("/providers/")
    namespace, *parts = rest.split("/")
    return scope, "/".join([namespace, *parts[::2]]), tuple(parts[1::2])


def word(type: str) -> str:
    """What a type is called in a plan."""
    return {
        "account": "storage account",
        "blob_service": "blob service",
        "container": "bucket",
        "event_subscription": "event subscription",
        "site": "function",
        "system_topic": "event topic",
        "assignment": "role assignment",
        "publishing": "publishing policy",
        "alert_rule": "alert rule",
    }.get(found := WORDS.get(type.lower(), ""), found) or type


def called(id: str) -> str:
    """What a resource is called for a reader: its kind and name, with what it is of where the name says too little."""
    scope, type, names = split(id)
    kind, name = WORDS.get(type.lower(), ""), names[-1]
    if kind == "assignment":  # its name is a hash
        return f"role assignment on {called(scope)}"
    if kind == "publishing":
        name = "/".join(names[-2:])
    if kind == "container" and is_own(name):
        return f"container {name}"
    return f"{word(type)} {name}"


def at(resource: Mapping[str, Any], path: str) -> Any:
    """What a resource of a template has at a path of what-if; None where it has nothing."""
    place: Any = resource
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(place, Mapping):
            place = next((value for name, value in place.items() if name.lower() == step.lower()), None)
        elif isinstance(place, list) and step.isdigit() and int(step) < len(place):
            place = place[int(step)]
        else:
            return None
    return place
