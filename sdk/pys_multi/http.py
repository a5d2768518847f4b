"""Request → handler → Response: the same on every provider.

A provider's ``runtime.py`` makes the request from its cloud's own event; nothing of it is parsed
before a handler asks for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
    from typing import Any

    from pys_multi.messages import Context
    from pys_multi.multipart import Form
    from pys_multi.pairs import Query

    HeaderSource = Mapping[str, str] | Iterable[tuple[str, str]]

#: Body size a request may have unless a provider allows less; AWS Lambda's is 6 MB, Cloud Run's 32 MB.
MAX_BODY_BYTES = 32 * 1024 * 1024


class Headers:
    """Header fields: names without regard to case, repeated fields kept, in order."""

    __slots__ = ("_index", "_pairs")

    def __init__(self, source: HeaderSource = ()) -> None:
        pairs: Iterable[tuple[str, str]] = source.items() if hasattr(source, "items") else source
        self._pairs = [(name, value) for name, value in pairs]
        self._index: dict[str, str] | None = None

    def _values(self) -> dict[str, str]:
        if self._index is None:
            index: dict[str, str] = {}
            for name, value in self._pairs:
                index.setdefault(name.lower(), value)
            self._index = index
        return self._index

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of the field, or the default."""
        return self._values().get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Every value of the field, in order."""
        wanted = name.lower()
        return [value for key, value in self._pairs if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        return self._values()[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._pairs)

    def items(self) -> list[tuple[str, str]]:
        """Every field as (name, value), repeated ones too, in order."""
        return list(self._pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(n.lower(), v) for n, v in self._pairs] == [(n.lower(), v) for n, v in other._pairs]

    __hash__ = None  # type: ignore[assignment]  # equal by content, and mutable by nobody but not a key

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"


class Request:
    """An HTTP request.

    method: upper case. path: percent-decoded once, starts with ``/``. query_string: as it came,
    without ``?``. path_params: converted values of the route's parameters. root_path: the prefix
    in front of ``path`` that a gateway took off (a stage, a mount point), empty or ``/…`` without a
    trailing slash. client: the caller's address, empty where unknown. principal: what the route's
    authenticator returned.
    """

    __slots__ = (
        "_body",
        "_cookies",
        "_form",
        "_headers",
        "_query",
        "client",
        "context",
        "method",
        "path",
        "path_params",
        "principal",
        "query_string",
        "root_path",
        "scheme",
        "state",
    )

    def __init__(
        self,
        method: str,
        path: str,
        *,
        query_string: str = "",
        headers: HeaderSource | Headers = (),
        body: bytes | str = b"",
        client: str = "",
        scheme: str = "http",
        root_path: str = "",
        context: Context | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self._headers = headers
        self._body = body
        self.client = client
        self.scheme = scheme
        self.root_path = root_path
        self.context = context
        self.path_params: dict[str, object] = {}
        self.principal: object = None
        self.state: dict[str, object] | None = None
        self._query: Query | None = None
        self._cookies: dict[str, str] | None = None
        self._form: Form | None = None

    @property
    def headers(self) -> Headers:
        """The header fields."""
        headers = self._headers
        if not isinstance(headers, Headers):
            self._headers = headers = Headers(headers)
        return headers

    @property
    def query(self) -> Query:
        """The query parameters."""
        if self._query is None:
            from pys_multi.pairs import Query

            self._query = Query(self.query_string)
        return self._query

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies the caller sent."""
        if self._cookies is None:
            from pys_multi.cookies import parse_cookies

            self._cookies = parse_cookies("; ".join(self.headers.get_all("cookie")))
        return self._cookies

    @property
    def body(self) -> bytes:
        """The body as it came."""
        body = self._body
        return body.encode() if isinstance(body, str) else body

    @property
    def text(self) -> str:
        """The body decoded with the charset of its content type, UTF-8 without one.

        Raises HTTPError 400 where the bytes are not text in that charset, 415 for an unknown charset.
        """
        body = self._body
        if isinstance(body, str):
            return body
        content_type = (self.headers.get("content-type") or "").lower()
        charset = content_type.partition("charset=")[2].partition(";")[0].strip(" \t\"'")
        return text_of(body, charset, "the body")

    def json(self) -> Any:
        """The body parsed as JSON. Raises HTTPError 400 where it is not JSON."""
        from pys_multi.encoding import parse_json

        return parse_json(self._body)

    def form(self) -> Form:
        """The body parsed as a form, urlencoded or multipart.

        Raises HTTPError 400 for a malformed form, 413 past its limits, 415 for another content type.
        """
        if self._form is None:
            from pys_multi.multipart import parse_form

            self._form = parse_form(self.headers.get("content-type") or "", self.body)
        return self._form

    @property
    def host(self) -> str:
        """The ``Host`` the caller named, empty without one."""
        return self.headers.get("host") or ""

    @property
    def url(self) -> str:
        """The whole URL as the caller sees it, path percent-encoded again."""
        from urllib.parse import quote

        path = quote(self.root_path + self.path, safe="/:@!$&'()*+,;=-._~")
        query = f"?{self.query_string}" if self.query_string else ""
        return f"{self.scheme}://{self.host}{path}{query}"

    @property
    def request_id(self) -> str:
        """The id of this request; the same in every log record of it."""
        return self.context.request_id if self.context is not None else ""

    @property
    def deadline(self) -> float | None:
        """Seconds since the epoch at which the provider stops the handler, or None."""
        return self.context.deadline if self.context is not None else None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


