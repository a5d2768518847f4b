"""What is installed on this machine, and whether it is as a deploy needs it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pys_multi_tools import provider as providers_
from pys_multi_tools.deployment import Finding
from pys_multi_tools.errors import ProviderError, ToolError
from pys_multi_tools.pipeline import Loaded, load, place


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderInfo:
    """An installed provider. error: why it does not load, empty when it does; the rest is empty then."""

    name: str
    distribution: str
    version: str
    triggers: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    error: str = ""


def providers() -> tuple[ProviderInfo, ...]:
    """Return every installed provider with what it can do, or why it does not load."""
    found: list[ProviderInfo] = []
    for name, entry in providers_.installed().items():
        distribution = entry.dist.name if entry.dist else ""
        version = entry.dist.version if entry.dist else ""
        info = ProviderInfo(name=name, distribution=distribution, version=version)
        try:
            capabilities = providers_.load(name).capabilities
        except ProviderError as exc:
            found.append(replace(info, error=exc.what))
            continue
        found.append(
            replace(
                info,
                triggers=tuple(sorted(capabilities.triggers)),
                resources=tuple(sorted(capabilities.resources)),
                features=tuple(sorted(capabilities.features)),
            )
        )
    return tuple(found)


def doctor(
    root: str | Path = ".",
    stage: str | None = None,
    env: Mapping[str, str] = os.environ,
    clouds: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> tuple[Finding, ...]:
    """Look at this machine, the project and each provider, and return what is right and what to do else."""
    findings = [_python(), _uv()]
    loaded: Loaded | None = None
    try:
        loaded = load(root, stage, env, flags)
        text = f"{loaded.reference} defines {len(loaded.service.functions)} functions, stage {loaded.project.stage}"
        findings.append(Finding(subject="project", ok=True, text=text))
    except ToolError as exc:
        findings.append(_failed("project", exc))
    names = clouds or (loaded.project.settings.cloud if loaded else tuple(providers_.installed()))
    for name in dict.fromkeys(names):
        try:
            if loaded:
                [placement] = place(loaded, [name])
                findings += placement.provider.doctor(placement.deployment)
            else:
                findings += providers_.load(name).doctor(None)
        except ToolError as exc:
            findings.append(_failed(name, exc))
    return tuple(findings)


def _python() -> Finding:
    version = platform.python_version()
    supported = (3, 11) <= tuple(map(int, version.split(".")[:2])) <= (3, 14)
    hint = "" if supported else "use Python 3.11 to 3.14"
    return Finding(subject="python", ok=supported, text=f"{platform.python_implementation()} {version}", hint=hint)


def _uv() -> Finding:
    try:
        from uv import find_uv_bin

        return Finding(subject="uv", ok=True, text=find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
        hint = "" if found else "pip install uv: it installs the dependencies of a bundle"
        return Finding(subject="uv", ok=found is not None, text=found or "not found", hint=hint)


def _failed(subject: str, exc: ToolError) -> Finding:
    text = f"{exc.where}: {exc.what}" if exc.where else exc.what
    return Finding(subject=subject, ok=False, text=text, hint=exc.hint)
