"""Which Python an instance runs on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pys_multi_providers.local.doctor import find_python
from pys_multi_tools.errors import ProviderError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYS_MULTI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_a_python_that_only_pyenv_knows_is_found(home: Path) -> None:
    # The shims that pyenv puts on PATH fail for a version that is not selected.
    python = home / ".pyenv" / "versions" / "9.9.1" / "bin" / "python9.9"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 9 9 1 final 0 cpython\n")
    python.chmod(0o755)
    assert find_python("9.9") == str(python)


def test_the_own_version_is_the_interpreter_below_the_virtual_environment(home: Path) -> None:
    found = find_python(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert found == sys._base_executable  # type: ignore[attr-defined]


def test_a_python_that_is_not_here_is_said_with_the_way_out(home: Path) -> None:
    with pytest.raises(ProviderError, match=r"there is no Python 9\.8 on this machine") as caught:
        find_python("9.8")
    assert "uv python install 9.8" in caught.value.hint
