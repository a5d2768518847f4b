"""The contract suite: what every provider must do, checked from outside.

A provider's own tests subclass it, and pytest collects the rest::

    class TestMyProvider(ProviderContract):
        name = "mycloud"                        # of the entry point
        settings = {"region": "here-1"}         # its table in the settings of a project

        def prepare(self, folder, monkeypatch):     # point it at its emulator
            monkeypatch.setenv("MYCLOUD_ENDPOINT", "http://127.0.0.1:9000")

Each check writes a small project that uses what the provider says it can do, and takes it through the pipeline.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from pys_multi import model
from pys_multi_tools import bundle, check, deploy, destroy, invoke, load, place, plan, render, rollback, status
from pys_multi_tools import provider as providers
from pys_multi_tools.deployment import Deployment, Finding, Invocation, LogRecord, Problem
from pys_multi_tools.errors import ToolError
from pys_multi_tools.pipeline import Placement
from pys_multi_tools.provider import Provider

_TRIGGERS = frozenset(
    kind.kind for kind in (model.Route, model.Mount, model.Schedule, model.Consume, model.Subscribe, model.ObjectEvent)
)
_RESOURCES = frozenset(kind.kind for kind in (model.Queue, model.Topic, model.Bucket, model.Table, model.Secret))

_CANARY = "canary-9d1f7c02"
#: Values that careless templates mangle: they look like syntax, booleans or numbers, or break lines.
_HOSTILE = "no \"double\" 'single' ${HOME} {{ name }} {% if %} !Ref x: 1.10 \\n # & < > \t\n second line 🎉"

_HEAD = """
    import logging
    import os

    from pys_multi import App

    VERSION = {version!r}
    app = App("contract")
    log = logging.getLogger("contract")
    if VERSION == "broken" and "PYS_MULTI_FUNCTION" in os.environ:
        raise RuntimeError("does not start, as asked")
    kept = [{kept}]
    work = app.function("work", memory={memory}, timeout=10, uses=kept{options})
"""
_ROUTES = """

    @work.get("/hello/{name}", public=True)
    def hello(name: str) -> dict:
        log.info("greeting %s", name)
        return {"hello": name, "version": VERSION}


    @work.get("/environment", public=True)
    def environment() -> dict:
        return {"value": os.environ["HOSTILE"]}


    @work.get("/crash", public=True)
    def crash() -> None:
        raise RuntimeError("crashed as asked")
"""
_SCHEDULES = """

    @work.every("20 days")
    def rarely() -> None:
        log.info("ran, rarely")


    @work.schedule("30 4 1 1 *", timezone="Europe/Berlin")
    def failing() -> None:
        raise RuntimeError("failed as asked")
"""
_QUEUE = """

    jobs = app.queue("jobs")


    @work.consume(jobs)
    def job(message) -> None:
        log.info("job %s", message.text)
