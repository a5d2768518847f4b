"""Forms: ``application/x-www-form-urlencoded`` (WHATWG URL, section 5) and ``multipart/form-data`` (RFC 7578).

Strict, because two parsers that read one body in two ways are a hole: a body that is not what the
specification says is a 400 that names the reason, never a guess.
"""

from __future__ import annotations

from pys_multi.errors import HTTPError
from pys_multi.http import TOKEN, Headers, text_of
from pys_multi.pairs import Pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

#: Fields and files that a form may have.
MAX_PARTS = 1000
#: Bytes that the header of one part may have, and fields in it.
MAX_PART_HEADER = 8192
MAX_PART_HEADER_FIELDS = 16

# RFC 2046, section 5.1.1: bchars, without the space that may not end a boundary.
_BOUNDARY = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ")


class UploadedFile:
    """A file of a form.

    filename: the last part of the name the caller sent, without any path; may be empty. content_type: what the
    caller says it is. body: bytes. headers: of this part.
    """

    __slots__ = ("body", "content_type", "filename", "headers")

    def __init__(
        self,
        filename: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        headers: Headers | None = None,
    ) -> None:
        self.filename = filename
        self.body = body
        self.content_type = content_type
        self.headers = headers if headers is not None else Headers()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.body)

    @property
    def text(self) -> str:
        """The content as UTF-8 text. Raises UnicodeDecodeError."""
        return self.body.decode()

    def __repr__(self) -> str:
        return f"<UploadedFile {self.filename!r} {len(self.body)} bytes>"


Value = str | UploadedFile


class Form(Pairs):
    """Fields and files by name, in order; a repeated name keeps every value."""

    __slots__ = ()

    if TYPE_CHECKING:  # its values are text and files

        def get(self, name: str, default: Value | None = None) -> Value | None: ...
        def get_all(self, name: str) -> list[Value]: ...
        def __getitem__(self, name: str) -> Value: ...
        def items(self) -> list[tuple[str, Value]]: ...


def parse_form(content_type: str, body: bytes) -> Form:
    """The form in a body of this content type.

    Raises HTTPError: 400 for a malformed form, 413 for more than ``MAX_PARTS`` parts or a part header of more
    than ``MAX_PART_HEADER`` bytes, 415 for a content type or charset that is none of a form.
    """
    try:
        kind, options = parse_options(content_type)
    except ValueError as error:
        raise HTTPError(400, f"the content type is malformed: {error}") from None
    if kind == "application/x-www-form-urlencoded":
        charset = options.get("charset", "utf-8").lower()
        if charset not in ("utf-8", "utf8", "us-ascii"):
            raise HTTPError(415, f"a form is UTF-8, not {charset}")
        return _parse_urlencoded(body)
    if kind == "multipart/form-data":
        return Form(list(_parse_multipart(_boundary(options.get("boundary", "")), body)))
    raise HTTPError(415, f"a form is application/x-www-form-urlencoded or multipart/form-data, not {kind or 'untyped'}")


def _parse_urlencoded(body: bytes) -> Form:
    from urllib.parse import parse_qsl

    if body.count(b"&") >= MAX_PARTS:
        raise HTTPError(413, f"the form has more than {MAX_PARTS} fields")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        _refuse("a field is not UTF-8")
    return Form(list(pairs))


def _boundary(text: str) -> bytes:
    boundary = text.encode("utf-8", "surrogateescape")
    if not 1 <= len(boundary) <= 70 or not _BOUNDARY.issuperset(boundary) or boundary.endswith(b" "):
        _refuse("its content type has no valid boundary")
    return boundary


def _parse_multipart(boundary: bytes, body: bytes) -> Iterator[tuple[str, Value]]:
    delimiter = b"\r\n--" + boundary
    # The first delimiter stands at the very beginning, or after an empty line; no client sends a preamble.
    if body.startswith(delimiter[2:]):
        position = len(delimiter) - 2
    elif body.startswith(delimiter):
        position = len(delimiter)
    else:
        _refuse("it does not begin with its boundary")
    count = 0
    while True:
        line_end = body.find(b"\r\n", position)
        rest = body[position : line_end if line_end >= 0 else len(body)]
        if rest.rstrip(b" \t") == b"--":
            if line_end >= 0 and body[line_end:].strip(b"\r\n"):
                _refuse("something follows its end")
            return
        if rest.rstrip(b" \t") or line_end < 0:
            _refuse("a boundary line has something after the boundary")
        count += 1
        if count > MAX_PARTS:
            raise HTTPError(413, f"the form has more than {MAX_PARTS} parts")
        # From the line end of the boundary itself: a part may have no header field at all.
        header_end = body.find(b"\r\n\r\n", line_end, line_end + MAX_PART_HEADER + 4)
        if header_end < 0:
            if len(body) - line_end > MAX_PART_HEADER:
                raise HTTPError(413, f"the header of part {count} is longer than {MAX_PART_HEADER} bytes")
            _refuse(f"part {count} has no end of its header")
        end = body.find(delimiter, header_end + 2)
        if end < 0:
            _refuse("it ends without its closing boundary")
        if end < header_end + 4:
            _refuse(f"part {count} has no end of its header")
        yield _part(count, body[line_end + 2 : header_end], body[header_end + 4 : end])
        position = end + len(delimiter)


