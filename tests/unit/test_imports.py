"""What importing pys_multi and answering a request pulls in, in an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from uv import find_uv_bin

SDK = Path(__file__).parents[2] / "sdk"

#: What a cold start must not pay for unless a feature in use needs it.
SLOW = {
    "asyncio",
    "dataclasses",
    "http.client",
    "importlib.metadata",
    "inspect",
    "logging",
    "pydantic",
    "typing",
    "typing_extensions",
    "urllib.parse",
    "uuid",
}

ANSWER_A_REQUEST = """
from pys_multi import App, Request
from pys_multi.runtime import Runtime

app = App("shop")

@app.get("/orders/{order_id:int}", public=True)
def read_order(order_id: int) -> dict:
    return {"id": order_id}

@app.post("/orders", public=True)
def create_order(request: Request) -> dict:
    return request.json()

runtime = Runtime(app, "main")
runtime.start()
assert runtime.http(Request("GET", "/orders/7")).body == b'{"id":7}'
assert runtime.http(Request("POST", "/orders", body=b'{"sku":"a"}')).body == b'{"sku":"a"}'
"""

DEFINE_EVERYTHING = """
from pys_multi import App, Message

app = App("shop")
orders = app.queue("orders")
stock = app.table("stock", key="sku")
worker = app.function("worker", uses=[orders.send, stock.read])

@worker.consume(orders, batch=10)
def ship(batch: list[Message]) -> None: ...

@worker.every("15 minutes")
def reprice() -> None: ...
"""


@cache
def interpreter(version: str) -> str:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = subprocess.run(
        [find_uv_bin(), "python", "find", "--no-project", "--no-python-downloads", f"cpython@{version}"],
        capture_output=True,
        text=True,
    )
    if found.returncode != 0:
        pytest.skip(f"no CPython {version} is installed here")
    return found.stdout.strip()


def imported(python: str, code: str) -> set[str]:
    """The modules that the code imports, over those that the interpreter starts with."""
    program = (
        f"import sys; sys.path.insert(0, {str(SDK)!r}); before = set(sys.modules)\n"
        f"{code}\nimport json; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    # -I and -S: no site-packages, so that an import of anything but the standard library fails.
    run = subprocess.run([python, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


VERSIONS = pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])


@VERSIONS
@pytest.mark.parametrize(
    "code", ["import pys_multi", ANSWER_A_REQUEST, DEFINE_EVERYTHING], ids=["import", "http", "all"]
)
def test_only_the_standard_library_and_nothing_slow_is_imported(version: str, code: str) -> None:
    modules = imported(interpreter(version), code)
    assert {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) <= {"pys_multi"}
    assert modules & SLOW == set()


@VERSIONS
def test_answering_a_request_imports_few_modules_of_our_own(version: str) -> None:
    """Each module costs about half a millisecond of a cold start: a new one here is a decision, not an accident."""
    own = {name for name in imported(interpreter(version), ANSWER_A_REQUEST) if name.startswith("pys_multi")}
    assert own == {
        "pys_multi",
        "pys_multi.app",
        "pys_multi.encoding",
        "pys_multi.errors",
        "pys_multi.http",
        "pys_multi.messages",
        "pys_multi.parameters",
        "pys_multi.readers",
        "pys_multi.routing",
        "pys_multi.runtime",
        "pys_multi.scalars",
        "pys_multi.triggers",
    }


def test_every_public_name_can_be_imported() -> None:
    import pys_multi

    for name in pys_multi.__all__:
        assert getattr(pys_multi, name) is not None
    with pytest.raises(AttributeError, match="Ap"):
        _ = pys_multi.Ap  # type: ignore[attr-defined]