"""


class ProviderContract:
    """Subclass it, say which provider, and pytest runs every check."""

    #: Of the entry point in the group ``pys_multi.providers``.
    name: ClassVar[str]
    #: The provider's table in the settings of the project: ``[tool.pys-multi.<name>]``.
    settings: Mapping[str, object] = {}

    def prepare(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Points the provider at where it may deploy in a test, by environment or ``self.settings``.

        folder is empty, and the test's own.
        """

    # ---- what the checks stand on

    @pytest.fixture
    def provider(self) -> Provider:
        return providers.load(self.name)

    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider) -> Project:
        """A project on this provider, at a stage of its own; nothing is deployed."""
        folder = tmp_path / "provider"
        folder.mkdir()
        self.prepare(folder, monkeypatch)
        monkeypatch.setenv("PYS_MULTI_CONTRACT_KEY", _CANARY)
        return Project(tmp_path / "project", provider, self.settings)

    @pytest.fixture
    def deployed(self, project: Project) -> Iterator[Project]:
        """The project, deployed, and destroyed after the check."""
        try:
            project.deploy()
            yield project
        finally:
            destroy(project.placement(), delete_data=True)

    # ---- what it says of itself

    def test_it_is_found_by_its_name(self, provider: Provider) -> None:
        assert self.name in providers.installed()
        assert provider.name == self.name

    def test_its_capabilities_are_words_of_the_model(self, provider: Provider) -> None:
        can = provider.capabilities
        assert can.triggers, "a provider that nothing can trigger runs nothing"
        assert can.triggers <= _TRIGGERS
        assert can.resources <= _RESOURCES

    def test_its_limits_are_possible(self, provider: Provider) -> None:
        limits = provider.capabilities.limits
        assert limits.memory is None or 0 < limits.memory[0] <= limits.memory[1]
        assert list(limits.memory_sizes) == sorted(limits.memory_sizes)
        for limit in (limits.timeout, limits.http_timeout, limits.concurrency, limits.batch, limits.schedule):
            assert limit is None or limit > 0
        assert limits.python

    def test_its_settings_and_options_have_defaults_and_a_schema(self, provider: Provider) -> None:
        provider.options_model.model_validate({})
        provider.settings_model.model_validate(dict(self.settings))
        for kind in (provider.settings_model, provider.options_model):
            assert kind.model_json_schema()["type"] == "object"

    def test_an_unknown_setting_is_refused(self, project: Project) -> None:
        project.settings = {**self.settings, "no-such-setting": 1}
        project.write()
        with pytest.raises(ToolError, match="no-such-setting"):
            project.placement()

    def test_an_unknown_option_of_a_function_is_a_problem(self, project: Project) -> None:
        project.function_options = f"{self.name}={{'no_such_option': 1}}"
        project.write()
        problems = check(project.placement())
        assert any("no_such_option" in problem.what for problem in problems)

    def test_doctor_looks_without_a_project(self, provider: Provider) -> None:
        findings = provider.doctor(None)
        assert all(isinstance(finding, Finding) and finding.subject and finding.text for finding in findings)
        assert all(finding.hint for finding in findings if not finding.ok), "what is wrong comes with what to do"

    # ---- what it makes of a service, without a deploy

    def test_it_finds_no_problem_in_what_it_can_do(self, project: Project) -> None:
        problems: list[Problem] = project.provider.check(project.deployment())
        assert [problem for problem in problems if problem.severity == "error"] == []

    def test_check_tells_the_same_twice(self, project: Project) -> None:
        deployment = project.deployment()
        assert project.provider.check(deployment) == project.provider.check(deployment)

    def test_render_gives_text_below_relative_paths(self, project: Project) -> None:
        files = render(project.placement())
        assert files
        for path, text in files.items():
            assert isinstance(text, str)
            assert not Path(path).is_absolute()
            assert ".." not in Path(path).parts

    def test_render_gives_the_same_bytes_every_time(self, project: Project) -> None:
        assert render(project.placement()) == render(project.placement())

    def test_rendered_json_is_json(self, project: Project) -> None:
        for path, text in render(project.placement()).items():
            if path.endswith(".json"):
                json.loads(text)

    def test_a_plan_submits_what_render_writes(self, project: Project) -> None:
        placement = project.placement()
        assert dict(plan(placement).config) == render(placement)

    def test_a_first_plan_creates_every_function(self, project: Project) -> None:
        changes = plan(project.placement()).pending
        assert {change.action for change in changes} == {"create"}
        assert any("work" in change.name for change in changes)

    def test_the_runtime_of_the_target_needs_the_standard_library_alone(self, project: Project) -> None:
        target = project.provider.target(project.deployment())
        assert target.provider == self.name
        assert target.runtime_modules, "something has to enter the user's code"
        script = (
            "import sys; before = set(sys.modules)\n"
            + "".join(f"import {module}\n" for module in target.runtime_modules)
            + "own = {'pys_multi'} | {module.partition('.')[0] for module in sys.argv[1:]}\n"
            "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
            "print(sorted(tops - set(sys.stdlib_module_names) - own))"
        )
        command = [sys.executable, "-c", script, *target.runtime_modules]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        assert found.stdout.strip() == "[]", "these ship into every function, and the bundle does not have them"

    def test_no_secret_is_in_configuration_plan_or_bundle(self, project: Project) -> None:
        placement = project.placement()
        assert _CANARY not in "".join(render(placement).values())
        assert _CANARY not in repr(plan(placement))
        for artefact in bundle(placement).artefacts.values():
            with zipfile.ZipFile(artefact.path) as archive:
                assert not any(_CANARY.encode() in archive.read(name) for name in archive.namelist())

    # ---- before anything is deployed

    def test_what_was_never_deployed_is_absent(self, project: Project) -> None:
        assert status(project.placement()).state == "absent"

    def test_what_was_never_deployed_cannot_be_invoked(self, project: Project) -> None:
        with pytest.raises(ToolError):
            invoke(project.placement(), project.any_call())

    def test_what_was_never_deployed_can_be_destroyed(self, project: Project) -> None:
        destroy(project.placement(), delete_data=True)

    # ---- deployed

    def test_a_deploy_serves_the_build_that_was_made(self, deployed: Project) -> None:
        outputs = deployed.result.outputs
        build = deployed.result.bundle.artefacts["work"].build_id
        assert (outputs.provider, outputs.service, outputs.stage) == (self.name, "contract", deployed.stage)
        assert outputs.build_ids == {"work": build}
        found = status(deployed.placement())
        assert found.state == "serving"
        assert [(function.name, function.build_id) for function in found.functions] == [("work", build)]

    def test_a_second_deploy_changes_nothing(self, deployed: Project) -> None:
        assert plan(deployed.placement()).pending == ()
        before = deployed.result.outputs
        assert deployed.deploy().outputs == before

    def test_new_code_is_served_after_a_deploy(self, deployed: Project) -> None:
        former = deployed.result.outputs.build_ids
        deployed.write(version="two")
        latter = deployed.deploy().outputs.build_ids
        assert former != latter
        if deployed.has("http"):
            assert deployed.get("/hello/ada") == {"hello": "ada", "version": "two"}

    def test_a_rollback_serves_the_former_build(self, deployed: Project) -> None:
        deployed.needs_feature("rollback")
        former = deployed.result.outputs.build_ids
        deployed.write(version="two")
        deployed.deploy()
        assert rollback(deployed.placement()).build_ids == former
        assert [f.build_id for f in status(deployed.placement()).functions] == list(former.values())
        if deployed.has("http"):
            assert deployed.get("/hello/ada") == {"hello": "ada", "version": "one"}

    def test_a_rollback_to_an_unknown_build_is_refused(self, deployed: Project) -> None:
        deployed.needs_feature("rollback")
        with pytest.raises(ToolError):
            rollback(deployed.placement(), "0123456789abcdef")
        deployed.call()

    def test_a_build_that_does_not_start_never_replaces_one_that_serves(self, deployed: Project) -> None:
        former = deployed.result.outputs.build_ids
        deployed.write(version="broken")
        with pytest.raises(ToolError, match="does not start, as asked"):
            deployed.deploy()
        found = status(deployed.placement())
        assert {function.name: function.build_id for function in found.functions} == former
        deployed.call()
        deployed.write(version="two")
        assert deployed.deploy().status.state == "serving"

    def test_http_calls_are_answered(self, deployed: Project) -> None:
        deployed.needs("http")
        assert deployed.get("/hello/gr%C3%BC%C3%9Fe") == {"hello": "grüße", "version": "one"}
        assert invoke(deployed.placement(), Invocation(path="/nothing/here")).status == 404

    def test_an_error_of_a_handler_is_a_500_without_internals(self, deployed: Project) -> None:
        deployed.needs("http")
        result = invoke(deployed.placement(), Invocation(path="/crash"))
        assert result.status == 500
        assert b"crashed as asked" not in result.body

    def test_any_text_survives_as_environment(self, deployed: Project) -> None:
        deployed.needs("http")
        assert deployed.get("/environment") == {"value": _HOSTILE}

    def test_an_event_is_handed_to_its_trigger(self, deployed: Project) -> None:
        deployed.needs("schedule")
        result = invoke(deployed.placement(), Invocation(trigger="work:rarely"))
        assert (result.status, result.error) == (200, "")

    def test_an_event_that_fails_says_why(self, deployed: Project) -> None:
        deployed.needs("schedule")
        result = invoke(deployed.placement(), Invocation(trigger="work:failing"))
        assert result.status == 500
        assert "failed as asked" in result.error

    def test_a_message_is_handed_to_its_consumer(self, deployed: Project) -> None:
        deployed.needs("consume")
        result = invoke(deployed.placement(), Invocation(trigger="work:job", body=b"by hand"))
        assert (result.status, result.error) == (200, "")
        assert deployed.logged("job by hand")

    def test_logs_give_the_records_of_the_handlers(self, deployed: Project) -> None:
        deployed.call()
        record = deployed.logged(deployed.call_logs)
        assert record.function == "work"
        assert record.level.lower() == "info"
        assert record.request_id
        assert abs(record.time - time.time()) < 600

    def test_logs_can_be_asked_for_one_function_and_since_a_time(self, deployed: Project) -> None:
        deployed.call()
        deployed.logged(deployed.call_logs)
        found = deployed.provider.logs(deployed.deployment(), function="work", since=time.time() + 600, follow=False)
        assert list(found) == []

    def test_metrics_count_invocations(self, deployed: Project) -> None:
        deployed.call()
        deadline = time.monotonic() + 30
        while True:
            metrics = deployed.provider.metrics(deployed.deployment(), since=None)
            found = {function.name: function for function in metrics.functions}
            if found["work"].invocations >= 1:
                return
            assert time.monotonic() < deadline, "the call is in no metric"
            time.sleep(0.1)

    def test_destroy_leaves_nothing_and_can_be_repeated(self, deployed: Project) -> None:
        destroy(deployed.placement(), delete_data=True)
        assert status(deployed.placement()).state == "absent"
        assert {change.action for change in plan(deployed.placement()).pending} == {"create"}
        destroy(deployed.placement(), delete_data=True)