def _part(number: int, header: bytes, content: bytes) -> tuple[str, Value]:
    headers = _part_headers(number, header)
    try:
        kind, options = parse_options(headers.get("content-disposition") or "")
    except ValueError as error:
        _refuse(f"the content disposition of part {number} is malformed: {error}")
    name = options.get("name")
    if kind != "form-data" or name is None:
        _refuse(f"part {number} has no content disposition of form data with a name")
    if "filename*" in options or "name*" in options:
        _refuse(f"part {number} uses an encoding of names that RFC 7578, section 4.2, forbids")
    encoding = (headers.get("content-transfer-encoding") or "binary").lower()
    if encoding not in ("7bit", "8bit", "binary"):
        _refuse(f"part {number} has a content transfer encoding, which RFC 7578, section 4.7, does away with")
    name = _unescape(name)
    content_type = headers.get("content-type")
    filename = options.get("filename")
    if filename is not None:
        base = _unescape(filename).replace("\\", "/").rpartition("/")[2]
        return name, UploadedFile(
            "" if base in (".", "..") else base,
            content,
            content_type=content_type or "application/octet-stream",
            headers=headers,
        )
    charset = ""
    if content_type:
        try:
            charset = parse_options(content_type)[1].get("charset", "")
        except ValueError as error:
            _refuse(f"the content type of part {number} is malformed: {error}")
    return name, text_of(content, charset, f"field {name!r}")


def _part_headers(number: int, header: bytes) -> Headers:
    try:
        text = header.decode()
    except UnicodeDecodeError:
        _refuse(f"the header of part {number} is not UTF-8")
    pairs: list[tuple[str, str]] = []
    seen: set[str] = set()
    for line in text.split("\r\n") if text else ():
        name, colon, value = line.partition(":")
        if not colon or not name or not TOKEN.issuperset(name):
            _refuse(f"the header of part {number} has a line that is no field")
        if any(character < " " and character != "\t" for character in value) or "\x7f" in value:
            _refuse(f"the header of part {number} has a control character")
        if name.lower() in seen:
            _refuse(f"the header of part {number} has {name} twice")
        seen.add(name.lower())
        pairs.append((name, value.strip(" \t")))
    if len(pairs) > MAX_PART_HEADER_FIELDS:
        raise HTTPError(413, f"the header of part {number} has more than {MAX_PART_HEADER_FIELDS} fields")
    return Headers(pairs)


def parse_options(text: str) -> tuple[str, dict[str, str]]:
    """``form-data; name="a"`` as its value, in lower case, and its parameters by lower-case name.

    Raises ValueError for what is not of this form, and for a parameter that comes twice.
    """
    kind, _, rest = text.partition(";")
    options: dict[str, str] = {}
    rest = rest.strip(" \t")
    while rest:
        name, equals, rest = rest.partition("=")
        name = name.strip(" \t").lower()
        if not equals or not name or not TOKEN.issuperset(name):
            raise ValueError("a parameter has no name or no value")
        if rest.startswith('"'):
            value, rest = _quoted(rest)
            separator, rest = rest[:1], rest[1:]
            if separator not in ("", ";"):
                raise ValueError(f"something follows the value of {name}")
        else:
            value, _, rest = rest.partition(";")
            value = value.strip(" \t")
            if not value or not TOKEN.issuperset(value):
                raise ValueError(f"the value of {name} needs quotes")
        if name in options:
            raise ValueError(f"{name} comes twice")
        options[name] = value
        rest = rest.strip(" \t")
    return kind.strip(" \t").lower(), options


def _quoted(text: str) -> tuple[str, str]:
    """A quoted string and what follows it.

    A backslash escapes a quote or a backslash and is itself before anything else: browsers do not escape the
    backslashes of a path such as ``C:\\new``.
    """
    value: list[str] = []
    position = 1
    while position < len(text):
        character = text[position]
        if character == '"':
            return "".join(value), text[position + 1 :].lstrip(" \t")
        if character == "\\" and text[position + 1 : position + 2] in ('"', "\\"):
            position += 1
            character = text[position]
        value.append(character)
        position += 1
    raise ValueError("a quote is not closed")


def _unescape(name: str) -> str:
    """What the HTML standard ("multipart/form-data encoding algorithm") escapes in names, and nothing else."""
    return name.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"') if "%" in name else name


def _refuse(why: str) -> NoReturn:
    raise HTTPError(400, f"the form is malformed: {why}")
