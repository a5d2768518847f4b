"""CloudEvents 1.0 in and out, in every mode, strictly."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pys_multi.cloudevents import CloudEvent, InvalidEvent, batch_to_http, from_http, from_json, to_http, to_json
from pys_multi.errors import HTTPError
from pys_multi.http import Response

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid"}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=UTF-8"}


def structured(**members: Any) -> bytes:
    return json.dumps({**REQUIRED, **members}).encode()


def binary(**headers: str) -> dict[str, str]:
    return {**{f"ce-{name}": value for name, value in REQUIRED.items()}, **headers}


# --- there and back

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=30)
names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: (
        name not in ("specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time", "data")
    )
)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=8,
)
data = st.one_of(
    st.none(), json_values.map(lambda v: v if not isinstance(v, str) else [v]), st.binary(min_size=1), texts
)
sources = st.sampled_from(["/shop", "https://shop.example/a?b=c#d", "urn:uuid:6e8bc430", "mailto:a@b.example", "1-555"])
events = st.builds(
    CloudEvent,
    texts,
    sources,
    data,
    id=texts,
    subject=st.none() | texts,
    time=st.sampled_from(["", "2026-11-24T06:37:33Z", "2026-11-24t06:37:33.123456789+05:30", "2016-12-31T23:59:60Z"]),
    dataschema=st.sampled_from([None, "https://shop.example/schema", "urn:x:y"]),
    extensions=st.dictionaries(names, texts | st.just(""), max_size=3),
)


@given(events)
def test_binary_mode_there_and_back(event: CloudEvent) -> None:
    headers, body = to_http(event)
    Response(body, headers=headers)  # every field is one that HTTP can carry
    assert from_http(headers, body) == [event]


@given(events)
def test_structured_mode_there_and_back(event: CloudEvent) -> None:
    headers, body = to_http(event, structured=True)
    assert headers == {"content-type": "application/cloudevents+json"}
    assert from_http(headers, body) == [event]
    assert from_json(to_json(event)) == event


@given(st.lists(events, max_size=3))
def test_batch_mode_there_and_back(several: list[CloudEvent]) -> None:
    assert from_http(*batch_to_http(several)) == several


@given(st.dictionaries(names, st.integers(-(2**31), 2**31 - 1) | st.booleans(), max_size=3))
def test_numbers_and_truth_values_keep_their_type_in_json_and_are_text_in_headers(extensions: dict[str, Any]) -> None:
    event = CloudEvent("t", "/s", extensions=extensions)
    assert from_http(*to_http(event, structured=True))[0].extensions == extensions
    written = {n: ("true" if v else "false") if isinstance(v, bool) else str(v) for n, v in extensions.items()}
    assert from_http(*to_http(event))[0].extensions == written


# --- what comes in


def test_binary_mode_by_hand() -> None:
    headers = [
        ("CE-SpecVersion", "1.0"),
        ("Ce-Type", "order.paid"),
        ("ce-Source", "/shop"),
        ("ce-id", "1"),
        ("ce-subject", "Euro%20%E2%82%AC%20%f0%9F%98%80"),
        ("ce-quoted", '"a \\"quoted\\" %22word"'),
        ("Content-Type", "application/json; charset=utf-8"),
        ("x-other", "1"),
    ]
    (event,) = from_http(headers, b'{"order": 7}')
    assert event.subject == "Euro € 😀"
    assert event.extensions == {"quoted": 'a "quoted" "word'}
    assert event.data == {"order": 7}
    assert event.datacontenttype == "application/json; charset=utf-8"
    assert event.time is None
    assert event.timestamp is None


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b"[1]", [1]),
        ("application/vnd.shop+json", b'"x"', "x"),
        ("text/plain", "ä".encode(), "ä"),
        ("text/xml; charset=latin-1", b"\xe4", "ä"),
        ("application/xml", b"<a/>", b"<a/>"),
        (None, b"raw", b"raw"),
        ("application/json", b"", None),
    ],
)
def test_data_is_read_as_its_type_says(content_type: str | None, body: bytes, data: object) -> None:
    headers = binary(**({"content-type": content_type} if content_type else {}))
    assert from_http(headers, body)[0].data == data


@pytest.mark.parametrize(
    ("members", "data", "content_type"),
    [
        ({"data": {"a": None}}, {"a": None}, "application/json"),
        ({"data": "text"}, "text", "application/json"),
        ({"data": None}, None, None),
        ({}, None, None),
        ({"data": "<a/>", "datacontenttype": "application/xml"}, "<a/>", "application/xml"),
        ({"data_base64": "AP8="}, b"\0\xff", None),
        ({"data_base64": "AP8=", "datacontenttype": "image/png"}, b"\0\xff", "image/png"),
        ({"data_base64": None, "data": 1}, 1, "application/json"),
    ],
)
def test_structured_data(members: dict[str, Any], data: object, content_type: str | None) -> None:
    (event,) = from_http(STRUCTURED, structured(**members))
    assert (event.data, event.datacontenttype) == (data, content_type)


def test_a_null_attribute_is_not_there() -> None:
    (event,) = from_http(STRUCTURED, structured(subject=None, mine=None))
    assert (event.subject, event.extensions) == (None, {})


def test_an_empty_batch() -> None:
    assert from_http({"content-type": "application/cloudevents-batch+json"}, b"[]") == []


@pytest.mark.parametrize(
    "members",
    [
        {"specversion": "0.3"},
        {"specversion": 1.0},
        {"specversion": None},
        {"id": ""},
        {"id": None},
        {"id": 5},
        {"id": "a\nb"},
        {"id": "\x7f"},
        {"id": "\x85"},
        {"id": "\ufdd0"},
        {"id": "\uffff"},
        {"id": "\U0001ffff"},
        {"source": ""},
        {"source": None},
        {"source": "with space"},
        {"source": "/ümlaut"},
        {"source": "<x>"},
        {"type": ""},
        {"type": None},
        {"subject": ""},
        {"subject": 5},
        {"time": "yesterday"},
        {"time": "2026-11-24"},
        {"time": "2026-11-24T06:37:33"},
        {"time": "2026-11-24 06:37:33Z"},
        {"time": "20261124T063733Z"},
        {"time": "2026-W48-2T06:37:33Z"},
        {"time": "2026-13-24T06:37:33Z"},
        {"time": "2026-11-24T06:37Z"},
        {"time": "2026-11-24T06:37:33,5Z"},
        {"time": "2026-11-24T06:37:33+0530"},
        {"time": 5},
        {"dataschema": "schema"},
        {"dataschema": "/schema"},
        {"dataschema": ":x"},
        {"dataschema": "https://a b"},
        {"datacontenttype": "json"},
        {"datacontenttype": ""},
        {"datacontenttype": 5},
        {"datacontenttype": "a/ü"},
        {"Upper": "x"},
        {"under_score": "x"},
        {"": "x"},
        {"mine": 1.5},
        {"mine": 2**31},
        {"mine": -(2**31) - 1},
        {"mine": {}},
        {"mine": []},
        {"mine": "\0"},
        {"data": 1, "data_base64": "AA=="},
        {"data_base64": "A"},
        {"data_base64": "A A="},
        {"data_base64": 5},
        {"data": {}, "datacontenttype": "text/plain"},
    ],
)
def test_what_is_no_event_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent) as caught:
        from_http(STRUCTURED, structured(**members))
    assert caught.value.status == 400
    with pytest.raises(InvalidEvent):
        from_http({"content-type": "application/cloudevents-batch+json"}, b"[" + structured(**members) + b"]")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_event_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        from_http(STRUCTURED, body)


@pytest.mark.parametrize("body", [b"{}", b"null", b"[null]", b"[[]]", b""])
def test_bodies_that_are_no_batch_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        from_http({"content-type": "application/cloudevents-batch+json"}, body)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ce-id": "1", "ce-source": "/", "ce-type": "t"},
        binary(**{"ce-subject": "%"}),
        binary(**{"ce-subject": "%4"}),
        binary(**{"ce-subject": "%zz"}),
        binary(**{"ce-subject": "%FF"}),
        binary(**{"ce-subject": "%0A"}),
        binary(**{"ce-datacontenttype": "text/plain"}),
        binary(**{"ce-data": "x"}),
        binary(**{"ce-my-own": "x"}),
        binary(**{"ce-": "x"}),
        [*binary().items(), ("CE-Id", "2")],
    ],
)
def test_headers_that_are_no_event_are_refused(headers: Any) -> None:
    with pytest.raises(InvalidEvent):
        from_http(headers, b"")


@pytest.mark.parametrize(
    "kind", ["application/cloudevents+avro", "application/cloudevents", "application/cloudevents+xml"]
)
def test_other_formats_are_415(kind: str) -> None:
    with pytest.raises(HTTPError) as caught:
        from_http({"content-type": kind}, b"")
    assert caught.value.status == 415


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(body: bytes) -> None:
    with pytest.raises(HTTPError):
        from_http(STRUCTURED, body)


@given(st.text())
def test_any_time_is_read_or_refused(text: str) -> None:
    try:
        event = CloudEvent("t", "/s", time=text)
    except InvalidEvent:
        return
    assert event.time is None or isinstance(event.timestamp, float)


# --- what goes out


def test_an_event_says_when_and_which() -> None:
    first, second = CloudEvent("t", "/s"), CloudEvent("t", "/s")
    assert first.id != second.id
    assert first.timestamp is not None
    assert first != second
    assert first != "event"


def test_timestamps() -> None:
    assert CloudEvent("t", "/s", time="1970-01-01T00:01:00.5Z").timestamp == 60.5
    assert CloudEvent("t", "/s", time="1970-01-01T01:01:00+01:00").timestamp == 60
    assert CloudEvent("t", "/s", time="1970-01-01T00:00:60Z").timestamp == 59


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (None, None),
        ({"a": 1}, "application/json"),
        (5, "application/json"),
        ("x", "text/plain; charset=utf-8"),
        (b"x", "application/octet-stream"),
    ],
)
def test_the_content_type_is_found_from_the_data(data: object, content_type: str | None) -> None:
    assert CloudEvent("t", "/s", data).datacontenttype == content_type


def test_bytes_are_base64_in_json_and_themselves_in_a_body() -> None:
    event = CloudEvent("t", "/s", b"\0\xff", datacontenttype="image/png")
    assert json.loads(to_json(event))["data_base64"] == base64.b64encode(b"\0\xff").decode()
    assert to_http(event)[1] == b"\0\xff"


def test_data_that_its_type_has_no_form_for_is_refused() -> None:
    for data, kind in [({"a": 1}, "text/plain"), (object(), "application/json")]:
        event = CloudEvent("t", "/s", data, datacontenttype=kind)
        for structured_ in (True, False):
            with pytest.raises(TypeError):
                to_http(event, structured=structured_)


@pytest.mark.parametrize(
    "options",
    [
        {"type": ""},
        {"source": ""},
        {"id": ""},
        {"extensions": {"Upper": "x"}},
        {"extensions": {"time": "x"}},
        {"extensions": {"data": "x"}},
        {"extensions": {5: "x"}},
        {"extensions": {"big": 2**31}},
        {"time": "now"},
    ],
)
def test_wrong_events_are_not_made(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        CloudEvent(**{"type": "t", "source": "/s", **options})
