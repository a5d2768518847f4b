"""What uv has installed, read from its metadata (`*.dist-info`)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement

from pys_multi_tools.bundle.resolve import normal
from pys_multi_tools.target import Target

_MACHINES = {
    ("macos", "aarch64"): "arm64",
    ("windows", "x86_64"): "AMD64",
    ("windows", "aarch64"): "ARM64",
}
# sys_platform, platform_system and os_name.
_PLATFORMS = {
    "linux": ("linux", "Linux", "posix"),
    "macos": ("darwin", "Darwin", "posix"),
    "windows": ("win32", "Windows", "nt"),
}


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution. name: normalised. files: its paths, as RECORD lists them. tags: of its wheel."""

    name: str
    version: str
    info: str
    requires: tuple[str, ...]
    license: str
    files: frozenset[str]
    pure: bool
    tags: frozenset[str]


def read_all(folder: Path) -> dict[str, Distribution]:
    """The distributions installed in a folder, by name."""
    found = (_read(info) for info in sorted(folder.glob("*.dist-info")))
    return {distribution.name: distribution for distribution in found}


def marker_environment(target: Target) -> dict[str, str]:
    """What environment markers say on the target."""
    platform, system, os_name = _PLATFORMS[target.system]
    environment = {key: str(value) for key, value in default_environment().items()}
    return {
        **environment,
        "python_version": target.python,
        "python_full_version": f"{target.python}.0",
        "implementation_version": f"{target.python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": platform,
        "platform_system": system,
        "os_name": os_name,
        "platform_machine": _MACHINES.get((target.system, target.architecture), target.architecture),
        "platform_release": "",
        "platform_version": "",
        "extra": "",
    }


def requirements_of(lines: Iterable[str], environment: Mapping[str, str]) -> list[Requirement]:
    """The requirements that hold on the target; those of extras that nobody asked for do not."""
    result = []
    for line in lines:
        text = re.split(r"\s--", line)[0].strip()
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # an option of pip, a path, a URL
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            result.append(requirement)
    return result


def carried(distributions: Mapping[str, Distribution], direct: Iterable[str], target: Target) -> frozenset[str]:
    """Names that the runtime has in a version that satisfies everybody who asks for them."""
    environment = marker_environment(target)
    lines = [*direct, *(line for one in distributions.values() for line in one.requires)]
    requirements = requirements_of(lines, environment)
    result = set()
    for name, version in target.preinstalled.items():
        asked = [requirement for requirement in requirements if normal(requirement.name) == normal(name)]
        fits = all(
            requirement.specifier.contains(version, prereleases=True) and not requirement.url for requirement in asked
        )
        if normal(name) in distributions and fits:
            result.add(normal(name))
    return frozenset(result)


def brought(requires: Mapping[str, Iterable[str]], roots: Iterable[str]) -> frozenset[str]:
    """The roots and the names of all that they ask for, as far as ``requires`` tells (name → requirements).

    Whatever the markers and extras: one distribution too many is better than one too few.
    """
    seen: set[str] = set()
    waiting = [normal(name) for name in roots]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            lines = [line.partition(";")[0] for line in requires.get(name, ())]
            waiting += [normal(one.name) for one in requirements_of(lines, {})]
    return frozenset(seen)


def _read(info: Path) -> Distribution:
    metadata = HeaderParser().parsestr((info / "METADATA").read_text("utf-8", errors="replace"))
    record = info / "RECORD"
    rows = csv.reader(record.read_text("utf-8").splitlines()) if record.is_file() else ()
    wheel = info / "WHEEL"
    text = wheel.read_text("utf-8", errors="replace") if wheel.is_file() else ""
    return Distribution(
        name=normal(metadata["Name"]),
        version=metadata["Version"],
        info=info.name,
        requires=tuple(metadata.get_all("Requires-Dist", ())),
        license=_license(metadata),
        files=frozenset(row[0] for row in rows if row),
        pure="root-is-purelib: true" in text.lower(),
        tags=frozenset(re.findall(r"^Tag:\s*(\S+)", text, re.MULTILINE)),
    )


def _license(metadata: Message) -> str:
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression).strip()
    text = str(metadata.get("License") or "").strip()
    if text and "\n" not in text and len(text) < 60 and text != "UNKNOWN":
        return text
    classifiers = [c for c in metadata.get_all("Classifier", ()) if c.startswith("License ::")]
    return classifiers[0].rpartition(" :: ")[2] if classifiers else ""
