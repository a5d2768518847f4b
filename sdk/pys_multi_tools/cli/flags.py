"""Settings of providers that have a flag of their own, such as ``--region``, on every command that has ``--cloud``.

Which there are is in the metadata of what is installed, so that ``--help`` imports no provider.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from copy import copy
from functools import wraps
from typing import Annotated, Any

import typer

from pys_multi_tools.errors import SettingsError
from pys_multi_tools.provider import flags

#: Setting → value, as this command was given it.
_given: ContextVar[Mapping[str, str]] = ContextVar("_given")


def offered(app: typer.Typer) -> typer.Typer:
    """``app`` again, with the flags of the installed providers on every command that has ``--cloud``."""
    twin = copy(app)
    twin.registered_commands = [copy(command) for command in app.registered_commands]
    for command in twin.registered_commands:
        if command.callback is not None and "cloud" in inspect.signature(command.callback).parameters:
            command.callback = _with_flags(command.callback)
    return twin


def given() -> dict[str, str]:
    """The flags that this command was given: dotted setting → value, for each provider that has such a setting."""
    return {f"{provider}.{name}": value for name, value in _given.get({}).items() for provider in flags()[name]}


def require(clouds: Iterable[str]) -> None:
    """Raises SettingsError for a flag that none of these providers has."""
    known, used = flags(), set(clouds)
    for name in _given.get({}):
        if used.isdisjoint(known[name]):
            raise SettingsError(
                f"is a flag of {' and '.join(known[name])}, and this is about {' and '.join(sorted(used))}",
                where=_option(name),
                hint="leave it out, or name the provider with --cloud",
            )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _with_flags(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The command with one more parameter for each flag; its own options come first where they have the same name."""
    signature = inspect.signature(callback, eval_str=True)
    own = {text for parameter in signature.parameters.values() for text in _options_of(parameter)}
    added = {
        f"flag_{name}": inspect.Parameter(
            f"flag_{name}",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(
                    _option(name), help=f"The setting {name!r} of {' and '.join(providers)}.", metavar="VALUE"
                ),
            ],
        )
        for name, providers in flags().items()
        if _option(name) not in own
    }

    @wraps(callback)
    def run(**values: Any) -> Any:
        found = {key.removeprefix("flag_"): values.pop(key) for key in added}
        _given.set({name: value for name, value in found.items() if value is not None})
        return callback(**values)

    parameters = [*signature.parameters.values(), *added.values()]
    # What Typer reads a command's options from.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options_of(parameter: inspect.Parameter) -> tuple[str, ...]:
    """The names of a parameter's option: those that it says, else its own."""
    for extra in getattr(parameter.annotation, "__metadata__", ()):
        found = tuple(getattr(extra, "param_decls", None) or ())
        if found:
            return found
    return (_option(parameter.name),)
