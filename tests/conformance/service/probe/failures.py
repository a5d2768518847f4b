"""Routes that go wrong."""

from __future__ import annotations

import logging

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
