"""The pipeline as a library: typed results and errors, nothing printed, progress through a callback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import paper_provider

import pys_multi_tools
from pys_multi_tools import machine, pipeline
from pys_multi_tools.deployment import Change, Invocation, Progress
from pys_multi_tools.errors import CheckError, DeployError, DiscoveryError, ProviderError, SettingsError, ToolError

APP = """
from dataclasses import dataclass
from pys_multi import App

app = App("shop")
orders = app.queue("orders")
api = app.function("api", memory=MEMORY, uses=[orders.send])
worker = app.function("worker")

@dataclass
class Order:
    sku: "Sku"

@dataclass
class Sku:
    code: str

@api.get("/orders/{id}", public=True)
def read(id: int) -> dict: ...

@api.post("/orders")
def create(order: Order) -> Order: ...

@worker.consume(orders)
def ship(order: Order) -> None: ...

@worker.every("1 hour")
def tidy() -> None: ...
"""

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.syspath_prepend(str(paper_provider.install(tmp_path / "site")))
    yield lambda memory=256, settings="", extra="": _project(tmp_path, memory, settings, extra)
    sys.modules.pop("paper_provider", None)


def _project(root: Path, memory: int, settings: str, extra: str) -> Path:
    folder = root / "shop"
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(APP.replace("MEMORY", str(memory)) + extra)
    (folder / "pys-multi.toml").write_text(f'cloud = ["paper"]\n[paper]\nfolder = "state"\n{settings}')
    return folder


def placed(root: Path, **kwargs: Any) -> pipeline.Placement:
    [placement] = pipeline.place(pipeline.load(root, env={}, **kwargs))
    return placement


def a_bundle(build_id: str) -> Any:
    """Stands for a built bundle where only its build ids matter."""
    return SimpleNamespace(artefacts={name: SimpleNamespace(build_id=build_id) for name in ("api", "worker")})


def test_load_gives_the_service_of_a_stage(make: Make) -> None:
    loaded = pipeline.load(make(), "prod", env={})
    assert (loaded.service.name, loaded.reference, loaded.project.stage) == ("shop", "app:app", "prod")
    assert [function.name for function in loaded.service.functions] == ["api", "worker"]
    assert "app" not in sys.modules


def test_a_deploy_is_verified_and_a_second_one_changes_nothing(make: Make) -> None:
    placement = placed(make())
    first = pipeline.plan(placement)
    assert {change.action for change in first.pending} == {"create"}
    steps: list[Progress] = []
    deployed = pipeline.deploy(placement, steps.append, bundle=a_bundle("a" * 16))
    assert deployed.outputs.build_ids == {"api": "a" * 16, "worker": "a" * 16}
    assert deployed.status.state == "serving"
    assert [step.step for step in steps] == ["check", "plan", "deploy", "verify"]
    assert pipeline.plan(placement).pending == ()


def test_a_change_is_planned_with_its_properties(make: Make) -> None:
    pipeline.deploy(placed(make()), bundle=a_bundle("a" * 16))
    [change] = pipeline.plan(placed(make(memory=512))).pending
    assert (change.action, change.name, change.properties) == ("update", "api", (("memory", 256, 512),))


def test_code_that_differs_from_what_serves_is_a_change(make: Make) -> None:
    placement = placed(make())
    assert "code" not in {change.kind for change in pipeline.plan(placement, a_bundle("a" * 16)).pending}
    pipeline.deploy(placement, bundle=a_bundle("a" * 16))
    assert pipeline.plan(placement, a_bundle("a" * 16)).pending == ()
    changes = pipeline.plan(placement, a_bundle("b" * 16)).pending
    assert [(change.kind, change.name) for change in changes] == [("code", "api"), ("code", "worker")]
    assert changes[0].properties == (("build", "a" * 16, "b" * 16),)


def test_what_drift_tells_is_told_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.deploy(placed(make()), bundle=a_bundle("a" * 16))
    placement = placed(make(memory=512))
    [planned] = pipeline.plan(placement).pending

    def told(*drift: Change) -> list[tuple[str, str, str]]:
        monkeypatch.setattr(placement.provider, "drift", lambda _: drift, raising=False)
        return sorted((c.action, c.name, c.reason) for c in pipeline.plan(placement, refresh=True).changes)

    same = replace(planned, reason="by hand")
    assert told(same) == [("unchanged", "worker", ""), ("update", "api", "by hand")]
    other = Change(action="update", kind="function", name="worker", reason="by hand")
    assert told(other) == [("update", "api", ""), ("update", "worker", "by hand")]
    differs = replace(same, properties=(("memory", 128, 256),))
    assert told(differs) == [("unchanged", "worker", ""), ("update", "api", ""), ("update", "api", "by hand")]


def test_a_deploy_that_does_not_serve_the_new_build_is_an_error(make: Make) -> None:
    placement = placed(make(settings="forgets = true\n"))
    with pytest.raises(DeployError, match="api serves 0000000000000000, not aaaaaaaaaaaaaaaa") as caught:
        pipeline.deploy(placement, bundle=a_bundle("a" * 16))
    assert "paper, stage dev" in caught.value.where


def test_check_names_every_problem_and_stops_what_comes_after(make: Make) -> None:
    placement = placed(make(memory=100_000, extra="\n@api.get('/x')\ndef bad(unknown: 'Missing'): ...\n"))
    problems = [problem for problem in pipeline.check(placement) if problem.severity == "error"]
    assert len(problems) >= 2
    for step in (pipeline.plan, pipeline.render, pipeline.deploy):
        with pytest.raises(CheckError) as caught:
            step(placement)  # type: ignore[operator]
        assert len(caught.value.problems) >= 2


def test_types_of_two_projects_are_resolved_in_their_own_modules(make: Make, tmp_path: Path) -> None:
    one = placed(make())
    other = tmp_path / "other"
    other.mkdir()
    (other / "app.py").write_text(APP.replace("MEMORY", "128").replace("shop", "other").replace("Sku", "Item"))
    two = pipeline.place(pipeline.load(other, env={}), ["paper"])[0]
    assert pipeline.check(one) == ()
    assert pipeline.check(two) == ()
    assert (one.deployment.service.name, two.deployment.service.name) == ("shop", "other")


def test_rendered_files_are_written_below_the_folder(make: Make, tmp_path: Path) -> None:
    files = pipeline.render(placed(make()))
    [path] = pipeline.write(files, tmp_path / "out" / "deep")
    assert path.read_text() == files["paper.json"]
    assert pipeline.plan(placed(make())).config == files
    with pytest.raises(ToolError, match="outside"):
        pipeline.write({"../escape": "x"}, tmp_path / "out")


def test_a_trigger_is_found_by_its_id_or_its_name(make: Make) -> None:
    placement = placed(make())
    assert pipeline.invoke(placement, Invocation(trigger="worker:ship")).status == 200
    assert pipeline.invoke(placement, Invocation(trigger="tidy")).status == 200
    with pytest.raises(ToolError, match="there is no trigger 'worker:shp'") as caught:
        pipeline.invoke(placement, Invocation(trigger="worker:shp"))
    assert "worker:ship" in caught.value.hint
    with pytest.raises(ToolError, match="there is no function 'ap'"):
        pipeline.invoke(placement, Invocation(function="ap", path="/"))


def test_rollback_and_destroy(make: Make) -> None:
    placement = placed(make())
    pipeline.deploy(placement, bundle=a_bundle("a" * 16))
    with pytest.raises(ProviderError, match="no former build"):
        pipeline.rollback(placement)
    pipeline.deploy(placement, bundle=a_bundle("b" * 16))
    assert pipeline.rollback(placement).build_ids["api"] == "a" * 16
    pipeline.destroy(placement)
    assert pipeline.status(placement).state == "absent"


def test_an_unknown_provider_and_a_bad_table_are_told_apart(make: Make) -> None:
    loaded = pipeline.load(make(), env={})
    with pytest.raises(ProviderError, match="papr") as caught:
        pipeline.place(loaded, ["papr"])
    assert "paper" in caught.value.hint
    with pytest.raises(SettingsError, match=r"pys-multi\.toml:4: unknown setting 'paper\.folds'"):
        placed(make(settings="folds = 3\n"))


def test_providers_are_listed_with_what_they_can_do(make: Make) -> None:
    make()
    paper = {info.name: info for info in machine.providers()}["paper"]
    assert (paper.distribution, paper.version, paper.error) == ("pys-multi-paper", "1.2", "")
    assert "http" in paper.triggers


def test_doctor_reports_instead_of_raising(make: Make) -> None:
    findings = {finding.subject: finding for finding in machine.doctor(make(), env={})}
    assert findings["project"].ok
    assert findings["paper"].ok
    broken = make(extra="\n1 / 0\n")
    findings = {finding.subject: finding for finding in machine.doctor(broken, env={}, clouds=["paper", "absent"])}
    assert "ZeroDivisionError" in findings["project"].text
    assert not findings["paper"].ok
    assert "absent" in findings["absent"].text


def test_a_definition_error_is_told_as_the_user_s(make: Make) -> None:
    with pytest.raises(DiscoveryError, match=r"app\.py"):
        pipeline.load(make(extra="\napp.function('api')\n"), env={})


def test_nothing_is_printed(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    placement = placed(make())
    pipeline.deploy(placement, bundle=a_bundle("a" * 16))
    list(pipeline.logs(placement))
    pipeline.metrics(placement)
    assert capsys.readouterr() == ("", "")


def test_every_exported_name_is_a_step_or_type_whatever_was_imported_before() -> None:
    code = (
        "import sys, pys_multi_tools\n"
        "assert not {'pydantic', 'jinja2', 'dataclasses'} & set(sys.modules), 'importing it must be cheap'\n"
        "import pys_multi_tools.check, pys_multi_tools.render, pys_multi_tools.bundle\n"
        "for name in pys_multi_tools.__all__:\n"
        "    assert callable(getattr(pys_multi_tools, name)), name\n"
        "from pys_multi_tools.bundle import archive\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert set(pys_multi_tools.__all__) <= set(dir(pys_multi_tools))
    with pytest.raises(AttributeError, match="absent"):
        pys_multi_tools.absent  # noqa: B018