# Python's codecs for itself (and one that is quadratic) are no charsets of the web.
_NO_CHARSETS = frozenset(("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"))


def text_of(data: bytes, charset: str, what: str) -> str:
    """The text that bytes are in this charset, UTF-8 where it is empty.

    what: how an error calls it. Raises HTTPError 400 where they are no such text, 415 for an unknown charset.
    """
    from codecs import lookup

    from pys_multi.errors import HTTPError

    try:
        name = lookup(charset or "utf-8").name
        if name not in _NO_CHARSETS:
            return data.decode(name)
    except UnicodeError:
        raise HTTPError(400, f"{what} is not {charset or 'utf-8'} text") from None
    except (LookupError, ValueError):
        pass
    raise HTTPError(415, f"the charset of {what} is not known here; send UTF-8")


#: Characters of a header or cookie name (RFC 9110, section 5.6.2).
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_checked_names: set[str] = set()


def check_header(name: str, value: str) -> None:
    """Raises ValueError for a name or value that RFC 9110, section 5, does not allow (header injection)."""
    if name not in _checked_names:
        if not isinstance(name, str) or not name or not TOKEN.issuperset(name):
            raise ValueError(f"{name!r} is not a header name")
        if name.lower() == "transfer-encoding":
            raise ValueError("how a body is cut up for the wire is up to the server: leave transfer-encoding out")
        if len(_checked_names) < 1000:
            _checked_names.add(name)
    if not isinstance(value, str):
        raise ValueError(f"the value of header {name!r} is text, not {type(value).__name__}: write it as a str")
    if not (value.isascii() and value.isprintable()):
        for character in value:
            code = ord(character)
            if (code < 32 and character != "\t") or code == 127 or code > 255:
                raise ValueError(
                    f"the value of header {name!r} has a character that headers cannot carry: {character!r}"
                )
    if value != value.strip(" \t"):
        raise ValueError(f"the value of header {name!r} begins or ends with white space")


def check_status(status: int) -> None:
    """Raises ValueError for what is no final status (RFC 9110, section 15)."""
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"{status!r} is not the status of a response: that is a number from 200 to 599")


def checked(response: Response) -> Response:
    """The response, whose fields can be set past the checks of its methods. Raises TypeError and ValueError."""
    check_status(response.status)
    for name, value in response.headers:
        check_header(name, value)
    body = response.body
    if type(body) is not bytes:
        if isinstance(body, str | bytes | bytearray | memoryview):
            response.body = body.encode() if isinstance(body, str) else bytes(body)
        elif not (hasattr(body, "__iter__") or hasattr(body, "__aiter__")):
            raise TypeError(f"the body of a response is bytes or an iterable of them, not {type(body).__name__}")
    return response


