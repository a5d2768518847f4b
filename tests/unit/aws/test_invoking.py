"""Calls through the front: signed, encoded, and made once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.aws_service import deployment
from tests.support.lambda_events import LambdaContext
from tests.support.noting_front import NotingFront

from pys_multi import App, Request, Response
from pys_multi.runtime import Runtime
from pys_multi_providers.aws.client import Cloud
from pys_multi_providers.aws.invoking import call, invoke
from pys_multi_providers.aws.runtime import Adapter
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


app = App("shop", public=True)
api = app.function("api")


@api.post("/echo/{rest:path}")
def echo(request: Request, rest: str) -> Response:
    seen = {"rest": rest, "query": request.query.items(), "body": request.body.decode(), "x": request.headers["x-a"]}
    return Response(json.dumps(seen), status=201, headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])


@pytest.mark.parametrize("front", ["http-api", "function-url", "rest-api", "alb"])
def test_one_function_is_called_as_its_front_would(front: str) -> None:
    adapter = Adapter(Runtime(app, "api", logs=False), front, "/base")

    def call_once(service: str, operation: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        assert (service, operation, arguments["Qualifier"]) == ("lambda", "invoke", "live")
        return {"Payload": json.dumps(adapter(json.loads(arguments["Payload"]), LambdaContext())).encode()}

    cloud = SimpleNamespace(account="1", identity={"Arn": "arn:aws:iam::1:user/me"}, call_once=call_once)
    engine = SimpleNamespace(
        deployment=deployment(app, http=front), cloud=cloud, names=SimpleNamespace(function=lambda name: name)
    )
    wanted = Invocation(
        method="POST", path="/echo/a%20b?q=1%2B1&q=2", headers=(("X-A", "1"),), body=b"hi", function="api"
    )
    found = invoke(engine, wanted)  # type: ignore[arg-type]
    assert found.status == 201, found
    assert json.loads(found.body) == {"rest": "a b", "query": [["q", "1+1"], ["q", "2"]], "body": "hi", "x": "1"}
    assert [value for name, value in found.headers if name == "set-cookie"] == ["a=1", "b=2"]


@pytest.mark.parametrize("front", ["rest-api", "alb"])
def test_a_front_of_ones_own_is_called_by_its_own_address(front: str) -> None:
    engine = SimpleNamespace(deployment=deployment(app, http=front))
    with pytest.raises(ProviderError, match="not of this service") as caught:
        invoke(engine, Invocation(path="/"))  # type: ignore[arg-type]
    assert "--function" in caught.value.hint
