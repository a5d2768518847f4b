"""Lambda event ↔ neutral messages; ships with the user's code, standard library only.

Which HTTP front calls the function is known when the bundle is built (``pys_multi_aws.json``), and which
queue, bucket or schedule means which trigger is in the function's environment, written by the template.
Formats: developer guides of API Gateway ("Working with AWS Lambda proxy integrations"), Lambda ("Invoking
Lambda function URLs", "Using Lambda with Amazon SQS / SNS / S3") and Elastic Load Balancing ("Lambda functions
as targets"), as of 2026-11.
"""

from __future__ import annotations

from os import environ
from time import time

from pys_multi.encoding import parse_json
from pys_multi.http import Request, Response
from pys_multi.messages import Context
from pys_multi.runtime import load, whole_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pys_multi.app import App
    from pys_multi.resources import Backend
    from pys_multi.runtime import Runtime

    Json = dict[str, Any]

#: At the root of the bundle: {"http": "http-api" | "function-url" | "rest-api" | "alb"}.
FRONT_FILE = "pys_multi_aws.json"
#: Environment: {name of a queue: trigger id}, and {name of a bucket: name of the resource}.
QUEUES, BUCKETS = "PYS_MULTI_QUEUES", "PYS_MULTI_BUCKETS"
#: Under this key stand events that pys-multi itself makes: schedules, `invoke`, and the question for health.
ENVELOPE = "pys_multi"
#: Lambda refuses responses above 6 MB ("Lambda quotas", invocation payload); base64 and JSON take their part.
_MAX_RESPONSE = 6 * 1024 * 1024

_TEXT = ("text/", "application/json", "application/javascript", "application/xml", "application/x-www-form-urlencoded")
_OCTETS = "application/octet-stream"


class Adapter:
    """One function's entry: what Lambda calls with every event."""

    __slots__ = ("_buckets", "_queues", "_request", "_respond", "_runtime")

    def __init__(self, runtime: Runtime, front: str) -> None:
        self._runtime = runtime
        self._request, self._respond = _FRONTS[front]
        self._queues: dict[str, str] = parse_json(environ.get(QUEUES, "{}"))
        self._buckets: dict[str, str] = parse_json(environ.get(BUCKETS, "{}"))

    def __call__(self, event: Json, context: Any) -> Any:
        about = Context(context.aws_request_id, deadline=time() + context.get_remaining_time_in_millis() / 1000)
        if "requestContext" in event:
            request = self._request(event)
            request.context = about
            trace = environ.get("_X_AMZN_TRACE_ID")
            about.trace_parent = (event.get("headers") or {}).get("traceparent") or (
                trace_parent(trace) if trace else ""
            )
            return self._respond(self._runtime.http(request))
        trace = environ.get("_X_AMZN_TRACE_ID")
        if trace:
            about.trace_parent = trace_parent(trace)
        if ENVELOPE in event:
            return self._own(event[ENVELOPE], about)
        records = event["Records"]
        # SNS spells it with a capital.
        source = records[0].get("eventSource") or records[0]["EventSource"]
        if source == "aws:sqs":
            return self._sqs(records, about)
        if source == "aws:sns":
            return self._sns(records, about)
        if source == "aws:s3":
            return self._s3(records, about)
        raise LookupError(f"nothing here is triggered by {source!r}")

    # ---- queues and topics

    def _sqs(self, records: list[Json], about: Context) -> Json:
        """A batch; what failed is reported by id (``ReportBatchItemFailures``), the rest is deleted."""
        from pys_multi_providers.aws.events import messages_of_sqs, unhandled

        name = records[0]["eventSourceARN"].rpartition(":")[2]
        messages = messages_of_sqs(records)
        failures = self._runtime.messages(self._queues[name], messages, about)
        failed = unhandled(messages, {failure.id for failure in failures}, ordered=name.endswith(".fifo"))
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    def _sns(self, records: list[Json], about: Context) -> None:
        """Notifications, without partial failure: Lambda calls again with the whole event where one fails."""
        from pys_multi_providers.aws.events import messages_of_sns

        name = records[0]["Sns"]["TopicArn"].rpartition(":")[2]
        failures = self._runtime.messages(self._queues[name], messages_of_sns(records), about)
        if failures:
            raise RuntimeError(f"{failures[0].id} failed: {failures[0].error}")

    # ---- buckets

    def _s3(self, records: list[Json], about: Context) -> None:
        from pys_multi_providers.aws.events import events_of_s3

        for bucket, event in events_of_s3(records):
            event.bucket = self._buckets[bucket]
            self._runtime.object_event(event, about)

    # ---- pys-multi's own

    def _own(self, envelope: Json, about: Context) -> Any:
        from pys_multi_providers.aws.events import event_of, messages_of

        if envelope.get("health"):
            return self._runtime.health()
        if "messages" in envelope:
            failures = self._runtime.messages(envelope["trigger"], messages_of(envelope["messages"]), about)
            return {"failures": {failure.id: failure.error for failure in failures}}
        self._runtime.event(envelope["trigger"], event_of(envelope.get("event", {})), about)
        return {"failures": {}}


