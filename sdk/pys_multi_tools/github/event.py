"""What happened on GitHub, as the runner tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pys_multi_tools.errors import ToolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event that runs a workflow.

    name: such as "push" or "pull_request"; action: of a pull request, such as "synchronize"; number: of the pull
    request, 0 for none; fork: whether it comes from another repository; base, head: ids of commits, may be empty.
    """

    name: str
    action: str = ""
    number: int = 0
    fork: bool = False
    base: str = ""
    head: str = ""
    head_branch: str = ""

    @property
    def closed(self) -> bool:
        """Whether a pull request was closed or merged."""
        return self.action == "closed"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Event:
        """The event of this run. Raises ToolError for a file that is none."""
        name, path = environment.get("GITHUB_EVENT_NAME", ""), environment.get("GITHUB_EVENT_PATH", "")
        document: Any = {}
        if path:
            try:
                with open(path, encoding="utf-8") as file:
                    document = json.load(file)
            except (OSError, ValueError) as exc:
                raise ToolError("the event cannot be read", where="GITHUB_EVENT_PATH") from exc
        request = document.get("pull_request") if isinstance(document, dict) else None
        if not isinstance(request, dict):
            before = document.get("before", "") if isinstance(document, dict) else ""
            return cls(name=name, base=_commit(before), head=environment.get("GITHUB_SHA", ""))
        head, base, number = request.get("head"), request.get("base"), request.get("number")
        if not isinstance(head, dict) or not isinstance(base, dict) or not isinstance(number, int):
            raise ToolError("the event is not of the published form", where="GITHUB_EVENT_PATH")
        # A fork that was deleted has no repository any more, and is foreign all the same.
        own, other = (base.get("repo") or {}).get("full_name"), (head.get("repo") or {}).get("full_name")
        return cls(
            name=name,
            action=str(document.get("action", "")),
            number=number,
            fork=own is None or own != other,
            base=_commit(base.get("sha", "")),
            head=_commit(head.get("sha", "")),
            head_branch=str(head.get("ref", "")),
        )


def _commit(text: object) -> str:
    """A commit's id; of the first push of a branch it is all zeros, which is none."""
    sha = str(text)
    return sha if len(sha) in (40, 64) and set(sha) <= set("0123456789abcdef") and set(sha) != {"0"} else ""
