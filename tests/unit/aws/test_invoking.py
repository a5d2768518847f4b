"""Calls through the front: signed, encoded, and made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.noting_front import NotingFront

from pys_multi_providers.aws.client import Cloud
from pys_multi_providers.aws.invoking import call
from pys_multi_providers.aws.settings import AwsSettings
from pys_multi_tools.deployment import Invocation
from pys_multi_tools.errors import ProviderError


@pytest.fixture
def front() -> Iterator[NotingFront]:
    found = NotingFront()
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a key")
    return Cloud(AwsSettings(region="eu-central-1"))


def test_a_call_is_signed_and_comes_as_it_was_written(front: NotingFront, cloud: Cloud) -> None:
    wanted = Invocation(
        method="POST", path="/a b/ü%2Fx?q=1&q=2", headers=(("Content-Type", "text/plain"),), body=b"hello"
    )
    result = call(cloud, "execute-api", front.url, wanted, 10)
    [(method, path, headers, body)] = front.seen
    assert (method, path, body) == ("POST", "/a%20b/%C3%BC%2Fx?q=1&q=2", b"hello")
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
    assert "/eu-central-1/execute-api/aws4_request" in headers["authorization"]
    assert headers["content-type"] == "text/plain"
    assert (result.status, result.body, result.request_id) == (418, b"ok", "r1")


def test_a_token_of_the_caller_is_not_replaced_by_a_signature(front: NotingFront, cloud: Cloud) -> None:
    call(cloud, "lambda", front.url, Invocation(path="/", headers=(("Authorization", "Bearer t"),)), 10)
    assert front.seen[0][2]["authorization"] == "Bearer t"


def test_an_address_that_nobody_answers_at_is_told(cloud: Cloud) -> None:
    with pytest.raises(ProviderError, match="the call failed") as caught:
        call(cloud, "execute-api", "http://127.0.0.1:9", Invocation(path="/"), 5)
    assert caught.value.hint
