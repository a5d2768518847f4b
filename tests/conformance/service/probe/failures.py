"""Routes that go wrong."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from pys_multi import HTTPError, Request, Response, Router

router = Router("/failures")
log = logging.getLogger("probe")


@router.get("/crash/{word}")
def crash(word: str) -> None:
    hidden = f"internal-{word}"
    raise RuntimeError(hidden)


@router.get("/crash-async/{word}")
async def crash_async(word: str) -> None:
    raise RuntimeError(f"internal-{word}")


@router.get("/unserialisable")
def unserialisable() -> dict[str, object]:
    return {"what": object()}


@router.get("/inject-header")
def inject_header(request: Request) -> Response:
    return Response("never", headers={"x-injected": request.query["value"]})


@router.get("/inject-cookie")
def inject_cookie(request: Request) -> Response:
    return Response("never").set_cookie("name", request.query["value"])


@router.get("/deep")
def below_the_handler() -> None:
    def helper() -> None:
        raise HTTPError(409, "found deep inside")

    helper()


@router.get("/log/{word}")
def logs(word: str) -> dict[str, str]:
    log.info("informing about %s", word, extra={"word": word, "count": 3})
    log.warning("warning about %s", word)
    return {"logged": word}


@router.get("/print/{word}")
def prints(word: str) -> dict[str, str]:
    print(f"printed {word}")
    return {"printed": word}


# ---- what a response must not be able to do to its connection


@router.get("/length/{declared:int}")
def wrong_length(declared: int) -> Response:
    return Response(b"12345", headers={"content-length": str(declared)})


@router.get("/smuggle")
def smuggle() -> Response:
    return Response(b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", headers={"transfer-encoding": "chunked"})


@router.get("/no-content")
def no_content_with_a_body() -> Response:
    return Response("there is none", status=204)


@router.get("/not-modified")
def not_modified_with_a_body() -> Response:
    return Response("there is none", status=304)


@router.get("/recursion")
def recursion() -> None:
    recursion()


@router.get("/exit")
def leaves() -> None:
    sys.exit(3)


@router.get("/stream")
def breaks_off() -> Response:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("internal-stream")

    return Response.stream(chunks())
