"""The Python blocks of the task pages run, one after the other, as a reader would type them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def code_of(page: str) -> str:
    """The Python of a page, everything else left out as empty lines, so that a traceback has the page's lines."""
    lines, inside = [], False
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```python" if fence else inside
    return "\n".join(lines)


@pytest.mark.parametrize("page", ["model.md", "routing.md", "http.md", "events.md", "resources.md"])
def test_the_examples_of_a_page_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(f"docs_{page.removesuffix('.md')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where annotations are looked up
    code = code_of(page)
    assert code.count("assert ") > 3
    exec(compile(code, str(DOCS / page), "exec", dont_inherit=True), vars(module))
