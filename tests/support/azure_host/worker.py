"""The worker's process: Microsoft's library in the middle, JSON lines to the tests' host on a socket.

    python -S worker.py FD FOLDER [--objects]

What stands between the library and the host in Azure is gRPC and a dispatcher that is in the image alone. This takes
their place: it makes the same FunctionRpc messages, in their serialised form, and hands the library what the dispatcher
does, with a handler of the root logger beside it. ``--objects`` is a worker that cannot stream: HTTP comes in messages.
Not a line of the project is imported here.
"""

import asyncio
import base64
import json
import logging
import os
import socket
import sys
import threading
from types import SimpleNamespace


def _encoded(message):
    """What is left of a message once it was on the wire."""
    return type(message).FromString(message.SerializeToString())


class Link:
    """JSON lines to the host; from any thread."""

    def __init__(self, connection):
        self._file = connection.makefile("wb")

    def send(self, **line):
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()


class AsyncLoggingHandler(logging.Handler):
    """As the dispatcher's own: level, logger, text and invocation of each record."""

    def __init__(self, link, current):
        super().__init__()
        self._link, self._current = link, current

    def emit(self, record):
        self._link.send(
            log={
                "level": record.levelname,
                "category": record.name,
                "message": self.format(record),
                "invocation": self._current.get(None),
                "time": record.created,
            }
        )


# By this name it is known as the worker's.
AsyncLoggingHandler.__module__ = "proxy_worker.dispatcher"


class Worker:
    def __init__(self, link, library, protos):
        self._link, self._library, self._protos = link, library, protos

    def _request(self, **content):
        message = _encoded(self._protos.StreamingMessage(request_id="tests", **content))
        return SimpleNamespace(request=message, properties={"host": "127.0.0.1", "protos": self._protos})

    async def start(self, folder):
        protos = self._protos
        init = protos.WorkerInitRequest(
            host_version="4.1037.0",
            capabilities={"TypedDataCollection": "true"},
            worker_directory=os.path.dirname(__file__),
            function_app_directory=folder,
        )
        self._library.start_threadpool_executor()
        answer = _encoded(await self._library.worker_init_request(self._request(worker_init_request=init)))
        if answer.result.status != protos.StatusResult.Success:
            return {"error": answer.result.exception.message, "stack": answer.result.exception.stack_trace}
        asked = protos.FunctionsMetadataRequest(function_app_directory=folder)
        found = _encoded(
            await self._library.functions_metadata_request(self._request(functions_metadata_request=asked))
        )
        functions = []
        for metadata in found.function_metadata_results:
            load = protos.FunctionLoadRequest(function_id=metadata.function_id, metadata=metadata)
            loaded = _encoded(await self._library.function_load_request(self._request(function_load_request=load)))
            functions.append(
                {
                    "id": metadata.function_id,
                    "name": metadata.name,
                    "bindings": [json.loads(binding) for binding in metadata.raw_bindings],
                    "error": loaded.result.exception.message,
                }
            )
        return {"capabilities": dict(answer.capabilities), "functions": functions}

    async def invoke(self, asked):
        protos = self._protos
        trace = protos.RpcTraceContext(trace_parent=asked.get("trace", ""))
        request = protos.InvocationRequest(
            invocation_id=asked["id"],
            function_id=asked["function"],
            input_data=[
                protos.ParameterBinding(name=name, data=self._data(value)) for name, value in asked["input"].items()
            ],
            trigger_metadata={name: self._data(value) for name, value in asked.get("metadata", {}).items()},
            trace_context=trace,
        )
        answer = _encoded(await self._library.invocation_request(self._request(invocation_request=request)))
        if answer.result.status != protos.StatusResult.Success:
            error = answer.result.exception
            self._link.send(done=asked["id"], error=error.message, stack=error.stack_trace)
            return
        self._link.send(done=asked["id"], http=_http_of(answer.return_value))

    def _data(self, value):
        """{"string": …}, {"json": …}, {"bytes": base64} or {"http": {…}}"""
        [(kind, content)] = value.items()
        if kind == "bytes":
            content = base64.b64decode(content)
        elif kind == "http":
            body = content.pop("body", None)
            content = self._protos.RpcHttp(**content, body=self._data(body) if body is not None else None)
        return self._protos.TypedData(**{kind: content})


def _http_of(value):
    if value.WhichOneof("data") != "http":
        return None
    http = value.http
    return {
        "status": int(http.status_code),
        "headers": dict(http.headers),
        "cookies": [
            {
                "name": cookie.name,
                "value": cookie.value,
                "path": cookie.path.value,
                "domain": cookie.domain.value,
                "secure": cookie.secure.value,
                "http_only": cookie.http_only.value,
                "same_site": cookie.same_site,
                "max_age": cookie.max_age.value if cookie.HasField("max_age") else None,
            }
            for cookie in http.cookies
        ],
        "body": base64.b64encode(http.body.bytes or http.body.string.encode()).decode(),
    }


def _protos():
    """All messages in one place, as the dispatcher has them."""
    import FunctionRpc_pb2
    from identity import ClaimsIdentityRpc_pb2
    from shared import NullableTypes_pb2

    found = {}
    for module in (ClaimsIdentityRpc_pb2, NullableTypes_pb2, FunctionRpc_pb2):
        found |= {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return SimpleNamespace(**found)


class _NoExtensions:
    """A worker without the package that streaming goes by."""

    def find_spec(self, name, path=None, target=None):
        if name == "azurefunctions" or name.startswith("azurefunctions."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


async def main():
    link_fd, folder, *options = sys.argv[1:]
    connection = socket.socket(fileno=int(link_fd))
    if "--objects" in options:
        sys.meta_path.insert(0, _NoExtensions())
    sys.path[0] = folder
    os.chdir(folder)
    import azure_functions_runtime as library

    link = Link(connection)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(AsyncLoggingHandler(link, library.invocation_id_cv))
    worker = Worker(link, library, _protos())
    link.send(started=await worker.start(folder))
    # Read in a thread: an event loop would make the socket one that does not wait, also for what is written.
    loop, running = asyncio.get_running_loop(), set()

    def begin(line):
        task = loop.create_task(worker.invoke(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)

    def read():
        with connection.makefile("rb") as lines:
            for line in lines:
                loop.call_soon_threadsafe(begin, line)
        os._exit(0)  # the host is gone

    threading.Thread(target=read, daemon=True).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
