"""What a function costs under Azure's Python worker: import and indexing, first call, per request, memory.

    python tests/benchmarks/function_azure.py [--rounds 7]

The same 50 groups of 2 routes as in function.py, as a plain function of the v2 model per route, as FastAPI behind
azure-functions' AsgiMiddleware, and as pys-multi. Each runs in a process of its own in which Microsoft's worker library
(azure-functions-runtime, CPython 3.13) is loaded already, as it is in Azure: import is what the app adds, up to its
functions being indexed. GET and POST are a call of the function with azure-functions' own request object, up to its
response object. "invoked" is the same GET through the worker library, as FunctionRpc messages in and out, to which the
host adds a gRPC channel; for "streamed" it comes over HTTP to the server in the worker, beside an empty message. Times
are of the CPU. Rounds are interleaved and medians printed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from function import OURS, ROOT
from uv import find_uv_bin

sys.path.insert(0, str(ROOT))

MEASURE = """
import asyncio, json, os, sys, time, http.client, socket, threading, uuid
from types import SimpleNamespace
host, folder, calls, streamed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "streamed"
sys.path[0] = folder
sys.dont_write_bytecode = True
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("worker", host + "/worker.py")
worker = module_from_spec(spec)
spec.loader.exec_module(worker)
if not streamed:
    sys.meta_path.insert(0, worker._NoExtensions())
import azure.functions as func
import azure_functions_runtime as library
import azure_functions_runtime.handle_event
protos = worker._protos()
os.environ["PYS_MULTI_FUNCTION"] = "api"
before = set(sys.modules)


def rss():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


base = rss()


def request(method, path, body=b""):
    fields = {
        "accept": "*/*", "content-type": "application/json", "host": "shop.azurewebsites.net", "user-agent": "curl/8",
        "client-ip": "203.0.113.7:50123", "x-forwarded-for": "203.0.113.7:50123", "x-forwarded-proto": "https",
        "x-waws-unencoded-url": path, "disguised-host": "shop.azurewebsites.net",
    }
    parts = path.split("/")
    route = {"id": parts[3]} if len(parts) > 3 else {}
    return func.HttpRequest(method, "https://shop.azurewebsites.net" + path, headers=fields, params={},
                            route_params=route, body=body)


class Link:
    def send(self, **line):
        self.said = line


class Context:
    invocation_id = "8a2b9c1e-4f5d-4c3b-9a8e-7f6d5c4b3a21"
    function_name, function_directory = "http", folder
    trace_context = SimpleNamespace(trace_parent="", Traceparent="")
    thread_local_storage = threading.local()


async def main():
    link = Link()
    process = worker.Worker(link, library, protos)
    os.chdir(folder)
    started = time.process_time()
    said = await process.start(folder)
    imported = time.process_time() - started
    assert "error" not in said, said
    import function_app
    registry = library.handle_event._functions
    found = {f["name"]: registry.get_function(f["id"]).func for f in said["functions"]}
    names = {name: function_app.NAMES[name] for name in ("get", "post")} if hasattr(function_app, "NAMES") else {
        "get": "z_http", "post": "z_http"}
    functions = {verb: found[name] for verb, name in names.items()}
    is_async = asyncio.iscoroutinefunction(functions["get"])
    argument = [b["name"] for f in said["functions"] if f["name"] == names["get"] for b in f["bindings"]
                if b["type"] == "httpTrigger"][0]
    takes_context = "context" in functions["get"].__code__.co_varnames[: functions["get"].__code__.co_argcount]

    def call(verb, given):
        arguments = {argument: given, **({"context": Context} if takes_context else {})}
        return functions[verb](**arguments)

    async def answer(verb, given):
        got = call(verb, given)
        return await got if is_async else got

    body = b'{"sku": "A-1", "quantity": 3, "tags": ["x", "y"], "note": null}'
    make = {"get": lambda: request("GET", "/group7/items/42"), "post": lambda: request("POST", "/group7/items", body)}
    first = time.process_time()
    got = await answer("get", make["get"]())
    first = time.process_time() - first
    posted = await answer("post", make["post"]())
    modules = [m for m in set(sys.modules) - before if getattr(sys.modules[m], "__file__", None)]
    assert got.status_code == 200 and json.loads(got.get_body())["id"] == 42, got.get_body()
    assert posted.status_code == 201 and json.loads(posted.get_body())["quantity"] == 3, posted.get_body()
    memory = rss() - base
    out = {"import": imported * 1e3, "first": first * 1e3, "rss": memory, "modules": len(modules)}
    for verb in ("get", "post"):
        events = [make[verb]() for _ in range(calls)]
        started = time.process_time()
        if is_async:
            for item in events:
                await call(verb, item)
        else:
            for item in events:
                call(verb, item)
        out[verb] = (time.process_time() - started) / calls * 1e6
    ids = {f["name"]: f["id"] for f in said["functions"]}
    one = make["get"]()
    http_ = {"method": "GET", "url": one.url, "headers": dict(one.headers), "params": dict(one.route_params)}
    number = min(calls, 1000)
    if streamed:
        out["invoked"] = await over_http(process, said["capabilities"]["HttpUri"], ids[names["get"]], argument, number)
    else:
        started = time.process_time()
        for _ in range(number):
            await process.invoke({"id": "1", "function": ids[names["get"]], "input": {argument: {"http": dict(http_)}}})
        out["invoked"] = (time.process_time() - started) / number * 1e6
        assert link.said["http"]["status"] == 200, link.said
    print(json.dumps(out))


