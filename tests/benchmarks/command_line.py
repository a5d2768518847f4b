"""What the command line and the local server cost, beside their peers; prints the table of docs/benchmarks.md.

    python tests/benchmarks/command_line.py [--rounds 7] [--only ROW ...] [--without PEER ...]

Rows: version, help, start, requests (async handlers), requests-plain (plain functions),
reload, plan. Peers are installed once into the user's cache (Python ones
with uv, serverless with npm). All contenders of a row run interleaved, round by round; medians are printed.
Every server answers GET / with the same few bytes of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from uv import find_uv_bin

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pys-multi-benchmarks" / "command-line"
OURS = Path(sys.executable).with_name("pys-multi")
PYTHON_PEERS = {
    "sam": ["aws-sam-cli"],
    "chalice": ["chalice", "setuptools<81"],
    "functions-framework": ["functions-framework"],
    "uvicorn+starlette": ["uvicorn[standard]", "starlette"],
}
NODE_PEERS = {"serverless": ["serverless@3", "serverless-offline@13"]}

APPS = {
    "pys-multi": {
        "app.py": "from pys_multi import App\n\napp = App('bench')\n\n\n"
        "@app.get('/', public=True)\nasync def read() -> dict:\n    return {'hello': 'world'}\n",
        "pys-multi.toml": "",
    },
    "uvicorn+starlette": {
        "app.py": "from starlette.applications import Starlette\nfrom starlette.responses import JSONResponse\n"
        "from starlette.routing import Route\n\n\nasync def read(request):\n"
        "    return JSONResponse({'hello': 'world'})\n\n\napp = Starlette(routes=[Route('/', read)])\n",
    },
    "functions-framework": {"main.py": "def read(request):\n    return {'hello': 'world'}\n"},
    "chalice": {
        "app.py": "from chalice import Chalice\n\napp = Chalice(app_name='bench')\n\n\n@app.route('/')\ndef read():\n"
        "    return {'hello': 'world'}\n",
        ".chalice/config.json": '{"version": "2.0", "app_name": "bench", "stages": {"dev": {}}}',
        "requirements.txt": "",
    },
    "serverless": {
        "handler.py": "import json\n\n\ndef read(event, context):\n"
        "    return {'statusCode': 200, 'body': json.dumps({'hello': 'world'})}\n",
        "serverless.yml": "service: bench\nframeworkVersion: '3'\nprovider:\n  name: aws\n  runtime: python3.12\n"
        "functions:\n  read:\n    handler: handler.read\n    events:\n      - httpApi: GET /\n"
        "plugins:\n  - serverless-offline\n",
    },
}


def peer(name: str, program: str) -> str:
    """The path of a peer's program, installed when it is not there yet."""
    if name in NODE_PEERS:
        folder = CACHE / name
        if not (folder / "node_modules" / ".bin" / program).exists():
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--silent", "--no-fund", *NODE_PEERS[name]], cwd=folder, check=True)
        return str(folder / "node_modules" / ".bin" / program)
    folder = CACHE / name
    if not (folder / "bin" / program).exists():
        subprocess.run([find_uv_bin(), "venv", "-q", "--python", sys.executable, "--clear", folder], check=True)
        subprocess.run(
            [find_uv_bin(), "pip", "install", "-q", "--compile-bytecode", "--python", folder, *PYTHON_PEERS[name]],
            check=True,
        )
    return str(folder / "bin" / program)


def server_command(name: str, port: int) -> list[str]:
    """The command that serves the app of a contender in its folder."""
    match name:
        case "pys-multi":
            return [str(OURS), "dev", "--port", str(port)]
        case "uvicorn+starlette":
            return [peer(name, "uvicorn"), "app:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
        case "functions-framework":
            return [peer(name, "functions-framework"), "--target", "read", "--port", str(port), "--host", "127.0.0.1"]
        case "chalice":
            return [peer(name, "chalice"), "local", "--port", str(port), "--no-autoreload"]
        case _:
            ports = ["--httpPort", str(port), "--lambdaPort", str(free_port())]
            return [peer(name, "serverless"), "offline", *ports, "--host", "127.0.0.1"]


def make_app(name: str, folder: Path, plain: bool) -> None:
    """Write the app of a contender; plain: with handlers that are plain functions, which run in threads."""
    for path, text in APPS[name].items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("async def", "def") if plain else text)
    if name == "serverless":  # its plugins are looked up beside the project
        peer(name, "serverless")
        (folder / "node_modules").symlink_to(CACHE / name / "node_modules")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer(port: int) -> bytes | None:
    """The body of GET /, None when nobody answers with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
        return body if response.status == 200 else None
    except OSError:
        return None
    finally:
        connection.close()


@contextlib.contextmanager
def serving(name: str, plain: bool = False) -> Iterator[tuple[int, Path, float]]:
    """A running server: its port, its folder, and the seconds from its start to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        make_app(name, Path(folder), plain)
        port = free_port()
        command = server_command(name, port)
        environment = {**os.environ, "SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off", "CI": "1"}
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while answer(port) is None:
                if process.poll() is not None or time.perf_counter() - started > 60:
                    raise SystemExit(f"{name} did not serve: {' '.join(command)}")
                time.sleep(0.002)
            yield port, Path(folder), time.perf_counter() - started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def run_seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def start_seconds(name: str) -> float:
    with serving(name) as (_, _, seconds):
        return seconds


