"""Calls over REST: what is tried again, what is not, and how Azure's refusals are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.scripted_api import DROP, Asked, ScriptedApi

from pys_multi import Context
from pys_multi.errors import ResourceError
from pys_multi.messages import _current
from pys_multi.rest import Connections
from pys_multi_providers.azure import calls
from pys_multi_providers.azure.calls import Absent, ConditionRefused, Refused, sent
from pys_multi_providers.azure.tokens import STORAGE, Tokens

XML = b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>%b</Code><Message>It is so.\nRequestId:1</Message></Error>"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Instead of the pauses between two tries."""
    found: list[float] = []
    monkeypatch.setattr(calls, "sleep", found.append)
    return found


@pytest.fixture
def connections() -> Iterator[Connections]:
    connections = Connections()
    yield connections
    connections.close()


def answering(*answers: Any) -> Callable[[Asked], Any]:
    rest = list(answers)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


def test_what_was_throttled_is_tried_again(connections: Connections, pauses: list[float]) -> None:
    with ScriptedApi(answering((503, b""), (429, b""), (200, b"at last"))) as api:
        assert sent(connections, "it", "POST", f"{api.url}/a?b=c", {}, b"x", once=True).body == b"at last"
    assert [asked.path for asked in api.asked] == ["/a?b=c"] * 3
    assert [asked.body for asked in api.asked] == [b"x"] * 3
    assert len(pauses) == 2
    assert 0.1 < pauses[0] < pauses[1] < 1


def test_what_may_have_happened_is_not_tried_again_where_it_counts(connections: Connections) -> None:
    for answer in ((500, b""), DROP):
        with ScriptedApi(answering(answer, (200, b""))) as api:
            with pytest.raises(Refused) as raised:
                sent(connections, "it", "PUT", api.url, {}, once=True)
            assert raised.value.is_lost
            assert len(api.asked) == 1
            assert sent(connections, "it", "PUT", api.url, {}).status == 200


def test_a_connection_is_kept_and_one_that_has_ended_is_replaced(connections: Connections) -> None:
    with ScriptedApi(answering((200, b"1"), DROP, (200, b"2"))) as api:
        assert sent(connections, "it", "GET", api.url, {}).body == b"1"
        assert sent(connections, "it", "GET", api.url, {}).body == b"2"
    connections.close()
    with pytest.raises(Refused, match="did not reach Azure") as raised:
        sent(connections, "it", "GET", api.url, {})
    assert not raised.value.is_lost


def test_a_call_gives_up_in_the_time_of_its_function(connections: Connections, pauses: list[float]) -> None:
    token = _current.set(Context("r", deadline=time.time() + 0.6))
    try:
        with ScriptedApi(answering((503, b""))) as api, pytest.raises(Refused, match="503"):
            sent(connections, "it", "GET", api.url, {})
    finally:
        _current.reset(token)
    assert all(pause <= 0.11 for pause in pauses)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (404, XML % b"BlobNotFound", Absent, "it: there is no such thing (BlobNotFound: It is so.)"),
        (409, XML % b"EntityAlreadyExists", ConditionRefused, "it: EntityAlreadyExists: It is so."),
        (412, b"", ConditionRefused, "it: the condition does not hold"),
        (403, XML % b"AuthorizationPermissionMismatch", Refused, "roles that `uses` grants"),
        (400, b'{"odata.error": {"code": "InvalidInput", "message": {"value": "No."}}}', Refused, "InvalidInput: No."),
        (400, b"<Error><Code>400</Code><Detail>Bad.</Detail></Error>", Refused, "400: Bad."),
        (400, b"{nonsense", Refused, "it: Azure answered 400"),
    ],
)
def test_a_refusal_says_what_azure_said(
    connections: Connections, status: int, body: bytes, kind: type[Exception], words: str
) -> None:
    with ScriptedApi(answering((status, body))) as api, pytest.raises(kind) as raised:
        sent(connections, "it", "GET", api.url, {"authorization": "Bearer secret"})
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)
    assert len(api.asked) == 1


# ---- tokens


@pytest.fixture
def tokens(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Tokens]:
    def made(url: str) -> Tokens:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "the header")
        monkeypatch.setenv("AZURE_CLIENT_ID", "the client")
        return Tokens(connections)

    return made


def a_token(text: str, seconds: float) -> tuple[int, Any]:
    return 200, {"access_token": text, "expires_on": str(int(time.time() + seconds))}


def test_a_token_is_kept_until_it_is_nearly_over(tokens: Callable[[str], Tokens]) -> None:
    with ScriptedApi(answering(a_token("first", 3600))) as api:
        found = tokens(api.url)
        assert [found.get(STORAGE), found.get(STORAGE)] == ["first", "first"]
    [asked] = api.asked
    assert asked.headers["x-identity-header"] == "the header"
    assert asked.path == (
        "/msi/token?resource=https%3A%2F%2Fstorage.azure.com%2F&api-version=2019-08-01&client_id=the+client"
    )


def test_a_token_that_ends_soon_is_replaced_or_used_to_its_end(tokens: Callable[[str], Tokens]) -> None:
    with ScriptedApi(answering(a_token("first", 100), a_token("second", 3600))) as api:
        found = tokens(api.url)
        assert [found.get(STORAGE), found.get(STORAGE)] == ["first", "second"]
    with ScriptedApi(answering(a_token("first", 100), (400, b""))) as api:
        found = tokens(api.url)
        assert [found.get(STORAGE), found.get(STORAGE)] == ["first", "first"]


@pytest.mark.parametrize("answer", [(400, b"{}"), (200, b"nonsense"), (200, {"access_token": "x"})])
def test_without_a_token_there_is_an_error(tokens: Callable[[str], Tokens], answer: Any) -> None:
    with ScriptedApi(answering(answer)) as api, pytest.raises(ResourceError, match="token of the function's identity"):
        tokens(api.url).get(STORAGE)
