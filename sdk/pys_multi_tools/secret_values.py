"""References to secrets that any machine can follow, env:NAME and file:PATH, → their values, when a deploy needs them.

Providers add schemes of their own; the values are read here and shown nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pys_multi.model import Service
from pys_multi_tools.deployment import Deployment, Problem
from pys_multi_tools.errors import ProviderError

#: The schemes of references that are followed here.
SCHEMES = ("env", "file")


def granted(service: Service) -> list[str]:
    """The secrets that some function was granted; the others nobody can read."""
    secrets = {resource.name for resource in service.resources if resource.kind == "secret"}
    return sorted({grant.resource for function in service.functions for grant in function.grants} & secrets)


def resolve(
    references: Mapping[str, str], root: Path, environment: Mapping[str, str] = os.environ, *, strict: bool = True
) -> dict[str, str]:
    """The value of each reference. Raises ProviderError that names the first one without a value, or leaves those out
    where that is not ``strict``."""
    found = {}
    for name, reference in references.items():
        try:
            found[name] = value_of(name, reference, root, environment)
        except ProviderError:
            if strict:
                raise
    return found


def value_of(name: str, reference: str, root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The value of the secret ``name``. root: where relative paths begin. Raises ProviderError where it has none."""
    scheme, _, rest = reference.partition(":")
    where = f"secret {name}"
    if scheme == "env":
        if not environment.get(rest):
            raise ProviderError(f"the variable {rest} is not set", where=where, hint=f"export {rest}, and run it again")
        return environment[rest]
    if scheme == "file":
        return _read(root / Path(rest).expanduser(), where)
    hint = "this machine knows env:NAME and file:PATH"
    raise ProviderError(f"a reference of scheme {scheme!r} is not known here", where=where, hint=hint)


def problems(
    names: Iterable[str],
    references: Mapping[str, str],
    sources: Mapping[str, str],
    root: Path,
    environment: Mapping[str, str] = os.environ,
) -> list[Problem]:
    """Which of the secrets have no reference, or one that leads nowhere. sources: where settings were written."""
    found = []
    for name in names:
        if name not in references:
            hint = f'write {name} = "env:{name}" under [tool.pys-multi.secrets]'
            found.append(Problem(where=f"secret {name}", what="nothing says where its value comes from", hint=hint))
            continue
        try:
            value_of(name, references[name], root, environment)
        except ProviderError as error:
            where = sources.get(f"secrets.{name}", error.where)
            found.append(Problem(where=where, what=f"secret {name}: {error.what}", hint=error.hint))
    return found


def misplaced(deployment: Deployment, place: Callable[[str, str], object], hint: str) -> Iterator[Problem]:
    """The secrets that were granted and whose references a cloud has no place for.

    place: (name, reference) → where it is there; raises ValueError, which says what is wrong. hint: the cloud's own
    references.
    """
    references = deployment.project.settings.secrets
    for name in granted(deployment.service):
        try:
            place(name, references.get(name, ""))
        except ValueError as error:
            variable = name.upper().replace("-", "_")
            yield Problem(
                where=deployment.project.sources.get(f"secrets.{name}") or f"secrets.{name}",
                what=f"secret {name!r} {error}",
                hint=f'write {name} = "env:{variable}" (read when deploying) or {hint} into [tool.pys-multi.secrets]',
            )


def _read(path: Path, where: str) -> str:
    try:
        # The line end that editors put at the end of a file is not part of the secret.
        value = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        hint = "write the secret into that file, or name another one"
        raise ProviderError(f"{path} cannot be read: {reason}", where=where, hint=hint) from None
    if not value:
        raise ProviderError(f"{path} is empty", where=where, hint="write the secret into that file")
    return value
