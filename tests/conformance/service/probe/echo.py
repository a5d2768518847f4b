"""Routes that answer with what they got."""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from uuid import UUID

from pys_multi import Context, Request, Router

router = Router()


def described(request: Request) -> dict[str, object]:
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query.items(),
        "query_string": request.query_string,
        "headers": [[name.lower(), value] for name, value in request.headers.items()],
        "cookies": request.cookies,
        "body": b64encode(request.body).decode(),
        "scheme": request.scheme,
        "host": request.host,
        "client": request.client,
        "url": request.url,
        "request_id": request.request_id,
        "params": {name: [type(value).__name__, str(value)] for name, value in request.path_params.items()},
    }


@router.get("/echo")
def echo_get(request: Request) -> dict[str, object]:
    return described(request)


@router.post("/echo")
def echo_post(request: Request) -> dict[str, object]:
    return described(request)


@router.put("/echo")
def echo_put(request: Request) -> dict[str, object]:
    return described(request)


@router.patch("/echo")
def echo_patch(request: Request) -> dict[str, object]:
    return described(request)


@router.delete("/echo")
def echo_delete(request: Request) -> dict[str, object]:
    return described(request)


@router.get("/echo/header/{name}")
def header(name: str, request: Request) -> dict[str, object]:
    return {"first": request.headers.get(name), "all": request.headers.get_all(name)}


# ---- path parameters


@router.get("/paths/str/{value}")
def path_str(value: str, request: Request) -> dict[str, object]:
    return described(request)


@router.get("/paths/int/{value:int}")
def path_int(value: int, request: Request) -> dict[str, object]:
    return described(request)


@router.get("/paths/float/{value:float}")
def path_float(value: float, request: Request) -> dict[str, object]:
    return described(request)


@router.get("/paths/uuid/{value:uuid}")
def path_uuid(value: UUID, request: Request) -> dict[str, object]:
    return described(request)


@router.get("/paths/rest/{value:path}")
def path_rest(value: str, request: Request) -> dict[str, object]:
    return described(request)


@router.get("/paths/file/{name}.{ending}")
def path_file(name: str, ending: str, request: Request) -> dict[str, object]:
    return described(request)


@router.get("/paths/annotated/{value}")
def path_annotated(value: int) -> dict[str, object]:
    return {"value": value, "type": type(value).__name__}


# ---- which route wins


@router.get("/specific/fixed")
def specific_fixed() -> str:
    return "fixed"


@router.get("/specific/{value:int}")
def specific_int(value: int) -> str:
    return "int"


@router.get("/specific/{value}")
def specific_str(value: str) -> str:
    return "str"


@router.get("/specific/{value:path}")
def specific_path(value: str) -> str:
    return "path"


@router.get("/slash/with/")
def slash_with() -> str:
    return "with"


@router.get("/slash/without")
def slash_without() -> str:
    return "without"


# ---- where it runs


@router.get("/context")
def context_of(context: Context) -> dict[str, object]:
    return {
        "request_id": context.request_id,
        "service": context.service,
        "function": context.function,
        "stage": context.stage,
        "build_id": context.build_id,
        "trigger": context.trigger,
        "trace_id": context.trace_id,
        "trace_parent": context.trace_parent,
        "deadline": context.deadline,
        "remaining": context.remaining() if context.deadline is not None else None,
    }


@router.get("/environment/{name}")
def environment(name: str) -> dict[str, object]:
    return {"value": os.environ.get(name)}


@router.get("/process")
def process() -> dict[str, object]:
    return {"pid": os.getpid(), "python": list(sys.version_info[:2]), "tools": "pys_multi_tools" in sys.modules}
