"""What an artefact must run on. A provider states it; the bundle never asks which cloud it is."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

System = Literal["linux", "macos", "windows"]
Architecture = Literal["x86_64", "aarch64"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The runtime that a provider puts an artefact on.

    provider: name of the provider, written into the artefact.
    python: minor version, "3.13".
    glibc: oldest glibc it may meet, such as (2, 28); None stands for the one of this very host.
    preinstalled: distributions that the runtime already carries, name → version. They are left out where
        that version satisfies every requirement.
    max_zip_bytes, max_unzipped_bytes: limits of the platform; None is "no limit".
    runtime_modules: dotted names of the provider's modules that ship, such as
        "pys_multi_providers.local.runtime"; the ``__init__`` of every parent ships with them.
    files: entry files that the provider renders, path in the bundle → bytes.
    environment: variables that the runtime itself sets, for the import before the upload.
    """

    provider: str
    python: str
    system: System
    architecture: Architecture
    glibc: tuple[int, int] | None = None
    preinstalled: Mapping[str, str] = field(default_factory=dict)
    max_zip_bytes: int | None = None
    max_unzipped_bytes: int | None = None
    runtime_modules: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_host(self) -> bool:
        """Whether it is this machine, so that what is built here runs there."""
        return self.glibc is None and (self.system, self.architecture) == (host_system(), host_architecture())

    def to_json(self) -> dict[str, Any]:
        """What decides which wheels fit, as JSON values: for records and cache keys."""
        return {
            "provider": self.provider,
            "python": self.python,
            "system": self.system,
            "architecture": self.architecture,
            "glibc": ".".join(map(str, self.glibc)) if self.glibc else None,
            "preinstalled": dict(sorted(self.preinstalled.items())),
        }


def host_target(
    provider: str,
    *,
    python: str | None = None,
    runtime_modules: tuple[str, ...] = (),
    files: Mapping[str, bytes] | None = None,
) -> Target:
    """The target that this machine is. ``python`` defaults to the version of the running interpreter."""
    return Target(
        provider=provider,
        python=python or f"{sys.version_info[0]}.{sys.version_info[1]}",
        system=host_system(),
        architecture=host_architecture(),
        runtime_modules=runtime_modules,
        files=files or {},
    )


def host_system() -> System:
    """The system of this machine."""
    if sys.platform == "darwin":
        return "macos"
    return "windows" if sys.platform == "win32" else "linux"


def host_architecture() -> Architecture:
    """The architecture of this machine, in the one spelling used here."""
    return "aarch64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def host_glibc() -> tuple[int, int] | None:
    """The glibc of this machine; None on musl, macOS and Windows."""
    name, version = platform.libc_ver()
    if name != "glibc":
        return None
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
