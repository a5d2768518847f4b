"""What AWS alone knows to be wrong: found before anything is uploaded, each with what to do.

Numbers are those of "Lambda quotas", "CloudFormation quotas", "HTTP API quotas", and the API references of the
services, as of 2026-11.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from pys_multi.model import Consume, Function, Mount, ObjectEvent, Queue, Route, Schedule, Table
from pys_multi_providers.aws.names import logical
from pys_multi_providers.aws.routes import clashes, routes_of, shared_paths
from pys_multi_providers.aws.secrets import source
from pys_multi_providers.aws.settings import AwsSettings
from pys_multi_providers.aws.view import names_of, options_of, settings_of, variables_of
from pys_multi_tools import daylight
from pys_multi_tools.deployment import Deployment, Problem
from pys_multi_tools.secret_values import misplaced

_MAX_ENVIRONMENT = 4096
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
#: What Lambda sets itself ("Defined runtime environment variables").
_RESERVED = re.compile(
    "_HANDLER|_X_AMZN_TRACE_ID|LAMBDA_.*|AWS_(LAMBDA_.*|(DEFAULT_)?REGION|EXECUTION_ENV|ACCESS_KEY(_ID)?|"
    "SECRET_ACCESS_KEY|SESSION_TOKEN)"
)
_MAX_RESOURCES, _MAX_PARAMETERS, _MAX_TEMPLATE = 500, 200, 1_000_000
_HTTP_TIMEOUT = 30
_MAX_ROUTES = 300
_FIFO_BATCH = 10
#: CloudFormation takes it for a reference to a value elsewhere, wherever it stands, and knows no way to write it.
_DYNAMIC = "{{resolve:"


def problems(deployment: Deployment) -> Iterator[Problem]:
    """Everything that AWS would refuse, or do otherwise than the service says."""
    settings = settings_of(deployment)
    yield from misplaced(deployment, source, '"aws-sm:NAME" or "aws-ssm:NAME"')
    yield from _tags("aws.tags", settings.tags, "the settings")
    yield from _domain(deployment, settings)
    for resource in deployment.service.resources:
        if resource.options.get("aws"):
            yield _error(
                f"{resource.kind} {resource.name}", "on aws, resources have no options", "remove aws={…} from it"
            )
        if isinstance(resource, Table):
            yield from _table(resource)
    for function in deployment.service.functions:
        yield from _function(function, settings.http)
    yield from _queues(deployment)
    yield from _object_events(deployment)
    if settings.http == "http-api":
        yield from _routes(deployment, settings.native_jwt)
    yield from _dynamic_references(deployment)


def fits(text: str) -> Iterator[Problem]:
    """What is wrong with a template as a whole. text: as it is rendered."""
    where, split = "the template", "split the service into several, or let fewer functions answer more routes"
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(sorted({name for name in names if names.count(name) > 1}))
        return found

    template = json.loads(text, object_pairs_hook=unique)
    for id in repeated:
        yield _error(where, f"two things in it would be called {id!r}", "give one of them another name")
    resources, parameters, size = len(template["Resources"]), len(template["Parameters"]), len(text.encode())
    if resources > _MAX_RESOURCES:
        yield _error(where, f"it has {resources:,} resources, and CloudFormation takes {_MAX_RESOURCES}", split)
    if parameters > _MAX_PARAMETERS:
        count = (parameters - 1) // 2
        yield _error(where, f"{count} functions are more than CloudFormation has parameters for", split)
    if size > _MAX_TEMPLATE:
        yield _error(where, f"it has {size:,} bytes, and CloudFormation takes {_MAX_TEMPLATE:,}", split)


def _domain(deployment: Deployment, settings: AwsSettings) -> Iterator[Problem]:
    domain = settings.domain
    if domain is not None and settings.http != "http-api":
        yield _error(
            _source(deployment, "aws.domain"),
            "a domain belongs to the HTTP API, and there is none",
            'write http = "http-api", or remove the domain',
        )
    if domain is None and settings.base_path and settings.http == "http-api":
        yield _error(
            _source(deployment, "aws.base_path"),
            "an HTTP API has a base path at a domain only",
            "name the domain in [tool.pys-multi.aws.domain], or remove base_path",
        )
    if domain is not None and domain.hosted_zone_id and not domain.certificate_arn:
        yield _error(
            _source(deployment, "aws.domain.hosted_zone_id"),
            "without a certificate the domain is there already, and nothing is known that a record could point to",
            "name the certificate, or remove hosted_zone_id",
        )


# ---- functions


def _function(function: Function, http: str) -> Iterator[Problem]:
    where = f"function {function.name}"
    yield from _tags(where, options_of(function).tags, "its tags")
    routes = [trigger for trigger in function.triggers if isinstance(trigger, Route | Mount)]
    if routes and http == "http-api" and function.timeout > _HTTP_TIMEOUT:
        yield _error(
            where,
            f"an HTTP API waits {_HTTP_TIMEOUT} s for an answer, and the function may take {function.timeout:g} s",
            f'write timeout={_HTTP_TIMEOUT} and move slow work behind a queue, or set http = "function-url" '
            "in [tool.pys-multi.aws]",
        )
    open_, private = [t for t in routes if t.public or t.auth], [t for t in routes if not t.public and not t.auth]
    if http == "function-url" and open_ and private:
        yield _error(
            private[0].id,
            f"it is private, and its function's URL is open for {open_[0].id}, so AWS never says who is calling",
            'give private routes a function of their own, or set http = "http-api" in [tool.pys-multi.aws]',
        )
    if http == "alb" and private:
        yield _error(
            private[0].id,
            "it is private, and a load balancer never says who is calling",
            'write public=True or auth=… at the route, or set http = "http-api" in [tool.pys-multi.aws]',
        )
    for trigger in function.triggers:
        if isinstance(trigger, Schedule):
            yield from daylight.problems(trigger, "AWS skips that run")


def environment_problems(deployment: Deployment) -> Iterator[Problem]:
    """Environments that Lambda would refuse. The secrets and routes of the deployment must be in order."""
    lengths = _lengths(deployment)
    for function, variables in variables_of(deployment):
        where = f"function {function.name}"
        for name in variables:
            if not _ENVIRONMENT_NAME.fullmatch(name):
                yield _error(
                    where,
                    f"Lambda takes no environment variable {name!r}",
                    "begin it with a letter, and use two or more letters, digits and '_'",
                )
            elif _RESERVED.fullmatch(name):
                yield _error(where, f"environment variable {name!r} is Lambda's own", "give it another name")
        size = sum(len(name.encode()) + _length(value, lengths) for name, value in variables.items())
        if size > _MAX_ENVIRONMENT:
            own = sum(_length(value, lengths) for name, value in variables.items() if name.startswith("PYS_MULTI_"))
            yield _error(
                where,
                f"its environment has {size:,} bytes ({own:,} of them say where its resources are), and Lambda "
                f"takes {_MAX_ENVIRONMENT:,}",
                "put large values into a file or a secret, or use fewer resources in one function",
            )


def _lengths(deployment: Deployment) -> dict[str, int]:
    """Reference → bytes that it can come to."""
    names = names_of(deployment)
    account, region, partition = 12, 16, len("aws-us-gov")
    arn = len("arn::secretsmanager:::secret:-XXXXXX") + account + region + partition
    found = {"AWS::AccountId": account, "AWS::Region": region, "AWS::Partition": partition}
    for resource in deployment.service.resources:
        id = logical(resource.name, resource.kind)
        match resource.kind:
            case "queue":
                physical = names.queue(resource.name, ordered=isinstance(resource, Queue) and resource.ordered)
                found[id] = len("https://sqs..amazonaws.com.cn//") + region + account + len(physical)
            case "bucket":
                found[id] = 63
            case "secret":
                found[f"{id}.Id"] = arn + len(names.secret(resource.name))
            case _:
                found[id] = arn + len(names.topic(resource.name))
    return found


def _length(value: Any, lengths: Mapping[str, int]) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return len(separator.join(parts).encode())
    template: str = value["Fn::Sub"]
    plain = re.sub(r"\$\{[^}]*\}", "", template)
    return len(plain.encode()) + sum(lengths[name] for name in re.findall(r"\$\{([^}]*)\}", template))


# ---- resources


def _table(table: Table) -> Iterator[Problem]:
    for name in (table.key, table.sort):
        if name is not None and len(name.encode()) > 255:
            yield _error(f"table {table.name}", "a key's name has at most 255 bytes on aws", "shorten it")


def _queues(deployment: Deployment) -> Iterator[Problem]:
    ordered = {
        resource.name for resource in deployment.service.resources if isinstance(resource, Queue) and resource.ordered
    }
    for function in deployment.service.functions:
        for trigger in function.triggers:
            if isinstance(trigger, Consume) and trigger.queue in ordered:
                if trigger.batch > _FIFO_BATCH:
                    yield _error(
                        trigger.id,
                        f"of an ordered queue AWS gives {_FIFO_BATCH} messages at once, not {trigger.batch}",
                        f"write batch={_FIFO_BATCH}",
                    )
                if trigger.window:
                    yield _error(
                        trigger.id, "AWS does not wait for a batch of an ordered queue to fill", "leave window out"
                    )


def _object_events(deployment: Deployment) -> Iterator[Problem]:
    """S3 tells one receiver about an object: two that would both be told are refused as a whole."""
    seen: dict[tuple[str, str], list[ObjectEvent]] = {}
    for function in deployment.service.functions:
        for trigger in function.triggers:
            if not isinstance(trigger, ObjectEvent):
                continue
            if len(trigger.prefix.encode()) + len(trigger.suffix.encode()) > 1024:
                yield _error(trigger.id, "prefix and suffix have at most 1,024 bytes together on aws", "shorten them")
            for other in seen.setdefault((trigger.bucket, trigger.event), []):
                if _overlap(trigger, other):
                    yield _error(
                        trigger.id,
                        f"{other.id} is told of the same objects of bucket {trigger.bucket!r}, and S3 tells only one",
                        "let their prefixes or suffixes exclude each other, or publish to a topic from one handler",
                    )
            seen[trigger.bucket, trigger.event].append(trigger)


def _overlap(one: ObjectEvent, other: ObjectEvent) -> bool:
    prefixes = one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
    suffixes = one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix)
    return prefixes and suffixes


# ---- HTTP


def _routes(deployment: Deployment, native_jwt: bool) -> Iterator[Problem]:
    service = deployment.service
    for clash in clashes(service):
        yield _error(
            clash.second.id,
            f"to API Gateway it is one route with {clash.first.id} ({clash.key}), and {clash.why}",
            "let the paths differ in a part that is plain text, or give both to one function with the same access",
        )
    for path, (first, second) in shared_paths(service).items():
        if first.cors != second.cors:
            yield _warning(
                f"function {second.name}",
                f"{path} belongs to {first.name} too, whose CORS answers every OPTIONS of it",
                "give both functions the same CORS, or the path to one of them",
            )
    count = len(routes_of(service, native_jwt=native_jwt))
    if count > _MAX_ROUTES:
        yield _warning(
            f"service {service.name}",
            f"its HTTP API has {count} routes, and an account allows {_MAX_ROUTES} until it asks for more",
            "ask for a higher quota of routes, or mount an application at one path",
        )


# ---- what users write


def _tags(where: str, tags: Mapping[str, str], what: str) -> Iterator[Problem]:
    if len(tags) > 45:  # of 50, with those of pys-multi and of CloudFormation
        yield _error(where, f"{what}: {len(tags)} tags are more than AWS takes", "use at most 45")
    for key, value in tags.items():
        if not 0 < len(key) <= 128 or not _is_tag_text(key) or key.lower().startswith("aws:"):
            hint = "use 1 to 128 letters, digits, spaces and _ . : / = + - @, and do not begin it with aws:"
            yield _error(where, f"{what}: {key!r} is no name of a tag", hint)
        if len(value) > 256 or not _is_tag_text(value):
            hint = "use at most 256 letters, digits, spaces and _ . : / = + - @"
            yield _error(where, f"{what}: the value of {key!r} is none that AWS takes", hint)


def _is_tag_text(text: str) -> bool:
    return all(character in "_.:/=+-@" or unicodedata.category(character)[0] in "LZN" for character in text)


def _dynamic_references(deployment: Deployment) -> Iterator[Problem]:
    for where, text in _texts(deployment):
        if _DYNAMIC in text:
            yield _error(
                where,
                f"CloudFormation takes {_DYNAMIC}…}}}} in a text for a reference to a secret and would put it there",
                "use app.secret() for a secret, or write the text in another form",
            )


def _texts(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Every text of the user's that goes into the template."""
    for name, value in deployment.project.settings.environment.items():
        yield _source(deployment, f"environment.{name}"), value
    for resource in deployment.service.resources:
        if isinstance(resource, Table):
            yield f"table {resource.name}", f"{resource.key} {resource.sort}"
    for function in deployment.service.functions:
        for value in (*function.environment.values(), *options_of(function).tags.values()):
            yield f"function {function.name}", value
        for trigger in function.triggers:
            if isinstance(trigger, ObjectEvent):
                yield trigger.id, f"{trigger.prefix} {trigger.suffix}"
            elif isinstance(trigger, Route | Mount):
                yield trigger.id, json.dumps(dict(trigger.auth))


def _source(deployment: Deployment, key: str) -> str:
    return deployment.project.sources.get(key, key)


def _error(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint)


def _warning(where: str, what: str, hint: str) -> Problem:
    return Problem(where=where, what=what, hint=hint, severity="warning")
