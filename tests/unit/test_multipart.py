"""Forms, read back from what real clients send, and refused when they are not quite forms."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pys_multi.errors import HTTPError
from pys_multi.http import Request
from pys_multi.multipart import (
    MAX_PART_HEADER,
    MAX_PART_HEADER_FIELDS,
    MAX_PARTS,
    Form,
    UploadedFile,
    parse_form,
    parse_options,
)

TYPE = "multipart/form-data; boundary=b"


def multipart(*parts: str | bytes, end: bytes = b"--b--\r\n") -> bytes:
    """Parts with CRLF for every LF of a str, between boundaries."""
    body = b""
    for part in parts:
        raw = part.replace("\n", "\r\n").encode() if isinstance(part, str) else part
        body += b"--b\r\n" + raw + b"\r\n"
    return body + end


FIELD = 'Content-Disposition: form-data; name="a"\n\nvalue'


def refusal(content_type: str, body: bytes) -> HTTPError:
    with pytest.raises(HTTPError) as caught:
        parse_form(content_type, body)
    return caught.value


def status_of(content_type: str, body: bytes) -> int:
    try:
        assert isinstance(parse_form(content_type, body), Form)
    except HTTPError as error:
        return error.status
    return 200


# --- against a real client


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda name: not any(escape in name.upper() for escape in ("%0D", "%0A", "%22"))
)
files = st.tuples(names, st.binary(max_size=200), st.sampled_from(["text/plain", "image/png", "a/b; c=d"]))


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(names, st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(names, max_size=3))),
    st.lists(st.tuples(names, files), min_size=1, max_size=4),
)
def test_what_httpx_sends_is_read_back(
    fields: dict[str, str | list[str]], uploads: list[tuple[str, tuple[str, bytes, str]]]
) -> None:
    sent = httpx.Request("POST", "http://test", data=fields, files=uploads)
    form = parse_form(sent.headers["content-type"], sent.read())
    expected: list[object] = []
    for name, value in fields.items():
        expected += [(name, item) for item in (value if isinstance(value, list) else [value])]
    found: list[object] = []
    for name, item in form.items():
        found.append((name, item) if isinstance(item, str) else (name, item.filename, item.body, item.content_type))
    for name, (filename, body, content_type) in uploads:
        base = filename.replace("\\", "/").rpartition("/")[2]
        expected.append((name, "" if base in (".", "..") else base, body, content_type))
    assert found == expected


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(names))))
def test_urlencoded_as_httpx_sends_it_is_read_back(fields: dict[str, str | list[str]]) -> None:
    sent = httpx.Request("POST", "http://test", data=fields)
    if "content-type" not in sent.headers:
        return
    form = parse_form(sent.headers["content-type"], sent.read())
    for name, value in fields.items():
        assert form.get_all(name) == (value if isinstance(value, list) else [value])


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([TYPE, "application/x-www-form-urlencoded"]))
def test_any_bytes_are_a_form_or_a_refusal(body: bytes, content_type: str) -> None:
    assert status_of(content_type, body) in (200, 400)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_form_is_a_form_or_a_refusal(data: st.DataObject) -> None:
    body = bytearray(multipart(FIELD, 'Content-Disposition: form-data; name="f"; filename="x"\n\n\x00\r\n--'))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert status_of(TYPE, bytes(body)) in (200, 400, 415)


@given(st.text())
def test_any_content_type_is_a_form_or_a_refusal(content_type: str) -> None:
    assert refusal(content_type, b"\0").status in (400, 415)


# --- multipart, by hand


def test_fields_and_files() -> None:
    form = parse_form(
        TYPE,
        multipart(
            FIELD,
            'content-disposition: FORM-DATA; NAME="a"\n\nagain',
            'Content-Disposition: form-data; name="f"; filename="ä b.txt"\n'
            "Content-Type: text/plain\nX-More: 1\n\nline\n",
        ),
    )
    assert form["a"] == form.get("a") == "again"
    assert form.get_all("a") == ["value", "again"]
    file = form["f"]
    assert isinstance(file, UploadedFile)
    assert (file.filename, file.content_type, file.body, file.text, file.size) == (
        "ä b.txt",
        "text/plain",
        b"line\r\n",
        "line\r\n",
        6,
    )
    assert file.headers["x-more"] == "1"
    assert (list(form), len(form), "f" in form, "g" in form) == (["a", "f"], 3, True, False)
    assert form.get("g") is None
    with pytest.raises(KeyError, match="g"):
        form["g"]


def test_an_empty_form() -> None:
    assert len(parse_form(TYPE, multipart())) == 0
    assert len(parse_form("application/x-www-form-urlencoded", b"")) == 0


def test_a_leading_line_break_padding_and_a_missing_last_one_are_within_the_specification() -> None:
    body = b"\r\n--b \t\r\n" + FIELD.replace("\n", "\r\n").encode() + b"\r\n--b--"
    assert parse_form(TYPE, body).items() == [("a", "value")]


def test_content_may_hold_all_but_its_boundary() -> None:
    content = b"\r\n--\r\n-b\r\n--B--\r\n\r\n--"
    form = parse_form(TYPE, multipart(b'Content-Disposition: form-data; name="f"; filename=""\r\n\r\n' + content))
    assert form["f"].body == content  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sent", "filename"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\new\\table.txt", "table.txt"),
        ("a/..", ""),
        (".", ""),
        ("dir/", ""),
        ("%22quoted%22%0D%0A", '"quoted"\r\n'),
        ('\\"escaped\\"', '"escaped"'),
        ("100%25", "100%25"),
        ("", ""),
    ],
)
def test_file_names_lose_their_path_and_their_escapes(sent: str, filename: str) -> None:
    part = f'Content-Disposition: form-data; name="f"; filename="{sent}"\n\nx'
    file = parse_form(TYPE, multipart(part))["f"]
    assert isinstance(file, UploadedFile)
    assert file.filename == filename


def test_a_field_may_name_its_charset() -> None:
    part = b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n\xe4'
    assert parse_form(TYPE, multipart(part))["a"] == "ä"


@pytest.mark.parametrize("boundary", ["b", '"b"', "  b  "])
def test_the_boundary_may_be_quoted(boundary: str) -> None:
    assert len(parse_form(f"Multipart/Form-Data; charset=utf-8; boundary={boundary}", multipart(FIELD))) == 1


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="b"x',
        'multipart/form-data; boundary="b',
        'multipart/form-data; boundary="b "',
        "multipart/form-data; boundary=b; boundary=c",
        f"multipart/form-data; boundary={'b' * 71}",
        'multipart/form-data; boundary="ä"',
        "multipart/form-data; =b",
        "multipart/form-data; boundary",
    ],
)
def test_a_content_type_without_a_valid_boundary_is_refused(content_type: str) -> None:
    assert refusal(content_type, multipart(FIELD)).status == 400


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "multipart/mixed; boundary=b"])
def test_another_content_type_is_415(content_type: str) -> None:
    assert refusal(content_type, multipart(FIELD)).status == 415


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "begin"),
        (b"preamble\r\n" + multipart(FIELD), "begin"),
        (b"\n" + multipart(FIELD), "begin"),
        (multipart(FIELD, end=b""), "closing boundary"),
        (multipart(FIELD)[:-6], "closing boundary"),
        (multipart(FIELD, end=b"--b--x"), "after the boundary"),
        (multipart(FIELD, end=b"--bb--\r\n"), "after the boundary"),
        (multipart(FIELD, end=b"--b"), "after the boundary"),
        (multipart(FIELD, end=b"--b\n--b--\r\n"), "after the boundary"),
        (multipart(FIELD) + b"epilogue", "follows its end"),
        (multipart(b'Content-Disposition: form-data; name="a"'), "end of its header"),
        (multipart(b'Content-Disposition: form-data; name="a"\n\nx'), "end of its header"),
        (multipart(b"\r\nx"), "content disposition"),
        (multipart("Content-Type: text/plain\n\nx"), "content disposition"),
        (multipart("Content-Disposition: form-data\n\nx"), "content disposition"),
        (multipart('Content-Disposition: attachment; name="a"\n\nx'), "content disposition"),
        (multipart('Content-Disposition: form-data; name="a"; name="b"\n\nx'), "twice"),
        (multipart('Content-Disposition: form-data; name="a\n\nx'), "not closed"),
        (multipart("Content-Disposition: form-data; name=a b\n\nx"), "quotes"),
        (multipart('Content-Disposition: form-data; name="a" x\n\nx'), "follows the value"),
        (multipart(FIELD.replace("\n\n", '\nContent-Disposition: form-data; name="b"\n\n')), "twice"),
        (multipart(FIELD.replace("\n\n", "\n folded\n\n")), "no field"),
        (multipart(FIELD.replace("\n\n", "\nX : 1\n\n")), "no field"),
        (multipart(FIELD.replace("\n\n", "\n: 1\n\n")), "no field"),
        (multipart(FIELD.replace("\n\n", "\nX: a\rb\n\n")), "control character"),
        (multipart(FIELD.replace("\n\n", "\nX: a\x00b\n\n")), "control character"),
        (multipart(FIELD.replace("\n\n", "\nX: a\x7fb\n\n")), "control character"),
        (multipart(b'Content-Disposition: form-data; name="\xff"\r\n\r\nx'), "not UTF-8"),
        (multipart(b'Content-Disposition: form-data; name="a"\r\n\r\n\xff'), "not utf-8"),
        (multipart(FIELD.replace("\n\n", "\nContent-Transfer-Encoding: base64\n\n")), "4.7"),
        (multipart("Content-Disposition: form-data; name=\"a\"; filename*=utf-8''x\n\nx"), "4.2"),
        (multipart(FIELD.replace("\n\n", "\nContent-Type: text/plain; charset\n\n")), "content type"),
    ],
)
def test_a_malformed_form_is_400_with_the_reason(body: bytes, reason: str) -> None:
    error = refusal(TYPE, body)
    assert error.status == 400
    assert reason in error.detail


# Python has codecs that are no charsets; some of them make halves of surrogate pairs, one takes quadratic time.
@pytest.mark.parametrize("charset", ["klingon", "utf-7", "unicode-escape", "raw_unicode_escape", "punycode", "zlib"])
def test_an_unknown_charset_is_415(charset: str) -> None:
    part = f'Content-Disposition: form-data; name="a"\nContent-Type: text/plain; charset={charset}\n\n\\ud800'
    assert refusal(TYPE, multipart(part)).status == 415


def test_limits() -> None:
    assert len(parse_form(TYPE, multipart(*[FIELD] * MAX_PARTS))) == MAX_PARTS
    assert refusal(TYPE, multipart(*[FIELD] * (MAX_PARTS + 1))).status == 413
    long = FIELD.replace("\n\n", f"\nX: {'x' * MAX_PART_HEADER}\n\n")
    assert refusal(TYPE, multipart(long)).status == 413
    many = "".join(f"\nX-{n}: 1" for n in range(MAX_PART_HEADER_FIELDS))
    assert refusal(TYPE, multipart(FIELD.replace("\n\n", f"{many}\n\n"))).status == 413


# --- urlencoded


def test_urlencoded_fields() -> None:
    form = parse_form("application/x-www-form-urlencoded; charset=UTF-8", b"a=1&b=%C3%A4+%26&a=2&empty&=x&&c=d=e")
    assert form.items() == [("a", "1"), ("b", "ä &"), ("a", "2"), ("empty", ""), ("", "x"), ("c", "d=e")]


@pytest.mark.parametrize("body", [b"a=%FF", b"a=\xff"])
def test_urlencoded_that_is_not_utf8_is_400(body: bytes) -> None:
    assert refusal("application/x-www-form-urlencoded", body).status == 400


def test_urlencoded_limits_and_charset() -> None:
    assert len(parse_form("application/x-www-form-urlencoded", b"&".join([b"a=1"] * MAX_PARTS))) == MAX_PARTS
    assert refusal("application/x-www-form-urlencoded", b"&".join([b"a=1"] * (MAX_PARTS + 1))).status == 413
    assert refusal("application/x-www-form-urlencoded; charset=utf-16", b"a=1").status == 415


# --- through the request


def test_the_form_of_a_request() -> None:
    request = Request("POST", "/", headers={"Content-Type": TYPE}, body=multipart(FIELD))
    assert request.form()["a"] == "value"
    assert request.form() is request.form()
    with pytest.raises(HTTPError):
        Request("POST", "/").form()


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(st.characters(exclude_categories=["Cs"]))))
def test_options_read_back(options: dict[str, str]) -> None:
    text = "Form-Data"
    for name, value in options.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        text += f'; {name}="{escaped}"'
    assert parse_options(text) == ("form-data", options)
