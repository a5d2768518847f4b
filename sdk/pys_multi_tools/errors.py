"""Every error that the tools raise on purpose. A message says where, what, and what next.

ToolError
├── SettingsError      settings file, environment or flag
├── DiscoveryError     the user's module or its App
├── CheckError         the service cannot run as defined; carries every problem
├── RenderError        a template
├── BundleError        the artefact
├── ProviderError      the provider is missing, broken, or refused the request
└── DeployError        a deploy that did not end serving
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pys_multi_tools.deployment import Problem


class ToolError(Exception):
    """Base of all errors of the tools; ``str()`` is the whole message for a person.

    where: the file and line, function, resource or endpoint the message is about; may be empty.
    what: one sentence that says what is wrong.
    hint: what to do next; may be empty.
    detail: long text shown below the message, such as the user's own traceback.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "", detail: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        self.detail = detail
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.hint:
            text += f"\n  → {self.hint}"
        if self.detail:
            text += f"\n{self.detail}"
        return text


class SettingsError(ToolError):
    """A setting is unknown, of the wrong type, or refers to what does not exist."""

    exit_code = 2


class DiscoveryError(ToolError):
    """The user's module did not import, or holds no App."""


class RenderError(ToolError):
    """A template refers to a value that its view does not have, or is not valid Jinja."""


class BundleError(ToolError):
    """The artefact cannot be built, or would not run on its target."""


class ProviderError(ToolError):
    """A provider is not installed, does not import, or its cloud refused a request."""


class DeployError(ToolError):
    """The deploy ended and the new build is not serving."""


class CheckError(ToolError):
    """The service cannot run on the provider as it is defined."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found", detail=lines)


@contextmanager
def translated(into: Callable[[Exception], ProviderError]) -> Iterator[None]:
    """The edge of a provider's ``client.py``: whatever a cloud's library raises leaves as what it is made into."""
    try:
        yield
    except ProviderError:
        raise
    except Exception as error:
        raise into(error) from error
