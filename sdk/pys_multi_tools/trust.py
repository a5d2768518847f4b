"""Whom a cloud lets deploy without a secret: workflows of a GitHub repository, as their tokens name themselves."""

from __future__ import annotations

import re

from pys_multi_tools.errors import ProviderError

#: "OWNER/NAME", or with the ids that subjects carry of repositories made since 2026-07-15.
_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+|[A-Za-z0-9-]+@[0-9]+/[A-Za-z0-9._-]+@[0-9]+")


def github_subject(repository: str, environment: str) -> str:
    """The subject of tokens of one repository's workflows in one environment.

    repository: "OWNER/NAME", or "OWNER@ID/NAME@ID" for one whose subjects carry ids. Raises ProviderError for what is
    no repository.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ProviderError(
            f"{repository!r} is no GitHub repository",
            hint="write OWNER/NAME; for one made since 2026-07-15 OWNER@ID/NAME@ID, with the ids that "
            "`gh api repos/OWNER/NAME --jq '.owner.id, .id'` prints",
        )
    # GitHub escapes the sign that separates the parts of a subject.
    return f"repo:{repository}:environment:{environment.replace(':', '%3A')}"
