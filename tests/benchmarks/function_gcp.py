"""What a function costs under Google's functions-framework: import, first call, per request, memory, requests/s.

    python tests/benchmarks/function_gcp.py [--rounds 5] [--python PATH] [--seconds 3]

The same 50 groups of 2 routes as in function.py, as a function of each kind. The first figures are of a process that
makes the framework's application and calls it as its server does (WSGI), so they hold the framework's own part, which
is the same for all; requests/s are over HTTP, of `functions-framework` itself under gunicorn with 8 threads, GET, 16
connections (wrk, where it is installed). Rounds are interleaved and medians printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from function import OURS, ROOT
from uv import find_uv_bin

MEASURE = """
import sys, os, io, time
folder, calls = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, os.path.join(folder, "packages"))
os.chdir(folder)
os.environ["PYS_MULTI_FUNCTION"] = "api"
before = set(sys.modules)
started = time.perf_counter()
import functions_framework
framework = time.perf_counter()
app = functions_framework.create_app("handler", "main.py")
imported = time.perf_counter()


def environ(method, path, body=b""):
    return {
        "REQUEST_METHOD": method, "PATH_INFO": path, "RAW_URI": path, "QUERY_STRING": "", "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "169.254.1.1",
        "HTTP_HOST": "shop-abc.a.run.app", "HTTP_ACCEPT": "*/*", "HTTP_USER_AGENT": "curl/8",
        "HTTP_X_FORWARDED_FOR": "203.0.113.7", "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "HTTP_X_CLOUD_TRACE_CONTEXT": "0af7651916cd43dd8448eb211c80319c/13235353014750950193;o=1",
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)) if body else "",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False, "wsgi.input_terminated": True,
    }


def call(given):
    status = []
    chunks = app(given, lambda line, headers, *_: status.append(line))
    body = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    return status[0], body


body = b'{"sku": "A-1", "quantity": 3, "tags": ["x", "y"], "note": null}'
get = lambda: environ("GET", "/group7/items/42")
post = lambda: environ("POST", "/group7/items", body)
first = time.perf_counter()
answer = call(get())
first = time.perf_counter() - first
posted = call(post())
modules = [m for m in set(sys.modules) - before if getattr(sys.modules[m], "__file__", None)]
import json
assert answer[0].startswith("200") and json.loads(answer[1])["id"] == 42, answer
assert posted[0].startswith("201") and json.loads(posted[1])["quantity"] == 3, posted
with open("/proc/self/status") as file:
    rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024
found = {"framework": (framework - started) * 1e3, "import": (imported - framework) * 1e3, "first": first * 1e3,
         "rss": rss, "modules": len(modules)}
for name, make in (("get", get), ("post", post)):
    given = [make() for _ in range(calls)]
    began = time.perf_counter()
    for one in given:
        call(one)
    found[name] = (time.perf_counter() - began) / calls * 1e6
print(json.dumps(found))
"""

PLAIN = """
def handler(request):
    parts = request.path.split("/")
    if request.method == "GET":
        return {"id": int(parts[3]), "group": parts[1]}
    return request.get_json(), 201
"""

FLASK = """
from flask import Flask, request as current

flask = Flask("bench")

def group(n):
    def read(id):
        return {"id": id, "group": f"group{n}"}
    def create():
        return current.get_json(), 201
    flask.add_url_rule(f"/group{n}/items/<int:id>", f"read{n}", read)
    flask.add_url_rule(f"/group{n}/items", f"create{n}", create, methods=["POST"])

for n in range(50):
    group(n)

def handler(request):
    with flask.request_context(request.environ):
        return flask.full_dispatch_request()
"""

FASTAPI = """
from fastapi import FastAPI
from pydantic import BaseModel
from vellox import Vellox

api = FastAPI()

class Item(BaseModel):
    sku: str
    quantity: int
    tags: list[str]
    note: str | None

def group(n):
    @api.get(f"/group{n}/items/{{id}}")
    async def read(id: int):
        return {"id": id, "group": f"group{n}"}

    @api.post(f"/group{n}/items", status_code=201)
    async def create(item: Item) -> Item:
        return item

for n in range(50):
    group(n)

