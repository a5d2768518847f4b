"""Key sets fetched from their issuer: cached, refetched when a new key appears, kept while the issuer is down."""

from __future__ import annotations

from threading import Lock
from time import time

from pys_multi import errors
from pys_multi.jwt import KeySet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from urllib.request import Request

#: Seconds a fetched set is used before it is fetched again, and how much longer while that fails.
TTL = 600
STALE_TTL = 24 * 3600
#: Seconds between two fetches for the sake of an unknown key or after a failure: nobody who invents key
#: names can make a function call its issuer without end.
COOL_DOWN = 30
#: The same while there is no set at all, and every request waits for one.
FIRST_COOL_DOWN = 3
TIMEOUT = 5.0
MAX_BYTES = 512 * 1024


class RemoteKeys:
    """The key set behind a URL: https, or http on this machine itself. Thread-safe."""

    __slots__ = ("_fetched_at", "_keys", "_lock", "_tried_at", "url")

    def __init__(self, url: str) -> None:
        _check_url(url)
        self.url = url
        self._lock = Lock()
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._tried_at = 0.0

    def get(self) -> KeySet:
        """The set, fetched where it is due. Raises HTTPError 503 where there is none to be had."""
        keys = self._keys
        age = time() - self._fetched_at
        if keys is not None and 0 <= age < TTL:
            return keys
        # Whoever comes while another fetches goes on with the set there is.
        if not self._lock.acquire(blocking=keys is None):
            return keys  # type: ignore[return-value]  # not None: only then it does not block
        try:
            if self._keys is not keys and self._keys is not None:
                return self._keys
            return self._fetch()
        finally:
            self._lock.release()

    def get_newer(self, than: KeySet) -> KeySet:
        """The set, fetched again because a token names a key that ``than`` does not have."""
        with self._lock:
            if self._keys is than:
                self._fetch()
            return self._keys or than

    def _fetch(self) -> KeySet:
        """Under the lock. The old set where a fetch is not due or failed and the old one is not too old."""
        now = time()
        cause: Exception | None = None
        cool_down = COOL_DOWN if self._keys is not None else FIRST_COOL_DOWN
        if not 0 <= now - self._tried_at < cool_down:
            self._tried_at = now
            try:
                self._keys = KeySet(_load(self.url))
                self._fetched_at = now
            except (OSError, ValueError) as error:
                cause = error
                _warn(f"the keys at {self.url} cannot be fetched: {error}")
        if self._keys is None or now - self._fetched_at > TTL + STALE_TTL:
            raise errors.HTTPError(
                503,
                "who is calling cannot be checked: the issuer's keys cannot be fetched",
                headers={"retry-after": str(cool_down)},
            ) from cause
        return self._keys


def _check_url(url: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, scheme, _ = parts.hostname, parts.scheme, parts.port
    except ValueError:
        host = scheme = None
    numbers = (host or "").split(".")
    local = host in ("localhost", "::1") or (len(numbers) == 4 and numbers[0] == "127" and "".join(numbers).isdigit())
    if not host or not (scheme == "https" or (scheme == "http" and local)):
        raise errors.DefinitionError(f"jwks_url is an https URL (http on this machine only), not {url!r}")


def _load(url: str) -> object:
    """The JSON document. Raises OSError, also for a redirect: keys come from where the service says; ValueError."""
    from json import loads
    from queue import Empty, SimpleQueue
    from threading import Thread

    outcome: SimpleQueue[bytes | Exception] = SimpleQueue()

    def fetch() -> None:
        try:
            outcome.put(_download(url))
        except Exception as error:
            outcome.put(error)

    # In a thread, for the timeout of a socket begins anew with every byte.
    Thread(target=fetch, name="pys-multi-jwks", daemon=True).start()
    try:
        body = outcome.get(timeout=TIMEOUT)
    except Empty:
        raise TimeoutError(f"not answered in {TIMEOUT:g} s") from None
    if isinstance(body, Exception):
        raise body
    if len(body) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    try:
        return loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _download(url: str) -> bytes:
    from http.client import HTTPException
    from time import monotonic
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> Request | None:
            return None

    request = Request(url, headers={"accept": "application/json", "user-agent": "pys-multi"})  # noqa: S310  # _check_url
    deadline = monotonic() + TIMEOUT
    body = b""
    try:
        with build_opener(NoRedirect).open(request, timeout=TIMEOUT) as response:
            while len(body) <= MAX_BYTES and monotonic() < deadline and (chunk := response.read1(MAX_BYTES)):
                body += chunk
    except HTTPError as error:
        error.close()
        raise
    except HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from error
    return body


def _warn(text: str) -> None:
    import logging

    logging.getLogger("pys_multi").warning(text)
