"""What becomes of a response on its way out, where it is not plain bytes with a body: HEAD, 204, streams, tuples."""

from __future__ import annotations

from _contextvars import copy_context

from pys_multi.http import Response, check_status
from pys_multi.messages import _current
from pys_multi.runtime import BODILESS, to_response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextvars import Context as ContextVariables
    from typing import Any

    from pys_multi.http import Request


def from_tuple(value: tuple[Any, ...]) -> Response:
    if len(value) not in (2, 3) or isinstance(value[1], bool) or not isinstance(value[1], int):
        raise TypeError("a handler's tuple is (body, status) or (body, status, headers); return a list for JSON")
    check_status(value[1])
    response = copy_of(to_response(value[0], value[1]))
    response.status = value[1]
    if len(value) == 3:
        added = Response(headers=value[2]).headers
        replaced = {name.lower() for name, _ in added}
        response.headers = [pair for pair in response.headers if pair[0].lower() not in replaced] + added
    return response


def copy_of(response: Response) -> Response:
    """A response that can be changed: the handler's own may be one that it returns again and again."""
    copy = Response(status=response.status)
    copy.headers = list(response.headers)
    copy.body = response.body
    return copy


def finished(request: Request, response: Response) -> Response:
    """The response as it can be sent: without a body where there can be none, and streamed in its own context."""
    if response.status in BODILESS or request.method == "HEAD":
        return _without_body(response)
    if type(response.body) is not bytes:
        response = copy_of(response)
        response.body = _in_context(response.body, request)
    return response


def _without_body(response: Response) -> Response:
    """The header fields alone; after HEAD they are those of GET."""
    body, response = response.body, copy_of(response)
    response.body = b""
    if response.status in BODILESS:
        dropped = ("content-type", "content-length") if response.status == 204 else ("content-length",)
        response.headers = [pair for pair in response.headers if pair[0].lower() not in dropped]
    elif isinstance(body, bytes) and not any(name.lower() == "content-length" for name, _ in response.headers):
        response.header("content-length", str(len(body)))
    close = getattr(body, "close", None)
    if close is not None:
        close()
    return response


def _in_context(body: Any, request: Request) -> Iterator[bytes] | AsyncIterator[bytes]:
    """The body as an iterator that is read and closed with the request's context as the current one.

    It is read after the request was handled, where no context is set any more: grants and log records of a
    handler that streams need it all the same.
    """
    if hasattr(body, "__aiter__"):
        return _chunks_async(body, request)
    return _chunks(body, copy_context())


def _chunks(body: Any, variables: ContextVariables) -> Iterator[bytes]:
    chunks = variables.run(iter, body)
    try:
        while True:
            try:
                chunk = variables.run(next, chunks)
            except StopIteration:
                return
            yield _data(chunk)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            variables.run(close)


async def _chunks_async(body: Any, request: Request) -> AsyncIterator[bytes]:
    chunks = aiter(body)
    try:
        while True:
            token = _current.set(request.context)
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            finally:
                _current.reset(token)
            yield _data(chunk)
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            token = _current.set(request.context)
            try:
                await close()
            finally:
                _current.reset(token)


def chunks_of(body: Any) -> Iterator[bytes]:
    """The chunks of a streamed body as bytes, none of them empty."""
    if hasattr(body, "__aiter__"):
        from pys_multi.loop import iterate

        chunks: Iterator[bytes | str] = iterate(body)
    else:
        chunks = iter(body)
    try:
        for chunk in chunks:
            data = _data(chunk)
            if data:
                yield data
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def _data(chunk: Any) -> bytes:
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, bytearray | memoryview):
        return bytes(chunk)
    raise TypeError(
        f"a stream is made of str and bytes, and this chunk is of type {type(chunk).__name__}; "
        f"Response.events() sends any value, as server-sent events"
    )
