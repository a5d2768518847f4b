"""status, logs, metrics, invoke: what is live, in the same words on every provider."""

from __future__ import annotations

import base64
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pys_multi_tools.cli import options
from pys_multi_tools.cli.output import (
    duration,
    milliseconds,
    paint,
    plain,
    print_json,
    print_json_line,
    print_table,
    say,
)
from pys_multi_tools.cli.records import text_of
from pys_multi_tools.errors import ToolError

if TYPE_CHECKING:
    from pys_multi_tools.deployment import InvocationResult, LogRecord, Metrics, QueueStatus, Status

app = typer.Typer(rich_markup_mode=None)

Since = Annotated[
    str | None,
    typer.Option("--since", help="From then on: 30s, 15m, 2h, 7d, or 2026-01-31T12:00.", metavar="TIME"),
]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@app.command()
def status(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
) -> None:
    """Show what is live: functions, instances, requests, latencies and queues."""
    from pys_multi_tools import pipeline

    found = [pipeline.status(placement) for placement in options.place_live(folder, stage, cloud)]
    if as_json:
        print_json({"services": plain(found)})
        return
    for status in found:
        _print_status(status)


@app.command()
def logs(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    function: Annotated[str | None, typer.Option("--function", help="Only this function.", metavar="NAME")] = None,
    since: Since = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the logs of all functions in order of time."""
    from pys_multi_tools import pipeline

    start = since_time(since, time.time())
    placements = options.place_live(folder, stage, cloud)
    if follow and len(placements) > 1:
        raise ToolError("--follow shows one cloud at a time", where="--cloud", hint="name one cloud")
    streams: list[Iterator[LogRecord]] = [
        pipeline.logs(placement, function=function, since=start, follow=follow) for placement in placements
    ]
    for record in merge(*streams, key=lambda record: record.time) if len(streams) > 1 else streams[0]:
        if as_json:
            print_json_line(plain(record))
        else:
            print(text_of(record, sys.stdout), flush=True)


@app.command()
def metrics(
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    since: Since = None,
    as_json: options.Json = False,
) -> None:
    """Show counts and latencies of each function."""
    from pys_multi_tools import pipeline

    start = since_time(since, time.time())
    placements = options.place_live(folder, stage, cloud)
    found = {placement.name: pipeline.metrics(placement, since=start) for placement in placements}
    if as_json:
        print_json({"metrics": plain(found)})
        return
    for name, metrics in found.items():
        _print_metrics(name, metrics)


@app.command()
def invoke(
    target: Annotated[
        str, typer.Argument(help="A path such as /orders/1, or a trigger such as worker:ship.", metavar="TARGET")
    ],
    method: Annotated[
        str | None, typer.Option("--method", "-X", help="Default: GET, or POST with --data.", metavar="METHOD")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Body or payload; @FILE reads a file, @- stdin.", metavar="DATA")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="Header; may be repeated.", metavar="NAME:VALUE")
    ] = None,
    function: Annotated[
        str | None, typer.Option("--function", help="Function that a path is called on.", metavar="NAME")
    ] = None,
    folder: options.Folder = None,
    stage: options.Stage = None,
    cloud: options.Clouds = None,
    as_json: options.Json = False,
) -> int:
    """Call a route, or hand an event to a trigger; the answer's body goes to stdout.

    Exits with 1 when the answer is an error.
    """
    from pys_multi_tools import pipeline
    from pys_multi_tools.deployment import Invocation

    body = _body(data)
    headers = tuple(_header(text) for text in header or ())
    is_path = target.startswith("/")
    if body and is_path and not any(name.lower() == "content-type" for name, _ in headers):
        headers = (*headers, ("content-type", "application/json"))
    invocation = Invocation(
        function=function,
        trigger=None if is_path else target,
        method=(method or ("POST" if body else "GET")).upper(),
        path=target if is_path else "",
        headers=headers,
        body=body,
    )
    [placement, *others] = options.place_live(folder, stage, cloud)
    if others:
        raise ToolError("invoke calls one cloud", where="--cloud", hint="name one cloud")
    result = pipeline.invoke(placement, invocation)
    if as_json:
        print_json(_result_json(result))
    else:
        say(f"{result.status}  {milliseconds(result.duration_ms)}  {result.request_id}".rstrip())
        if result.error:
            say(result.error)
        sys.stdout.flush()
        sys.stdout.buffer.write(result.body)
        if result.body and not result.body.endswith(b"\n") and sys.stdout.isatty():
            print()
    return 1 if result.error or result.status >= 400 else 0


def since_time(text: str | None, now: float) -> float | None:
    """Return the time (seconds since the epoch) that a person means by "15m" or "2026-01-31T12:00"."""
    if text is None:
        return None
    span = re.fullmatch(r"(\d+)([smhd])", text)
    if span:
        return now - int(span[1]) * _UNITS[span[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        hint = "write a span such as 30s, 15m, 2h or 7d, or a time such as 2026-01-31T12:00"
        raise typer.BadParameter(f"'{text}' is no time: {hint}", param_hint="--since") from None


def _print_status(status: Status) -> None:
    where = f"{status.provider}, stage {status.stage}"
    url = f"  {status.url}" if status.url else ""
    colour = {"serving": "green", "degraded": "yellow"}.get(status.state, "red")
    print(f"{status.service} on {where}: {paint(status.state, colour, sys.stdout)}{url}")
    if status.functions:
        print()
        headers = ("function", "state", "build", "instances", "restarts", "requests", "errors", "p50", "p95", "reason")
        rows = [
            (
                function.name,
                function.state,
                function.build_id,
                len(function.instances),
                function.restarts,
                function.requests,
                function.errors,
                milliseconds(function.p50_ms),
                milliseconds(function.p95_ms),
                function.reason,
            )
            for function in status.functions
        ]
        print_table(headers, rows)
    instances = [(function.name, instance) for function in status.functions for instance in function.instances]
    if instances:
        print()
        print_table(
            ("instance", "function", "state", "up", "restarts", "memory"),
            [
                (
                    instance.id,
                    name,
                    instance.state,
                    duration(instance.uptime),
                    instance.restarts,
                    f"{instance.memory_mb:.0f} MB" if instance.memory_mb is not None else "",
                )
                for name, instance in instances
            ],
        )
    _print_queues(status.queues)
    if status.builds:
        print(f"\nbuilds: {', '.join(status.builds)}")


def _print_queues(queues: tuple[QueueStatus, ...]) -> None:
    if queues:
        print()
        rows = [(q.name, q.waiting, q.in_flight, q.dead, duration(q.oldest_age)) for q in queues]
        print_table(("queue", "waiting", "in flight", "dead", "oldest"), rows)


def _print_metrics(name: str, metrics: Metrics) -> None:
    say(f"{name}, since {datetime.fromtimestamp(metrics.since).isoformat(' ', 'seconds')}")
    headers = ("function", "invocations", "errors", "throttles", "p50", "p95", "p99", "concurrency")
    rows = [
        (
            function.name,
            function.invocations,
            function.errors,
            function.throttles,
            milliseconds(function.p50_ms),
            milliseconds(function.p95_ms),
            milliseconds(function.p99_ms),
            function.concurrency,
        )
        for function in metrics.functions
    ]
    print_table(headers, rows)
    _print_queues(metrics.queues)


def _body(data: str | None) -> bytes:
    if data is None:
        return b""
    if data == "@-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as exc:
            raise ToolError(f"cannot be read: {exc.strerror}", where=data[1:], hint="--data @FILE reads FILE") from exc
    return data.encode()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"'{text}' is no header: write NAME:VALUE", param_hint="--header")
    return name.strip(), value.strip()


def _result_json(result: InvocationResult) -> dict[str, object]:
    document: dict[str, object] = {
        "status": result.status,
        "headers": [list(header) for header in result.headers],
        "request_id": result.request_id,
        "duration_ms": result.duration_ms,
        "error": result.error,
    }
    try:
        document["body"] = result.body.decode()
    except UnicodeDecodeError:
        document["body_base64"] = base64.b64encode(result.body).decode()
    return document
