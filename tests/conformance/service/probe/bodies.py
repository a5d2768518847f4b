"""Routes that take bodies of every kind."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

from pys_multi import Body, Form, Request, Response, Router

router = Router("/bodies")


@router.post("/bytes")
def body_bytes(request: Request) -> Response:
    return Response(request.body, content_type="application/octet-stream")


@router.post("/raw")
def body_marked(data: Annotated[bytes, Body()]) -> dict[str, object]:
    return {"size": len(data), "sha256": sha256(data).hexdigest()}


@router.post("/text")
def body_text(request: Request) -> dict[str, object]:
    return {"text": request.text}


@router.post("/json")
def body_json(request: Request) -> dict[str, object]:
    return {"json": request.json()}


@router.post("/form")
def body_form(request: Request) -> dict[str, object]:
    form = request.form()
    return {"a": form.get("a"), "all": form.get_all("a")}


@router.post("/fields")
def body_fields(name: Annotated[str, Form()], age: Annotated[int, Form()]) -> dict[str, object]:
    return {"name": name, "age": age}


@router.post("/upload")
def body_upload(request: Request) -> dict[str, object]:
    form = request.form()
    file = form["file"]
    if isinstance(file, str):
        return {"text": file}
    return {
        "title": form.get("title"),
        "name": file.filename,
        "type": file.content_type,
        "sha256": sha256(file.body).hexdigest(),
        "size": file.size,
    }
