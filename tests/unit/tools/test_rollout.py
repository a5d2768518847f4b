"""`deploy --canary`, `deploy --bake` and `plan --refresh`, before any provider is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pys_multi_tools.cli import main
from pys_multi_tools.cli.deploy import _rollout
from pys_multi_tools.deployment import Rollout

APP = """
from pys_multi import App

app = App("shop")
api = app.function("api")

@api.get("/")
def root() -> str:
    return "hello"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYS_MULTI_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text("[tool.pys-multi]\n")
    return tmp_path


@pytest.mark.parametrize(
    ("canary", "bake", "wanted"),
    [
        (None, "5m", Rollout(steps=(), bake=300)),
        ("10%", "90s", Rollout(steps=(0.1,), bake=90)),
        ("0.5%, 10%,50%", "1h", Rollout(steps=(0.005, 0.1, 0.5), bake=3600)),
    ],
)
def test_shares_and_spans_are_read(canary: str | None, bake: str, wanted: Rollout) -> None:
    assert _rollout(canary, bake) == wanted


@pytest.mark.parametrize(
    "options", [["--canary", share] for share in ("10", "0%", "100%", "50%,10%", "a%", "", "1e1%")]
)
def test_a_share_that_is_none_is_a_usage_error(
    options: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "-C", str(project), *options]) == 2
    assert "--canary" in capsys.readouterr().err


def test_a_span_that_is_none_is_a_usage_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "-C", str(project), "--bake", "soon"]) == 2
    assert "30s, 5m or 1h" in capsys.readouterr().err


def test_a_provider_without_canaries_refuses_one_before_anything_is_built(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "-C", str(project), "--canary", "10%"]) == 1
    said = capsys.readouterr().err
    assert "local: knows no canary" in said
    assert "import:" not in said


def test_a_provider_that_knows_no_drift_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-C", str(project), "--refresh"]) == 1
    assert "knows no drift" in capsys.readouterr().err
