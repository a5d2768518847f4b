"""What a change does to a service, where a problem is, and how it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.github.test_runner import HOSTILE

from pys_multi_tools import pipeline
from pys_multi_tools.github.comparison import Difference, compare
from pys_multi_tools.github.report import (
    CloudPlan,
    Findings,
    Weight,
    block,
    code,
    deploy_report,
    link,
    plan_report,
    status_report,
)
from pys_multi_tools.github.sources import place_of

APP = """
from pys_multi import App
import handlers

app = App("shop")
orders = app.queue("orders")
stock = app.table("stock", key="id")
api = app.function("api", memory=256, uses=[orders.send, stock.read])
api.get("/", public=True)(handlers.hello)

@api.consume(orders)
def ship(message) -> None: ...
"""


def service(folder: Path, text: str = APP) -> Any:
    (folder / "app.py").write_text(text)
    (folder / "handlers.py").write_text("# a comment\n\n\ndef hello() -> dict: ...\n")
    return pipeline.load(folder, env={}, flags={"app": "app:app"}).service.to_json()


def test_the_same_service_has_no_differences(tmp_path: Path) -> None:
    assert compare(service(tmp_path), service(tmp_path)) == ()


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('"/", public=True', '"/", public=False', [("-", "endpoint", "GET / (api)", "")]),
        ('"/", public=True', '"/x", public=True', [("+", "endpoint", "GET /x (api)", "")]),
        ("stock.read", "stock", [("+", "permission", "api may put on stock", "")]),
        (", stock.read", "", [("-", "permission", "api may get on stock", "")]),
        ("memory=256", "memory=512", [("~", "function", "api", "memory 256 → 512")]),
        ("memory=256", 'environment={"A": "b"}', [("~", "function", "api", "environment")]),
        ('app.queue("orders")', 'app.queue("orders", retries=9)', [("~", "resource", "queue orders", "retries 3 → 9")]),
    ],
)
def test_a_difference(tmp_path: Path, old: str, new: str, wanted: list[tuple[str, ...]]) -> None:
    assert old in APP
    found = [
        (d.sign, d.about, d.name, d.detail)
        for d in compare(service(tmp_path), service(tmp_path, APP.replace(old, new)))
    ]
    assert set(wanted) <= set(found)


def test_a_new_service_has_all_of_it(tmp_path: Path) -> None:
    found = compare({}, service(tmp_path))
    assert {difference.sign for difference in found} == {"+"}
    assert {difference.about for difference in found} == {"endpoint", "permission", "function", "trigger", "resource"}


@pytest.mark.parametrize(
    ("where", "file", "line"),
    [
        ("api:GET /", "handlers.py", 4),
        ("api:ship", "app.py", 11),
        ("queue orders", "app.py", 6),
        ("table stock", "app.py", 7),
        ("function api", "app.py", 8),
        ("app.py:3", "app.py", 3),
        ("pys-multi.toml:2: cloud", "pys-multi.toml", 2),
    ],
)
def test_the_place_of_a_problem(tmp_path: Path, where: str, file: str, line: int) -> None:
    (tmp_path / "pys-multi.toml").write_text("#\n#\n")
    assert place_of(where, tmp_path, service(tmp_path)) == (tmp_path / file, line)


@pytest.mark.parametrize("where", ["", "queue nothing", "nothing", "gone.py:3", "function", *HOSTILE])
def test_what_has_no_place(tmp_path: Path, where: str) -> None:
    assert place_of(where, tmp_path, service(tmp_path)) is None


@given(st.text())
def test_code_shows_any_text_and_lets_none_out(text: str) -> None:
    shown = code(text)
    assert "\n" not in shown
    fence = len(shown) - len(shown.lstrip("`"))
    assert shown.endswith("`" * fence)
    inside = shown[fence:-fence]
    assert "`" * fence not in inside.replace("`" * (fence + 1), "")
    assert "|" not in inside.replace("\\|", "")


@given(st.text(max_size=200))
def test_a_block_ends_where_it_ends(text: str) -> None:
    lines = block(text).split("\n")
    fence = lines[-1]
    assert set(fence) == {"`"}
    assert not any(line.strip().startswith(fence) for line in lines[1:-1])


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://x/<script>", "https://x/)](https://evil)", "https://x/ y"]
)
def test_what_is_no_address_is_no_link(url: str) -> None:
    assert link(url) == code(url)


def change(action: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "kind": kind, "name": name, "public": False, "data": False, "reason": "", **more}


CHANGES = [
    change("create", "function", "api", public=True),
    change("delete", "table", "stock", data=True, reason="gone"),
    change("update", "route", "a|b", properties=[["memory", 1, 2]]),
    change("unchanged", "queue", "orders"),
]


def test_a_plan_is_shown() -> None:
    after = Weight(packed=1_500_000, unpacked=2 * 10**6, import_ms=12.5)
    findings = Findings(
        service="shop",
        stage="prod",
        path="services/shop",
        problems={"aws": [{"where": "api:GET /", "what": "is slow", "hint": "hurry", "severity": "warning"}]},
        plans=[CloudPlan(cloud="aws", changes=CHANGES), CloudPlan(cloud="gcp", error="no")],
        differences=[Difference(sign="+", about="endpoint", name="GET / (api)")],
        weights={"aws": (Weight(packed=10**6, unpacked=2 * 10**6, import_ms=10), after)},
        errors={"plan gcp": "it failed\n  → try ``` again"},
    )
    text = plan_report("plan", findings)
    assert text.startswith("### pys-multi plan `shop`, stage `prod`, `services/shop`\n")
    assert "| `aws` | 1 | 1 | 0 | 1 |" in text
    assert "| `gcp` | failed |" in text
    assert "- `+` create `function` `api` **public**" in text
    assert "- `-` delete `table` `stock` **loses data** (`gone`)" in text
    assert "  - `memory`: `1` → `2`" in text
    assert "orders" not in text
    assert "**Data would be lost**\n- `aws`: delete `table` `stock`" in text
    assert "| `aws` | 1.50 MB (+0.50) | 2.00 MB | 12.50 ms (+2.50) |" in text
    assert "````text\nit failed" in text
    assert "a\\|b" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_gets_out_of_its_place(text: str) -> None:
    hostile = change("create", text, text, reason=text, properties=[[text, text, text]])
    findings = Findings(
        service=text,
        stage=text,
        path=text,
        problems={text: [{"where": text, "what": text, "hint": text, "severity": "error"}]},
        plans=[CloudPlan(cloud="aws", changes=[hostile])],
        differences=[Difference(sign="+", about="endpoint", name=text, detail=text)],
    )
    service = {"provider": text, "state": text, "url": text, "functions": [{"build_id": text}]}
    outputs = {text: {"url": text, "build_ids": {"a": text}, "values": {text: text}}}
    for shown in (
        plan_report("plan", findings),
        status_report(findings, [service]),
        deploy_report("x", findings, outputs),
    ):
        for line in shown.splitlines():
            assert not line.lstrip().startswith("::")
            assert "<script" not in line
        assert "\r" not in shown
        assert "\x1b" not in shown
