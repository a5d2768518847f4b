"""The verbs of every resource, one route each, and a function that was granted none of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

from probe.resources import app, files, jobs, news, payment_key, readings, seen, users
from pys_multi import Body, ConditionFailed, GrantError, HTTPError, NotFound, Request, Response

log = logging.getLogger("probe")
data = app.function("data", concurrency=8, timeout=10, uses=[users, readings, files, payment_key, jobs.send, seen.read])
poor = app.function("poor", uses=[files.read])


@data.get("/notes/{key}")
def notes(key: str) -> list[dict[str, object]]:
    return list(seen.query(key))


# ---- tables


def condition_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """JSON has no tuples: an operator comes as a list of two."""
    raw = body.get("condition")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()} if raw else None


def guarded(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except ConditionFailed as error:
        raise HTTPError(409, str(error)) from error


@data.put("/users")
def put_user(body: dict[str, Any]) -> dict[str, object]:
    guarded(lambda: users.put(body["item"], condition=condition_of(body)))
    return {}


@data.get("/users/{id}")
def get_user(id: str) -> dict[str, object]:
    return {"item": users.get(id)}


@data.patch("/users/{id}")
def update_user(id: str, body: dict[str, Any]) -> dict[str, object]:
    return {
        "item": guarded(
            lambda: users.update(
                id,
                set=body.get("set"),
                add=body.get("add"),
                remove=body.get("remove", ()),
                condition=condition_of(body),
            )
        )
    }


@data.delete("/users/{id}")
def delete_user(id: str, body: dict[str, Any]) -> None:
    guarded(lambda: users.delete(id, condition=condition_of(body)))


@data.put("/readings")
def put_readings(items: list[dict[str, Any]]) -> None:
    for item in items:
        readings.put(item)


@data.get("/readings/{sensor}")
def query_readings(
    sensor: str, prefix: str | None = None, limit: int | None = None, reverse: bool = False
) -> list[dict[str, object]]:
    return list(readings.query(sensor, prefix=prefix, limit=limit, reverse=reverse))


@data.get("/readings/{sensor}/{at}")
def get_reading(sensor: str, at: str) -> dict[str, object]:
    return {"item": readings.get(sensor, at)}


@data.delete("/readings/{sensor}/{at}")
def delete_reading(sensor: str, at: str) -> None:
    readings.delete(sensor, at)


@data.get("/readings")
def all_readings() -> dict[str, int]:
    return {"count": sum(1 for _ in readings.query())}


# ---- buckets


@data.put("/files/{key:path}")
def put_file(key: str, content: Annotated[bytes, Body()], request: Request) -> dict[str, str]:
    return {"etag": files.put(key, content, content_type=request.headers.get("content-type") or "")}


@data.get("/files/{key:path}")
def get_file(key: str) -> Response:
    try:
        return Response(files.get(key), content_type="application/octet-stream")
    except NotFound as error:
        raise HTTPError(404, str(error)) from error


@data.delete("/files/{key:path}")
def delete_file(key: str) -> None:
    files.delete(key)


@data.get("/listing")
def list_files(prefix: str) -> list[dict[str, object]]:
    return [
        {"key": info.key, "size": info.size, "etag": info.etag, "modified": info.modified}
        for info in files.list(prefix)
    ]


@data.get("/exists/{key:path}")
def file_exists(key: str) -> dict[str, bool]:
    return {"exists": files.exists(key)}


@data.get("/presign/{key:path}")
def presign(key: str, method: str = "GET", expires: int = 60) -> dict[str, str]:
    return {"url": files.presign(key, method=method, expires=expires)}


@data.get("/bad-key")
def bad_key(key: str) -> dict[str, str]:
    try:
        files.get(key)
    except ValueError as error:
        return {"refused": str(error)}
    return {}


# ---- secrets


@data.get("/secret")
def secret() -> dict[str, object]:
    return {"value": payment_key.value, "shown": str(payment_key)}


@data.get("/secret/log")
def secret_in_log() -> dict[str, object]:
    log.warning("the key is %s", payment_key.value, extra={"key": payment_key.value})
    return {}


# ---- what was not granted


@poor.get("/poor/{verb}")
def ungranted(verb: str) -> dict[str, str]:
    actions: dict[str, Callable[[], object]] = {
        "bucket.get": lambda: files.exists("a"),
        "bucket.put": lambda: files.put("a", b""),
        "bucket.delete": lambda: files.delete("a"),
        "table.get": lambda: users.get("a"),
        "table.put": lambda: users.put({"id": "a"}),
        "queue.send": lambda: jobs.send("a"),
        "topic.publish": lambda: news.publish("a"),
        "secret.value": lambda: payment_key.value,
    }
    try:
        actions[verb]()
    except GrantError as error:
        return {"refused": str(error)}
    return {"refused": ""}
