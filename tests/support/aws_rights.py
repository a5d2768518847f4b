"""What a policy of IAM lets through, between a client and an emulator of AWS, which lets everything through.

A request is read with AWS's own description of its services (botocore's models): which operation it is, and, where
the request itself says so, on what. Conditions are not evaluated, and a resource that the request does not name is
taken for one that the policy has: so a call that is refused here is refused by AWS.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.loaders import Loader
from tests.support.aws_stage import name_of, refusal
from tests.support.fault_proxy import Call, FaultProxy, _read, _write

#: Operations whose permission is called otherwise than they are; None needs none.
OTHERWISE: dict[tuple[str, str], str | None] = {
    ("lambda", "Invoke"): "lambda:InvokeFunction",
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("s3", "ListObjectVersions"): "s3:ListBucketVersions",
    ("s3", "DeleteObjects"): "s3:DeleteObject",
    ("s3", "HeadBucket"): "s3:ListBucket",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "GetBucketEncryption"): "s3:GetEncryptionConfiguration",
    ("s3", "PutBucketEncryption"): "s3:PutEncryptionConfiguration",
    ("s3", "GetBucketLifecycleConfiguration"): "s3:GetLifecycleConfiguration",
    ("s3", "PutBucketLifecycleConfiguration"): "s3:PutLifecycleConfiguration",
    ("s3", "GetPublicAccessBlock"): "s3:GetBucketPublicAccessBlock",
    ("s3", "PutPublicAccessBlock"): "s3:PutBucketPublicAccessBlock",
    ("sts", "GetCallerIdentity"): None,
}
#: Services whose name in a signature is not that of their model.
MODELS = {"monitoring": "cloudwatch", "tagging": "resourcegroupstaggingapi", "apigateway": "apigatewayv2"}
PREFIXES = {"cloudwatch": "cloudwatch", "resourcegroupstaggingapi": "tag", "apigatewayv2": "apigateway"}


@cache
def _operations(service: str) -> list[tuple[str, re.Pattern[str], frozenset[str], str]]:
    """(method, pattern of the path, what the query and the headers must have, name), the most particular first."""
    model = Loader().load_service_model(service, "service-2")
    found = []
    for name, operation in model["operations"].items():
        path, _, query = operation["http"]["requestUri"].partition("?")
        pattern = re.sub(r"\\{(\w+)\\\+\\}", r"(?P<\1>.+)", re.escape(path))
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", pattern)
        keys = {part.partition("=")[0] for part in query.split("&") if part}
        shape = model["shapes"][operation["input"]["shape"]] if "input" in operation else {}
        for member in shape.get("required", ()):
            field = shape["members"][member]
            if field.get("location") in ("querystring", "header"):
                keys.add(field["locationName"].lower() if field["location"] == "header" else field["locationName"])
        found.append((operation["http"]["method"], re.compile(pattern.rstrip("/") + "/?"), frozenset(keys), name))
    # Of two operations that are one request, the later version's name is the longer one.
    return sorted(found, key=lambda entry: (-len(entry[2]), -len(entry[3])))


def operation_of(call: Call) -> tuple[str, str, Mapping[str, str]]:
    """Service, operation, and what the request names."""
    signed = call.headers.get("authorization", "").partition("Credential=")[2].split("/")[3:4]
    assert signed, f"a request that nobody signed: {call.path}"
    service = MODELS.get(signed[0], signed[0])
    if target := call.headers.get("x-amz-target"):
        body = json.loads(call.body or b"{}")
        return service, target.rpartition(".")[2], {key: str(value) for key, value in body.items()}
    if b"Action=" in call.body[:4000] and service != "s3":
        fields = {key: values[0] for key, values in parse_qs(call.body.decode()).items()}
        return service, fields["Action"], fields
    path, _, query = call.path.partition("?")
    given = {part.partition("=")[0] for part in query.split("&")} | set(call.headers)
    for method, pattern, keys, name in _operations(service):
        match = pattern.fullmatch(unquote(path))
        if method == call.method and keys <= given and match:
            return service, name, match.groupdict()
    raise AssertionError(f"{service} has no operation {call.method} {call.path}")


def resource_of(service: str, named: Mapping[str, str]) -> str | None:
    """The end of the ARN of what a request is about; None where it does not say."""
    match service:
        case "lambda" if name := named.get("FunctionName"):
            return name if name.startswith("arn:") else f"function:{name}"
        case "cloudformation" if name := named.get("StackName"):
            return name if name.startswith("arn:") else f"stack/{name}/id"
        case "s3" if "Bucket" in named:
            return str(named["Bucket"]) + (f"/{named['Key']}" if "Key" in named else "")
        case "sqs" if name := named.get("QueueName") or named.get("QueueUrl", "").rpartition("/")[2]:
            return name
        case "secretsmanager" if name := named.get("SecretId"):
            return f"secret:{name}-AbCdEf"
    return None


def allows(policy: Mapping[str, Any], call: Call) -> tuple[bool, str]:
    """Whether the policy allows it, and what it is in the policy's words."""
    service, operation, named = operation_of(call)
    action = OTHERWISE.get((service, operation), f"{PREFIXES.get(service, service)}:{operation}")
    if service == "apigatewayv2":
        action = f"apigateway:{call.method}"
    # What DeleteObjects is about stands in its body.
    resource = None if operation == "DeleteObjects" else resource_of(service, named)
    if action is None:
        return True, ""
    for statement in policy["Statement"]:
        fits = resource is None or any(_is_of(resource, pattern) for pattern in statement["Resource"])
        if action in statement["Action"] and fits:
            return True, f"{action} on {resource}"
    return False, f"{action} on {resource}"


def _is_of(resource: str, pattern: str) -> bool:
    """Whether an ARN, or the end of one, is of the pattern of one."""
    if pattern == "*":
        return True
    parts = 0 if resource.startswith("arn:") else 5  # arn:aws:service:region:account:what
    return fnmatch.fnmatchcase(resource, pattern.split(":", parts)[-1] if parts else pattern)


class RightsProxy(FaultProxy):
    """Lets through what the policy allows, and refuses the rest as AWS does. refused: what it was."""

    def __init__(self, upstream: str, policy: Mapping[str, Any] | None = None) -> None:
        super().__init__(upstream, name_of)
        self.policy = policy
        self.asked: list[str] = []
        self.refused: list[str] = []

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        call = _read(handler)
        well, what = (True, "") if self.policy is None else allows(self.policy, call)
        self.asked.append(what)
        if well:
            _write(handler, self._forward(call))
            return
        self.refused.append(what)
        _write(handler, refusal("AccessDenied", f"not authorized to perform {what}", 403)(call))
