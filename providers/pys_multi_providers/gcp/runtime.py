"""What functions-framework calls: requests in, the same values to the user's code as everywhere, answers out.

Ships with the user's code, standard library only. functions-framework serves a Flask application around `handler`;
this takes the place of what is inside (``Flask.wsgi_app`` is there for that), so that a request is not routed twice
and costs what it costs here. Requests of users are here, everything else is in ``deliveries.py``.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock
from os import environ, urandom

from pys_multi.encoding import parse_json
from pys_multi.http import Request
from pys_multi.messages import Context, is_trace
from pys_multi.runtime import BODILESS, load, stream_of
from pys_multi_providers.gcp.callers import Callers, is_open
from pys_multi_providers.gcp.turns import TimeIsUp, Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pys_multi.app import App, Function
    from pys_multi.backend import Backend
    from pys_multi.http import Response
    from pys_multi.runtime import Runtime
    from pys_multi_providers.gcp.calls import Google
    from pys_multi_providers.gcp.deliveries import Deliveries

    Json = dict[str, Any]
    #: What a WSGI server passes ("PEP 3333").
    Environ = dict[str, Any]
    StartResponse = Callable[[str, list[tuple[str, str]]], object]

#: Cloud Run refuses larger requests and responses over HTTP/1 ("Quotas and limits", 2026-11).
MAX_BODY = 32 * 1024 * 1024
#: Environment: about the triggers of this function, see `Deliveries` and `Callers`.
EVENTS = "PYS_MULTI_EVENTS"
#: In front of the id of a trigger, in the path of everything that is no user's request.
EVENT_PATH = "/.pys-multi/events/"

#: Fields about one connection (RFC 9110, section 7.6.1), which is the server's own.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
_STATUS_LINES: dict[int, str] = {}


class Fields:
    """The header fields of a WSGI environment, made when a handler asks for them.

    Servers join repeated fields, and leave out those with an underscore in their name.
    """

    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    def items(self) -> list[tuple[str, str]]:
        """Every field as (name, value)."""
        found = [
            (name[5:].replace("_", "-").lower(), value)
            for name, value in self._environ.items()
            if name.startswith("HTTP_")
        ]
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            value = self._environ.get(name)
            if value:
                found.append((name.replace("_", "-").lower(), value))
        return found


class Adapter:
    """One function's entry: a WSGI application. about: what the environment says about its triggers."""

    def __init__(self, runtime: Runtime, about: Json, google: Callable[[], Google], callers: Callers) -> None:
        self._runtime = runtime
        self._about = about
        self._google = google
        self._callers = callers
        self._turns = _turns(runtime, about)
        self._deliveries: Deliveries | None = None
        self._lock = allocate_lock()
        self._started = False

    def start(self) -> None:
        """Starts what runs in the process that serves; the one that imports is another, with gunicorn."""
        with self._lock:
            if not self._started:
                from atexit import register

                self._turns.take_signals()
                self._runtime.start()
                # Cloud Run ends an instance with SIGTERM, and gunicorn its worker with what is under way.
                register(self._runtime.stop)
                self._started = True

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self._started:
            self.start()
        context = Context(urandom(16).hex(), trace_parent=_trace_of(environ))
        request = request_of(environ, context)
        try:
            if request.path.startswith(EVENT_PATH):
                response = self._event(request)
            else:
                response = self._turns.run(context, self._runtime.http, request)
        except TimeIsUp as error:
            response = self._timed_out(request, error)
        return self._send(request, response, start_response)

    def _event(self, request: Request) -> Response:
        from pys_multi.errors import HTTPError

        try:
            if request.method != "POST":
                raise HTTPError(405, "events are posted", headers={"allow": "POST"})
            self._callers.sender(request)
            deliveries = self._deliveries or self._make_deliveries()
            return deliveries.handle(request, request.path[len(EVENT_PATH) :])
        except Exception as error:
            return self._runtime.refuse(request, error)

    def _make_deliveries(self) -> Deliveries:
        with self._lock:
            if self._deliveries is None:
                from pys_multi_providers.gcp.deliveries import Deliveries

                self._deliveries = Deliveries(self._runtime, self._about, self._google(), self._turns)
            return self._deliveries

    def _timed_out(self, request: Request, error: TimeIsUp) -> Response:
        from pys_multi.errors import HTTPError

        refusal = HTTPError(504, "the request took longer than its function may take")
        return self._runtime.refuse(request, refusal, cause=error)

    def _send(self, request: Request, response: Response, start_response: StartResponse) -> Iterable[bytes]:
        status, body = response.status, response.body
        headers = []
        is_whole = type(body) is bytes
        # What a handler said about the length is right for HEAD alone, where there is no body to count.
        counted = not (is_whole and (request.method == "HEAD" or status in BODILESS))
        for pair in response.headers:
            name = pair[0].lower()
            if name not in _HOP_BY_HOP and not (counted and name == "content-length"):
                headers.append(pair)
        # Without a length it goes in chunks, in which Cloud Run lets pass as much as there is.
        if counted and is_whole and len(body) <= MAX_BODY:  # type: ignore[arg-type]  # it is bytes
            headers.append(("content-length", str(len(body))))  # type: ignore[arg-type]
        start_response(_STATUS_LINES.get(status) or _status_line(status), headers)
        return (body,) if is_whole else self._stream(request, response)  # type: ignore[return-value]  # it is bytes

    def _stream(self, request: Request, response: Response) -> Iterator[bytes]:
        try:
            yield from stream_of(response)
        except GeneratorExit:  # the caller went away
            raise
        except BaseException as error:
            self._runtime.broke_off(request, error)
            raise