# ---- HTTP in


def _request_v2(event: Json) -> Request:
    """HTTP API, payload format 2.0: the path comes decoded, and with the stage in front unless it is $default."""
    about = event["requestContext"]
    http = about["http"]
    path, root = event["rawPath"], ""
    stage = about["stage"]
    if stage != "$default" and path.startswith(f"/{stage}/"):
        root = f"/{stage}"
        path = path[len(root) :]
    return _from_v2(event, http, path, root)


def _request_url(event: Json) -> Request:
    """Function URL: format 2.0 as well, but the path comes as the caller encoded it."""
    path = event["rawPath"]
    return _from_v2(event, event["requestContext"]["http"], _unquote(path) if "%" in path else path, "")


def _from_v2(event: Json, http: Json, path: str, root: str) -> Request:
    headers = event["headers"]
    cookies = event.get("cookies")
    if cookies:
        headers["cookie"] = "; ".join(cookies)
    return Request(
        http["method"],
        path or "/",
        query_string=event["rawQueryString"],
        headers=headers,
        body=_body(event),
        client=http["sourceIp"],
        scheme="https",
        root_path=root,
    )


def _request_rest(event: Json) -> Request:
    """REST API (format 1.0): the path comes encoded and without the stage, which the context's path has."""
    about = event["requestContext"]
    path: str = event["path"]
    whole: str = about.get("path", path)
    root = whole[: -len(path)] if whole != path and whole.endswith(path) else ""
    return Request(
        event["httpMethod"],
        (_unquote(path) if "%" in path else path) or "/",
        query_string=_query_string(event, encoded=False),
        headers=_pairs(event),
        body=_body(event),
        client=about.get("identity", {}).get("sourceIp", ""),
        scheme="https",
        root_path=root,
    )


def _request_alb(event: Json) -> Request:
    """Load balancer: path and query come as the caller encoded them; it adds the addresses as headers."""
    headers = _pairs(event)
    forwarded = {name.lower(): value for name, value in headers}
    path = event["path"]
    return Request(
        event["httpMethod"],
        (_unquote(path) if "%" in path else path) or "/",
        query_string=_query_string(event, encoded=True),
        headers=headers,
        body=_body(event),
        # The load balancer appends the peer's address to what the caller sent, so only the last one is true.
        client=forwarded.get("x-forwarded-for", "").rpartition(",")[2].strip(),
        scheme=forwarded.get("x-forwarded-proto", "http"),
    )


def _body(event: Json) -> bytes | str:
    body = event.get("body")
    if not body:
        return ""
    if event.get("isBase64Encoded"):
        from base64 import b64decode

        return b64decode(body)
    return body  # type: ignore[no-any-return]


def _pairs(event: Json) -> list[tuple[str, str]]:
    several = event.get("multiValueHeaders")
    if several:
        return [(name, value) for name, values in several.items() for value in values]
    return list((event.get("headers") or {}).items())


