"""Every problem at once, each with where, what, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from pys_multi import App, Event, Message
from pys_multi_tools.check import check, public_routes
from pys_multi_tools.deployment import Capabilities, Deployment, Limits, Problem
from pys_multi_tools.project import Project


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    speed: int = 1


class _Cloud:
    """A provider that can do little."""

    name: ClassVar[str] = "small"
    capabilities: ClassVar[Capabilities] = Capabilities(
        triggers=frozenset({"http", "schedule", "consume"}),
        resources=frozenset({"queue", "secret", "table"}),
        limits=Limits(
            memory=(128, 1024), timeout=60, http_timeout=30, concurrency=1, batch=10, python=("3.12", "3.13")
        ),
    )
    settings_model: ClassVar[type[BaseModel]] = _Options
    options_model: ClassVar[type[BaseModel]] = _Options

    def check(self, deployment: Deployment) -> list[Problem]:
        return [Problem(where="small", what="it is Monday", hint="wait", severity="warning")]


def problems(app: App, settings: str = "", tmp_path: Path | None = None) -> list[Problem]:
    folder = tmp_path or Path(__file__).parent
    if tmp_path is not None:
        (tmp_path / "pys-multi.toml").write_text(settings)
    # The interpreter that runs the test is no part of it.
    project = Project.load(folder, env={} if "python" in settings else {"PYS_MULTI_PYTHON": "3.13"})
    deployment = Deployment(service=app.service(), stage="dev", project=project, app="x:app", settings=_Options())
    provider: Any = _Cloud()
    return check(app, deployment, provider, ["small", "local"])


def errors(app: App) -> dict[str, str]:
    return {problem.where: problem.what for problem in problems(app) if problem.severity == "error"}


def only(app: App) -> Problem:
    (problem,) = [problem for problem in problems(app) if problem.severity == "error"]
    assert problem.hint
    return problem


def _service(**function: Any) -> App:
    app = App("shop")

    @app.function("api", **function).get("/")
    def read() -> None: ...

    return app


def test_a_service_that_fits_has_no_errors_and_the_provider_has_its_say() -> None:
    assert [str(p) for p in problems(_service())] == ["warning: small: it is Monday\n  → wait"]


def test_an_app_without_functions() -> None:
    assert "no function" in only(App("empty")).what


@pytest.mark.parametrize(
    ("function", "what", "hint"),
    [
        ({"memory": 64}, "memory is 128 to 1,024 MB", "memory=128"),
        ({"memory": 4096}, "memory is 128 to 1,024 MB", "memory=1024"),
        ({"timeout": 45}, "timeout of a function with routes is at most 30 s", "30"),
        ({"concurrency": 2}, "concurrency is at most 1", "1"),
    ],
)
def test_limits_of_a_provider(function: dict[str, Any], what: str, hint: str) -> None:
    problem = only(_service(**function))
    assert what in problem.what
    assert hint in problem.hint
    assert problem.where == "function api"


def test_what_a_provider_does_not_have() -> None:
    app = App("shop")
    worker = app.function("worker")
    receipts = app.bucket("receipts")
    queue = app.queue("orders", ordered=True)

    @worker.created(receipts)
    def index(event: Event) -> None: ...

    @worker.consume(queue, batch=11)
    def ship(batch: list[Message]) -> None: ...

    found = errors(app)
    assert found["bucket receipts"] == "small has no bucket"
    assert found["queue orders"] == "small has no ordered queues"
    assert "cannot trigger a function by object" in found["worker:index"]
    assert "batch is at most 10 messages" in found["worker:ship"]


def test_a_message_must_not_come_back_while_it_is_handled() -> None:
    app = App("shop")
    queue = app.queue("orders", visibility=20)

    @app.function("worker", timeout=60).consume(queue)
    def ship(message: Message) -> None: ...

    problem = only(app)
    assert problem.where == "queue orders"
    assert "at least 60" in problem.hint


def test_a_time_zone_that_is_none() -> None:
    app = App("shop")

    @app.function("worker").schedule("0 6 * * *", timezone="Europe/Atlantis")
    def report() -> None: ...

    problem = only(app)
    assert problem.where == "worker:report"
    assert "Europe/Atlantis" in problem.what


def test_handlers_that_ask_for_what_they_cannot_get() -> None:
    app = App("shop")
    api = app.function("api")

    @api.get("/a")
    def odd(item: complex) -> None: ...

    @api.every("1 hour")
    def tick(message: Message) -> None: ...

    found = errors(app)
    assert "item" in found["api:GET /a"]
    assert "message" in found["api:tick"]
    assert all(__file__ in what for what in found.values())


def test_names_that_some_clouds_do_not_tell_apart() -> None:
    app = _service()
    app.queue("order-events")
    app.table("Order_Events", key="id")
    assert "order-events" in errors(app)["table Order_Events"]


def test_options_of_the_provider_are_validated_and_names_of_nobody_pointed_out() -> None:
    app = App("shop")

    @app.function("api", small={"sped": 2}).get("/")
    def read() -> None: ...

    @app.function("more", smal={"speed": 2}, local={"anything": 1}).get("/more")
    def more() -> None: ...

    found = problems(app)
    wrong = next(p for p in found if p.severity == "error")
    assert "'sped'" in wrong.what
    assert "speed" in wrong.hint
    unknown = next(p for p in found if p.where == "function more")
    assert unknown.severity == "warning"
    assert "did you mean 'small'?" in unknown.hint


def test_settings_that_name_what_is_not_there(tmp_path: Path) -> None:
    app = _service()
    app.secret("PAYMENT_KEY")
    settings = 'python = "3.11"\n[secrets]\nPAYMENT_KEYS = "env:X"\n'
    found = problems(app, settings, tmp_path)
    python = next(p for p in found if p.severity == "error")
    assert "Python 3.11" in python.what
    assert python.where.endswith("pys-multi.toml:1")
    secret = next(p for p in found if "PAYMENT_KEYS" in p.what)
    assert secret.where.endswith("pys-multi.toml:3")
    assert "did you mean 'PAYMENT_KEY'?" in secret.hint


def test_public_routes_are_listed() -> None:
    app = App("shop")
    api = app.function("api")

    @api.get("/open", public=True)
    def open_() -> None: ...

    @api.get("/closed")
    def closed() -> None: ...

    api.asgi(lambda scope, receive, send: None, "/app", public=True)
    assert public_routes(app.service()) == [("api", "GET /open"), ("api", "* /app")]
