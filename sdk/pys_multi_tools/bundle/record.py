"""What an artefact was made from, and its software bill of materials: both the same for the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pys_multi_tools.bundle.bytecode import Interpreter
from pys_multi_tools.bundle.inputs import Inputs
from pys_multi_tools.bundle.layer import Layer
from pys_multi_tools.target import Target

#: CycloneDX; 1.6 is what current readers take.
SPEC_VERSION = "1.6"


def tool_versions() -> dict[str, str]:
    """What made the artefact. The compressor's version decides its bytes."""
    return {name: _version(name) for name in ("pys-multi", "uv", "deflate")}


def record(
    *,
    build_id: str,
    app: str,
    service: str,
    target: Target,
    inputs: Inputs,
    layer: Layer,
    interpreter: Interpreter | None,
) -> dict[str, Any]:
    """The inputs of an artefact as JSON values."""
    return {
        "schema_version": 1,
        "build_id": build_id,
        "service": service,
        "app": app,
        "target": target.to_json(),
        "tool": tool_versions(),
        "bytecode": f"CPython {interpreter.version}" if interpreter else None,
        "dependencies": {
            "from": inputs.kind,
            "locked": inputs.locked,
            "extras": list(inputs.extras),
            "groups": list(inputs.groups),
            "files": inputs.describe(),
        },
        "distributions": [
            {key: package[key] for key in ("name", "version", "sha256", "local")} for package in layer.packages
        ],
        "carried_by_target": list(layer.carried),
    }


def sbom(*, service: str, build_id: str, packages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The CycloneDX document. No time and no serial number: those would differ from build to build."""
    root = f"service:{service}"
    refs = {package["name"]: f"pkg:pypi/{package['name']}@{package['version']}" for package in packages}
    sdk = f"pkg:pypi/pys-multi@{_version('pys-multi')}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": root, "name": service, "version": build_id},
            "tools": {"components": [{"type": "application", "name": "pys-multi", "version": _version("pys-multi")}]},
        },
        "components": [
            _component("pys-multi", _version("pys-multi"), sdk, "Apache-2.0", ""),
            *(
                _component(p["name"], p["version"], refs[p["name"]], p["license"], p["sha256"], local=p["local"])
                for p in packages
            ),
        ],
        "dependencies": [
            {"ref": root, "dependsOn": sorted([sdk, *refs.values()])},
            *({"ref": refs[p["name"]], "dependsOn": sorted(refs[name] for name in p["requires"])} for p in packages),
        ],
    }


def _component(name: str, number: str, ref: str, licence: str, digest: str, *, local: bool = False) -> dict[str, Any]:
    component: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": name, "version": number}
    if not local:  # a project of this repository is on no index
        component["purl"] = ref
    if licence:
        component["licenses"] = [{"license": {"name": licence}}]
    if digest:
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return component


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
