"""The nearest match for a word that is not allowed: one wording for settings, commands and names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the allowed word that ``word`` was probably meant to be, or None when nothing is close."""
    spelled = {name.lower().replace("_", "-"): name for name in allowed}
    found = difflib.get_close_matches(word.lower().replace("_", "-"), spelled, n=1, cutoff=cutoff)
    return spelled[found[0]] if found else None


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return "did you mean 'x'? Allowed: …" for a hint; no question when nothing is close."""
    names = sorted(allowed)
    listed = f"allowed: {', '.join(names)}" if names else ""
    guess = nearest(word, names)
    return f"did you mean '{guess}'? ({listed})" if guess else listed
