"""What differs between a resource as it must be and as it is; only fields that we set count. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pys_multi_providers.gcp.document import Unknown

#: Path of a field, what it is, what it must be.
Difference = tuple[str, Any, Any]

#: Free keys: as a whole they are what we say, or, of labels, what we say and what others added.
_WHOLE = frozenset({"environmentVariables", "custom_attributes"})
#: Scheduler adds headers of its own.
SHARED = frozenset({"labels", "headers"})
#: Lists whose order says nothing.
_UNORDERED = frozenset({"event_types", "secretEnvironmentVariables", "matchesPrefix", "matchesSuffix"})
_DURATION = re.compile(r"(-?\d+)(?:\.(\d{1,9}))?s")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(k|M|G|Ki|Mi|Gi)?B?")
_UNITS = {"": 1, "k": 10**3, "M": 2**20, "G": 2**30, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def differences(
    wanted: Mapping[str, Any], live: Mapping[str, Any], *, ignored: frozenset[str] = frozenset()
) -> list[Difference]:
    """The fields that differ, each as deep as it is a message of its own. ignored: paths that say nothing."""
    found: list[Difference] = []
    for name, value in wanted.items():
        _compare(name, name, value, live.get(name), ignored, found)
    return found


def _compare(name: str, path: str, wanted: Any, live: Any, ignored: frozenset[str], found: list[Difference]) -> None:
    if path in ignored or isinstance(wanted, Unknown):
        return
    if isinstance(wanted, Mapping) and name not in _WHOLE and name not in SHARED and wanted:
        if live is None:
            if any(value is not None for value in wanted.values()):
                found.append((path, None, wanted))
            return
        for key, value in wanted.items():
            inner = live.get(key) if isinstance(live, Mapping) else None
            _compare(key, f"{path}.{key}", value, inner, ignored, found)
    elif not same(wanted, live, name):
        found.append((path, live, wanted))


def same(wanted: Any, live: Any, name: str = "") -> bool:
    """Whether a live value is what is wanted: defaults may be absent, numbers may be text, durations may be written
    another way, and what we did not set may be anything."""
    if isinstance(wanted, Unknown):
        return True
    if live is None:
        return wanted in (None, "", 0, False) or wanted == {} or wanted == []
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping) or (not wanted and live):
            return False
        if name in _WHOLE and set(wanted) != set(live):
            return False
        return all(same(value, live.get(key), key) for key, value in wanted.items())
    if isinstance(wanted, list | tuple):
        if not isinstance(live, list | tuple) or len(wanted) != len(live):
            return False
        if name in _UNORDERED:
            return all(any(same(one, other) for other in live) for one in wanted)
        return all(same(one, other) for one, other in zip(wanted, live, strict=True))
    if isinstance(wanted, bool) or isinstance(live, bool):
        return bool(wanted == live)
    if wanted == live or str(wanted) == str(live):
        return True
    if not (isinstance(wanted, str) and isinstance(live, str)):
        return False
    if name == "availableMemory":
        return _bytes(wanted) == _bytes(live)
    if name == "availableCpu":
        return _processors(wanted) == _processors(live)
    if name == "projectId":
        return live.isdigit()  # the same project by its number, as the names beside it say
    if name == "location":
        return wanted.upper() == live.upper()
    if (one := _DURATION.fullmatch(wanted)) and (other := _DURATION.fullmatch(live)):
        return _nanoseconds(one) == _nanoseconds(other)
    return _without_project(wanted) == _without_project(live) and wanted.startswith("projects/")


def _nanoseconds(match: re.Match[str]) -> tuple[int, str]:
    return int(match.group(1)), (match.group(2) or "").rstrip("0")


def _bytes(text: str) -> float:
    found = _QUANTITY.fullmatch(text)
    return float(found.group(1)) * _UNITS[found.group(2) or ""] if found else -1.0


def _processors(text: str) -> float:
    try:
        return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)
    except ValueError:
        return -1.0


def _without_project(name: str) -> str:
    """Some services answer with the number of the project where its id was sent."""
    return re.sub(r"^projects/[^/]+/", "", name)


def mask_of(found: list[Difference], depth: int) -> str:
    """The update mask that covers the differences, at most so deep."""
    return ",".join(dict.fromkeys(".".join(path.split(".")[:depth]) for path, _, _ in found))


def masked(body: Mapping[str, Any], mask: str) -> dict[str, Any]:
    """The part of a body that a mask names."""
    found: dict[str, Any] = {}
    for path in mask.split(","):
        source: Any = body
        target = found
        *parents, last = path.split(".")
        for parent in parents:
            source = source[parent]
            target = target.setdefault(parent, {})
        target[last] = source[last]
    return found