def _query_string(event: Json, *, encoded: bool) -> str:
    several = event.get("multiValueQueryStringParameters")
    single = event.get("queryStringParameters") or {}
    pairs = [(k, v) for k, values in several.items() for v in values] if several else list(single.items())
    if encoded:
        return "&".join(f"{key}={value}" for key, value in pairs)
    from urllib.parse import urlencode

    return urlencode(pairs)


def _unquote(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path)


# ---- HTTP out


def _respond_v2(response: Response) -> Json:
    body, is_base64 = _payload(response)
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in response.headers:
        name = name.lower()
        if name == "set-cookie":
            cookies.append(value)
        elif name in headers:
            headers[name] += ", " + value
        else:
            headers[name] = value
    answer = {"statusCode": response.status, "headers": headers, "body": body, "isBase64Encoded": is_base64}
    if cookies:
        answer["cookies"] = cookies
    return answer


def _respond_v1(response: Response) -> Json:
    body, is_base64 = _payload(response)
    headers: dict[str, list[str]] = {}
    for name, value in response.headers:
        headers.setdefault(name.lower(), []).append(value)
    return {
        "statusCode": response.status,
        "multiValueHeaders": headers,
        "body": body,
        "isBase64Encoded": is_base64,
    }


def _respond_alb(response: Response) -> Json:
    from http import HTTPStatus

    answer = _respond_v1(response)
    # A target group without multi-value headers reads `headers`; one with them reads the other.
    answer["headers"] = {name: values[-1] for name, values in answer["multiValueHeaders"].items()}
    known = {status.value for status in HTTPStatus}
    phrase = HTTPStatus(response.status).phrase if response.status in known else "Status"
    answer["statusDescription"] = f"{response.status} {phrase}"
    return answer


def _payload(response: Response) -> tuple[str, bool]:
    """The body as Lambda carries it: text as it is, anything else in base64."""
    body = response.body
    if type(body) is not bytes:
        body = whole_body(response)
    if not body:
        return "", False
    if len(body) > _MAX_RESPONSE:
        raise ValueError(f"the response has {len(body):,} bytes; Lambda carries at most {_MAX_RESPONSE:,}")
    kind = _OCTETS
    encoded = False
    for name, value in response.headers:
        if name == "content-type" or name.lower() == "content-type":
            kind = value
        elif name.lower() == "content-encoding":
            encoded = True
    if not encoded and (kind.startswith(_TEXT) or "+json" in kind or "+xml" in kind or "charset=utf-8" in kind.lower()):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    from base64 import b64encode

    return b64encode(body).decode(), True


def trace_parent(header: str) -> str:
    """An X-Ray trace header as a W3C ``traceparent`` (the ids are the same, written differently)."""
    fields = dict(part.partition("=")[::2] for part in header.split(";"))
    root = fields.get("Root", "").split("-")
    if len(root) != 3 or "Parent" not in fields:
        return ""
    return f"00-{root[1]}{root[2]}-{fields['Parent']}-{'01' if fields.get('Sampled') == '1' else '00'}"


_FRONTS: dict[str, tuple[Callable[[Json], Request], Callable[[Response], Json]]] = {
    "http-api": (_request_v2, _respond_v2),
    "function-url": (_request_url, _respond_v2),
    "rest-api": (_request_rest, _respond_v1),
    "alb": (_request_alb, _respond_alb),
}


def connect(app: App) -> Backend:
    """The resources of the service on AWS; boto3 is imported at the first use of one."""
    from pys_multi_providers.aws.resources import AwsBackend

    return AwsBackend(app)


def start(directory: str) -> Adapter:
    """The adapter of the bundle in a directory."""
    with open(f"{directory}/{FRONT_FILE}", encoding="utf-8") as file:
        front = parse_json(file.read())["http"]
    runtime = load(directory, connect=connect, max_body=_MAX_RESPONSE)
    runtime.start()
    return Adapter(runtime, front)


if "LAMBDA_TASK_ROOT" in environ:
    # Lambda resolves the name `handler`; what the user's import raises must reach Lambda's own error report.
    handler = start(environ["LAMBDA_TASK_ROOT"])