adapter = Vellox(app=api, lifespan="off")

def handler(request):
    return adapter(request)
"""

PEERS: list[tuple[str, str, list[str]]] = [
    ("plain function (the floor)", PLAIN, []),
    ("with a Flask app in it", FLASK, []),
    ("Vellox + FastAPI", FASTAPI, ["vellox", "fastapi"]),
]


def ours(folder: Path) -> None:
    """The files that a bundle for Google Cloud has."""
    from pys_multi_providers.gcp.provider import _MAIN, _SHIPPED

    shutil.copytree(ROOT / "sdk/pys_multi", folder / "pys_multi", ignore=shutil.ignore_patterns("__pycache__"))
    package = folder / "pys_multi_providers"
    (package / "gcp").mkdir(parents=True)
    shutil.copy(ROOT / "providers/pys_multi_providers/__init__.py", package)
    for module in ("__init__", *_SHIPPED):
        shutil.copy(ROOT / f"providers/pys_multi_providers/gcp/{module}.py", package / "gcp")
    (folder / "bench_service.py").write_text(OURS.replace("GROUPS", "50"))
    (folder / "main.py").write_bytes(_MAIN)
    build = {"schema_version": 1, "build_id": "bench", "app": "bench_service:service", "provider": "gcp"}
    (folder / "pys_multi_build.json").write_text(json.dumps(build))


def prepare(work: Path, python: str) -> list[tuple[str, Path]]:
    contenders = []
    for name, source, requirements in [*PEERS, ("pys-multi", "", [])]:
        folder = work / re.sub(r"\W+", "_", name)
        folder.mkdir()
        command = [find_uv_bin(), "pip", "install", "--quiet", "--python", python]
        wanted = ["functions-framework", *requirements]
        subprocess.run([*command, "--target", str(folder / "packages"), *wanted], check=True)
        if source:
            (folder / "main.py").write_text(source)
        else:
            ours(folder)
        subprocess.run([python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder], check=False)
        contenders.append((name, folder))
    return contenders


def measure(python: str, script: Path, folder: Path, calls: int) -> dict[str, float]:
    done = subprocess.run(
        [python, "-I", str(script), str(folder), str(calls)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{folder.name} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def requests_per_second(python: str, folder: Path, seconds: int) -> float:
    """Of `functions-framework` over HTTP, by wrk."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = subprocess.Popen(
        [python, "-S", "-P", "-m", "functions_framework", "--target", "handler", "--host", "127.0.0.1"],
        cwd=folder,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(folder / "packages"),
            "PORT": str(port),
            "THREADS": "8",
            "PYS_MULTI_FUNCTION": "api",
        },
        start_new_session=True,
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        url = f"http://127.0.0.1:{port}/group7/items/42"
        done = subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", url], capture_output=True, text=True, check=True)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    found_rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found_rate is None or "Non-2xx" in done.stdout:
        raise SystemExit(f"{folder.name}: wrk says\n{done.stdout}")
    return float(found_rate.group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--python", default=str(Path(sys.executable).resolve()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        script = work / "measure.py"
        script.write_text(MEASURE)
        contenders = prepare(work, arguments.python)
        results: dict[str, list[dict[str, float]]] = {name: [] for name, _ in contenders}
        for _ in range(arguments.rounds):
            for name, folder in contenders:
                found = measure(arguments.python, script, folder, 2000 if "FastAPI" in name else 5000)
                if shutil.which("wrk"):
                    found["rate"] = requests_per_second(arguments.python, folder, arguments.seconds)
                results[name].append(found)
        framework = statistics.median(row["framework"] for rows in results.values() for row in rows)
        print(f"importing functions-framework itself: {framework:.0f} ms\n")
        print("| | import ms | first call ms | GET µs | POST µs | RSS MB | modules | requests/s |")
        print("|---|---|---|---|---|---|---|---|")
        for name, rows in results.items():
            keys = ("import", "first", "get", "post", "rss")
            cells = [f"{statistics.median(row[key] for row in rows):.1f}" for key in keys]
            cells.append(str(int(rows[0]["modules"])))
            cells.append(f"{statistics.median(row['rate'] for row in rows):,.0f}" if "rate" in rows[0] else "–")
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
