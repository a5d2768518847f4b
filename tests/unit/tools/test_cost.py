"""What a month costs, by numbers that were computed by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pys_multi_tools import pipeline
from pys_multi_tools.cli import main
from pys_multi_tools.cost import Cost, Meter, PriceList, estimate
from pys_multi_tools.errors import SettingsError
from pys_multi_tools.settings import Traffic

APP = """
from pys_multi import App
app = App("shop", public=True)
api = app.function("api", memory=1024)
worker = app.function("worker", memory=512)
@api.get("/")
def hello() -> dict: ...
@worker.every("1 hour")
def look() -> None: ...
"""
PROFILE = "[profile.api]\ncalls = 10_000_000\nduration_ms = 120\ncold_share = 0.01\nstart_ms = 400\n"


def cost(traffic: dict[str, Any], functions: tuple[str, ...] = ("api",), **of_list: Any) -> Cost:
    """At 1 USD for a thousand calls, a hundred of them free, and 2 USD for a second of one unit."""
    one = dict.fromkeys(functions, Decimal(1))
    meters = (
        Meter(name="calls", usd=Decimal(1), per=1000, free=Decimal(100), by_call=one),
        Meter(name="seconds", usd=Decimal(2), by_second=one),
    )
    prices = PriceList(
        **{"as_of": "2026-05", "place": "here", "source": "https://x", "step_ms": 100, "meters": meters, **of_list}
    )
    return estimate(prices, functions, {name: Traffic(**values) for name, values in traffic.items()})


def test_free_units_are_taken_off_once() -> None:
    found = cost({"api": {"calls": 1100, "duration_ms": 100}})
    calls, seconds = found.charges
    assert (calls.used, calls.free, calls.usd) == (1100, 100, 1.0)
    assert (seconds.used, seconds.free, seconds.usd) == (110, 0, 220.0)
    assert found.usd == 221.0
    assert cost({"api": {"calls": 100, "duration_ms": 100}}).charges[0].usd == 0
    both = cost({name: {"calls": 100, "duration_ms": 100} for name in ("api", "worker")}, ("api", "worker"))
    assert both.charges[0].usd == 0.1, "the functions share what is free"


@pytest.mark.parametrize(
    ("duration", "minimum", "seconds"),
    [(100, 0, 0.1), (100.1, 0, 0.2), (1, 0, 0.1), (1, 1000, 1.0), (1000, 1000, 1.0), (1001, 1000, 1.1)],
)
def test_calls_are_billed_in_steps_and_for_a_minimum(duration: float, minimum: int, seconds: float) -> None:
    found = cost({"api": {"calls": 10, "duration_ms": duration}}, minimum_ms=minimum)
    assert found.charges[1].used == pytest.approx(10 * seconds, abs=1e-12)


def test_starting_is_billed_where_the_provider_bills_it() -> None:
    traffic = {"api": {"calls": 1000, "duration_ms": 150, "cold_share": 0.1, "start_ms": 260}}
    # 900 calls of 200 ms, and 100 of 150 + 260 = 410 → 500 ms.
    assert cost(traffic).charges[1].used == 900 * 0.2 + 100 * 0.5
    assert cost(traffic, cold_starts=False).charges[1].used == 200


def test_what_has_no_profile_is_named_and_strangers_are_passed_over() -> None:
    found = cost({"other": {"calls": 1e9, "duration_ms": 1}, "api": {"calls": 0, "duration_ms": 1}}, ("api", "worker"))
    assert (found.usd, found.functions, found.uncounted) == (0, ("api",), ("worker",))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pys-multi.toml").write_text(f'app = "app:app"\n{PROFILE}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--cloud", "aws", "--cloud", "local"]) == 0
    text = capsys.readouterr().out
    assert "aws: about 13.00 USD a month" in text
    assert "counted: api; no profile: worker" in text
    assert "local: it bills nothing" in text
    assert main(["cost", "--cloud", "aws", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    [found] = document["costs"]
    # 9 of 10 million requests at 0.20; 10 M × 0.12 s + 100,000 × 0.4 s = 1,240,000 GB-s, less 400,000.
    assert document["schema_version"] == 1
    assert found["cost"]["usd"] == 1.80 + 840_000 * 0.0000133334
    assert main(["cost", "--cloud", "local"]) == 1


def test_without_a_profile_there_is_nothing_to_estimate(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pys-multi.toml").write_text('app = "app:app"\n')
    assert main(["cost", "--cloud", "aws"]) == 1
    assert "[tool.pys-multi.profile.api]" in capsys.readouterr().err
    assert main(["cost", "--cloud", "aws", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["costs"] == [{"cloud": "aws", "cost": None}]


def test_plan_has_it(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYS_MULTI_STATE_DIR", str(project / "state"))
    assert main(["plan", "--json"]) == 0
    [plan] = json.loads(capsys.readouterr().out)["plans"]
    assert plan["cost"] is None, "this machine bills nothing"
    [placement] = pipeline.place(pipeline.load(project, env={}), ["aws"])
    found = pipeline.cost(placement)
    monkeypatch.setattr(pipeline, "cost", lambda placement: found)
    assert main(["plan", "--json"]) == 0
    [plan] = json.loads(capsys.readouterr().out)["plans"]
    assert plan["cost"]["usd"] == pytest.approx(13.0, abs=0.01)
    assert main(["plan"]) == 0
    assert "about 13.00 USD a month" in capsys.readouterr().err


def test_a_stage_has_a_profile_of_its_own(project: Path) -> None:
    stage = "[stages.prod.profile.api]\ncalls = 20_000_000\n"
    (project / "pys-multi.toml").write_text(f'app = "app:app"\n{PROFILE}{stage}')
    found = {}
    for name in ("dev", "prod"):
        [placement] = pipeline.place(pipeline.load(project, name, env={}), ["aws"])
        found[name] = pipeline.cost(placement)
    assert found["dev"].charges[0].used == 10_000_000
    assert found["prod"].charges[0].used == 20_000_000


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[profile.api]\ncalls = "1"', "'profile.api.calls' must be a number"),
        ("[profile.api]\ncalls = -1\nduration_ms = 1", "'profile.api.calls' must be"),
        ("[profile.api]\ncalls = 1\nduration_ms = 0", "'profile.api.duration_ms' must be"),
        ("[profile.api]\ncalls = 1\nduration_ms = 1\ncold_share = 2", "'profile.api.cold_share' must be"),
        ("[profile.api]\ncalls = 1\nduration = 1", "did you mean 'duration_ms'?"),
        ("profile = 3", "'profile' must be a table"),
    ],
)
def test_a_wrong_profile_is_refused(project: Path, table: str, message: str) -> None:
    (project / "pys-multi.toml").write_text(f'app = "app:app"\n{table}\n')
    with pytest.raises(SettingsError) as caught:
        pipeline.load(project, env={})
    assert message in str(caught.value)


def test_a_profile_of_no_function_is_pointed_out(project: Path) -> None:
    (project / "pys-multi.toml").write_text(f'app = "app:app"\n{PROFILE.replace("api", "apy")}')
    [placement] = pipeline.place(pipeline.load(project, env={}), ["local"])
    [problem] = pipeline.check(placement)
    assert problem.severity == "warning"
    assert problem.where.endswith("pys-multi.toml:2")
    assert "did you mean 'api'" in problem.hint
