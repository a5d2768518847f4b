"""What a function costs inside AWS Lambda: import, first call, per request, memory, beside its peers.

    python tests/benchmarks/function.py [--rounds 7] [--python PATH]

Each contender serves the same 50 groups of 2 routes (GET with a path parameter, POST with a JSON body) from
HTTP API events (payload format 2.0) and runs in a process of its own, `python -I`, with nothing but its
bundle on the path, compiled. Rounds are interleaved and medians printed. Then the same app with 10 and with
1,000 routes shows whether a request costs more where there are more routes.
"""

from __future__ import annotations

import argparse
import compileall
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[2]

MEASURE = """
import sys
sys.path.insert(0, sys.argv[1])
import time
before = set(sys.modules)
started = time.perf_counter()
import app
handler = app.handler
imported = time.perf_counter()


class Context:
    aws_request_id = "8a2b9c1e-4f5d-4c3b-9a8e-7f6d5c4b3a21"
    function_name = "api"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:api"
    memory_limit_in_mb = 256
    log_group_name = "/aws/lambda/api"
    log_stream_name = "x"

    def get_remaining_time_in_millis(self):
        return 10000


Context = Context()


def event(method, path, body=None):
    headers = {
        "accept": "*/*", "content-type": "application/json", "host": "abc.execute-api.eu-central-1.amazonaws.com",
        "user-agent": "curl/8", "x-amzn-trace-id": "Root=1-65f0a1b2-0123456789abcdef01234567",
        "x-forwarded-for": "203.0.113.7", "x-forwarded-port": "443", "x-forwarded-proto": "https",
    }
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "abc", "domainName": "abc.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abc", "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
            "time": "12/Mar/2024:19:03:58 +0000", "timeEpoch": 1710270238000,
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7",
                     "userAgent": "curl/8"},
        },
        "body": body, "isBase64Encoded": False,
    }


calls = int(sys.argv[2])
body = '{"sku": "A-1", "quantity": 3, "tags": ["x", "y"], "note": null}'
get = lambda: event("GET", "/group7/items/42")
post = lambda: event("POST", "/group7/items", body)
one = get()
first = time.perf_counter()
answer = handler(one, Context)
first = time.perf_counter() - first
posted = handler(post(), Context)
modules = [m for m in set(sys.modules) - before - {"app"} if getattr(sys.modules[m], "__file__", None)]
import json  # not before the modules are counted
assert answer["statusCode"] == 200 and json.loads(answer["body"])["id"] == 42, answer
assert posted["statusCode"] == 201 and json.loads(posted["body"])["quantity"] == 3, posted
with open("/proc/self/status") as status:
    rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
per_call = {}
for name, make in (("get", get), ("post", post)):
    events = [make() for _ in range(calls)]
    started_calls = time.perf_counter()
    for item in events:
        handler(item, Context)
    per_call[name] = (time.perf_counter() - started_calls) / calls * 1e6
print(json.dumps({"import": (imported - started) * 1e3, "first": first * 1e3, "get": per_call["get"],
                  "post": per_call["post"], "rss": rss, "modules": len(modules)}))
"""

BARE = """
import json

def handler(event, context):
    path = event["rawPath"].split("/")
    if event["requestContext"]["http"]["method"] == "GET":
        return {"statusCode": 200, "headers": {"content-type": "application/json"},
                "body": json.dumps({"id": int(path[3]), "group": path[1]})}
    item = json.loads(event["body"])
    return {"statusCode": 201, "headers": {"content-type": "application/json"}, "body": json.dumps(item)}
"""

OURS = """
from pys_multi import App, Request

service = App("bench", public=True)
api = service.function("api")

def group(n):
    @api.get(f"/group{n}/items/{{id}}")
    def read(id: int) -> dict:
        return {"id": id, "group": f"group{n}"}

    @api.post(f"/group{n}/items", status=201)
    def create(request: Request) -> dict:
        return request.json()

for n in range(GROUPS):
    group(n)
"""

OURS_ENTRY = """
import os, sys
os.environ["LAMBDA_TASK_ROOT"] = sys.path[0]
os.environ["PYS_MULTI_FUNCTION"] = "api"
from pys_multi_providers.aws.runtime import handler
"""

CHALICE = """
from chalice import Chalice, Response
from chalice.local import LambdaContext
app_ = Chalice("bench")

def group(n):
    def read(id):
        return {"id": int(id), "group": f"group{n}"}
    def create():
        return Response(app_.current_request.json_body, status_code=201)
    read.__name__, create.__name__ = f"read{n}", f"create{n}"
    app_.route(f"/group{n}/items/{{id}}", methods=["GET"])(read)
    app_.route(f"/group{n}/items", methods=["POST"])(create)

for n in range(50):
    group(n)

def handler(event, context):
    # Chalice speaks format 1.0 with the matched resource named; the gateway would have done that.
    parts = event["rawPath"].split("/")
    method = event["requestContext"]["http"]["method"]
    resource = f"/{parts[1]}/items" + ("/{id}" if method == "GET" else "")
    return app_({
        "requestContext": {"httpMethod": method, "resourcePath": resource, "identity": {"sourceIp": "203.0.113.7"}},
        "headers": event["headers"], "multiValueQueryStringParameters": None,
        "pathParameters": {"id": parts[3]} if method == "GET" else {}, "body": event["body"],
        "isBase64Encoded": False, "stageVariables": None}, context)
"""

