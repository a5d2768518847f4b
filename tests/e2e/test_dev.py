"""`pys-multi dev` as a person uses it: a process in the foreground, edits, and a look at what it says."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

SERVICE = """
from pys_multi import App, Message, Request

app = App("shop")
orders = app.queue("orders")
stock = app.table("stock", key="sku")
key = app.secret("KEY")
api = app.function("api", uses=[orders.send, stock.read, key])


@api.get("/greeting")
def greeting() -> str:
    return "hello"


@api.get("/later")
async def later() -> str:
    return "async"


@api.get("/key")
def show_key() -> str:
    return key.value


@api.post("/orders", status=201)
def create(request: Request) -> dict:
    return {"id": orders.send(request.json())}


@api.get("/stock/{sku}")
def read(sku: str):
    return stock.get(sku) or ("nothing", 404)


worker = app.function("worker", uses=[stock.write])


@worker.consume(orders)
def ship(message: Message) -> None:
    stock.put(message.json())
"""


class Running:
    """A dev process, what it has said, and a client for it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        command = [sys.executable, "-m", "pys_multi_tools.cli", "dev", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        url = self.said(r"(http://127\.0\.0\.1:\d+)")
        self.client = httpx.Client(base_url=url.group(1), timeout=10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(20)
        self._reader.join(20)

    def said(self, pattern: str) -> re.Match[str]:
        found = until(lambda: re.search(pattern, "".join(self.lines)), f"{pattern!r} in {self.lines}")
        assert found is not None
        return found

    def edit(self, old: str, new: str) -> None:
        # As editors do: another file takes the name at once, so that nobody imports half of it.
        path = self.folder / "app.py"
        edited = self.folder / "app.py.edited"
        edited.write_text(path.read_text().replace(old, new))
        edited.replace(path)

    def answers(self, path: str, text: str) -> None:
        until(lambda: text in self.client.get(path).text, f"{text!r} at {path}")

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> object:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.01)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "pys-multi.toml").write_text('app = "app:app"\n[secrets]\nKEY = "env:SHOP_KEY"\n')
    (tmp_path / "app.py").write_text(SERVICE)
    (tmp_path / ".env").write_text("SHOP_KEY=from-dot-env\n")
    running = Running(tmp_path)
    yield running
    running.close()


def test_serves_sync_and_async_routes_and_logs_requests(dev: Running) -> None:
    assert dev.client.get("/greeting").text == "hello"
    assert dev.client.get("/later").text == "async"
    dev.said(r"200 GET /greeting  [\d.]+ ms  api")


def test_an_error_in_a_handler_is_shown_with_its_traceback_to_be_read(dev: Running) -> None:
    dev.edit('return "hello"', 'raise ValueError("two\\n" "lines \\x1b[31m")')
    until(lambda: dev.client.get("/greeting").status_code == 500, "the error")
    dev.said(r"ERROR   api  GET /greeting failed  trigger=api:GET /greeting  [0-9a-f]{32}\n    Traceback \(most recent")
    dev.said(r"\n    ValueError: two\n    lines \\x1b\[31m\n")
    assert sum("Ctrl-C ends" in line for line in dev.lines) == 1


def test_queues_are_consumed(dev: Running) -> None:
    assert dev.client.post("/orders", json={"sku": "a1", "n": 2}).status_code == 201
    until(lambda: dev.client.get("/stock/a1").status_code == 200, "the order in stock")
    dev.said(r"200 worker:ship")


def test_dot_env_is_read(dev: Running) -> None:
    assert dev.client.get("/key").text == "from-dot-env"


def test_an_edit_is_served(dev: Running) -> None:
    dev.answers("/greeting", "hello")
    dev.edit('"hello"', '"goodbye"')
    dev.answers("/greeting", "goodbye")
    dev.said("reload: app.py changed")


def test_a_broken_edit_is_shown_with_its_traceback_and_mended_by_the_next(dev: Running) -> None:
    dev.answers("/greeting", "hello")
    dev.edit('return "hello"', "return hello +")
    until(lambda: dev.client.get("/greeting").status_code == 500, "the broken edit")
    assert "SyntaxError" in dev.client.get("/greeting").text
    assert "return hello +" in dev.client.get("/greeting").text
    dev.said("SyntaxError")
    dev.edit("return hello +", 'return "mended"')
    dev.answers("/greeting", "mended")


def test_no_request_is_refused_across_edits(dev: Running) -> None:
    dev.answers("/greeting", "hello")
    statuses: set[int] = set()
    done = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=dev.client.base_url, timeout=10) as client:
            while not done.is_set():
                statuses.add(client.get("/greeting", headers={"connection": "close"}).status_code)

    thread = threading.Thread(target=load)
    thread.start()
    for word in ("first", "second", "third"):
        dev.edit(re.search(r'return "(\w+)"', (dev.folder / "app.py").read_text()).group(1), word)  # type: ignore[union-attr]
        dev.answers("/greeting", word)
    done.set()
    thread.join()
    assert statuses == {200}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_with_its_processes(dev: Running, number: int) -> None:
    dev.answers("/greeting", "hello")
    assert dev.stop(number) == 0
    with pytest.raises(httpx.ConnectError):
        dev.client.get("/greeting")


def test_a_taken_port_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SERVICE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "pys_multi_tools.cli", "dev", "--port", port]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert port in done.stderr
    assert "--port" in done.stderr
