"""References to secrets, followed when a deploy needs their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from pys_multi_tools.secret_values import problems, resolve


def test_secrets_come_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from a file\n")
    references = {"A": "env:THE_A", "B": "file:file", "C": f"file:{tmp_path}/file"}
    found = resolve(references, tmp_path, {"THE_A": "a"})
    assert found == {"A": "a", "B": "from a file", "C": "from a file"}
    assert resolve(references, tmp_path, {}, strict=False) == {"B": "from a file", "C": "from a file"}


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("env:MISSING", "the variable MISSING is not set"),
        ("env:EMPTY", "the variable EMPTY is not set"),
        ("file:none", "cannot be read"),
        ("file:empty", "is empty"),
        ("aws-sm:x", "scheme 'aws-sm' is not known"),
    ],
)
def test_a_secret_without_a_value_is_named(tmp_path: Path, reference: str, what: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (problem,) = problems(["KEY"], {"KEY": reference}, {"secrets.KEY": "file:3"}, tmp_path, {"EMPTY": ""})
    assert problem.where == "file:3"
    assert what in problem.what
    assert "KEY" in problem.what
    (missing,) = problems(["OTHER"], {}, {}, tmp_path, {})
    assert 'OTHER = "env:OTHER"' in missing.hint