def requests_per_second(name: str, plain: bool = False, seconds: int = 3, connections: int = 16) -> float:
    """Answers that as many kept-alive connections get, after a second of warming up.

    wrk asks where it is installed (Debian: apt install wrk); a client in Python is itself the limit otherwise.
    """
    with serving(name, plain) as (port, _, _):
        if shutil.which("wrk") is None:
            return asyncio.run(_load(port, seconds, connections))
        wrk = ["wrk", "-t1", f"-c{connections}", f"http://127.0.0.1:{port}/"]
        subprocess.run([*wrk, "-d1s"], capture_output=True, check=True)
        output = subprocess.run([*wrk, f"-d{seconds}s"], capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in output:
            raise SystemExit(f"{name} answered with errors:\n{output}")
        return float(output.partition("Requests/sec:")[2].split()[0])


async def _load(port: int, seconds: int, connections: int) -> float:
    begin = time.perf_counter() + 1.0
    counts = await asyncio.gather(*(_connection(port, begin, begin + seconds) for _ in range(connections)))
    return sum(counts) / seconds


async def _connection(port: int, begin: float, end: float) -> int:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
    count = 0
    while (now := time.perf_counter()) < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while (now := time.perf_counter()) < end:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
                    raise SystemExit(f"an answer is not 200: {head!r}")
                count += now >= begin
                if b"connection: close" in lower or head.startswith(b"HTTP/1.0"):
                    break
        finally:
            writer.close()
    return count


def reload_seconds(name: str) -> float:
    """From the moment that an edit is on disk to the first answer of the edited code."""
    with serving(name) as (port, folder, _):
        path = folder / "app.py"
        edited = path.read_text().replace("world", "again")
        path.write_text(edited)
        started = time.perf_counter()
        while b"again" not in (answer(port) or b""):
            if time.perf_counter() - started > 30:
                raise SystemExit("the edit never showed")
        return time.perf_counter() - started


def plan_cost(functions: int) -> tuple[float, float]:
    """Seconds and peak MB of ``plan`` and ``render``, as processes, of a service with 3 triggers a function."""
    lines = ["from pys_multi import App", "app = App('large')"]
    for i in range(functions):
        lines += [
            f"f{i} = app.function('f{i}')",
            f"q{i} = app.queue('q{i}')",
            f"@f{i}.get('/f{i}/{{id}}', public=True)",
            f"def read{i}(id: int) -> dict: ...",
            f"@f{i}.consume(q{i})",
            f"def take{i}(message) -> None: ...",
            f"@f{i}.every('1 hour')",
            f"def tick{i}() -> None: ...",
        ]
    seconds = peak = 0.0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text("\n".join(lines) + "\n")
        Path(folder, "pys-multi.toml").touch()
        for command in ("plan", "render"):
            started = time.perf_counter()
            process = subprocess.Popen(
                [OURS, command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{command} of {functions} functions failed")
            seconds += time.perf_counter() - started
            peak = max(peak, usage.ru_maxrss / 1024)
    return seconds, peak


def interleaved(rounds: int, contenders: dict[str, Callable[[], float]]) -> dict[str, float]:
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, measure in contenders.items():
            measured[name].append(measure())
            print(f"  round {number + 1}: {name} {measured[name][-1]:.4g}", file=sys.stderr)
    return {name: statistics.median(values) for name, values in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only", nargs="*", default=["version", "help", "start", "requests", "requests-plain", "reload", "plan"]
    )
    parser.add_argument("--without", nargs="*", default=[])
    options = parser.parse_args()
    if shutil.which("npm") is None:
        options.without.append("serverless")
    programs = {"pys-multi": str(OURS)}
    for name in ("sam", "chalice", "serverless"):
        if name not in options.without:
            programs[name] = peer(name, name)
    servers = [name for name in APPS if name not in options.without]
    rows: list[tuple[str, str, dict[str, str]]] = []

    def add(row: str, bar: str, unit: str, contenders: dict[str, Callable[[], float]], rounds: int) -> None:
        if row in options.only:
            print(row, file=sys.stderr)
            medians = interleaved(rounds, contenders)
            rows.append((row, bar, {name: f"{value:{unit}}" for name, value in medians.items()}))

    for flag in ("version", "help"):
        commands = {name: lambda c=[path, f"--{flag}"]: run_seconds(c) for name, path in programs.items()}
        add(flag, "≤ 0.15 s", ".3f", commands, options.rounds)  # type: ignore[arg-type]
    starts = {name: lambda n=name: start_seconds(n) for name in servers}
    add("start", "≤ 0.6 s", ".2f", starts, options.rounds)  # type: ignore[arg-type]
    loads = {name: lambda n=name: requests_per_second(n) for name in servers if name != "serverless"}
    add("requests", "≥ 0.9 × uvicorn+starlette", ",.0f", loads, options.rounds)  # type: ignore[arg-type]
    both = [name for name in ("pys-multi", "uvicorn+starlette") if name in servers]
    plain = {name: lambda n=name: requests_per_second(n, plain=True) for name in both}
    add("requests-plain", "≥ 0.9 × uvicorn+starlette", ",.0f", plain, options.rounds)  # type: ignore[arg-type]
    add("reload", "≤ 0.3 s", ".2f", {"pys-multi": lambda: reload_seconds("pys-multi")}, options.rounds)
    if "plan" in options.only:
        costs = {size: plan_cost(size) for size in (500, 1000, 2000)}
        text = "; ".join(f"{size}: {seconds:.2f} s, {peak:.0f} MB" for size, (seconds, peak) in costs.items())
        rows.append(("plan + render", "1,000: ≤ 2 s, ≤ 200 MB, linear", {"pys-multi": text}))
    names = list(dict.fromkeys(name for _, _, cells in rows for name in cells))
    print(f"| | to reach | {' | '.join(names)} |")
    print(f"|---|---|{'---|' * len(names)}")
    for row, bar, cells in rows:
        print(f"| {row} | {bar} | {' | '.join(cells.get(name, '–') for name in names)} |")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    main()