def _turns(runtime: Runtime, about: Json) -> Turns:
    """The turns of this instance's handlers. The messages of a batch come at once, also to a function that says that it
    handles fewer requests at a time: there what comes waits for its turn."""
    functions = functions_of(runtime)
    concurrency = max(function.concurrency for function in functions)
    is_limited = any(size > concurrency for size, _ in about.get("batches", {}).values())
    return Turns(max(function.timeout for function in functions), concurrency if is_limited else None)


def request_of(environ: Environ, context: Context) -> Request:
    """The neutral request of a WSGI environment."""
    path: str = environ["PATH_INFO"]
    if not path.isascii():  # its bytes, each as the character of that number
        path = path.encode("latin-1").decode("utf-8", "replace")
    forwarded = environ.get("HTTP_X_FORWARDED_FOR")
    return Request(
        environ["REQUEST_METHOD"],
        path or "/",
        query_string=environ.get("QUERY_STRING", ""),
        headers=Fields(environ),  # type: ignore[arg-type]  # all that is asked of it is items()
        body=_body(environ),
        # Cloud Run appends to what the caller sent, so only the last one is true.
        client=forwarded.rpartition(",")[2].strip() if forwarded else environ.get("REMOTE_ADDR", ""),
        scheme=environ.get("HTTP_X_FORWARDED_PROTO") or environ["wsgi.url_scheme"],
        root_path=environ.get("SCRIPT_NAME", ""),
        context=context,
    )


def _body(environ: Environ) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    if length:
        size = int(length) if length.isdigit() else 0
    elif "HTTP_TRANSFER_ENCODING" in environ:
        size = MAX_BODY + 1
    else:
        return b""
    # One byte more than is allowed is enough for the runtime to refuse it.
    body: bytes = environ["wsgi.input"].read(min(size, MAX_BODY + 1)) if size else b""
    return body


def _trace_of(environ: Environ) -> str:
    """The W3C ``traceparent``, made of Google's own header where there is only that one; empty without either."""
    given: str = environ.get("HTTP_TRACEPARENT", "")
    if given and is_trace(given):
        return given
    found: str = environ.get("HTTP_X_CLOUD_TRACE_CONTEXT", "")
    if not found:
        return ""
    # TRACE_ID/SPAN_ID;o=OPTIONS ("Trace context", legacy header); the span is a decimal number.
    trace, _, rest = found.partition("/")
    span, _, options = rest.partition(";o=")
    if not (span.isascii() and span.isdigit()) or len(span) > 20:
        return ""
    made = f"00-{trace}-{int(span) % 2**64:016x}-{'01' if options == '1' else '00'}"
    return made if is_trace(made) else ""


def _status_line(status: int) -> str:
    from http.client import responses

    line = _STATUS_LINES[status] = f"{status} {responses.get(status, 'Status')}"
    return line


# ---- start


def start(directory: str) -> Adapter:
    """The adapter of the bundle in a directory."""
    from pys_multi_providers.gcp.logs import project_of, take_over

    about: Json = parse_json(environ.get(EVENTS, "{}"))
    caller = about.get("caller", "")
    take_over(project_of(caller))
    made: list[Google] = []

    def google() -> Google:
        """Made at the first use of a resource or dead letter."""
        if not made:
            from pys_multi_providers.gcp.calls import Google

            made.append(Google())
        return made[0]

    def connect(app: App) -> Backend:
        from pys_multi_providers.gcp.resources import GcpBackend

        return GcpBackend(app, google())

    callers = Callers(caller, about.get("audience", ""))
    runtime = load(directory, connect=connect, max_body=MAX_BODY, private=callers.invoker)
    callers.opened = any(map(is_open, functions_of(runtime)))
    return Adapter(runtime, about, google, callers)


def functions_of(runtime: Runtime) -> list[Function]:
    """The function that this instance is, or all of the app's where it is none in particular."""
    functions = runtime.app.functions
    return [functions[runtime.function]] if runtime.function else list(functions.values())


def start_in_workers(adapter: Adapter) -> None:
    """Starts the adapter in each process that this one becomes: threads of gunicorn's master are none of its worker's.

    What fails there ends the worker, and with it the revision that would have come up.
    """
    master = os.getpid()

    def in_child() -> None:
        if os.getppid() == master:
            try:
                adapter.start()
            except BaseException:
                import logging

                logging.getLogger("pys_multi").critical("this instance cannot start", exc_info=True)
                os._exit(3)  # gunicorn's "worker failed to boot": it tries no other

    os.register_at_fork(after_in_child=in_child)


def handler(request: Any) -> Any:
    """functions-framework's target, for hosts that route requests through Flask: what they get is run as WSGI."""
    from io import BytesIO

    request.environ["wsgi.input"] = BytesIO(request.get_data())
    return _adapter


if "FUNCTION_TARGET" in environ:
    _directory = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # functions-framework has put it last: what the bundle brings comes before what the framework brings.
    sys.path.insert(0, _directory)
    # What the user's import raises must reach functions-framework, which ends with it.
    _adapter = start(_directory)
    start_in_workers(_adapter)
    if "flask" in sys.modules:
        from flask import current_app

        if current_app:
            current_app.wsgi_app = _adapter  # type: ignore[method-assign]  # as Flask's documentation says
