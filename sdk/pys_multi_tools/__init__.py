"""The pipeline as a library: settings, checks, plan, bundle, deploy and observation, without printing or exiting.

    from pys_multi_tools import deploy, load, place

    [placement] = place(load("."), ["local"])
    deployed = deploy(placement)

Importing the package is cheap; each name is loaded when it is first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pys_multi_tools.errors import (
        BundleError,
        CheckError,
        DeployError,
        DiscoveryError,
        ProviderError,
        RenderError,
        SettingsError,
        ToolError,
    )
    from pys_multi_tools.machine import ProviderInfo, doctor, providers
    from pys_multi_tools.pipeline import (
        Deployed,
        Loaded,
        Placement,
        bundle,
        check,
        cost,
        dead_letters,
        deploy,
        destroy,
        invoke,
        load,
        load_deployed,
        logs,
        metrics,
        openapi,
        permissions,
        place,
        plan,
        redrive,
        render,
        rollback,
        status,
        write,
    )
    from pys_multi_tools.project import Project

__all__ = [
    "BundleError",
    "CheckError",
    "DeployError",
    "Deployed",
    "DiscoveryError",
    "Loaded",
    "Placement",
    "Project",
    "ProviderError",
    "ProviderInfo",
    "RenderError",
    "SettingsError",
    "ToolError",
    "bundle",
    "check",
    "cost",
    "dead_letters",
    "deploy",
    "destroy",
    "doctor",
    "invoke",
    "load",
    "load_deployed",
    "logs",
    "metrics",
    "openapi",
    "permissions",
    "place",
    "plan",
    "providers",
    "redrive",
    "render",
    "rollback",
    "status",
    "write",
]


_ELSEWHERE = {"Project": "project", "ProviderInfo": "machine", "doctor": "machine", "providers": "machine"}


class _Package(ModuleType):
    """Some steps bear the name of the module that does them (check, render, bundle, openapi).

    Importing a submodule sets it as an attribute of its package, which would hide the step depending on what
    was imported before; so those attributes are not set. ``from pys_multi_tools.bundle import …`` is not
    concerned: it looks in sys.modules.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = _ELSEWHERE.get(name) or ("errors" if name.endswith("Error") else "pipeline")
        value = getattr(import_module(f"{__name__}.{module}"), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