POWERTOOLS = """
import os
os.environ["POWERTOOLS_TRACE_DISABLED"] = "1"
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
resolver = APIGatewayHttpResolver()

def group(n):
    @resolver.get(f"/group{n}/items/<id>")
    def read(id):
        return {"id": int(id), "group": f"group{n}"}

    @resolver.post(f"/group{n}/items")
    def create():
        return resolver.current_event.json_body, 201

for n in range(50):
    group(n)

def handler(event, context):
    return resolver.resolve(event, context)
"""

STARLETTE = """
from mangum import Mangum
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

def group(n):
    async def read(request):
        return JSONResponse({"id": request.path_params["id"], "group": f"group{n}"})
    async def create(request):
        return JSONResponse(await request.json(), status_code=201)
    return [Route(f"/group{n}/items/{{id:int}}", read), Route(f"/group{n}/items", create, methods=["POST"])]

handler = Mangum(Starlette(routes=[r for n in range(50) for r in group(n)]), lifespan="off")
"""

FASTAPI = """
from fastapi import FastAPI
from mangum import Mangum
from pydantic import BaseModel

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

handler = Mangum(api, lifespan="off")
"""

FLASK = """
import serverless_wsgi
from flask import Flask, request

flask = Flask("bench")

def group(n):
    def read(id):
        return {"id": id, "group": f"group{n}"}
    def create():
        return request.get_json(), 201
    flask.add_url_rule(f"/group{n}/items/<int:id>", f"read{n}", read)
    flask.add_url_rule(f"/group{n}/items", f"create{n}", create, methods=["POST"])

for n in range(50):
    group(n)

def handler(event, context):
    return serverless_wsgi.handle_request(flask, event, context)
"""

PEERS: list[tuple[str, str, list[str]]] = [
    ("bare handler (the floor)", BARE, []),
    ("Chalice", CHALICE, ["chalice"]),
    ("Powertools resolver", POWERTOOLS, ["aws-lambda-powertools"]),
    ("Mangum + Starlette", STARLETTE, ["mangum", "starlette"]),
    ("Mangum + FastAPI", FASTAPI, ["mangum", "fastapi"]),
    ("serverless-wsgi + Flask", FLASK, ["serverless-wsgi", "flask"]),
]


def ours(folder: Path, groups: int) -> None:
    """The files that a bundle for AWS has."""
    shutil.copytree(ROOT / "sdk/pys_multi", folder / "pys_multi", ignore=shutil.ignore_patterns("__pycache__"))
    package = folder / "pys_multi_providers"
    (package / "aws").mkdir(parents=True)
    shutil.copy(ROOT / "providers/pys_multi_providers/__init__.py", package)
    for module in ("__init__", "runtime", "fronts", "events", "resources", "tables", "calls"):
        shutil.copy(ROOT / f"providers/pys_multi_providers/aws/{module}.py", package / "aws")
    (folder / "bench_service.py").write_text(OURS.replace("GROUPS", str(groups)))
    (folder / "app.py").write_text(OURS_ENTRY)
    (folder / "pys_multi_aws.json").write_text('{"http": "http-api", "base_path": ""}')
    build = {"schema_version": 1, "build_id": "bench", "app": "bench_service:service", "provider": "aws"}
    (folder / "pys_multi_build.json").write_text(json.dumps(build))


def prepare(work: Path, python: str) -> list[tuple[str, Path]]:
    contenders = []
    for name, source, requirements in PEERS:
        folder = work / name.replace(" ", "_").replace("(", "").replace(")", "")
        folder.mkdir()
        if requirements:
            command = [find_uv_bin(), "pip", "install", "--quiet", "--python", python]
            subprocess.run([*command, "--target", str(folder), *requirements], check=True)
        (folder / "app.py").write_text(source)
        contenders.append((name, folder))
    folder = work / "pys-multi"
    folder.mkdir()
    ours(folder, 50)
    contenders.append(("pys-multi", folder))
    for _, path in contenders:
        subprocess.run([python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", path], check=False)
    return contenders


def measure(python: str, script: Path, folder: Path, calls: int) -> dict[str, float]:
    command = [python, "-I", str(script), str(folder), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{folder.name} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
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
                calls = 2000 if "FastAPI" in name or "Flask" in name else 10000
                results[name].append(measure(arguments.python, script, folder, calls))
        print("| | import ms | first call ms | GET µs | POST µs | RSS MB | modules |\n|---|---|---|---|---|---|---|")
        for name, rows in results.items():
            cells = [statistics.median(row[key] for row in rows) for key in ("import", "first", "get", "post", "rss")]
            modules = int(rows[0]["modules"])
            print(f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + f" | {modules} |")
        routes = {}
        for groups in (8, 500):  # measured on group 7, so there are at least 8
            folder = work / f"routes{groups}"
            folder.mkdir()
            ours(folder, groups)
            compileall.compile_dir(folder, quiet=1)
            routes[groups] = statistics.median(
                measure(arguments.python, script, folder, 10000)["get"] for _ in range(5)
            )
        few, many = routes[8], routes[500]
        print(f"\nGET with 16 routes {few:.2f} µs, with 1,000 routes {many:.2f} µs: {many / few:.2f} ×")


if __name__ == "__main__":
    main()