class Response:
    """An HTTP response.

    body: bytes, str (sent as UTF-8), None, or an iterable or async iterable of bytes or str, which is
    streamed where the provider can and joined where it cannot.
    headers: a mapping, or (name, value) pairs where a name repeats. content_type: unless the headers have one;
    text/plain for a str. Raises TypeError and ValueError for what HTTP cannot carry.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes | bytearray | memoryview | str | Iterable[bytes | str] | AsyncIterable[bytes | str] | None = None,
        *,
        status: int = 200,
        headers: HeaderSource = (),
        content_type: str | None = None,
    ) -> None:
        check_status(status)
        pairs: Iterable[tuple[str, str]] = headers.items() if hasattr(headers, "items") else headers
        self.headers: list[tuple[str, str]] = []
        for name, value in pairs:
            check_header(name, value)
            self.headers.append((name, value))
        self.status = status
        self.body: bytes | Iterable[bytes | str] | AsyncIterable[bytes | str]
        if body is None:
            self.body = b""
        elif isinstance(body, str):
            self.body = body.encode()
            content_type = content_type or "text/plain; charset=utf-8"
        elif isinstance(body, bytes | bytearray | memoryview):
            self.body = bytes(body)
        elif hasattr(body, "keys") or not (hasattr(body, "__iter__") or hasattr(body, "__aiter__")):
            raise TypeError(
                f"the body of a response is bytes, str or an iterable of them, not {type(body).__name__}; "
                "Response.json() makes one of any value"
            )
        else:
            self.body = body
        if content_type is not None and not any(name.lower() == "content-type" for name, _ in self.headers):
            check_header("content-type", content_type)
            self.headers.insert(0, ("content-type", content_type))

    @classmethod
    def json(cls, value: object, *, status: int = 200, headers: HeaderSource = ()) -> Response:
        """A JSON response of any value a handler may return."""
        from pys_multi.encoding import to_json_bytes

        return cls(to_json_bytes(value), status=status, headers=headers, content_type="application/json")

    @classmethod
    def html(cls, text: str, *, status: int = 200, headers: HeaderSource = ()) -> Response:
        """An HTML response. The text is sent as it is: escape what users wrote."""
        return cls(text, status=status, headers=headers, content_type="text/html; charset=utf-8")

    @classmethod
    def redirect(cls, location: str, *, status: int = 307, headers: HeaderSource = ()) -> Response:
        """A redirect (301, 302, 303, 307 or 308) to a URL or path, which is percent-encoded where needed.

        A location that callers choose sends people anywhere: check it first.
        """
        if status not in (301, 302, 303, 307, 308):
            raise ValueError(f"{status} is not a redirect status")
        from urllib.parse import quote

        target = quote(location, safe=":/%#?=@[]!$&'()*+,;~")
        response = cls(b"", status=status, headers=headers)
        response.header("location", target)
        return response

    @classmethod
    def file(
        cls,
        path: str,
        *,
        content_type: str | None = None,
        download: str | None = None,
        status: int = 200,
        headers: HeaderSource = (),
    ) -> Response:
        """A file of the bundle (or of ``/tmp``), its type guessed from its name.

        path: never one that callers choose freely. download: a file name makes the browser save it under that
        name. Raises OSError.
        """
        from mimetypes import guess_type

        if content_type is None:
            guessed, encoding = guess_type(path)
            content_type = "application/octet-stream" if guessed is None or encoding else guessed
            if content_type.startswith("text/"):
                content_type += "; charset=utf-8"
        with open(path, "rb") as file:
            response = cls(file.read(), status=status, headers=headers, content_type=content_type)
        if download is not None:
            from urllib.parse import quote

            # RFC 6266 with the RFC 8187 form, which carries any name.
            response.header("content-disposition", f"attachment; filename*=UTF-8''{quote(download, safe='')}")
        return response

    @classmethod
    def stream(
        cls,
        chunks: Iterable[bytes | str] | AsyncIterable[bytes | str],
        *,
        status: int = 200,
        headers: HeaderSource = (),
        content_type: str = "application/octet-stream",
    ) -> Response:
        """A response sent chunk by chunk where the provider can stream."""
        return cls(chunks, status=status, headers=headers, content_type=content_type)

    @classmethod
    def events(
        cls,
        events: Iterable[object] | AsyncIterable[object],
        *,
        headers: HeaderSource = (),
    ) -> Response:
        """Server-sent events (WHATWG HTML, section 9.2).

        An event is a str (its data), a dict with ``data`` and nothing but ``event``, ``id`` and ``retry``
        (milliseconds) beside it, where data that is not a str is sent as JSON, or any other value, sent as JSON.
        """
        from pys_multi.server_sent import encode_events

        response = cls(encode_events(events), headers=headers, content_type="text/event-stream")
        if not any(name.lower() == "cache-control" for name, _ in response.headers):
            response.header("cache-control", "no-store")
        return response

    def header(self, name: str, value: str) -> Response:
        """Adds a header field, keeping those of the same name; returns the response."""
        check_header(name, value)
        self.headers.append((name, value))
        return self

    def set_cookie(
        self,
        name: str,
        value: str = "",
        *,
        max_age: int | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        http_only: bool = True,
        same_site: str | None = "Lax",
    ) -> Response:
        """Adds a ``Set-Cookie`` field (RFC 6265); max_age in seconds. Safe attributes are the default.

        Raises ValueError for what cookies cannot carry and what browsers would ignore.
        """
        from pys_multi.cookies import set_cookie

        return self.header("set-cookie", set_cookie(name, value, max_age, path, domain, secure, http_only, same_site))

    def delete_cookie(self, name: str, *, path: str = "/", domain: str | None = None) -> Response:
        """Makes the browser forget a cookie."""
        return self.set_cookie(name, "", max_age=0, path=path, domain=domain)

    @property
    def is_streaming(self) -> bool:
        """Whether the body comes in chunks."""
        return type(self.body) is not bytes

    def __repr__(self) -> str:
        return f"<Response {self.status}>"
