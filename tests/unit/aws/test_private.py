"""A private route answers those whom AWS knows, whichever route of API Gateway brought the request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.aws_service import deployment, template
from tests.support.http_api import Answer, ApiRoute, HttpApi
from tests.support.lambda_runtime import Result

from pys_multi import JWT, App, Request
from pys_multi.runtime import Runtime
from pys_multi_providers.aws.fronts import known_to_aws
from pys_multi_providers.aws.runtime import Adapter

SIGNER = {"accountId": "123456789012", "userArn": "arn:aws:iam::123456789012:user/ann", "userId": "AIDA"}
KNOWN = {"account": "123456789012", "arn": SIGNER["userArn"], "id": "AIDA"}


class Invocation:
    aws_request_id = "r1"
    client_context = None

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def adapter(front: str) -> Adapter:
    app = App("shop")

    @app.get("/inner/{name}")
    def inner(name: str, request: Request) -> Any:
        return request.principal

    @app.get("/outer", public=True)
    def outer(request: Request) -> Any:
        return {"principal": request.principal}

    runtime = Runtime(app, "main", private=known_to_aws, logs=False)
    runtime.start()
    return Adapter(runtime, front)


def version_2(path: str, method: str = "GET", **authorizer: Any) -> dict[str, Any]:
    about: dict[str, Any] = {
        "domainName": "abcdef1234.execute-api.eu-central-1.amazonaws.com",
        "http": {"method": method, "path": path, "sourceIp": "203.0.113.7"},
        "stage": "$default",
    }
    if authorizer:
        about["authorizer"] = authorizer
    return {"rawPath": path, "rawQueryString": "", "headers": {}, "requestContext": about}


@pytest.mark.parametrize("front", ["http-api", "function-url"])
def test_who_signed_is_the_principal_of_a_private_route(front: str) -> None:
    answer = adapter(front)(version_2("/inner/a", iam=SIGNER), Invocation())
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, KNOWN)


@pytest.mark.parametrize("front", ["http-api", "function-url"])
@pytest.mark.parametrize("authorizer", [{}, {"jwt": {"claims": {"sub": "ann"}}}, {"iam": {}}, {"iam": None}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_request_by_a_wider_route_is_refused(front: str, authorizer: dict[str, Any], method: str) -> None:
    assert adapter(front)(version_2("/inner/a", method, **authorizer), Invocation())["statusCode"] == 403


def test_a_request_of_a_rest_api_is_refused_unless_it_was_signed() -> None:
    event: dict[str, Any] = {
        "httpMethod": "GET",
        "path": "/inner/a",
        "multiValueHeaders": {},
        "requestContext": {"path": "/inner/a", "identity": {"sourceIp": "203.0.113.7", "userArn": None}},
    }
    call = adapter("rest-api")
    assert call(event, Invocation())["statusCode"] == 403
    event["requestContext"]["identity"].update(SIGNER)
    assert call(event, Invocation())["statusCode"] == 200


def test_a_load_balancer_knows_nobody() -> None:
    event: dict[str, Any] = {"httpMethod": "GET", "path": "/inner/a", "headers": {}, "requestContext": {"elb": {}}}
    assert adapter("alb")(event, Invocation())["statusCode"] == 403


def test_a_public_route_asks_nobody() -> None:
    answer = adapter("http-api")(version_2("/outer"), Invocation())
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"principal": None})


TOKENS = JWT(issuer="https://login.example", audience="shop", jwks_url="https://login.example/.well-known/jwks.json")


def tokens_of(native: bool) -> str:
    """What a route with tokens asks API Gateway for."""
    app = App("shop")
    app.get("/mine", auth=TOKENS)(lambda: None)
    found = template(deployment(app, native_jwt=native))
    [route] = [r for r in found.of_type("AWS::ApiGatewayV2::Route").values() if r["RouteKey"] == "GET /mine"]
    return str(route["AuthorizationType"])


def test_a_request_without_a_token_is_answered_as_on_every_provider_unless_api_gateway_checks_it() -> None:
    app = App("shop")
    app.get("/mine", auth=TOKENS)(lambda: None)
    runtime = Runtime(app, "main", private=known_to_aws, logs=False)
    runtime.start()
    entry = Adapter(runtime, "http-api")

    def get(native: bool) -> Answer:
        route = ApiRoute("GET /mine", lambda event: Result(entry(event, Invocation())), jwt=tokens_of(native) == "JWT")
        return HttpApi([route]).call("GET", "/mine")

    own, gateways = get(native=False), get(native=True)
    assert own.status == gateways.status == 401
    assert dict(own.fields)["content-type"] == "application/problem+json"
    assert json.loads(gateways.body) == {"message": "Unauthorized"}