async def over_http(process, uri, function, argument, number):
    await asyncio.sleep(0.2)
    reader, writer = await asyncio.open_connection(*uri.removeprefix("http://").split(":"))
    started = time.process_time()
    for n in range(number):
        lines = ("GET /group7/items/42 HTTP/1.1", "host: 127.0.0.1", "x-forwarded-host: shop.azurewebsites.net",
                 "x-forwarded-proto: https", "accept: */*", "client-ip: 203.0.113.7:1",
                 f"x-ms-invocation-id: {n}", "", "")
        head = "\\r\\n".join(lines)
        writer.write(head.encode())
        invoked = asyncio.create_task(process.invoke(
            {"id": str(n), "function": function, "input": {argument: {"http": {"params": {}}}}}))
        answer = await reader.readuntil(b"\\r\\n\\r\\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0])
        await reader.readexactly(length)
        await invoked
    writer.close()
    return (time.process_time() - started) / number * 1e6


asyncio.run(main())
"""

PLAIN = """
import json
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
NAMES = {"get": "read7", "post": "create7"}

def group(n):
    def read(req: func.HttpRequest) -> func.HttpResponse:
        body = json.dumps({"id": int(req.route_params["id"]), "group": f"group{n}"})
        return func.HttpResponse(body, mimetype="application/json")

    def create(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(json.dumps(req.get_json()), status_code=201, mimetype="application/json")

    app.function_name(f"read{n}")(app.route(route=f"group{n}/items/{{id}}", methods=["GET"])(read))
    app.function_name(f"create{n}")(app.route(route=f"group{n}/items", methods=["POST"])(create))

for n in range(50):
    group(n)
"""

FASTAPI = """
import azure.functions as func
from fastapi import FastAPI
from pydantic import BaseModel

api = FastAPI()
NAMES = {"get": "http_app_func", "post": "http_app_func"}

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

app = func.AsgiFunctionApp(app=api, http_auth_level=func.AuthLevel.ANONYMOUS)
"""


def ours(folder: Path) -> None:
    """The files that a bundle for Azure has."""
    from pys_multi_providers.azure import entry

    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sdk/pys_multi", folder / "pys_multi", ignore=ignored)
    package = folder / "pys_multi_providers"
    (package / "azure").mkdir(parents=True)
    shutil.copy(ROOT / "providers/pys_multi_providers/__init__.py", package)
    for module in ("__init__", *(name.rpartition(".")[2] for name in entry.RUNTIME_MODULES)):
        shutil.copy(ROOT / f"providers/pys_multi_providers/azure/{module}.py", package / "azure")
    source = OURS.replace("GROUPS", "50")
    (folder / "bench_service.py").write_text(source)
    namespace: dict[str, object] = {"__name__": "bench_service"}
    exec(source, namespace)
    service = namespace["service"].service()  # type: ignore[attr-defined]
    for name, content in entry.files(SimpleNamespace(service=service)).items():  # type: ignore[arg-type]
        (folder / name).write_bytes(content)
    build = {"schema_version": 1, "build_id": "bench", "app": "bench_service:service", "provider": "azure"}
    (folder / "pys_multi_build.json").write_text(json.dumps(build))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    from tests.support.azure_host.image import image

    runtime = image("3.13")
    if runtime is None:
        raise SystemExit("there is no Python 3.13 on this machine")
    host = str(ROOT / "tests/support/azure_host")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        script = work / "measure.py"
        script.write_text(MEASURE)
        contenders: list[tuple[str, Path, str]] = []
        for label, source, requirements in (
            ("plain function of the v2 model", PLAIN, []),
            ("AsgiMiddleware + FastAPI", FASTAPI, ["fastapi"]),
        ):
            folder = work / label.split()[0]
            folder.mkdir()
            if requirements:
                command = [find_uv_bin(), "pip", "install", "--quiet", "--python", runtime.python]
                subprocess.run([*command, "--target", str(folder), *requirements], check=True)
            (folder / "function_app.py").write_text(source)
            contenders.append((label, folder, "objects"))
        folder = work / "pys-multi"
        folder.mkdir()
        ours(folder)
        contenders += [("pys-multi, as objects", folder, "objects"), ("pys-multi, streamed", folder, "streamed")]
        for _, path, _ in contenders:
            compiling = [runtime.python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(path)]
            subprocess.run(compiling, check=False)
        results: dict[str, list[dict[str, float]]] = {label: [] for label, _, _ in contenders}
        for _ in range(arguments.rounds):
            for label, folder, kind in contenders:
                calls = 1000 if "FastAPI" in label else 5000
                done = subprocess.run(
                    [runtime.python, "-S", str(script), host, str(folder), str(calls), kind],
                    capture_output=True,
                    text=True,
                    check=False,
                    env=runtime.environment(),
                )
                if done.returncode != 0:
                    raise SystemExit(f"{label} failed:\n{done.stderr}")
                results[label].append(json.loads(done.stdout.splitlines()[-1]))
        print("| | import ms | first call ms | GET µs | POST µs | invoked µs | RSS MB | modules |")
        print("|---|---|---|---|---|---|---|---|")
        for label, rows in results.items():
            keys = ("import", "first", "get", "post", "invoked", "rss")
            cells = [statistics.median(row[key] for row in rows) for key in keys]
            print(f"| {label} | " + " | ".join(f"{cell:.1f}" for cell in cells) + f" | {int(rows[0]['modules'])} |")


if __name__ == "__main__":
    main()
