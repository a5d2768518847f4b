"""Ships with the user's code: one call in on stdin, its result into a file. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import time
from base64 import b64decode, b64encode

from pys_multi.http import Request
from pys_multi.messages import Context, Event
from pys_multi.runtime import load, whole_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pys_multi.runtime import Runtime


def handle(runtime: Runtime, call: dict[str, Any]) -> dict[str, Any]:
    """The result of one call, an HTTP request or a trigger."""
    context = Context(call["request_id"], deadline=time.time() + call["timeout"])
    if call["trigger"]:
        try:
            runtime.event(call["trigger"], Event("schedule", id=context.request_id, time=time.time()), context)
        except Exception as error:
            return {"status": 500, "error": f"{type(error).__name__}: {error}"}
        return {"status": 200}
    request = Request(
        call["method"],
        call["path"],
        query_string=call["query"],
        headers=[(name, value) for name, value in call["headers"]],
        body=b64decode(call["body"]),
        client="127.0.0.1",
        context=context,
    )
    response = runtime.http(request)
    return {
        "status": response.status,
        "headers": response.headers,
        "body": b64encode(whole_body(response)).decode(),
    }


def main() -> None:
    runtime = load(os.getcwd())
    runtime.start()
    result = handle(runtime, json.load(sys.stdin))
    runtime.stop()
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
