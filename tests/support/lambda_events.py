"""HTTP requests as the fronts of Lambda other than an HTTP API hand them over; see `http_api` for that one.

Written from the developer guides: API Gateway ("Lambda proxy integrations in API Gateway", input format), Lambda
("Invoking Lambda function URLs", payload format) and Elastic Load Balancing ("Lambda functions as targets"), 2026-11.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]
Fields = Sequence[tuple[str, str]]


class LambdaContext:
    """The context object of AWS's runtime client, as far as it is read."""

    aws_request_id = "8a2b9c1e-4f5d-4c3b-9a8e-7f6d5c4b3a21"
    function_name = "api"
    client_context: Any = None

    def __init__(self, remaining: float = 10.0) -> None:
        self._remaining = remaining

    def get_remaining_time_in_millis(self) -> int:
        return int(self._remaining * 1000)


def function_url(method: str, target: str, fields: Fields = (), body: bytes = b"") -> Json:
    path, _, query = target.partition("?")
    headers: dict[str, str] = {"host": "abcdef.lambda-url.eu-central-1.on.aws", "x-forwarded-proto": "https"}
    cookies = []
    for name, value in fields:
        if name.lower() == "cookie":
            cookies += [part.strip() for part in value.split(";")]
        else:
            name = name.lower()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    event: Json = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdef",
            "domainName": headers["host"],
            "domainPrefix": "abcdef",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": 1710270238000,
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if body:
        event["body"], event["isBase64Encoded"] = b64encode(body).decode(), True
    return event


def rest_api(
    method: str,
    target: str,
    fields: Fields = (),
    body: bytes = b"",
    *,
    stage: str = "prod",
    base_path: str = "",
) -> Json:
    """base_path: of the mapping of a custom domain, through which the call comes."""
    path, _, query = target.partition("?")
    headers: dict[str, list[str]] = {"Host": ["api.example.com" if base_path else "abcdef.execute-api.aws"]}
    for name, value in fields:
        headers.setdefault(name, []).append(value)
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(name, []).append(value)
    seen = base_path + path
    return {
        "resource": "/{proxy+}",
        "path": seen,
        "httpMethod": method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": {"proxy": path[1:]},
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "path": seen if base_path else f"/{stage}{path}",
            "stage": stage,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8"},
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "domainName": headers["Host"][0],
        },
        "body": b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }


def load_balancer(
    method: str, target: str, fields: Fields = (), body: bytes = b"", *, multi_value: bool = True
) -> Json:
    """multi_value: whether the target group has multi-value headers on; without, the last value of a name counts."""
    path, _, query = target.partition("?")
    headers: dict[str, list[str]] = {
        "host": ["lb.example.com"],
        "x-forwarded-for": ["198.51.100.1, 203.0.113.7"],
        "x-forwarded-port": ["443"],
        "x-forwarded-proto": ["https"],
    }
    for name, value in fields:
        headers.setdefault(name.lower(), []).append(value)
    parameters: dict[str, list[str]] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")  # not decoded
        parameters.setdefault(name, []).append(value)
    event: Json = {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/t/1"}},
        "httpMethod": method,
        "path": path,
        "body": b64encode(body).decode() if body else "",
        "isBase64Encoded": bool(body),
    }
    if multi_value:
        return {**event, "multiValueHeaders": headers, "multiValueQueryStringParameters": parameters}
    last = {name: values[-1] for name, values in headers.items()}
    return {**event, "headers": last, "queryStringParameters": {name: v[-1] for name, v in parameters.items()}}