class Project:
    """The sample project on one provider, at a stage of its own."""

    def __init__(self, root: Path, provider: Provider, settings: Mapping[str, object]) -> None:
        self.root = root
        self.provider = provider
        self.settings: Mapping[str, object] = settings
        self.stage = f"contract-{uuid4().hex[:8]}"
        self.function_options = ""
        self.result: Any = None
        self.write()

    def write(self, version: str = "one") -> None:
        """Writes code and settings, with another version of the code where one is given."""
        limits = self.provider.capabilities.limits
        memory = limits.memory_sizes[0] if limits.memory_sizes else max(256, (limits.memory or (0, 0))[0])
        keeps_secrets = "secret" in self.provider.capabilities.resources
        code = _HEAD.format(
            version=version,
            memory=memory,
            kept='app.secret("CONTRACT_KEY")' if keeps_secrets else "",
            options=f", {self.function_options}" if self.function_options else "",
        )
        code += _ROUTES if self.has("http") else ""
        code += _SCHEDULES if self.has("schedule") else ""
        code += _QUEUE if self.has("consume") else ""
        settings: dict[str, Any] = {"app": "app:app", "environment": {"HOSTILE": _HOSTILE}}
        if keeps_secrets:
            settings["secrets"] = {"CONTRACT_KEY": "env:PYS_MULTI_CONTRACT_KEY"}
        self.root.mkdir(exist_ok=True)
        (self.root / "app.py").write_text(textwrap.dedent(code), encoding="utf-8")
        (self.root / "requirements.txt").write_text("", encoding="utf-8")
        (self.root / "pys-multi.toml").write_text(
            _toml(settings) + _toml(dict(self.settings), self.provider.name), encoding="utf-8"
        )

    def has(self, trigger: str) -> bool:
        return trigger in self.provider.capabilities.triggers

    def needs(self, trigger: str) -> None:
        if not self.has(trigger):
            pytest.skip(f"{self.provider.name} says that it has no {trigger!r} trigger")

    def needs_feature(self, feature: str) -> None:
        if feature not in self.provider.capabilities.features:
            pytest.skip(f"{self.provider.name} says that it has no {feature!r}")

    def placement(self) -> Placement:
        [placement] = place(load(self.root, self.stage), [self.provider.name])
        return placement

    def deployment(self) -> Deployment:
        return self.placement().deployment

    def deploy(self) -> Any:
        self.result = deploy(self.placement())
        return self.result

    def get(self, path: str) -> Any:
        result = invoke(self.placement(), Invocation(path=path))
        assert result.status == 200, (result.status, result.body[:2000])
        return json.loads(result.body)

    def any_call(self) -> Invocation:
        """One invocation that works, of whatever the provider can do."""
        if self.has("http"):
            return Invocation(path="/hello/ada")
        return Invocation(trigger="work:rarely" if self.has("schedule") else "work:job", body=b"call")

    @property
    def call_logs(self) -> str:
        """What the handler of that invocation logs."""
        if self.has("http"):
            return "greeting ada"
        return "ran, rarely" if self.has("schedule") else "job call"

    def call(self) -> None:
        assert invoke(self.placement(), self.any_call()).status == 200

    def logged(self, message: str) -> LogRecord:
        """The record with that message, once it is there."""
        deadline = time.monotonic() + 30
        while True:
            for record in self.provider.logs(self.deployment(), function="work", since=None, follow=False):
                if record.message == message:
                    return record
            assert time.monotonic() < deadline, f"no record says {message!r}"
            time.sleep(0.1)


def _toml(values: Mapping[str, Any], table: str = "") -> str:
    """Settings as TOML; JSON texts and numbers are TOML too."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"[{table}]"] if table and plain else []
    lines += [f"{json.dumps(name)} = {json.dumps(value, ensure_ascii=False)}" for name, value in plain.items()]
    text = "\n".join(lines) + "\n"
    for name, value in values.items():
        if isinstance(value, Mapping):
            text += _toml(value, f"{table}.{name}" if table else name)
    return text
