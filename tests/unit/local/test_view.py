"""The manifest says everything, in any name; the plan says what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pys_multi import App, model
from pys_multi_providers.local import view
from pys_multi_providers.local.provider import MANIFEST, LocalProvider
from pys_multi_providers.local.settings import LocalSettings
from pys_multi_tools.deployment import Change, Deployment
from pys_multi_tools.project import Project
from pys_multi_tools.settings import Settings


def deployment(service: model.Service, **settings: Any) -> Deployment:
    local = LocalSettings(**settings.pop("local", {}))
    project = Project(Path("/project"), Settings(**settings), "dev")
    return Deployment(service=service, stage="dev", project=project, app="app:app", settings=local)


def manifest(service: model.Service, **settings: Any) -> dict[str, Any]:
    text = LocalProvider().render(deployment(service, **settings))[MANIFEST]
    found: dict[str, Any] = json.loads(text)
    return found


def shop(*, public: bool = False, timeout: float = 30, table: bool = True) -> model.Service:
    app = App("shop")
    key = app.secret("KEY")
    orders = app.queue("orders")
    if table:
        app.table("stock", key="sku")
    api = app.function("api", timeout=timeout, uses=[key, orders.send], public=public, local={"instances": 2})
    api.get("/orders")(lambda: None)
    app.function("worker").consume(orders)(lambda message: None)
    return app.service()


def pending(before: dict[str, Any] | None, after: dict[str, Any], *rotated: str) -> dict[str, Change]:
    found = view.changes(before, after, frozenset(rotated))
    return {f"{change.kind} {change.name}": change for change in found if change.action != "unchanged"}


def test_a_manifest_holds_the_whole_service_and_no_secret() -> None:
    found = manifest(shop(), secrets={"KEY": "env:THE_KEY", "UNUSED": "env:X"}, environment={"A": "1"})
    assert model.Service.from_json(found["model"]) == shop()
    assert found["secrets"] == {"KEY": "env:THE_KEY"}
    assert found["functions"] == {
        "api": {"instances": 2, "secrets": ["KEY"]},
        "worker": {"instances": 1, "secrets": []},
    }
    assert found["listen"] == {"host": "127.0.0.1", "port": None}


def test_instances_come_from_the_nearest_place() -> None:
    def of(**local: Any) -> dict[str, int]:
        return {name: entry["instances"] for name, entry in manifest(shop(), local=local)["functions"].items()}

    assert of(instances=3) == {"api": 2, "worker": 3}
    assert of(instances={"api": 5}) == {"api": 5, "worker": 1}


def test_the_first_plan_creates_and_says_what_is_public() -> None:
    found = pending(None, manifest(shop(public=True)))
    assert {change.action for change in found.values()} == {"create"}
    assert [name for name, change in found.items() if change.public] == ["route api:GET /orders"]


def test_the_same_again_is_no_change() -> None:
    assert pending(manifest(shop()), manifest(shop())) == {}


def test_each_difference_is_named() -> None:
    before = manifest(shop(), secrets={"KEY": "env:A"})
    found = pending(before, manifest(shop(timeout=60, public=True), secrets={"KEY": "env:B"}))
    assert found["function api"].properties == (("timeout", 30.0, 60.0),)
    assert found["route api:GET /orders"].properties == (("public", False, True),)
    assert found["route api:GET /orders"].public
    assert found["secret KEY"].properties == (("reference", "env:A", "env:B"),)
    assert set(found) == {"function api", "route api:GET /orders", "secret KEY"}


def test_a_secret_with_another_value_is_a_change_that_does_not_tell_it() -> None:
    same = manifest(shop())
    assert pending(same, same, "KEY")["secret KEY"].properties == (("value", "…", "another one"),)


def test_what_is_gone_is_deleted_and_its_data_stays() -> None:
    found = pending(manifest(shop()), manifest(shop(table=False)))
    assert found["table stock"].action == "delete"
    assert "stays" in found["table stock"].reason
    assert not found["table stock"].data


texts = st.text(max_size=30) | st.sampled_from(
    ['"', "\n", "${x}", "{{ x }}", "{% x %}", "!Ref x", "no", "1.10", "é🙂", "\u2028"]
)


@given(name=texts, value=texts, path=texts)
def test_hostile_names_come_back_the_same(name: str, value: str, path: str) -> None:
    route = model.Route(id=name, method="GET", path="/" + path, handler=value)
    function = model.Function(name=name, environment={name: value}, triggers=(route,))
    service = model.Service(name=name, functions=(function,), resources=(model.Bucket(name=value),))
    found = manifest(service)
    assert model.Service.from_json(found["model"]) == service
    assert found["service"] == name
    assert list(found["functions"]) == [name]
